// What a program in Node does with connections, by name: node habits.mjs NAME URL
import { createHash } from 'node:crypto';
import https from 'node:https';

const [name, url] = process.argv.slice(2);
const body = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }] });
const headers = { authorization: 'Bearer sk-placeholder-for-any-key', 'content-type': 'application/json' };

function byHttps(agent, sent = body) {
  return new Promise((resolve, reject) => {
    const request = https.request(url, { method: 'POST', headers, agent }, async (reply) => {
      let text = '';
      for await (const data of reply) text += data;
      resolve(text);
    });
    request.on('error', reject).end(sent);
  });
}

const habits = {
  // Three requests on one kept connection for each client. Afterwards nothing must keep the process alive.
  async reuse() {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    for (let turn = 0; turn < 3; turn += 1) await (await fetch(url, { method: 'POST', headers, body })).text();
    for (let turn = 0; turn < 3; turn += 1) await byHttps(agent);
    return 'done';
  },

  // Reads the first words of a stream, and leaves.
  async abort() {
    const control = new AbortController();
    const streamed = JSON.stringify({ ...JSON.parse(body), stream: true });
    const reply = await fetch(url, { method: 'POST', headers, body: streamed, signal: control.signal });
    try {
      for await (const _ of reply.body) control.abort();
    } catch (error) {
      return error.name;
    }
    return 'not aborted';
  },

  // 24 MiB by each client; what comes back is their digest.
  async upload() {
    const file = Buffer.alloc(24 << 20, 'abcdefghijklmnopqrstuvwxyz-');
    const said = [await (await fetch(url, { method: 'POST', headers, body: file })).text(), await byHttps(undefined, file)];
    const digest = createHash('sha256').update(file).digest('hex');
    return said.every((each) => each === digest) ? 'whole' : `${said} are not ${digest}`;
  },

  // Errors as each client tells them.
  async errors() {
    const byFetch = await fetch(url, { method: 'POST', headers, body }).then((reply) => reply.status, (error) => error.cause.message);
    return `${byFetch}\n${await byHttps().then(() => 'no error', (error) => error.message)}`;
  },

  async get() {
    return (await fetch(url)).text();
  },

  // Preloads are loaded in threads, too.
  async worker() {
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(`fetch(${JSON.stringify(url)}).then((reply) => reply.text())
      .then((text) => require('worker_threads').parentPort.postMessage(text))`, { eval: true });
    return new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
  },
};

console.log(await habits[name]());
