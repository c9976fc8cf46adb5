// Plain HTTP clients, named as arguments: each streams a chat and writes what comes as it comes.
const url = process.env.CHAT_URL ?? 'https://api.openai.com/v1/chat/completions';
const body = JSON.stringify({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: 'Hi' }] });
const headers = { authorization: `Bearer ${process.argv[2]}`, 'content-type': 'application/json' };

async function byHttps(agent) {
  const { request } = await import('node:https');
  return new Promise((resolve, reject) => {
    request(url, { method: 'POST', headers, agent }, resolve).on('error', reject).end(body);
  });
}

async function byUndici(name) {
  const { request } = await import(name);
  return (await request(url, { method: 'POST', headers, body })).body;
}

async function* byHttp2() {
  const { connect } = await import('node:http2');
  const { origin, pathname } = new URL(url);
  const session = connect(origin);
  const failed = new Promise((_, reject) => session.on('error', reject));
  const stream = session.request({ ':method': 'POST', ':path': pathname, ...headers });
  stream.end(body);
  const events = stream[Symbol.asyncIterator]();
  for (let each; !(each = await Promise.race([events.next(), failed])).done;) yield each.value;
  session.close();
}

const clients = {
  fetch: async () => (await fetch(url, { method: 'POST', headers, body })).body,
  https: () => byHttps(),
  agent: async () => byHttps(new (await import('node:https')).Agent({ keepAlive: true })),
  http2: async () => byHttp2(),
  axios: async () => (await (await import('axios')).default.post(url, body, { headers, responseType: 'stream' })).data,
  undici: () => byUndici('undici'),
  undici8: () => byUndici('undici8'),
};

for (const name of process.argv.slice(3)) {
  try {
    for await (const data of await clients[name]()) process.stdout.write(data);
  } catch (error) {
    console.error(`${name}: ${error} ${error.cause ?? ''}`);
    process.exitCode = 1;
  }
}
