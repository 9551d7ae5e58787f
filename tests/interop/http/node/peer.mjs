// Node's http and fetch, and the npm packages undici and ws, as clients of the server example. Started by ../run.
//
//     node peer.mjs URL

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import undici from 'undici';
import WebSocket from 'ws';
import { check, run } from './checks.mjs';

const base = new URL(process.argv[2]);
const secure = base.protocol === 'https:';
const web = secure ? https : http;
const peer = secure ? 'node-https' : 'node';
const MIB = 1 << 20;
const SIZES = [0, 1, 1024, MIB - 1, MIB];
const COMPRESSED = 'let answer = 42;\n'.repeat(500);

const url = (path) => new URL(path, base);

// A request of Node's http. `body`: bytes, sent with their length, or an array of them, sent as chunks.
const call = async (path, { body, ...options } = {}) => {
  const request = web.request(url(path), { agent: false, ...options });
  if (Array.isArray(body)) {
    Readable.from(body).pipe(request);
  } else {
    request.end(body);
  }
  const [response] = await once(request, 'response');
  return { status: response.statusCode, headers: response.headers, body: await buffer(response) };
};

const withAgent = async (options, body) => {
  const agent = new web.Agent({ keepAlive: true, ...options });
  try {
    return await body(agent);
  } finally {
    agent.destroy();
  }
};

const pieces = (bytes) => {
  const parts = [];
  for (let start = 0; start < bytes.length; start += 50_000) parts.push(bytes.subarray(start, start + 50_000));
  return parts;
};

check('http: GET and HEAD of the page', async () => {
  const get = await call('/');
  const head = await call('/', { method: 'HEAD' });
  assert.deepEqual([get.status, head.status, head.body.length], [200, 200, 0]);
  assert.match(get.body.toString(), /<title>One port/);
  assert.equal(head.headers['content-length'], String(get.body.length));
  assert.equal(get.headers['content-type'], 'text/html; charset=utf-8');
});

check('http: bodies are echoed with their type, by length and in chunks', async () => {
  for (const size of SIZES) {
    const bytes = randomBytes(size);
    for (const body of [bytes, pieces(bytes)]) {
      const answer = await call('/echo', { method: 'POST', body, headers: { 'content-type': 'image/x-test' } });
      assert.deepEqual([answer.status, answer.headers['content-type']], [200, 'image/x-test']);
      assert.ok(answer.body.equals(bytes));
    }
  }
});

check('http: trailers of a chunked body are dropped', async () => {
  const request = web.request(url('/echo'), { method: 'POST', agent: false, headers: { trailer: 'x-digest' } });
  request.write('with trailers');
  request.addTrailers({ 'x-digest': 'abc' });
  request.end();
  const [response] = await once(request, 'response');
  assert.equal((await buffer(response)).toString(), 'with trailers');
});

check('http: body over 1 MiB is refused with 413', async () => {
  for (const size of [MIB + 1, 3 * MIB]) {
    for (const body of [Buffer.alloc(size), pieces(Buffer.alloc(size))]) {
      const answer = await call('/echo', { method: 'POST', body });
      assert.deepEqual([answer.status, answer.headers.connection], [413, 'close']);
    }
  }
});

check('http: Expect is answered with 100 before the body, or with 413 in place of it', async () => {
  const request = web.request(url('/echo'), {
    method: 'PUT', agent: false, headers: { expect: '100-continue', 'content-length': 5 },
  });
  request.flushHeaders();
  await once(request, 'continue');
  request.end('asked');
  const [response] = await once(request, 'response');
  assert.equal((await buffer(response)).toString(), 'asked');
  const refused = web.request(url('/echo'), {
    method: 'PUT', agent: false, headers: { expect: '100-continue', 'content-length': 5 * MIB },
  });
  refused.on('continue', () => assert.fail('100 for a body that is too long'));
  refused.on('error', () => {}); // its body is never sent
  refused.flushHeaders();
  const [answer] = await once(refused, 'response');
  assert.equal(answer.statusCode, 413);
  refused.destroy();
});

