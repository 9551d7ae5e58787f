// Two processes on one Redis, the second of which is killed: node processes.mjs URL OTHER_URL OTHER_PID HOOK_URL COMMAND…
// COMMAND starts a third one.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { assert, check as checkOf, client, collect, exit, library, next, Plain, request, sleep, subscribed,
  until } from "./peers.mjs";

const [url, other, pid, hook, ...command] = process.argv.slice(2);
const [server, there] = [library(url), library(other)];
const check = (title, body, limit) => checkOf("processes", title, body, limit);
const name = (prefix) => `${prefix}${Math.random().toString(36).slice(2)}`;
const get = async (at, path, query = {}) => (await request(at, "GET", `/apps/1${path}`, { query })).body;

const hooks = [];
const receiver = createServer((request_, response) => {
  let body = "";
  request_.on("data", (data) => { body += data; });
  request_.on("end", () => { hooks.push(...JSON.parse(body).events); response.end(); });
});
await new Promise((resolve) => receiver.listen(new URL(hook).port, "127.0.0.1", resolve));

await check("events, exclusion and client events cross", async (open) => {
  const [ann, bob] = [open(client(url)), open(client(other, { user: "bob" }))];
  const channel = name("presence-");
  const [atAnn, atBob] = [await subscribed(ann, channel), await subscribed(bob, channel)];
  const [byAnn, byBob] = [collect(atAnn, "e"), collect(atBob, "e")];
  for (let number = 0; number < 50; number += 1) await (number % 2 ? server : there).trigger(channel, "e", number);
  for (const found of [byAnn, byBob]) await until(() => found, [...Array(50).keys()]);
  await server.trigger(channel, "e", "for ann", { socket_id: bob.connection.socket_id });
  await there.trigger(channel, "e", "for bob", { socket_id: ann.connection.socket_id });
  await until(() => [byAnn.at(-1), byBob.at(-1)], ["for ann", "for bob"]);
  const received = next(atBob, "client-x");
  atAnn.trigger("client-x", { a: 1 });
  assert.equal((await received).metadata.user_id, "ann");
});

await check("members, counts and users are those of both", async (open) => {
  const channel = name("presence-");
  const ann = open(client(url));
  const atAnn = await subscribed(ann, channel);
  const [added, removed] = [collect(atAnn, "pusher:member_added"), collect(atAnn, "pusher:member_removed")];
  const [bob, same] = [open(client(other, { user: "bob" })), open(client(other, { user: "ann" }))];
  const atBob = await subscribed(bob, channel);
  assert.equal(atBob.members.count, 2);
  await subscribed(same, channel);
  for (const at of [url, other]) {
    const info = { info: "user_count,subscription_count" };
    await until(() => get(at, `/channels/${channel}`, info), { occupied: true, user_count: 2, subscription_count: 3 });
    assert.deepEqual(await get(at, `/channels/${channel}/users`), { users: [{ id: "ann" }, { id: "bob" }] });
  }
  same.disconnect();
  bob.disconnect();
  await until(() => removed.map(({ id }) => id), ["bob"]);
  assert.deepEqual(added.map(({ id }) => id), ["bob"]);
  await until(() => hooks.filter((event) => event.channel === channel).map(({ name: kind, user_id }) => user_id ?? kind),
    ["channel_occupied", "ann", "bob", "bob"]);
});

await check("users, their events, their end and caches are those of both", async (open) => {
  const [user, friend] = [name("u-"), name("u-")];
  const ann = open(client(url, { user, watchlist: [friend] }));
  const states = [];
  ann.signin();
  await ann.user.signinDonePromise;
  ann.user.watchlist.bind("online", () => states.push("online"));
  ann.user.watchlist.bind("offline", () => states.push("offline"));
  const bob = open(client(other, { user: friend }));
  bob.signin();
  await until(() => states, ["online"]);
  const mail = collect(bob.user, "mail");
  await server.sendToUser(friend, "mail", "x");
  await until(() => mail, ["x"]);
  await server.terminateUserConnections(friend);
  await until(() => bob.connection.state, "disconnected");
  await until(() => states, ["online", "offline"]);
  const channel = name("cache-");
  await server.trigger(channel, "e", "kept");
  const late = open(client(other)).subscribe(channel);
  const events = collect(late, "e");
  await until(() => events, ["kept"]);
});

