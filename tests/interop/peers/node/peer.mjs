// The npm package `ws` as a client of the example servers. Started by ../run.
//
//     node peer.mjs ECHO_URL MULTICAST_URL MAX_MESSAGE_BYTES [deflate]

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import WebSocket from 'ws';

const [echo, multicast, maxMessage, ...modes] = process.argv.slice(2);
const TIMEOUT = 20_000; // milliseconds, for each check

// A client that queues received messages, to be awaited one by one.
class Client {
  static async open(url = echo, protocols = [], options = {}) {
    const client = new Client(new WebSocket(url, protocols, { handshakeTimeout: 10_000, ...options }));
    await once(client.ws, 'open');
    return client;
  }

  constructor(ws) {
    this.ws = ws;
    this.arrived = [];
    this.wake = () => {};
    this.closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.closed.then(() => this.wake());
    ws.on('error', () => {}); // the close event follows every error
    ws.on('message', (data, binary) => {
      this.arrived.push(binary ? data : data.toString());
      this.wake();
    });
  }

  async next() {
    while (this.arrived.length === 0) {
      assert.equal(this.ws.readyState, WebSocket.OPEN, 'closed before the message arrived');
      await new Promise((resolve) => { this.wake = resolve; });
    }
    return this.arrived.shift();
  }

  async close(code, reason) {
    this.ws.close(code, reason);
    return this.closed;
  }

  // Writes bytes directly to the socket, to send what the library refuses to send.
  raw(hex) {
    this.ws._socket.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
    return this.closed;
  }
}

const checks = [];
const check = (name, body) => checks.push({ name, body });

check('text is echoed as text', async () => {
  const client = await Client.open();
  client.ws.send('Hello');
  assert.equal(await client.next(), 'Hello');
  assert.equal((await client.close(1000)).code, 1000);
});

check('binary is echoed as binary', async () => {
  const client = await Client.open();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  client.ws.send(bytes);
  assert.deepEqual(await client.next(), bytes);
  await client.close();
});

check('empty messages keep their type', async () => {
  const client = await Client.open();
  client.ws.send('');
  client.ws.send(Buffer.alloc(0));
  assert.equal(await client.next(), '');
  assert.deepEqual(await client.next(), Buffer.alloc(0));
  await client.close();
});

check('multibyte text is unchanged', async () => {
  const client = await Client.open();
  const text = 'κόσμε – Grüße, 日本語, 🦀\u{10FFFF}\u0000'.repeat(500);
  client.ws.send(text);
  assert.equal(await client.next(), text);
  await client.close();
});

// Repeated random bytes, so that they compress: compressed random bytes of the limit would exceed the limit.
for (const size of [1, 125, 126, 127, 65535, 65536, 1 << 20, Number(maxMessage)]) {
  check(`${size} bytes keep their content`, async () => {
    const client = await Client.open();
    const bytes = Buffer.alloc(size, randomBytes(1021));
    client.ws.send(bytes);
    const received = await client.next();
    assert.equal(received.length, size);
    assert.ok(bytes.equals(received), 'the echo differs');
    await client.close();
  });
}

check('a fragmented message is echoed as one, and a ping between the fragments is answered', async () => {
  const client = await Client.open();
  const pongs = [];
  client.ws.on('pong', (data) => pongs.push(data.toString()));
  client.ws.send('one, ', { fin: false });
  client.ws.send('', { fin: false });
  client.ws.ping('between');
  client.ws.send('two, ', { fin: false });
  client.ws.send('thr\u00e9\u00e9', { fin: true });
  assert.equal(await client.next(), 'one, two, thr\u00e9\u00e9');
  assert.deepEqual(pongs, ['between']);
  await client.close();
});

check('a ping gets a pong with its payload', async () => {
  const client = await Client.open();
  for (const payload of [Buffer.alloc(0), Buffer.from('are you there?'), randomBytes(125)]) {
    client.ws.ping(payload);
    const [pong] = await once(client.ws, 'pong');
    assert.deepEqual(pong, payload);
  }
  await client.close();
});

check('an unsolicited pong is ignored', async () => {
  const client = await Client.open();
  client.ws.pong('unsolicited');
  client.ws.send('still here');
  assert.equal(await client.next(), 'still here');
  await client.close();
});

check('1000 messages in flight are echoed in order', async () => {
  const client = await Client.open();
  const sent = Array.from({ length: 1000 }, (_, n) => `${n}:${'x'.repeat(n % 300)}`);
  for (const text of sent) client.ws.send(text);
  for (const text of sent) assert.equal(await client.next(), text);
  await client.close();
});

