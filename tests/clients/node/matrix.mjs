// openai and @anthropic-ai/sdk as long-lived clients: jobs and answers are those of ../python/matrix/answering.py.
import readline from 'node:readline';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const openai = new OpenAI({ maxRetries: 0 });
const anthropic = new Anthropic({ maxRetries: 0 });

async function* chat(job) {
  const content = [{ type: 'text', text: job.ask }];
  if (job.picture) content.push({ type: 'image_url', image_url: { url: `data:image/png;base64,${job.picture}` } });
  const messages = [{ role: 'user', content: job.picture ? content : job.ask }];
  const tools = job.tools.map((name) => ({ type: 'function', function: { name, parameters: SCHEMA } }));
  for (;;) {
    const asked = { model: job.model, messages, ...(tools.length ? { tools } : {}) };
    const reply = job.stream
      ? await openai.chat.completions.stream({ ...asked, stream_options: { include_usage: true } }).finalChatCompletion()
      : await openai.chat.completions.create(asked);
    const { message, finish_reason: end } = reply.choices[0];
    const called = message.tool_calls ?? [];
    yield {
      text: message.content ?? '',
      thought: message.reasoning_content ?? '',
      calls: called.map((each) => [each.function.name, JSON.parse(each.function.arguments)]),
      end,
      input: reply.usage.prompt_tokens,
      output: reply.usage.completion_tokens,
      model: reply.model,
    };
    if (!called.length || job.results === null) return;
    const { parsed, ...plain } = message;
    plain.tool_calls = called.map(({ id, type, function: { name, arguments: given }, ...more }) => (
      { id, type, function: { name, arguments: given }, ...more }
    ));
    messages.push(plain);
    called.forEach((each, place) => {
      messages.push({ role: 'tool', tool_call_id: each.id, content: job.results[place] });
    });
  }
}

async function* responses(job) {
  const content = [{ type: 'input_text', text: job.ask }];
  if (job.picture) {
    content.push({ type: 'input_image', image_url: `data:image/png;base64,${job.picture}`, detail: 'auto' });
  }
  const input = [{ role: 'user', content: job.picture ? content : job.ask }];
  const tools = job.tools.map((name) => ({ type: 'function', name, parameters: SCHEMA, strict: false }));
  for (;;) {
    const asked = { model: job.model, input, store: false, include: ['reasoning.encrypted_content'] };
    if (tools.length) asked.tools = tools;
    const reply = job.stream ? await openai.responses.stream(asked).finalResponse() : await openai.responses.create(asked);
    const called = reply.output.filter((item) => item.type === 'function_call');
    const thoughts = reply.output.filter((item) => item.type === 'reasoning');
    const shown = thoughts.flatMap((item) => [...item.summary, ...(item.content ?? [])]);
    yield {
      text: reply.output_text,
      thought: shown.map((part) => part.text).join(''),
      calls: called.map((each) => [each.name, JSON.parse(each.arguments)]),
      end: reply.status,
      input: reply.usage.input_tokens,
      output: reply.usage.output_tokens,
      model: reply.model,
    };
    if (!called.length || job.results === null) return;
    input.push(...reply.output.map(({ parsed_arguments, ...item }) => item));
    called.forEach((each, place) => {
      input.push({ type: 'function_call_output', call_id: each.call_id, output: job.results[place] });
    });
  }
}

async function* messages(job) {
  const content = [{ type: 'text', text: job.ask }];
  if (job.picture) {
    content.push({ type: 'image', source: { type: 'base64', media_type: 'image/png', data: job.picture } });
  }
  const said = [{ role: 'user', content: job.picture ? content : job.ask }];
  const tools = job.tools.map((name) => ({ name, input_schema: SCHEMA }));
  for (;;) {
    const asked = { model: job.model, max_tokens: 512, messages: said, ...(tools.length ? { tools } : {}) };
    const reply = job.stream ? await anthropic.messages.stream(asked).finalMessage() : await anthropic.messages.create(asked);
    const called = reply.content.filter((block) => block.type === 'tool_use');
    const { usage } = reply;
    yield {
      text: reply.content.map((block) => (block.type === 'text' ? block.text : '')).join(''),
      thought: reply.content.map((block) => (block.type === 'thinking' ? block.thinking : '')).join(''),
      calls: called.map((each) => [each.name, each.input]),
      end: reply.stop_reason,
      input: usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0),
      output: usage.output_tokens,
      model: reply.model,
    };
    if (!called.length || job.results === null) return;
    said.push({ role: 'assistant', content: reply.content });
    said.push({
      role: 'user',
      content: called.map((each, place) => ({ type: 'tool_result', tool_use_id: each.id, content: job.results[place] })),
    });
  }
}

const ways = { chat, responses, messages };
for await (const line of readline.createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  const turns = [];
  let error = null;
  try {
    for await (const turn of ways[job.call](job)) turns.push(turn);
  } catch (raised) {
    error = { kind: raised.constructor.name, status: raised.status ?? null, message: raised.message };
  }
  console.log(JSON.stringify({ turns, error }));
}
