// The HTTP API, by npm's server library and by plain requests: node api.mjs URL
import { assert, check as checkOf, client, collect, exit, library, Plain, request, subscribed, until } from "./peers.mjs";

const [url] = process.argv.slice(2);
const server = library(url);
const check = (title, body) => checkOf("api", title, body);
const name = (prefix) => `${prefix}${Math.random().toString(36).slice(2)}`;
const event = (more = {}) => JSON.stringify({ name: "e", channel: "a", data: "x", ...more });
const post = (body, options = {}) => request(url, "POST", "/apps/1/events", { body, ...options });
const get = (path, query = {}) => request(url, "GET", `/apps/1${path}`, { query });

await check("channels, their counts and their users are told", async (open) => {
  const [presence, plain] = [name("presence-"), name("plain-")];
  const clients = ["ann", "ann", "bob"].map((user) => open(client(url, { user })));
  for (const one of clients) await subscribed(one, presence);
  await subscribed(clients[0], plain);
  const info = { info: "user_count,subscription_count" };
  assert.deepEqual((await get(`/channels/${presence}`, info)).body,
    { occupied: true, user_count: 2, subscription_count: 3 });
  assert.deepEqual((await get(`/channels/${plain}`)).body, { occupied: true });
  assert.deepEqual((await get(`/channels/${name("none-")}`)).body, { occupied: false });
  const list = await get("/channels", { filter_by_prefix: "presence-", info: "user_count" });
  assert.deepEqual(list.body.channels[presence], { user_count: 2 });
  assert.equal(list.body.channels[plain], undefined);
  assert.deepEqual((await get("/channels")).body.channels[plain], {});
  assert.deepEqual((await get(`/channels/${presence}/users`)).body, { users: [{ id: "ann" }, { id: "bob" }] });
  assert.equal((await get(`/channels/${plain}/users`)).status, 400);
  assert.equal((await get("/channels", { info: "user_count" })).status, 400);
  const answer = await server.trigger([presence, plain], "e", "x", { info: "user_count,subscription_count" });
  assert.deepEqual(await answer.json(), {
    channels: { [presence]: { user_count: 2, subscription_count: 3 }, [plain]: { subscription_count: 1 } },
  });
});

await check("batches, many channels, and events one after another keep their order", async (open) => {
  const [one, other] = [name("a-"), name("a-")];
  const ann = open(client(url));
  const events = [collect(await subscribed(ann, one), "e"), collect(await subscribed(ann, other), "e")];
  await server.triggerBatch([{ channel: one, name: "e", data: 0 }, { channel: other, name: "e", data: { n: 0 } }]);
  const batch = await server.triggerBatch([
    { channel: one, name: "e", data: 1, info: "subscription_count" }, { channel: other, name: "e", data: 1 }]);
  assert.deepEqual(await batch.json(), { batch: [{ subscription_count: 1 }, {}] });
  for (let number = 2; number < 100; number += 1) await server.trigger([one, other], "e", number);
  await until(() => events.map((found) => found.length), [100, 100]);
  assert.deepEqual(events[0], [...Array(100).keys()]);
  assert.deepEqual(events[1], [{ n: 0 }, ...[...Array(100).keys()].slice(1)]);
});

await check("data arrives byte for byte", async (open) => {
  const plain = open(await Plain.open(url));
  const channel = name("a-");
  await plain.subscribe(channel);
  for (const data of ["", "plain", '{"a" : 1.50,\n"b":"\\u00e9"}', "\u0000\u001f\"\\\u2028\u{1f600}", "x".repeat(10_000)]) {
    assert.deepEqual(await post(event({ channel, data })), { status: 200, body: {} });
    const received = await plain.next("e");
    assert.deepEqual(received, { event: "e", channel, data });
  }
});

await check("a request with another signature is not authorized", async () => {
  const is = async (status, body, options) => assert.equal((await post(body, options)).status, status);
  await is(200, event());
  await is(200, event(), { age: 590 });
  await is(401, event(), { age: 610 });
  await is(401, event(), { age: -610 });
  await is(401, event(), { secret: "other" });
  await is(401, event(), { key: "other-key" });
  await is(401, event(), { key: "none", secret: "secret" });
  await is(401, event(), { change: { body: event({ data: "y" }) } });
  await is(401, event(), { change: { query: { body_md5: undefined } } });
  await is(401, event(), { change: { query: { auth_signature: "" } } });
  await is(401, event(), { change: { query: { auth_signature: undefined } } });
  await is(401, event(), { change: { query: { auth_key: undefined } } });
  await is(401, event(), { change: { query: { info: "user_count" } } });
  await is(401, event(), { change: { query: { auth_version: "2.0" } } });
  assert.equal((await request(url, "POST", "/apps/9/events", { body: event() })).status, 404);
  assert.equal((await request(url, "POST", "/apps/9/events", { body: event(), secret: "x" })).status, 404);
  assert.equal((await request(url, "GET", "/apps/1/channels", { query: { filter_by_prefix: "é &=+%" } })).status, 200);
});

await check("events that are too long, too many or malformed are refused", async () => {
  const is = async (status, body) => assert.equal((await post(body)).status, status, body.slice(0, 100));
  await is(200, event({ data: "x".repeat(10_000) }));
  await is(413, event({ data: "x".repeat(10_241) }));
  await is(413, event({ data: "x".repeat(2_000_000) }));
  const channels = (count) => event({ channel: undefined, channels: Array(count).fill("a") });
  await is(200, channels(100));
  for (const body of [channels(101), channels(0), event({ channel: "a b" }), event({ channel: "x".repeat(165) }),
    event({ name: "x".repeat(201) }), event({ name: "" }), event({ name: 1 }), event({ data: {} }),
    event({ data: undefined }), event({ channel: undefined }), event({ socket_id: "x" }), event({ channel: ["a"] }),
    "{", "[]", "x", "[".repeat(10_000)]) await is(400, body);
  const batch = (events) => request(url, "POST", "/apps/1/batch_events", { body: JSON.stringify({ batch: events }) });
  const one = JSON.parse(event());
  assert.equal((await batch(Array(10).fill(one))).status, 200);
  assert.equal((await batch(Array(11).fill(one))).status, 400);
  assert.equal((await batch([one, { ...one, data: "x".repeat(10_241) }])).status, 413);
  assert.equal((await batch([one, { ...one, channel: "a b" }])).status, 400);
  assert.equal((await get("/channels/a%20b")).status, 400);
});

exit();