check('32 messages of 1 MiB in flight are echoed in order', async () => {
  const client = await Client.open();
  const sent = Array.from({ length: 32 }, (_, n) => Buffer.alloc(1 << 20, n));
  for (const bytes of sent) client.ws.send(bytes);
  for (const bytes of sent) assert.ok(bytes.equals(await client.next()), 'the echo differs');
  await client.close();
});

check('the first offered subprotocol is selected', async () => {
  const client = await Client.open(echo, ['v2.example', 'v1.example']);
  assert.equal(client.ws.protocol, 'v2.example');
  await client.close();
  const plain = await Client.open();
  assert.equal(plain.ws.protocol, '');
  await plain.close();
});

for (const code of [1000, 1001, 3000, 4999]) {
  check(`a close with ${code} gets the reply ${code}`, async () => {
    const client = await Client.open();
    assert.equal((await client.close(code, 'that is all')).code, code);
  });
}

check('a close without a code gets a reply without a code', async () => {
  const client = await Client.open();
  assert.deepEqual(await client.close(), { code: 1005, reason: '' });
});

check('messages sent before the close are echoed', async () => {
  const client = await Client.open();
  for (let n = 0; n < 100; n += 1) client.ws.send(`${n}`);
  assert.equal((await client.close(1000)).code, 1000);
  assert.deepEqual(client.arrived, Array.from({ length: 100 }, (_, n) => `${n}`));
});

for (const [title, hex, code] of [
  ['an unmasked frame', '81 02 48 69', 1002],
  ['a reserved bit', 'a1 80 00000000', 1002], // RSV2: no negotiated extension defines it
  ['an unknown opcode', '83 80 00000000', 1002],
  ['a fragmented ping', '09 80 00000000', 1002],
  ['a ping of 126 bytes', `89 fe 007e 00000000 ${'00'.repeat(126)}`, 1002],
  ['a continuation without a message', '80 80 00000000', 1002],
  ['a new message inside a fragmented message', '01 80 00000000 81 80 00000000', 1002],
  ['a reserved close code', '88 82 00000000 03ed', 1002], // 1005
  ['text that is not UTF-8', '81 82 00000000 c080', 1007],
  ['a length over the limit', '82 ff 0000000100000000 00000000', 1009], // a header that announces 4 GiB, and no payload
]) {
  check(`${title} is refused with ${code}`, async () => {
    const client = await Client.open();
    assert.equal((await client.raw(hex)).code, code);
  });
}

check('a message over the limit is refused with 1009', async () => {
  const client = await Client.open();
  client.ws.send(randomBytes(Number(maxMessage) + 1));
  assert.equal((await client.closed).code, 1009);
});

check('fragments whose total length exceeds the limit are refused with 1009', async () => {
  const client = await Client.open();
  const half = randomBytes(Number(maxMessage) / 2 + 1);
  client.ws.send(half, { fin: false });
  client.ws.send(half, { fin: true });
  assert.equal((await client.closed).code, 1009);
});

check('200 simultaneous connections each get their own messages', async () => {
  const clients = await Promise.all(Array.from({ length: 200 }, () => Client.open()));
  clients.forEach((client, n) => client.ws.send(`I am ${n}`));
  await Promise.all(clients.map(async (client, n) => assert.equal(await client.next(), `I am ${n}`)));
  const closed = await Promise.all(clients.map((client) => client.close(1000)));
  assert.ok(closed.every(({ code }) => code === 1000));
});

check('200 connections that are cut off at once do not affect another connection', async () => {
  const bystander = await Client.open();
  const clients = await Promise.all(Array.from({ length: 200 }, () => Client.open()));
  for (const client of clients) client.ws.terminate();
  await Promise.all(clients.map((client) => client.closed));
  bystander.ws.send('still here');
  assert.equal(await bystander.next(), 'still here');
  await bystander.close();
});

check('multicast sends a message to all clients, including the sender', async () => {
  const clients = await Promise.all([1, 2, 3].map(() => Client.open(multicast)));
  clients[0].ws.send('to all');
  for (const client of clients) assert.equal(await client.next(), 'to all');
  clients[1].ws.send(Buffer.from([1, 2, 3]));
  for (const client of clients) assert.deepEqual(await client.next(), Buffer.from([1, 2, 3]));
  await clients[2].close();
  clients[1].ws.send('to the remaining clients');
  for (const client of clients.slice(0, 2)) assert.equal(await client.next(), 'to the remaining clients');
  assert.deepEqual(clients[2].arrived, []);
  await Promise.all(clients.map((client) => client.close()));
});

const upgrade = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', // RFC 6455 §1.3
};

async function fetchResponse(method, headers) {
  const protocol = echo.startsWith('wss') ? https : http;
  const request = protocol.request(echo.replace(/^ws/, 'http'), { method, headers, agent: false });
  request.end();
  const [response] = await once(request, 'response');
  response.resume();
  return response;
}

