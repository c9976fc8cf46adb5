// The official SDKs at a gateway, with nothing but a base URL and a key: how each sees what is refused.
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const [url, key, unknown] = process.argv.slice(2);
const messages = [{ role: 'user', content: 'Hi' }];
const openai = (apiKey) => new OpenAI({ apiKey, baseURL: `${url}/v1`, maxRetries: 0 });
const anthropic = (apiKey) => new Anthropic({ apiKey, baseURL: url, maxRetries: 0 });
const chat = (apiKey, model) => openai(apiKey).chat.completions.create({ model, messages });
const claude = (apiKey, model) => anthropic(apiKey).messages.create({ model, max_tokens: 9, messages });

async function twentyOne() {
  const calls = Array.from({ length: 21 }, () => chat(key, 'gpt-4o'));
  for (const call of await Promise.allSettled(calls)) if (call.status === 'rejected') throw call.reason;
}

for (const refused of [
  () => chat(unknown, 'gpt-4o'),
  () => chat(key, 'o3'),
  () => chat(key, 'gpt-nobodys/x'),
  () => chat(key, 'gpt-down'),
  () => claude(unknown, 'gpt-4o'),
  () => claude(key, 'o3'),
  () => claude(key, 'gpt-nobodys/x'),
  twentyOne,
]) {
  await refused().then(
    () => console.log('not refused'),
    (error) => console.log(error.constructor.name, error.status, error.code ?? error.error?.error?.type),
  );
}
