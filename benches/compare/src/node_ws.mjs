// npm's ws on Node, plain or over node:https, with permessage-deflate.
//
//     node node_ws.mjs [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--deflate | --deflate-shared]
//                      [--deflate-level N] [--broadcast]
//
// Loads the module from the directory in the environment variable NODE_MODULES, or else from that of this file.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

function refuse(reason) {
  console.error(reason);
  process.exit(2);
}

function readOptions() {
  const flag = { type: "boolean", default: false };
  const word = { type: "string" };
  const options = {
    "listen": { ...word, default: "127.0.0.1:0" },
    "tls-cert": word,
    "tls-key": word,
    "deflate": flag,
    "deflate-shared": flag,
    "deflate-level": word,
    "broadcast": flag,
  };
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

const options = readOptions();
const secure = options["tls-cert"] !== undefined;
if (secure !== (options["tls-key"] !== undefined)) refuse("--tls-cert and --tls-key go together");

const modules = process.env.NODE_MODULES;
const require = createRequire(modules ? resolve(modules, "require.js") : import.meta.url);
const { WebSocket, WebSocketServer } = require("ws");

const level = options["deflate-level"];
const shared = options["deflate-shared"];
const perMessageDeflate = (options.deflate || shared) && {
  serverNoContextTakeover: shared,
  clientNoContextTakeover: shared,
  // By default, messages below 1024 bytes are not compressed without context takeover.
  threshold: 0,
  zlibDeflateOptions: level === undefined ? {} : { level: Number(level) },
};

const server = secure
  ? createSecureServer({ cert: readFileSync(options["tls-cert"]), key: readFileSync(options["tls-key"]) })
  : createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate, maxPayload: 64 * 1024 * 1024 });

// ws sets TCP_NODELAY itself.
sockets.on("connection", (socket, request) => {
  // ws closes the connection on any error, but requires a listener.
  socket.on("error", () => {});
  socket.on("message", options.broadcast ? broadcast : echo);

  const stream = request.socket;
  let corked = false;

  function echo(data, binary) {
    // All messages of one read are emitted before the next tick, so that their echoes take one write.
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(uncork);
    }
    socket.send(data, { binary });
  }

  function uncork() {
    corked = false;
    stream.uncork();
  }
});

function broadcast(data, binary) {
  for (const socket of sockets.clients) {
    if (socket.readyState === WebSocket.OPEN) socket.send(data, { binary });
  }
}

const separator = options.listen.lastIndexOf(":");
const host = options.listen.slice(0, separator);
server.listen({ host, port: Number(options.listen.slice(separator + 1)), backlog: 1024 }, () => {
  console.error(`listening on ${secure ? "wss" : "ws"}://${host}:${server.address().port}`);
});
