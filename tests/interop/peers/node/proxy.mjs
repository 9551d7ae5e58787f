// An HTTP proxy that is spoken to by TLS, by Node's own modules; started by ../client/peer.py. It wants a user and a password.
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
  for (const [one, other] of [[server, client], [client, server]]) one.on('error', () => other.destroy());
});
proxy.listen(0, '127.0.0.1', () => console.log(`https://user:pass@127.0.0.1:${proxy.address().port}`));