await check("events that are posted one after another to either keep their order", async (open) => {
  const channel = name("a-");
  const events = [url, other].map(async (at) => collect(await subscribed(open(client(at)), channel), "e"));
  const found = await Promise.all(events);
  for (let number = 0; number < 300; number += 1) await (number % 2 ? server : there).trigger(channel, "e", number);
  for (const one of found) await until(() => one, [...Array(300).keys()]);
  for (let number = 0; number < 50; number += 1) {
    const plain = open(await Plain.open(url));
    const mine = name("b-");
    await plain.subscribe(mine);
    assert.deepEqual(await get(other, `/channels/${mine}`), { occupied: true });
    const cached = name("cache-");
    await server.trigger(cached, "e", "old");
    await there.trigger(cached, "e", "new");
    const late = open(await Plain.open(number % 2 ? url : other));
    await late.subscribe(cached);
    assert.equal((await late.next("e")).data, "new");
  }
});

// Starts a process. Its URL, and a function that ends it.
async function start(open) {
  const child = spawn(command[0], command.slice(1), { stdio: ["ignore", "ignore", "pipe"] });
  open({ disconnect: () => child.kill("SIGKILL") });
  let output = "";
  for await (const data of child.stderr) {
    output += data;
    const listening = /listening on (http:\S+)\n/.exec(output);
    if (listening) return { at: listening[1], end: (signal) => { child.kill(signal); return once(child, "exit"); } };
  }
  return assert.fail(output);
}

await check("a process that starts knows members and caches, and its first event is delivered", async (open) => {
  const [channel, cached] = [name("presence-"), name("cache-")];
  const atAnn = await subscribed(open(client(url)), channel);
  const events = collect(atAnn, "e");
  await server.trigger(cached, "kept", "x");
  for (let number = 0; number < 3; number += 1) {
    const { at, end } = await start(open);
    await library(at).trigger(channel, "e", number);
    await until(() => events.length, number + 1);
    assert.deepEqual(await get(at, `/channels/${channel}/users`), { users: [{ id: "ann" }] });
    const bob = open(await Plain.open(at));
    const { presence } = JSON.parse((await bob.subscribe(channel, { data: '{"user_id":"bob"}' })).data);
    assert.deepEqual(presence.ids, ["ann", "bob"]);
    await bob.subscribe(cached);
    assert.equal((await bob.next("kept")).data, "x");
    await until(() => atAnn.members.count, 2);
    await end("SIGTERM");
    await until(() => atAnn.members.count, 1);
  }
  // Those of different processes come in any order.
  await until(() => hooks.filter((event) => event.channel === channel)
    .map(({ name: kind, user_id }) => `${kind} ${user_id ?? ""}`).sort(),
    ["channel_occupied ", ...Array(4).fill("member_added"), ...Array(3).fill("member_removed")]
      .map((kind, index) => (index === 0 ? kind : `${kind} ${index === 1 ? "ann" : "bob"}`)));
});

await check("the members of a process that is killed leave once, and no others", async (open) => {
  const channel = name("presence-");
  const atAnn = await subscribed(open(client(url)), channel);
  const removed = collect(atAnn, "pusher:member_removed");
  const [bob, same, cid] = await Promise.all([0, 1, 2].map(async () => open(await Plain.open(other))));
  await bob.subscribe(channel, { data: '{"user_id":"bob"}' });
  await same.subscribe(channel, { data: '{"user_id":"ann"}' });
  await cid.subscribe(channel, { data: '{"user_id":"cid"}' });
  await until(() => atAnn.members.count, 3);
  process.kill(Number(pid), "SIGKILL");
  const began = Date.now();
  await until(() => removed.length, 2, 60_000);
  await sleep(1000);
  assert.deepEqual(removed.map(({ id }) => id).sort(), ["bob", "cid"]);
  console.log(`        after ${((Date.now() - began) / 1000 - 1).toFixed(0)} s`);
  assert.deepEqual(await get(url, `/channels/${channel}/users`), { users: [{ id: "ann" }] });
  await until(() => hooks.filter((event) => event.channel === channel && event.name === "member_removed")
    .map(({ user_id }) => user_id).sort(), ["bob", "cid"]);
  const events = collect(atAnn, "e");
  await server.trigger(channel, "e", "goes on");
  await until(() => events, ["goes on"]);
}, 90_000);

exit();
