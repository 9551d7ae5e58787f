// The client of Rails against the example `action_cable`: node client.mjs URL
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { chat, check, exit, subscribe } from "./subscriptions.mjs";

const url = process.argv[2];

await check("actioncable", url, "a subscription is confirmed, and an action reaches all of its room", async (connect) => {
  const [ann, bob, other] = [subscribe(connect(), chat("1")), subscribe(connect(), chat("1")), subscribe(connect(), chat("2"))];
  await Promise.all([ann, bob, other].map((client) => client.next("connected")));
  ann.subscription.perform("speak", { body: "<b>hello & goodbye</b> \u2028 ☃" });
  const expected = { body: "<b>hello & goodbye</b> \u2028 ☃" };
  assert.deepEqual(await ann.next("received"), expected);
  assert.deepEqual(await bob.next("received"), expected);
  other.subscription.perform("speak", { body: [null, { deep: 1.5 }] });
  assert.deepEqual(await other.next("received"), { body: [null, { deep: 1.5 }] });
  assert.deepEqual(bob.events, []);
});

await check("actioncable", url, "500 broadcasts arrive in their order", async (connect) => {
  const [ann, bob] = [subscribe(connect(), chat("order")), subscribe(connect(), chat("order"))];
  await Promise.all([ann, bob].map((client) => client.next("connected")));
  for (let number = 0; number < 500; number += 1) ann.subscription.perform("speak", { body: number });
  for (let number = 0; number < 500; number += 1) assert.equal((await bob.next("received")).body, number);
});

await check("actioncable", url, "several subscriptions share a connection, and two of one room get a copy each", async (connect) => {
  const consumer = connect();
  const [one, two] = [subscribe(consumer, chat("x")), subscribe(consumer, { ...chat("x"), tab: 2 })];
  await Promise.all([one, two].map((client) => client.next("connected")));
  one.subscription.perform("speak", { body: 1 });
  assert.deepEqual([await one.next("received"), await two.next("received")], [{ body: 1 }, { body: 1 }]);
  two.subscription.unsubscribe();
  one.subscription.perform("speak", { body: 2 });
  assert.deepEqual(await one.next("received"), { body: 2 });
  assert.deepEqual(two.events, []);
});

await check("actioncable", url, "a subscription is rejected", async (connect) => {
  const consumer = connect();
  await subscribe(consumer, "ForbiddenChannel").next("rejected");
  await subscribe(consumer, "ChatChannel").next("rejected");
  const { next } = subscribe(consumer, chat("1"));
  await next("connected");
});

await check("actioncable", url, "a connection that is not authorized does not come back", async (connect) => {
  const consumer = connect("?denied=1");
  const { next } = subscribe(consumer, chat("1"));
  assert.deepEqual(await next("disconnected"), { willAttemptReconnect: false });
  await sleep(1500);
  assert.ok(!consumer.connection.isOpen());
});

await check("actioncable", url, "a user is disconnected from elsewhere, and comes back if it may", async (connect) => {
  const user = `user ${Math.random()}`;
  const [target, admin] = [subscribe(connect(`?user=${encodeURIComponent(user)}`), chat("1")), subscribe(connect(), chat("1"))];
  await Promise.all([target, admin].map((client) => client.next("connected")));
  const post = (data) =>
    fetch(url.replace(/^ws/, "http").replace(/\/cable$/, "/_broadcast"), {
      method: "POST",
      headers: { authorization: "Bearer key" },
      body: JSON.stringify({ stream: `action_cable/${user}`, data: JSON.stringify(data) }),
    });
  assert.equal((await post({ type: "disconnect", reconnect: true })).status, 201);
  assert.deepEqual(await target.next("disconnected"), { willAttemptReconnect: true });
  assert.deepEqual(await target.next("connected"), { reconnected: true });
  assert.equal((await post({ type: "disconnect", reconnect: false })).status, 201);
  assert.deepEqual(await target.next("disconnected"), { willAttemptReconnect: false });
  assert.deepEqual(admin.events, []);
});

await check("actioncable", url, "a connection stays for 15 seconds without a word, by its pings", async (connect) => {
  const consumer = connect();
  const { next, events } = subscribe(consumer, chat("idle"));
  await next("connected");
  await sleep(13_000);
  assert.deepEqual(events, []);
  assert.ok(consumer.connection.isOpen());
});

exit();
