// pusher-js and plain clients at a server, and at one that counts subscriptions: node client.mjs URL COUNTED_URL
import { assert, check as checkOf, client, collect, connected, exit, library, next, Plain, sleep, subscribed,
  until } from "./peers.mjs";

const [url, counted] = process.argv.slice(2);
const server = library(url);
const check = (title, body) => checkOf("client", title, body);
const name = (prefix) => `${prefix}${Math.random().toString(36).slice(2)}`;

await check("a public channel gets the events of the server library, but not at the excluded connection", async (open) => {
  const [ann, bob] = [open(client(url)), open(client(url))];
  const channel = name("news-");
  const [atAnn, atBob] = [await subscribed(ann, channel), await subscribed(bob, channel)];
  const [byAnn, byBob] = [collect(atAnn, "e"), collect(atBob, "e")];
  await server.trigger(channel, "e", { n: 1, text: "é\n\u2603" });
  await server.trigger(channel, "e", "not for ann", { socket_id: ann.connection.socket_id });
  await server.trigger(channel, "e", "for both");
  await until(() => byBob, [{ n: 1, text: "é\n\u2603" }, "not for ann", "for both"]);
  await until(() => byAnn, [{ n: 1, text: "é\n\u2603" }, "for both"]);
  ann.unsubscribe(channel);
  await server.trigger(channel, "e", "for bob");
  await until(() => byBob.at(-1), "for bob");
  assert.equal(byAnn.length, 2);
});

await check("a private channel needs a signature, and a wrong one leaves the connection open", async (open) => {
  const [good, bad] = [open(client(url)), open(client(url, { secret: "wrong" }))];
  const channel = name("private-");
  await subscribed(good, channel);
  const error = await next(bad.subscribe(channel), "pusher:subscription_error");
  assert.equal(error.status, 401);
  assert.equal(bad.connection.state, "connected");
  await subscribed(bad, name("public-"));
});

await check("members of a presence channel are users, from the first connection to the last", async (open) => {
  const channel = name("presence-");
  const ann = open(client(url, { user: "ann" }));
  const atAnn = await subscribed(ann, channel);
  const [added, removed] = [collect(atAnn, "pusher:member_added"), collect(atAnn, "pusher:member_removed")];
  const [first, second] = [open(client(url, { user: "bob" })), open(client(url, { user: "bob" }))];
  const atBob = await subscribed(first, channel);
  assert.deepEqual([atBob.members.count, atBob.members.me.info], [2, { name: "BOB" }]);
  assert.deepEqual(atBob.members.get("ann").info, { name: "ANN" });
  await subscribed(second, channel);
  first.disconnect();
  await until(async () => (await (await server.get({ path: `/channels/${channel}`, params: { info: "subscription_count" } })).json()).subscription_count, 2);
  assert.deepEqual([added.map(({ id, info }) => [id, info]), removed], [[["bob", { name: "BOB" }]], []]);
  second.disconnect();
  await until(() => removed.map(({ id }) => id), ["bob"]);
  assert.equal(atAnn.members.count, 1);
});

await check("a member that is cut off leaves", async (open) => {
  const channel = name("presence-");
  const atAnn = await subscribed(open(client(url)), channel);
  const bob = open(await Plain.open(url));
  const answer = await bob.subscribe(channel, { data: '{"user_id":7}' });
  assert.deepEqual(JSON.parse(answer.data).presence.ids, ["7", "ann"]);
  const removed = next(atAnn, "pusher:member_removed");
  bob.terminate();
  assert.equal((await removed).id, "7");
});

await check("client events reach the other subscribers, with the user of a presence channel", async (open) => {
  const [ann, bob] = [open(client(url, { user: "ann" })), open(client(url, { user: "bob" }))];
  for (const channel of [name("private-"), name("presence-")]) {
    const [atAnn, atBob] = [await subscribed(ann, channel), await subscribed(bob, channel)];
    const own = collect(atAnn, "client-hi");
    atAnn.trigger("client-hi", { a: [1, "é"] });
    const received = await next(atBob, "client-hi");
    assert.deepEqual(received.a, [1, "é"]);
    assert.equal(received.metadata?.user_id, channel.startsWith("presence-") ? "ann" : undefined);
    atBob.trigger("client-back", {});
    await next(atAnn, "client-back");
    assert.deepEqual(own, []);
  }
});

