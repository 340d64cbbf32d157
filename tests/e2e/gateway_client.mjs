// Run by test_gateway_node.py: what a Node program does with the gateway, told as JSON.
import OpenAI, { toFile } from 'openai';

const baseURL = process.env.BASE_URL;
const client = new OpenAI({ baseURL, apiKey: process.env.API_KEY, maxRetries: 0 });
const model = 'gpt-4o-mini';
const image_url = process.env.PICTURE;
const input = [
  {
    role: 'user',
    content: [
      { type: 'input_text', text: 'What is it?' },
      { type: 'input_image', image_url, detail: 'low' },
    ],
  },
];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(look, holds) {
  for (;;) {
    const seen = await look();
    if (holds(seen)) return seen;
    await pause(100);
  }
}

async function refusal(act) {
  try {
    await act();
    return null;
  } catch (error) {
    return [error.constructor.name, error.code];
  }
}

const started = await client.responses.create({ model, input, background: true });
const ended = await until(
  () => client.responses.retrieve(started.id),
  (seen) => seen.status === 'completed',
);
const chat = await client.chat.completions.create({
  model,
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is it?' },
        { type: 'image_url', image_url: { url: image_url } },
      ],
    },
  ],
});
const other = await client.responses.create({ model, input, background: true, temperature: 0.1 });
const cancelled = await client.responses.cancel(other.id);

const line = (custom_id, body) => JSON.stringify({ custom_id, method: 'POST', url: '/v1/responses', body });
const lines = [line('good', { model, input }), line('bad', { model, input: 'no picture' })].join('\n');
const file = await client.files.create({
  file: await toFile(Buffer.from(lines), 'input.jsonl'),
  purpose: 'batch',
});
const batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: '/v1/responses',
  completion_window: '24h',
});
const done = await until(
  () => client.batches.retrieve(batch.id),
  (seen) => seen.status === 'completed',
);

const stranger = new OpenAI({ baseURL, apiKey: 'vq-wrong', maxRetries: 0 });
console.log(
  JSON.stringify({
    background: [started.status, ended.status],
    text: ended.output_text,
    chat: chat.choices[0].message.content,
    cancelled: cancelled.status,
    batch: done.request_counts,
    errors: {
      'wrong field': await refusal(() => client.responses.create({ model, input, tools: [{}] })),
      'wrong key': await refusal(() => stranger.models.list()),
      unknown: await refusal(() => client.responses.retrieve('resp_nobody')),
    },
  }),
);
