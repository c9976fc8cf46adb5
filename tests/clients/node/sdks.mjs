// The official SDKs as anybody uses them: each streams an answer as it comes, then says how it saw a refusal.
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';

const apiKey = process.argv[2];
const messages = [{ role: 'user', content: 'Hi' }];
const openai = new OpenAI({ apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey, maxRetries: 0 });
const google = new GoogleGenAI({ apiKey });
const claude = { model: 'claude-simulated', max_tokens: 64, messages };
const gemini = { model: 'gemini-2.5-flash', contents: 'Hi' };

async function* chat() {
  for await (const chunk of await openai.chat.completions.create({ model: 'gpt-4o-mini', messages, stream: true })) {
    yield chunk.choices[0]?.delta.content;
  }
}

async function* responses() {
  for await (const event of await openai.responses.create({ model: 'gpt-4o-mini', input: 'Hi', stream: true })) {
    if (event.type === 'response.output_text.delta') yield event.delta;
  }
}

async function* message() {
  for await (const event of anthropic.messages.stream(claude)) {
    if (event.type === 'content_block_delta') yield event.delta.text;
  }
}

async function* generate() {
  for await (const chunk of await google.models.generateContentStream(gemini)) yield chunk.text;
}

for (const stream of [chat, responses, message, generate]) {
  for await (const text of stream()) process.stdout.write(text ?? '');
  process.stdout.write('\n');
}
for (const refused of [
  () => openai.chat.completions.create({ model: 'gpt-4o-mini', messages }),
  () => anthropic.messages.create(claude),
  () => google.models.generateContent(gemini),
]) {
  await refused().then(
    () => console.log('not refused'),
    (error) => console.log(error.constructor.name, error.status, /Too many/.test(error.message)),
  );
}
