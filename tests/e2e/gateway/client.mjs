// Run by test_node.py: what a Node program does with the gateway, told as JSON.
import OpenAI, { toFile } from 'openai';

const { BASE_URL: baseURL, API_KEY, READ_KEY, NARROW_KEY, NARROW_URL, NOBODY_URL, PICTURE } = process.env;
const client = new OpenAI({ baseURL, apiKey: API_KEY, maxRetries: 0, timeout: 60_000 });
const model = 'gpt-6-luna';
const asked = (text) => [
  {
    role: 'user',
    content: [
      { type: 'input_text', text },
      { type: 'input_image', image_url: PICTURE, detail: 'low' },
    ],
  },
];
const said = (text) => [
  {
    role: 'user',
    content: [
      { type: 'text', text },
      { type: 'image_url', image_url: { url: PICTURE } },
    ],
  },
];
const input = asked('What is it?');

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Polls until something is completed; what ended otherwise, or lasts too long, is told.
async function completed(look) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    if (seen.status === 'completed') return seen;
    const ended = ['failed', 'incomplete', 'cancelled', 'expired'].includes(seen.status);
    if (ended || Date.now() > deadline) throw new Error(`not completed: ${JSON.stringify(seen)}`);
    await pause(100);
  }
}

async function refusal(act) {
  try {
    await act();
    return null;
  } catch (error) {
    return [error.constructor.name, error.code ?? null];
  }
}

const started = await client.responses.create({ model, input, background: true });
const ended = await completed(() => client.responses.retrieve(started.id));
const chat = await client.chat.completions.create({
  model: 'gpt-6-luna',
  messages: said('What is it?'),
  service_tier: 'flex',
  reasoning_effort: 'low',
  visionq: { reuse: 'off' },
});
const kinds = [];
for await (const event of await client.responses.create({ model, input, stream: true })) kinds.push(event.type);
const streamed = await client.responses.stream({ model, input: asked('Streamed?') }).finalResponse();
const pieces = client.chat.completions.stream({
  model,
  messages: said('In pieces?'),
  stream_options: { include_usage: true },
});
const gathered = await pieces.finalChatCompletion();
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
const done = await completed(() => client.batches.retrieve(batch.id));

const as = (apiKey, url = baseURL) => new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });
const headers = { 'Idempotency-Key': 'node-once' };
const narrow = as(NARROW_KEY, NARROW_URL);
await client.responses.create({ model, input, background: true }, { headers });
const errors = {
  'wrong field': await refusal(() => client.responses.create({ model, input, tools: [{}] })),
  'wrong key': await refusal(() => as('vq-wrong').models.list()),
  'no scope': await refusal(() => as(READ_KEY).responses.create({ model, input })),
  unknown: await refusal(() => client.responses.retrieve('resp_nobody')),
  'other question, same key': await refusal(() =>
    client.responses.create({ model, input: asked('?'), background: true }, { headers }),
  ),
  'too long': await refusal(() => narrow.responses.create({ model, input: asked('x'.repeat(9000)) })),
  'not answered in time': await refusal(() =>
    narrow.chat.completions.create({ model, messages: said('Slowly?') }),
  ),
  'too often': await refusal(async () => {
    for (let count = 0; count < 30; count += 1) await narrow.models.list();
  }),
  'nobody there': await refusal(() => as(API_KEY, NOBODY_URL).models.list()),
};

console.log(
  JSON.stringify({
    background: [started.status, ended.status],
    text: ended.output_text,
    chat: chat.choices[0].message.content,
    tier: chat.service_tier,
    streams: {
      events: [kinds[0], kinds.at(-1)],
      texts: [streamed.output_text, gathered.choices[0].message.content],
      usage: gathered.usage.total_tokens,
    },
    cancelled: cancelled.status,
    batch: done.request_counts,
    errors,
  }),
);
