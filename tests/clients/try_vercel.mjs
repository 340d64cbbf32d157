// Vercel's AI SDK, by both APIs.
import { createOpenAI } from '@ai-sdk/openai';
import { Output, generateText, streamText, tool } from 'ai';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import {
  API_KEY, BASE_URL, MODEL, PICTURE_FILE, PICTURE_URL, POOR_KEY, QUESTION, SIZE, check, refused, tell,
} from './checks.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const connect = (apiKey) => createOpenAI({ baseURL: BASE_URL, apiKey });
const openai = connect(API_KEY);
const Seen = z.object({ description: z.string() });
const messages = (image = readFileSync(PICTURE_FILE)) => [
  { role: 'user', content: [{ type: 'text', text: QUESTION }, { type: 'image', image }] },
];
const see = tool({ description: 'Tell what is seen.', inputSchema: Seen });

for (const [name, model] of [
  ['default', openai(MODEL)],
  ['responses', openai.responses(MODEL)],
  ['completions', openai.chat(MODEL)],
]) {
  const common = { model, messages: messages(), maxRetries: 0 };
  await check(`${name}: generateText, picture as bytes`, async () =>
    (await generateText(common)).text.includes(SIZE));
  await check(`${name}: generateText, picture by address`, async () =>
    (await generateText({ ...common, messages: messages(new URL(PICTURE_URL)) })).text.includes(SIZE));
  await check(`${name}: system prompt and usage`, async () =>
    (await generateText({ ...common, system: 'Be brief.' })).usage.totalTokens > 0);
  await check(`${name}: streamText`, async () => {
    let text = '';
    for await (const part of streamText(common).textStream) text += part;
    return text.includes(SIZE);
  });
  await check(`${name}: object`, async () => {
    const { output } = await generateText({ ...common, output: Output.object({ schema: Seen }) });
    return output.description.includes(SIZE);
  });
  await check(`${name}: object, streamed`, async () => {
    const stream = streamText({ ...common, output: Output.object({ schema: Seen }) });
    return (await stream.output).description.includes(SIZE);
  });
  await check(`${name}: one tool`, async () => {
    const { toolCalls } = await generateText({ ...common, tools: { see }, toolChoice: 'required' });
    return toolCalls[0].input.description.includes(SIZE);
  });
  await check(`${name}: one tool, streamed`, async () => {
    const { toolCalls } = streamText({ ...common, tools: { see }, toolChoice: { type: 'tool', toolName: 'see' } });
    return (await toolCalls)[0].input.description.includes(SIZE);
  });
  await refused(`${name}: several tools`, ['several tools are not supported'], () =>
    generateText({ ...common, tools: { see, other: see } }));
  await refused(`${name}: text alone`, ['no picture'], () =>
    generateText({ model, prompt: 'What is it?', maxRetries: 0 }));
  await refused(`${name}: conversation`, ['not supported'], () =>
    generateText({
      ...common,
      messages: [...messages(), { role: 'assistant', content: 'A cat.' }, { role: 'user', content: 'Which?' }],
    }));
}

const common = { messages: messages(), maxRetries: 0 };
await refused('wrong key', ['key'], () => generateText({ ...common, model: connect('wrong')(MODEL) }));
await refused('spent budget', ['budget'], () => generateText({ ...common, model: connect(POOR_KEY)(MODEL) }));
await refused('unknown model', ['no-such-model'], () =>
  generateText({ ...common, model: openai('no-such-model') }));

tell('ai', '@ai-sdk/openai');
