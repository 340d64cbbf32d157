// OpenAI's official SDK for Node.
import OpenAI, { toFile } from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import {
  API_KEY, BASE_URL, MODEL, PICTURE_DATA, PICTURE_URL, POOR_KEY, QUESTION, SCHEMA, SIZE, check,
  pause, refused, tell,
} from './checks.mjs';

const connect = (apiKey) => new OpenAI({ baseURL: BASE_URL, apiKey, maxRetries: 0 });
const client = connect(API_KEY);
const Seen = z.object({ description: z.string() });
const asked = (url = PICTURE_DATA, text = QUESTION) => [
  {
    role: 'user',
    content: [
      { type: 'input_text', text },
      { type: 'input_image', image_url: url, detail: 'low' },
    ],
  },
];
const said = (url = PICTURE_DATA, text = QUESTION) => [
  {
    role: 'user',
    content: [
      { type: 'text', text },
      { type: 'image_url', image_url: { url } },
    ],
  },
];
const tool = { type: 'function', name: 'see', parameters: SCHEMA, strict: true };
const chatTool = { type: 'function', function: { name: 'see', parameters: SCHEMA } };
const respond = (options = {}) => client.responses.create({ model: MODEL, input: asked(), ...options });
const complete = (options = {}) =>
  client.chat.completions.create({ model: MODEL, messages: said(), ...options });

await check('response, picture as data URL', async () => (await respond()).output_text.includes(SIZE));
await check('response, picture by address', async () =>
  (await respond({ input: asked(PICTURE_URL) })).output_text.includes(SIZE));
await check('completion, picture as data URL', async () =>
  (await complete()).choices[0].message.content.includes(SIZE));
await check('completion, picture by address', async () =>
  (await complete({ messages: said(PICTURE_URL) })).choices[0].message.content.includes(SIZE));
await check('responses.parse', async () => {
  const text = { format: zodTextFormat(Seen, 'seen') };
  const told = await client.responses.parse({ model: MODEL, input: asked(), text });
  return told.output_parsed.description.includes(SIZE);
});
await check('chat.completions.parse', async () => {
  const response_format = zodResponseFormat(Seen, 'seen');
  const told = await client.chat.completions.parse({ model: MODEL, messages: said(), response_format });
  return told.choices[0].message.parsed.description.includes(SIZE);
});
await check('response, json_object', async () =>
  JSON.parse((await respond({ text: { format: { type: 'json_object' } } })).output_text));
await check('completion, json_object', async () =>
  JSON.parse((await complete({ response_format: { type: 'json_object' } })).choices[0].message.content));
await check('response, function tool', async () => {
  const { output } = await respond({ tools: [tool], tool_choice: 'required' });
  return JSON.parse(output[0].arguments).description.includes(SIZE);
});
await check('completion, function tool', async () => {
  const tool_choice = { type: 'function', function: { name: 'see' } };
  const told = await complete({ tools: [chatTool], tool_choice });
  return JSON.parse(told.choices[0].message.tool_calls[0].function.arguments).description.includes(SIZE);
});
await check('response, streamed', async () => {
  let text = '';
  let last;
  for await (const event of await respond({ stream: true })) {
    if (event.type === 'response.output_text.delta') text += event.delta;
    last = event.type;
  }
  return text.includes(SIZE) && last === 'response.completed';
});
await check('responses.stream', async () => {
  const stream = client.responses.stream({ model: MODEL, input: asked() });
  return (await stream.finalResponse()).output_text.includes(SIZE);
});
await check('completion, streamed with usage', async () => {
  let text = '';
  let usage;
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await complete(options)) {
    text += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
  }
  return text.includes(SIZE) && usage.total_tokens > 0;
});
await check('chat.completions.stream with a function tool', async () => {
  const stream = client.chat.completions.stream({
    model: MODEL, messages: said(), tools: [chatTool], tool_choice: 'required',
  });
  const told = await stream.finalChatCompletion();
  return JSON.parse(told.choices[0].message.tool_calls[0].function.arguments).description.includes(SIZE);
});
await check('background, retrieve', async () => {
  let told = await respond({ background: true });
  while (['queued', 'in_progress'].includes(told.status)) {
    await pause(100);
    told = await client.responses.retrieve(told.id);
  }
  return told.output_text.includes(SIZE);
});
await check('background, streamed later', async () => {
  const { id } = await respond({ background: true });
  let last;
  for await (const event of await client.responses.retrieve(id, { stream: true })) last = event;
  return last.type === 'response.completed';
});
await check('background, cancel', async () => {
  const { id } = await respond({ background: true, input: asked(PICTURE_DATA, `Cancel ${Date.now()}`) });
  return ['cancelled', 'completed'].includes((await client.responses.cancel(id)).status);
});
await check('files and batches', async () => {
  const body = { model: MODEL, input: asked() };
  const line = JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/responses', body });
  const file = await client.files.create({
    file: await toFile(Buffer.from(line), 'in.jsonl'), purpose: 'batch',
  });
  let batch = await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/responses', completion_window: '24h',
  });
  while (!['completed', 'failed', 'expired'].includes(batch.status)) {
    await pause(200);
    batch = await client.batches.retrieve(batch.id);
  }
  const content = await (await client.files.content(batch.output_file_id)).text();
  return JSON.parse(content).custom_id === 'a' && (await client.files.delete(file.id)).deleted;
});
await check('models', async () => {
  const names = [];
  for await (const one of client.models.list()) names.push(one.id);
  return names.includes(MODEL) && (await client.models.retrieve(MODEL)).id === MODEL;
});
await check('usage', async () => (await respond()).usage.total_tokens > 0);
await check('counting tokens of the input', async () =>
  (await client.responses.inputTokens.count({ model: MODEL, input: asked() })).input_tokens > 0);
await check('nulls for what is left out', async () =>
  (await respond({ previous_response_id: null, prompt: null, conversation: null })).output_text.includes(SIZE));

await refused('wrong key', ['AuthenticationError'], () => connect('wrong').models.list());
await refused('spent budget', ['RateLimitError', 'budget'], () =>
  connect(POOR_KEY).responses.create({ model: MODEL, input: asked() }));
await refused('unknown model', ['NotFoundError', 'no-such-model'], () => respond({ model: 'no-such-model' }));
await refused('bad picture', ['BadRequestError'], () =>
  respond({ input: asked('data:image/png;base64,aGVsbG8=') }));
await refused('text alone', ['no picture'], () => respond({ input: 'What is it?' }));
await refused('conversation', ['conversations are not supported'], () =>
  respond({ previous_response_id: 'resp_1' }));
await refused('built-in tool', ['web_search is not supported'], () =>
  respond({ tools: [{ type: 'web_search' }] }));
await refused('runTools with two tools', ['several tools are not supported'], () => {
  const other = { ...chatTool, function: { ...chatTool.function, name: 'other' } };
  return complete({ tools: [chatTool, other] });
});

tell('openai');