check('http: any method that Node knows reaches a route for all methods', async () => {
  for (const method of http.METHODS.filter((name) => !['CONNECT', 'HEAD'].includes(name))) {
    const answer = await call('/echo', { method, body: method, headers: { 'content-length': method.length } });
    assert.deepEqual([answer.status, answer.body.toString()], [200, method]);
  }
});

check('http: 1,000 requests of an agent use one connection', () => withAgent({ maxSockets: 1 }, async (agent) => {
  const answers = await Promise.all(Array.from({ length: 1000 }, () => call('/whoami', { agent })));
  assert.equal(new Set(answers.map(({ body }) => JSON.parse(body).peer)).size, 1);
  assert.equal(JSON.parse(answers[0].body).secure, secure);
}));

check('http: connection stays open after errors and bodies', () => withAgent({ maxSockets: 1 }, async (agent) => {
  const peers = new Set();
  const body = Buffer.alloc(50_000);
  for (const [path, options, status] of [
    ['/missing', {}, 404], ['/missing', { method: 'POST', body }, 404], ['/', { method: 'PUT', body }, 405],
    ['/stream/100000', {}, 200], ['/stream/100000', { method: 'HEAD' }, 200], ['/count', { method: 'POST', body }, 200],
    ['/', { method: 'OPTIONS' }, 204], ['/files/folder', {}, 301], ['/slow?ms=1', {}, 200],
  ]) {
    assert.equal((await call(path, { agent, ...options })).status, status, path);
    peers.add(JSON.parse((await call('/whoami', { agent })).body).peer);
  }
  assert.equal(peers.size, 1);
}));

check('http: upload of 50 MiB in chunks is counted', async () => {
  const answer = await call('/count', { method: 'POST', body: pieces(Buffer.alloc(50 * MIB)) });
  assert.equal(answer.body.toString(), String(50 * MIB));
});

check('fetch: bodies are echoed, streams of unknown length included', async () => {
  for (const size of SIZES) {
    const bytes = randomBytes(size);
    for (const body of [bytes, new Blob([bytes]).stream()]) {
      const answer = await fetch(url('/echo'), { method: 'POST', body, duplex: 'half' });
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
    }
  }
  const form = new FormData();
  form.set('field', 'ü');
  const answer = await (await fetch(url('/echo'), { method: 'POST', body: form })).formData();
  assert.equal(answer.get('field'), 'ü');
});

check('fetch: streams of 0 B, 1 B, 10 MiB and 300 MiB arrive whole', async () => {
  for (const size of [0, 1, 10 * MIB, 300 * MIB]) {
    const answer = await fetch(url(`/stream/${size}`));
    let received = 0;
    for await (const part of answer.body) received += part.length;
    assert.equal(received, size);
  }
});

check('fetch: an aborted stream leaves the server serving', async () => {
  const abort = new AbortController();
  const answer = await fetch(url(`/stream/${10 ** 12}`), { signal: abort.signal });
  await answer.body.getReader().read();
  abort.abort();
  assert.equal(await (await fetch(url('/health'))).text(), 'ok');
});

check('fetch: files: redirect, conditions, ranges, coding', async () => {
  const folder = await fetch(url('/files/folder'));
  assert.deepEqual([folder.redirected, folder.url], [true, url('/files/folder/').href]);
  assert.equal(await folder.text(), '<title>Folder</title>');
  const coded = await fetch(url('/files/app.js'));
  assert.ok(['gzip', 'br'].includes(coded.headers.get('content-encoding')));
  assert.equal(await coded.text(), COMPRESSED);
  const whole = await fetch(url('/files/data.bin'));
  const bytes = Buffer.from(await whole.arrayBuffer());
  assert.equal(bytes.length, 3_000_000);
  const etag = whole.headers.get('etag');
  assert.equal((await fetch(url('/files/data.bin'), { headers: { 'if-none-match': etag } })).status, 304);
  const part = await fetch(url('/files/data.bin'), { headers: { range: 'bytes=8-15', 'if-range': etag } });
  assert.equal(part.status, 206);
  assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(8, 16)));
});

