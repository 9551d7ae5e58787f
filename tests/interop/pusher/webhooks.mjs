// Webhooks of a server: node webhooks.mjs URL HOOK_URL
import { createServer } from "node:http";
import { assert, check as checkOf, client, exit, library, next, subscribed, until } from "./peers.mjs";

const [url, hook] = process.argv.slice(2);
const server = library(url);
const check = (title, body) => checkOf("webhooks", title, body, 30_000);
const name = (prefix) => `${prefix}${Math.random().toString(36).slice(2)}`;

const requests = [];
let refuse = 0;
const receiver = createServer((request, response) => {
  let rawBody = "";
  request.setEncoding("utf8");
  request.on("data", (data) => { rawBody += data; });
  request.on("end", () => {
    const status = refuse > 0 ? 500 : 200;
    refuse -= 1;
    requests.push({ status, path: request.url, webhook: server.webhook({ headers: request.headers, rawBody }) });
    response.writeHead(status).end();
  });
});
await new Promise((resolve) => receiver.listen(new URL(hook).port, "127.0.0.1", resolve));

// The accepted events of a channel.
const events = (channel) => requests.filter(({ status }) => status === 200)
  .flatMap(({ webhook }) => webhook.getEvents()).filter((event) => event.channel === channel);

await check("a channel is occupied and vacated, and members are added and removed, once each", async (open) => {
  const channel = name("presence-");
  for (const user of ["ann", "ann", "bob"]) await subscribed(open(client(url, { user })), channel);
  await until(() => events(channel), [
    { name: "channel_occupied", channel }, { name: "member_added", channel, user_id: "ann" },
    { name: "member_added", channel, user_id: "bob" }]);
});

await check("the last client vacates the channel", async () => {
  const vacated = () => requests.flatMap(({ webhook }) => webhook.getEvents())
    .filter(({ name: kind }) => kind === "channel_vacated" || kind === "member_removed")
    .map(({ name: kind, user_id }) => user_id ?? kind);
  await until(() => vacated().sort(), ["ann", "bob", "channel_vacated"]);
});

await check("requests are signed", () => {
  for (const { webhook, path } of requests) assert.ok(webhook.isValid() && path === "/hook");
  assert.ok(Math.abs(requests[0].webhook.getTime() - Date.now()) < 10_000);
});

await check("client events and cache misses are reported", async (open) => {
  const [ann, bob] = [open(client(url)), open(client(url, { user: "bob" }))];
  const channel = name("presence-");
  const [atAnn, atBob] = [await subscribed(ann, channel), await subscribed(bob, channel)];
  atAnn.trigger("client-x", { a: 1 });
  await next(atBob, "client-x");
  await until(() => events(channel).find(({ name: kind }) => kind === "client_event"), {
    name: "client_event", channel, event: "client-x", data: '{"a":1}', socket_id: ann.connection.socket_id,
    user_id: "ann" });
  const cached = name("cache-");
  await next(ann.subscribe(cached), "pusher:cache_miss");
  await until(() => events(cached), [{ name: "channel_occupied", channel: cached }, { name: "cache_miss", channel: cached }]);
});

await check("50 channels that are occupied at once come in few requests", async (open) => {
  const before = requests.length;
  const ann = open(client(url));
  const channels = Array.from({ length: 50 }, () => name("many-"));
  channels.forEach((channel) => ann.subscribe(channel));
  await until(() => channels.map((channel) => events(channel).length), channels.map(() => 1));
  assert.ok(requests.length - before <= 25, `${requests.length - before} requests`);
});

await check("a request that fails is repeated", async (open) => {
  const channel = name("again-");
  refuse = 2;
  await subscribed(open(client(url)), channel);
  await until(() => events(channel), [{ name: "channel_occupied", channel }], 15_000);
  assert.equal(requests.filter(({ status }) => status === 500).length, 2);
});

await check("later events wait for a request that is repeated", async (open) => {
  const [first, then] = [name("first-"), name("then-")];
  const before = requests.length;
  refuse = 1;
  const ann = open(client(url));
  await subscribed(ann, first);
  await until(() => requests.length, before + 1);
  await subscribed(ann, then);
  await until(() => [events(first).length, events(then).length], [1, 1], 15_000);
  const order = requests.filter(({ status }) => status === 200).flatMap(({ webhook }) => webhook.getEvents())
    .map((event) => event.channel).filter((channel) => channel === first || channel === then);
  assert.deepEqual(order, [first, then]);
});

await check("events wait for a receiver that is away", async (open) => {
  const channel = name("away-");
  await new Promise((resolve) => { receiver.close(resolve); receiver.closeAllConnections(); });
  await subscribed(open(client(url)), channel);
  await new Promise((resolve) => { setTimeout(resolve, 1500); });
  await new Promise((resolve) => receiver.listen(new URL(hook).port, "127.0.0.1", resolve));
  await until(() => events(channel), [{ name: "channel_occupied", channel }], 15_000);
});

exit();
