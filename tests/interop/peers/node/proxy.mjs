// An HTTPS proxy on Node's own modules that requires a user and a password. Prints its URL. Started by
// ../client/peer.py.
//
//     node proxy.mjs CERTIFICATE KEY

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { connect } from 'node:net';

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const proxy = createServer({ cert, key });
proxy.on('connect', (request, client, head) => {
  const expected = `Basic ${Buffer.from('user:pass').toString('base64')}`;
  if (request.headers['proxy-authorization'] !== expected) {
    return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
  }
  const { hostname, port } = new URL(`http://${request.url}`);
  const server = connect(port, hostname, () => {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    server.write(head);
    server.pipe(client);
    client.pipe(server);
  });
  for (const [socket, other] of [[server, client], [client, server]]) socket.on('error', () => other.destroy());
});
proxy.listen(0, '127.0.0.1', () => console.log(`https://user:pass@127.0.0.1:${proxy.address().port}`));
