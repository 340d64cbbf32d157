// Run by test_node.py: what `webhooks.unwrap` of the package makes of deliveries, told as JSON.
import OpenAI from 'openai';

const client = new OpenAI({ apiKey: 'unused', webhookSecret: process.env.SECRET });
const told = [];
for (const [body, headers] of JSON.parse(process.env.DELIVERIES)) {
  try {
    const event = await client.webhooks.unwrap(body, headers);
    told.push([event.type, event.data.id]);
  } catch (error) {
    told.push(error.constructor.name);
  }
}
console.log(JSON.stringify(told));