check('fetch: 20 replies of another thread are awaited side by side', async () => {
  const started = Date.now();
  const texts = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(url('/slow?ms=500'))).text()));
  assert.deepEqual(texts, Array(20).fill('late'));
  assert.ok(Date.now() - started < 5000);
});

const withClient = async (options, body) => {
  const client = new undici.Client(base, options);
  try {
    return await body(client);
  } finally {
    await client.destroy();
  }
};

check('undici: pipelines of 10 requests are answered in order', () => withClient({ pipelining: 10 }, async (client) => {
  const paths = ['/whoami', '/stream/50000', '/slow?ms=5', '/files/folder/inner.txt', '/missing'];
  const expected = [/"peer"/, /^7{50000}$/, /^late$/, /^inner$/, /^Not Found/];
  const peers = new Set();
  await Promise.all(Array.from({ length: 500 }, async (_, n) => {
    const { body } = await client.request({ method: 'GET', path: paths[n % paths.length] });
    const text = await body.text();
    assert.match(text, expected[n % paths.length]);
    if (n % paths.length === 0) peers.add(text);
  }));
  assert.equal(peers.size, 1);
}));

check('undici: puts are echoed in a pipeline', () => withClient({ pipelining: 5 }, async (client) => {
  await Promise.all(Array.from({ length: 50 }, async (_, n) => {
    const sent = randomBytes(n * 2000);
    const { body } = await client.request({ method: 'PUT', path: '/echo', body: sent, idempotent: true });
    assert.ok(Buffer.from(await body.arrayBuffer()).equals(sent));
  }));
}));

check('http: an upgrade to another protocol than WebSocket is ignored', async () => {
  const answer = await call('/health', { headers: { connection: 'Upgrade', upgrade: 'h2c, irc/6.9' } });
  assert.deepEqual([answer.status, answer.headers.upgrade, answer.body.toString()], [200, undefined, 'ok']);
});

const socket = async (path) => {
  const ws = new WebSocket(url(path).href.replace('http', 'ws'));
  const received = [];
  ws.on('message', (data, binary) => received.push(binary ? data : data.toString()));
  await once(ws, 'open');
  return { ws, received, got: async (count) => { while (received.length < count) await once(ws, 'message'); } };
};

check('ws: messages are echoed on the port of HTTP', async () => {
  const { ws, received, got } = await socket('/echo');
  const binary = randomBytes(100_000);
  ws.send('text');
  ws.send(binary);
  await got(2);
  assert.equal(received[0], 'text');
  assert.ok(received[1].equals(binary));
  ws.close(1000);
  assert.equal((await once(ws, 'close'))[0], 1000);
});

check('ws: posts to a topic, and messages of its sockets, reach all its subscribers in order', async () => {
  const sockets = await Promise.all(Array.from({ length: 50 }, () => socket('/topics/ws')));
  const other = await socket('/topics/other');
  for (let n = 0; n < 20; n += 1) {
    const answer = await fetch(url('/topics/ws'), { method: 'POST', body: `post ${n}` });
    assert.equal(answer.status, 202);
  }
  sockets[7].ws.send('from a socket');
  const expected = [...Array.from({ length: 20 }, (_, n) => `post ${n}`), 'from a socket'];
  for (const { ws, received, got } of sockets) {
    await got(expected.length);
    assert.deepEqual(received, expected);
    ws.close();
  }
  assert.deepEqual(other.received, []);
  other.ws.send(Buffer.from([1]));
  assert.equal((await once(other.ws, 'close'))[0], 1003);
});

check('ws: a path without a WebSocket refuses it with its own status, and the server serves on', async () => {
  for (const [path, status] of [['/missing', 404], ['/health', 200]]) {
    const ws = new WebSocket(url(path).href.replace('http', 'ws'));
    ws.on('error', () => {});
    const [, response] = await once(ws, 'unexpected-response');
    assert.equal(response.statusCode, status);
    ws.terminate();
  }
  assert.equal((await call('/health')).body.toString(), 'ok');
});

await run(peer);