check('an unknown version is answered with 426 and the supported versions', async () => {
  const response = await fetchResponse('GET', { ...upgrade, 'Sec-WebSocket-Version': '99' });
  assert.equal(response.statusCode, 426);
  const versions = response.headers['sec-websocket-version'];
  assert.ok(/(^|[ ,])13($|[ ,])/.test(versions), '13 is missing in Sec-WebSocket-Version');
});

check('a GET without an upgrade is answered with 426', async () => {
  assert.equal((await fetchResponse('GET', {})).statusCode, 426);
});

check('a POST is answered with 405', async () => {
  assert.equal((await fetchResponse('POST', { 'Content-Length': 0 })).statusCode, 405);
});

check('a key that is not 16 bytes long is answered with 400', async () => {
  assert.equal((await fetchResponse('GET', { ...upgrade, 'Sec-WebSocket-Key': 'c2hvcnQ=' })).statusCode, 400);
});

check('frames in the TCP segment of the request are not lost', async () => {
  const { hostname, port, host } = new URL(echo);
  const protocol = echo.startsWith('wss') ? tls : net;
  const socket = protocol.connect(Number(port), hostname);
  const head = Object.entries({ Host: host, ...upgrade }).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.write(Buffer.concat([
    Buffer.from(`GET / HTTP/1.1\r\n${head}\r\n`),
    Buffer.from('818200000000', 'hex'), Buffer.from('Hi'), // a masking key of zeros leaves the payload readable
  ]));
  let received = '';
  for await (const data of socket) {
    received += data.toString('latin1');
    if (received.includes('\r\n\r\n\x81\x02Hi')) break;
  }
  assert.ok(received.startsWith('HTTP/1.1 101 '), received);
  assert.ok(received.includes('s3pPLMBiTxaQ9kYGzzhZRbK+xOo='), 'wrong Sec-WebSocket-Accept'); // RFC 6455 §1.3
  assert.ok(received.endsWith('\r\n\r\n\x81\x02Hi'), 'the frame was not echoed');
});

if (modes.includes('deflate')) {
  const records = Array.from({ length: 100 }, (_, n) => `{"id":${n},"name":"user${n * 7}","active":true}`.repeat(20));
  const length = records.join('').length;

  for (const [mode, options, minimumRatio] of [
    ['with context takeover', {}, 20],
    ['without context takeover', { serverNoContextTakeover: true, clientNoContextTakeover: true }, 5],
    ['with windows of 9 bits', { serverMaxWindowBits: 9, clientMaxWindowBits: 9 }, 5],
  ]) {
    check(`deflate: messages are compressed in both directions, ${mode}`, async () => {
      const client = await Client.open(echo, [], { perMessageDeflate: { threshold: 0, ...options } });
      assert.match(client.ws.extensions, /^permessage-deflate/);
      const { bytesRead, bytesWritten } = client.ws._socket;
      for (const record of records) {
        client.ws.send(record);
        assert.equal(await client.next(), record);
      }
      const transferred = [client.ws._socket.bytesRead - bytesRead, client.ws._socket.bytesWritten - bytesWritten];
      for (const bytes of transferred) assert.ok(bytes * minimumRatio < length, `${bytes} bytes for ${length}`);
      await client.close();
    });
  }

  check('deflate: fragmented compressed messages, and uncompressed messages between them', async () => {
    const client = await Client.open(echo, [], { perMessageDeflate: { threshold: 0 } });
    for (let round = 0; round < 3; round += 1) {
      records.forEach((record, n) => client.ws.send(record, { fin: n === records.length - 1 }));
      client.ws.send('uncompressed', { compress: false });
      assert.equal(await client.next(), records.join(''));
      assert.equal(await client.next(), 'uncompressed');
    }
    await client.close();
  });

  check('deflate: invalid data is refused with 1007, and a compressed ping with 1002', async () => {
    const options = { perMessageDeflate: true };
    assert.equal((await (await Client.open(echo, [], options)).raw('c1 84 00000000 ffffffff')).code, 1007);
    assert.equal((await (await Client.open(echo, [], options)).raw('c9 80 00000000')).code, 1002);
  });
}

let failed = 0;
for (const { name, body } of checks) {
  const timeout = sleep(TIMEOUT, null, { ref: false }).then(() => assert.fail(`timed out after ${TIMEOUT} ms`));
  try {
    await Promise.race([body(), timeout]);
    console.log(`ok      node: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  node: ${name}: ${error.message.split('\n').filter(Boolean).join(' ')}`);
  }
}
process.exit(failed ? 1 : 0);