await check("client events are refused on other channels, and beyond the rate", async (open) => {
  const ann = open(await Plain.open(url));
  const bob = open(await Plain.open(url));
  const [plain, secret, encrypted] = [name("a-"), name("private-"), name("private-encrypted-")];
  for (const channel of [plain, encrypted]) {
    await ann.subscribe(channel);
    await bob.subscribe(channel);
    ann.send("client-x", {}, { channel });
  }
  await bob.subscribe(secret);
  ann.send("client-x", {}, { channel: secret });
  ann.send("other-x", {}, { channel: secret });
  await ann.settle();
  await bob.settle();
  assert.deepEqual(bob.messages, []);
  await sleep(1100);
  await ann.subscribe(secret);
  ann.messages.length = 0;
  for (let number = 0; number < 30; number += 1) ann.send("client-x", number, { channel: secret });
  await ann.settle();
  await until(() => bob.messages.length, 10);
  assert.ok(ann.messages.every(({ event, data }) => event === "pusher:error" && data.code === 4301));
  assert.equal(ann.messages.length, 20);
});

await check("an encrypted channel is passed through", async (open) => {
  const channel = await subscribed(open(client(url)), name("private-encrypted-"));
  const received = next(channel, "e");
  await server.trigger(channel.name, "e", { secret: "é" });
  assert.equal((await received).secret, "é");
});

await check("a cache channel begins with its last event, or with a miss", async (open) => {
  for (const prefix of ["cache-", "private-cache-", "presence-cache-"]) {
    const [ann, bob] = [open(client(url)), open(client(url))];
    const channel = ann.subscribe(name(prefix));
    await next(channel, "pusher:cache_miss");
    ann.disconnect();
    await server.trigger(channel.name, "e", "first");
    await server.trigger(channel.name, "e", "last");
    const late = bob.subscribe(channel.name);
    const events = collect(late, "e");
    await next(late, "pusher:subscription_succeeded");
    await until(() => events, ["last"]);
    const answer = await (await server.get({ path: `/channels/${channel.name}`, params: { info: "cache" } })).json();
    assert.equal(answer.cache.data, "last");
    assert.ok(answer.cache.ttl > 1700);
  }
});

await check("a user that signs in gets events, sees its watchlist, and can be terminated", async (open) => {
  const [user, friend] = [name("u-"), name("u-")];
  const ann = open(client(url, { user, watchlist: [friend] }));
  ann.signin();
  const states = [];
  ann.user.watchlist.bind("online", ({ user_ids }) => states.push(["online", ...user_ids]));
  ann.user.watchlist.bind("offline", ({ user_ids }) => states.push(["offline", ...user_ids]));
  await ann.user.signinDonePromise;
  const bob = open(client(url, { user: friend }));
  bob.signin();
  await until(() => states, [["online", friend]]);
  const [atAnn, atBob] = [collect(ann.user, "mail"), collect(bob.user, "mail")];
  await server.sendToUser(user, "mail", { n: 1 });
  await until(() => atAnn, [{ n: 1 }]);
  await server.terminateUserConnections(friend);
  await until(() => bob.connection.state, "disconnected");
  await until(() => states, [["online", friend], ["offline", friend]]);
  assert.deepEqual(atBob, []);
});

await check("a wrong sign-in ends the connection with 4009", async (open) => {
  for (const wrong of [{ auth: "key:00", user_data: '{"id":"1"}' }, { user_data: '{"id":"1"}' }, { auth: 1 }, undefined]) {
    const plain = open(await Plain.open(url));
    plain.send("pusher:signin", wrong);
    const { data } = await plain.next("pusher:error");
    assert.equal(data.code, 4009);
    assert.ok(data.message);
    assert.equal(await plain.closed, 4009);
  }
});

