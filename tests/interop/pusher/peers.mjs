// Checks, clients of pusher-js, plain clients, and signed requests.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import PusherServer from "pusher";
import Pusher from "pusher-js";
import { WebSocket } from "ws";

const SECRETS = { key: "secret", "other-key": "other-secret" };
const IDS = { key: "1", "other-key": "2" };
const MASTER = Buffer.alloc(32, 7).toString("base64");

let failed = 0;

// Runs a check. `open` adds something that is closed at its end.
export async function check(peer, title, body, limit = 20_000) {
  const opened = [];
  const open = (thing) => {
    opened.push(thing);
    return thing;
  };
  try {
    await Promise.race([body(open), sleep(limit).then(() => assert.fail(`not within ${limit / 1000} s`))]);
    console.log(`ok      ${peer}: ${title}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${peer}: ${title}: ${error.message.replaceAll("\n", " ")}`);
  } finally {
    opened.forEach((thing) => (thing.disconnect ?? thing.terminate).call(thing));
  }
}

export const exit = () => process.exit(failed ? 1 : 0);

// npm's server library.
export function library(url, key = "key") {
  const { hostname, port } = new URL(url);
  return new PusherServer({
    appId: IDS[key], key, secret: SECRETS[key], host: hostname, port, useTLS: false,
    encryptionMasterKeyBase64: MASTER,
  });
}

// A client of pusher-js, signed by the server library. `user`: the user of presence channels and of the sign-in.
export function client(url, { user = "ann", key = "key", secret, watchlist } = {}) {
  const { hostname, port } = new URL(url);
  const server = library(url, key);
  const signer = secret
    ? new PusherServer({ appId: IDS[key], key, secret, host: hostname, port })
    : server;
  return new Pusher(key, {
    wsHost: hostname, wsPort: port, forceTLS: false, cluster: "", enabledTransports: ["ws"],
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => {
        const data = channelName.startsWith("presence-")
          ? { user_id: user, user_info: { name: user.toUpperCase() } } : undefined;
        done(null, signer.authorizeChannel(socketId, channelName, data));
      },
    },
    userAuthentication: {
      customHandler: ({ socketId }, done) => done(null, signer.authenticateUser(socketId, { id: user, watchlist })),
    },
  });
}

// Resolves with the data of the next event, within five seconds.
export function next(emitter, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event}`)), 5000);
    const listener = (data, metadata) => {
      clearTimeout(timer);
      emitter.unbind(event, listener);
      resolve(metadata === undefined ? data : Object.assign(Object(data), { metadata }));
    };
    emitter.bind(event, listener);
  });
}

// Collects the data of an event.
export function collect(emitter, event) {
  const found = [];
  emitter.bind(event, (data) => found.push(data));
  return found;
}

export async function connected(pusher) {
  if (pusher.connection.state !== "connected") await next(pusher.connection, "connected");
  return pusher.connection.socket_id;
}

// Subscribes, and returns the channel.
export async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name);
  await next(channel, "pusher:subscription_succeeded");
  return channel;
}

export async function until(condition, expected, limit = 5000) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await condition();
    try {
      return assert.deepEqual(found, expected);
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(20);
    }
  }
}

// A WebSocket with the messages of the protocol.
export class Plain {
  constructor(url, target = "/app/key?protocol=7") {
    this.messages = [];
    this.socket = new WebSocket(url.replace(/^http/, "ws") + target);
    this.closed = once(this.socket, "close").then(([code]) => code);
    this.socket.on("message", (data) => this.messages.push(JSON.parse(data)));
    this.socket.on("error", () => {});
  }

  static async open(url) {
    const plain = new Plain(url);
    plain.id = JSON.parse((await plain.next()).data).socket_id;
    return plain;
  }

  // The next message, of a kind.
  async next(event) {
    const end = Date.now() + 5000;
    for (;;) {
      const index = this.messages.findIndex((message) => !event || message.event === event);
      if (index >= 0) return this.messages.splice(index, 1)[0];
      assert.ok(Date.now() < end, `no ${event ?? "message"}`);
      await sleep(5);
    }
  }

  send(event, data, more = {}) {
    this.socket.send(JSON.stringify({ event, data, ...more }));
  }

  // Subscribes, and returns the answer.
  async subscribe(channel, { data, key = "key", secret = "secret", id = this.id, auth } = {}) {
    const text = data === undefined ? `${id}:${channel}` : `${id}:${channel}:${data}`;
    this.send("pusher:subscribe", { channel, auth: auth ?? `${key}:${hmac(secret, text)}`, channel_data: data });
    const end = Date.now() + 5000;
    for (;;) {
      const index = this.messages.findIndex(({ event }) => /subscription_(succeeded|error)$/.test(event));
      if (index >= 0) return this.messages.splice(index, 1)[0];
      assert.ok(Date.now() < end, "no answer to a subscription");
      await sleep(5);
    }
  }

  // Answers once all earlier messages were handled.
  async settle() {
    this.send("pusher:ping", {});
    await this.next("pusher:pong");
  }

  terminate() {
    this.socket.terminate();
  }
}

export const hmac = (secret, text) => createHmac("sha256", secret).update(text).digest("hex");

// A request of the HTTP API. `change` may replace parts of it after it was signed.
export async function request(url, method, path, { query = {}, body, key = "key", secret = SECRETS[key], age = 0,
  change = {} } = {}) {
  const parameters = {
    ...query, auth_key: key, auth_timestamp: String(Math.floor(Date.now() / 1000) - age), auth_version: "1.0",
    ...(body === undefined ? {} : { body_md5: createHash("md5").update(body).digest("hex") }),
  };
  const sorted = Object.keys(parameters).sort().map((name) => `${name}=${parameters[name]}`).join("&");
  parameters.auth_signature = hmac(secret, `${method}\n${path}\n${sorted}`);
  Object.assign(parameters, change.query);
  Object.keys(parameters).forEach((name) => parameters[name] === undefined && delete parameters[name]);
  const response = await fetch(`${url}${path}?${new URLSearchParams(parameters)}`, {
    method, body: change.body ?? body, headers: body === undefined ? {} : { "content-type": "application/json" },
  });
  const text = await response.text();
  return { status: response.status, body: response.ok ? JSON.parse(text) : text };
}

export { assert, sleep };
