// The npm package eventsource as a client of the topics of the server example, next to ws. Started by ../run.
//
//     node events.mjs URL

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { check, run } from './checks.mjs';

const base = new URL(process.argv[2]);
const HISTORY = 100; // events

const url = (path) => new URL(path, base);

// A list of received items. `got` resolves when the list has `count` items.
const inbox = () => {
  const received = [];
  let wake = () => {};
  return {
    received,
    add: (item) => { received.push(item); wake(); },
    got: async (count) => {
      while (received.length < count) await new Promise((resolve) => { wake = resolve; });
    },
  };
};

// An open event stream. Its list contains errors, too: a stream that reconnects fails its check.
const stream = async (topic, lastEventId) => {
  const last = lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId };
  const events = new EventSource(url(`/topics/${topic}/events`), {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...last } }),
  });
  const { received, add, got } = inbox();
  for (const type of ['message', 'gap', 'error']) {
    events.addEventListener(type, (event) => add({ type, id: event.lastEventId, data: event.data ?? event.message }));
  }
  await once(events, 'open');
  return { events, received, got, close: () => events.close() };
};

const socket = async (topic) => {
  const ws = new WebSocket(url(`/topics/${topic}`).href.replace('http', 'ws'));
  const { received, add, got } = inbox();
  ws.on('message', (data) => add(data.toString()));
  await once(ws, 'open');
  return { ws, received, got, close: () => ws.close() };
};

const publish = async (topic, body) => {
  const answer = await fetch(url(`/topics/${topic}`), { method: 'POST', body });
  assert.equal(answer.status, 202);
  await answer.arrayBuffer();
};

// Publishes `event 1` to `event COUNT`. Returns their ids, read from a stream.
const publishMany = async (topic, count) => {
  const live = await stream(topic);
  for (let n = 1; n <= count; n += 1) await publish(topic, `event ${n}`);
  await live.got(count);
  live.close();
  assert.deepEqual(live.received.map(({ data }) => data), numbered(1, count));
  return live.received.map(({ id }) => id);
};

const numbered = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => `event ${first + n}`);

check('eventsource: a stream opens with its headers, and sends the reconnection time first', async () => {
  const answer = await fetch(url('/topics/open/events'), { headers: { accept: 'text/event-stream' } });
  assert.equal(answer.status, 200);
  for (const [name, value] of [
    ['content-type', 'text/event-stream'], ['cache-control', 'no-store'], ['x-accel-buffering', 'no'],
  ]) assert.equal(answer.headers.get(name), value);
  const reader = answer.body.getReader();
  const { value } = await reader.read();
  assert.match(Buffer.from(value).toString(), /^retry: ?2000\r?\n/);
  await reader.cancel();
  const { events, close } = await stream('open');
  assert.equal(events.readyState, EventSource.OPEN);
  close();
});

check('eventsource: a new stream gets live events only, with ids of the present time', async () => {
  await publish('live', 'before');
  const { received, got, close } = await stream('live');
  const published = Date.now();
  await publish('live', 'after');
  await got(1);
  close();
  assert.deepEqual(received.map(({ type, data }) => [type, data]), [['message', 'after']]);
  assert.match(received[0].id, /^\d+$/);
  assert.ok(Math.abs(Number(received[0].id) / 1000 - published) < 10_000, received[0].id);
});

check('eventsource: data of several lines arrives with LF between the lines', async () => {
  const { received, got, close } = await stream('lines');
  const bodies = [
    'one\ntwo\r\nthree\rfour', 'empty\n\n\nlines', 'at the end\r\n', ' leading space', 'id: 1\nevent: gap\n: comment',
    'ü €, 🦀, \u2028, \u0085, \0', 'x'.repeat(1_000_000), 'two\r\r\nbreaks', 'two\n\rbreaks',
  ];
  for (const body of bodies) await publish('lines', body);
  await got(bodies.length);
  close();
  const expected = bodies.map((body) => body.replace(/\r\n?/g, '\n'));
  assert.deepEqual(received.map(({ type }) => type), bodies.map(() => 'message'));
  received.forEach(({ data }, n) => assert.equal(data, expected[n]));
});

check('eventsource: ids grow over all topics', async () => {
  const topics = ['first', 'second', 'third'];
  const streams = await Promise.all(topics.map((topic) => stream(topic)));
  for (let n = 0; n < 30; n += 1) await publish(topics[n % 3], `event ${n}`);
  await Promise.all(streams.map(({ got }) => got(10)));
  streams.forEach(({ close }) => close());
  const ids = Array.from({ length: 30 }, (_, n) => Number(streams[n % 3].received[Math.floor(n / 3)].id));
  ids.slice(1).forEach((id, n) => assert.ok(id > ids[n], `${id} after ${ids[n]}`));
});

check('eventsource: Last-Event-ID resumes after that event, then with live events', async () => {
  const ids = await publishMany('resume', 10);
  let count = 10;
  for (const last of [4, 1, 10, 11]) {
    const { received, got, close } = await stream('resume', ids[last - 1]);
    count += 1;
    await publish('resume', `event ${count}`);
    const expected = numbered(last + 1, count);
    await got(expected.length);
    close();
    assert.deepEqual(received.map(({ type, data }) => `${type} ${data}`), expected.map((data) => `message ${data}`));
    ids.push(received.at(-1).id);
    assert.deepEqual(received.map(({ id }) => id), ids.slice(last));
  }
});

check('eventsource: a stream that resumes before the history gets a gap, then the history', async () => {
  const ids = await publishMany('gap', HISTORY + 50);
  for (const last of [ids[9], '1']) {
    const { received, got, close } = await stream('gap', last);
    await got(1 + HISTORY);
    close();
    assert.equal(received[0].type, 'gap');
    assert.deepEqual(JSON.parse(received[0].data), { from: Number(last) });
    assert.deepEqual(received.slice(1).map(({ type, data }) => `${type} ${data}`),
      numbered(51, HISTORY + 50).map((data) => `message ${data}`));
    assert.deepEqual(received.slice(1).map(({ id }) => id), ids.slice(50));
  }
  const { received, got, close } = await stream('gap', ids[59]);
  await got(HISTORY - 10);
  close();
  assert.deepEqual(received.map(({ data }) => data), numbered(61, HISTORY + 50));
});

check('eventsource, ws: messages of a socket are events of the stream, and posts reach both', async () => {
  const events = await stream('both');
  const sender = await socket('both');
  sender.ws.send('from a socket');
  await events.got(1);
  await publish('both', 'from a post');
  await Promise.all([events.got(2), sender.got(2)]);
  events.close();
  sender.close();
  assert.deepEqual(events.received.map(({ data }) => data), ['from a socket', 'from a post']);
  assert.deepEqual(sender.received, ['from a socket', 'from a post']);
});

check('eventsource, ws: 200 streams and 200 sockets each get 20 events once and in order', async () => {
  const clients = await Promise.all(Array.from({ length: 400 }, (_, n) => (n % 2 ? stream : socket)('crowd')));
  const expected = numbered(1, 20);
  for (const body of expected) await publish('crowd', body);
  await Promise.all(clients.map(({ got }) => got(20)));
  await sleep(300); // a duplicate arrives in this time
  for (const { received, close } of clients) {
    close();
    assert.deepEqual(received.map((item) => item.data ?? item), expected);
  }
  const streams = clients.filter(({ events }) => events);
  const ids = streams.map(({ received }) => received.map(({ id }) => id).join());
  assert.equal(new Set(ids).size, 1);
});

await run(base.protocol === 'https:' ? 'events-node-https' : 'events-node');