await check("a wrong key, and other versions of the protocol, end the connection", async (open) => {
  for (const [target, code] of [["/app/none?protocol=7", 4001], ["/app/key?protocol=4", 4007],
    ["/app/key?protocol=8", 4007], ["/app/key?protocol=x", 4007], ["/app/key", 4008]]) {
    const plain = open(new Plain(url, target));
    const { event, data } = await plain.next();
    assert.deepEqual([event, data.code, typeof data.message], ["pusher:error", code, "string"]);
    assert.equal(await plain.closed, code);
  }
  for (const protocol of [5, 6, 7]) {
    const plain = open(new Plain(url, `/app/key?protocol=${protocol}`));
    const { event, data } = await plain.next();
    assert.equal(event, "pusher:connection_established");
    const { socket_id, activity_timeout } = JSON.parse(data);
    assert.match(socket_id, /^\d+\.\d+$/);
    assert.equal(activity_timeout, 120);
  }
});

await check("refused subscriptions and malformed messages leave the connection open", async (open) => {
  const plain = open(await Plain.open(url));
  const other = await open(await Plain.open(url));
  const channel = name("private-");
  for (const [refused, options] of [
    [channel, { auth: "" }], [channel, { auth: "key" }], [channel, { key: "other-key" }], [channel, { secret: "x" }],
    [channel, { id: other.id }], [name("presence-"), {}], [name("presence-"), { data: "x" }],
    [name("presence-"), { data: "{}" }], [name("presence-"), { data: '{"user_id":""}' }], ["", {}], ["a b", {}],
    ["a/b", {}], ["x".repeat(165), {}], ["#server-to-user-1", {}],
    [name("presence-"), { data: JSON.stringify({ user_id: "1", user_info: "x".repeat(3000) }) }],
  ]) {
    const { event, data } = await plain.subscribe(refused, options);
    assert.deepEqual([event, data.status >= 400, typeof data.error], ["pusher:subscription_error", true, "string"]);
  }
  plain.send("pusher:subscribe", { channel });
  assert.equal((await plain.next("pusher:subscription_error")).data.status, 401);
  for (const text of ["", "{", "[]", "{}", '{"event":1}', '{"event":"pusher:subscribe"}', "[".repeat(50_000)]) {
    plain.socket.send(text);
    assert.equal((await plain.next("pusher:error")).data.code, null);
  }
  plain.socket.send(Buffer.from("{}"));
  plain.send("unknown", {});
  assert.equal((await plain.subscribe("x".repeat(164))).event, "pusher_internal:subscription_succeeded");
  assert.equal((await plain.subscribe(channel)).event, "pusher_internal:subscription_succeeded");
});

await check("a second subscription is no failure, and events come once", async (open) => {
  const plain = open(await Plain.open(url));
  const channel = name("a-");
  for (let number = 0; number < 2; number += 1) {
    assert.equal((await plain.subscribe(channel)).event, "pusher_internal:subscription_succeeded");
  }
  await server.trigger(channel, "e", "x");
  await plain.next("e");
  await plain.settle();
  assert.deepEqual(plain.messages, []);
});

await check("subscribers are told their number, and a silent client is pinged", async (open) => {
  const [ann, bob] = [open(await Plain.open(counted)), open(await Plain.open(counted))];
  await ann.subscribe("a");
  const count = async (plain) => JSON.parse((await plain.next("pusher_internal:subscription_count")).data);
  assert.deepEqual(await count(ann), { subscription_count: 1 });
  await bob.subscribe("a");
  assert.deepEqual([await count(ann), await count(bob)], [{ subscription_count: 2 }, { subscription_count: 2 }]);
  bob.terminate();
  assert.deepEqual(await count(ann), { subscription_count: 1 });
  const began = Date.now();
  await ann.next("pusher:ping");
  assert.ok(Date.now() - began < 2500);
  ann.send("pusher:pong", {});
  await ann.next("pusher:ping");
});

await check("an app has nothing of another", async (open) => {
  const channel = name("presence-");
  const [one, other] = [open(client(url)), open(client(url, { key: "other-key" }))];
  const [atOne, atOther] = [await subscribed(one, channel), await subscribed(other, channel)];
  assert.equal(atOther.members.count, 1);
  const [byOne, byOther] = [collect(atOne, "e"), collect(atOther, "e")];
  await server.trigger(channel, "e", "of one");
  await until(() => byOne, ["of one"]);
  await library(url, "other-key").trigger(channel, "e", "of other");
  await until(() => byOther, ["of other"]);
  assert.deepEqual(byOne, ["of one"]);
  assert.ok(await connected(one));
});

exit();
