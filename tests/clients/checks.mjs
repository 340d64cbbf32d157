// What the Node scripts share: checks that are tried one after the other, and told as JSON.
import { readFileSync } from 'node:fs';

export const { BASE_URL, API_KEY, POOR_KEY, MODEL, PICTURE_URL, PICTURE_DATA, PICTURE_FILE } =
  process.env;
export const SIZE = '64x48';
export const QUESTION = 'What is in this picture?';
export const SCHEMA = {
  type: 'object',
  properties: { description: { type: 'string' } },
  required: ['description'],
  additionalProperties: false,
};
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const told = [];

function saying(error) {
  const said = [];
  for (let one = error; one; one = one.cause ?? one.lastError)
    said.push(`${one.constructor?.name}: ${one.message} ${one.responseBody ?? ''}`);
  return said.join(' | ').slice(0, 1500);
}

// A check passes unless it throws, or returns false.
export async function check(name, act) {
  try {
    const result = await act();
    told.push({ name, passed: result === undefined || Boolean(result) });
  } catch (error) {
    told.push({ name, passed: false, note: saying(error).slice(0, 800) });
  }
}

// It passes if an error is thrown that says all of the words.
export async function refused(name, words, act) {
  let said = 'nothing was thrown';
  try {
    await act();
  } catch (error) {
    said = saying(error);
  }
  const passed = words.every((word) => said.toLowerCase().includes(word.toLowerCase()));
  told.push({ name, passed, refusal: true, note: passed ? '' : said });
}

export function tell(...packages) {
  const version = (name) =>
    JSON.parse(readFileSync(new URL(`./node_modules/${name}/package.json`, import.meta.url))).version;
  const versions = Object.fromEntries(packages.map((name) => [name, version(name)]));
  console.log(JSON.stringify({ versions, checks: told }));
}
