// Leads Node's HTTPS through the proxy, in every version and by whichever way it is opened.
//
// Loaded by NODE_OPTIONS=--require under `interpose run`. Before 22.21 and 24.5 Node does not heed proxy variables, and
// since then for fetch and the default agents alone: not for an agent of the program's own (AWS's SDK), nor for http2.
// All of them open TLS by tls.connect: a connection that is for HTTP, and not over a socket that its caller has made (as
// Node's own proxy support and proxy agents do), gets a tunnel through the proxy for a socket. Everything else is left
// as it is, plain HTTP too.
'use strict';

// Bun and Deno call themselves a Node of some version, and go by proxy variables.
const another = process.versions.bun || process.versions.deno;
const named = process.env.HTTPS_PROXY || process.env.https_proxy;
const once = Symbol.for('interpose.preload');

if (named && !another && !globalThis[once]) {
  globalThis[once] = true;
  const net = require('net');
  const tls = require('tls');
  const { Duplex } = require('stream');
  const proxy = new URL(named);

  const excluded = (process.env.NO_PROXY || process.env.no_proxy || '')
    .toLowerCase().split(/[\s,]+/).filter(Boolean)
    .map((entry) => {
      // A bare IPv6 address has colons and no port.
      const [, name = entry, port] = entry.match(/^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/) || [];
      return { name: name.replace(/^\[|\]$/g, '').replace(/^\*?\./, ''), port: port && Number(port) };
    });
  // As curl has it: a star, a host, or a domain with all below it; a port narrows it.
  const goesDirect = (host, port) => excluded.some((entry) =>
    (!entry.port || entry.port === port) &&
    (entry.name === '*' || entry.name === host || host.endsWith(`.${entry.name}`)));

  // A byte stream to host:port through the proxy. What is written before the tunnel stands, waits.
  class Tunnel extends Duplex {
    constructor(host, port) {
      super({ allowHalfOpen: false });
      this._held = true;
      const authority = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
      const headers = { host: authority };
      if (proxy.username) {
        const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
        headers['proxy-authorization'] = `Basic ${Buffer.from(login).toString('base64')}`;
      }
      this._request = require('http').request({
        host: proxy.hostname.replace(/^\[|\]$/g, ''), port: proxy.port || 80,
        method: 'CONNECT', path: authority, headers, agent: false,
      });
      this._request.on('error', (error) => this.destroy(error));
      this._request.on('socket', () => this._hold());
      this._request.on('connect', (reply, socket) => {
        if (reply.statusCode !== 200) {
          socket.destroy();
          this.destroy(new Error(`the proxy refused ${authority}: ${reply.statusCode} ${reply.statusMessage}`));
          return;
        }
        this._stands(socket);
      });
      this._request.end();
    }

    _stands(socket) {
      this._socket = socket;
      let ended = false;
      socket.setNoDelay(true);
      socket.on('data', (data) => this.push(data) || socket.pause());
      socket.on('end', () => {
        ended = true;
        this.push(null);
      });
      socket.on('error', (error) => this.destroy(error));
      // After a proper end, what has come may still wait to be read.
      socket.on('close', () => ended || this.destroy());
      this.emit('tunnel');
    }

    _then(act) {
      if (this._socket) act();
      else this.once('tunnel', act);
    }

    _read() {
      if (this._socket) this._socket.resume();
    }

    _write(chunk, encoding, done) {
      this._then(() => this._socket.write(chunk, encoding, done));
    }

    _final(done) {
      this._then(() => (this._socket.writable ? this._socket.end(done) : done()));
    }

    _destroy(error, done) {
      this._request.destroy();
      if (this._socket) this._socket.destroy();
      done(error);
    }

    // An idle connection that is kept for the next request must not keep the process alive.
    _hold(held = this._held) {
      this._held = held;
      const socket = this._socket || this._request.socket;
      if (socket) socket[held ? 'ref' : 'unref']();
    }
  }

  // tls.connect(options), (port, options), (port, host, options), each with a callback at its end or without.
  const read = (args) => {
    const options = {};
    for (const each of args) {
      if (typeof each === 'number') options.port = each;
      else if (typeof each === 'string') options[/^\d+$/.test(each) ? 'port' : 'host'] = each;
      else if (each && typeof each === 'object') Object.assign(options, each);
    }
    return options;
  };

  // Node before 22 offers no protocol by https: that its agent asks is told by the key under which this keeps sockets.
  const isHttp = ({ port, ALPNProtocols: offered, _agentKey: agent }) => {
    if (Number(port) === 443 || agent !== undefined) return true;
    const names = Array.isArray(offered) ? offered.map(String) : [offered ? Buffer.from(offered).toString('latin1') : ''];
    return names.some((name) => /\b(http\/1\.1|h2)\b/.test(name));
  };

  const connect = tls.connect;
  tls.connect = function (...args) {
    const options = read(args);
    const host = String(options.host || 'localhost').toLowerCase().replace(/^\[|\]$/g, '');
    if (options.socket || options.path || !isHttp(options) || goesDirect(host, Number(options.port))) {
      return connect.apply(this, args);
    }
    const tunnel = new Tunnel(host, Number(options.port));
    const callback = args.find((each) => typeof each === 'function');
    const socket = connect.call(this, { ...options, socket: tunnel }, callback);
    socket.ref = function () {
      tunnel._hold(true);
      return this;
    };
    socket.unref = function () {
      tunnel._hold(false);
      return this;
    };
    return socket;
  };
}
