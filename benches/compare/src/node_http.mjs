// Node's own HTTP server.
//
//     node node_http.mjs --http [--listen ADDR]

import { createServer } from "node:http";
import { parseArgs } from "node:util";

function refuse(reason) {
  console.error(reason);
  process.exit(2);
}

function readOptions() {
  try {
    const listen = { type: "string", default: "127.0.0.1:0" };
    return parseArgs({ options: { listen, http: { type: "boolean", default: false } } }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

const options = readOptions();
if (!options.http) {
  refuse("the server speaks HTTP only");
}
const body = Buffer.alloc(100, "x");
const head = { "Content-Type": "text/plain", "Content-Length": body.length };
const server = createServer((request, response) => {
  response.writeHead(200, head);
  response.end(body);
});
// Between the rounds of a measurement no connection is used.
server.keepAliveTimeout = 0;
const colon = options.listen.lastIndexOf(":");
server.listen(Number(options.listen.slice(colon + 1)), options.listen.slice(0, colon), () => {
  const { address, port } = server.address();
  console.error(`listening on http://${address}:${port}`);
});
