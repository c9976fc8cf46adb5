// What a program in Node does with connections, by name: node habits.mjs NAME URL
import { createHash } from 'node:crypto';
import https from 'node:https';
import { connect } from 'node:tls';

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
    const said = [byFetch];
    for (const agent of [https.globalAgent, new https.Agent()]) {
      said.push(await byHttps(agent).then(() => 'no error', (error) => error.message));
    }
    return said.join('\n');
  },

  // HTTP over TLS by hand, by a name that was imported; what comes back is the status line.
  async byHand() {
    const { host, pathname } = new URL(url);
    const socket = connect({ host, port: 443, servername: host });
    socket.write(`GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\nauthorization: ${headers.authorization}\r\nconnection: close\r\n\r\n`);
    let text = '';
    for await (const data of socket) text += data;
    return text.split('\r\n')[0];
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
