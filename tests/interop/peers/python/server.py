"""An echo server on the PyPI package `websockets`, for the client example. Prints its URL. Started by
../client/peer.py.

    python server.py [CERTIFICATE KEY]

Some messages are commands; see `echo`.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve


async def echo(ws):
    async for message in ws:
        if message == "close me":
            await ws.close(4001, "requested")
        elif message == "show request":
            extensions = ", ".join(type(extension).__name__ for extension in ws.protocol.extensions)
            await ws.send(f"{ws.request.path} {ws.request.headers.get('x-token')} {extensions}")
        elif message == "send fragments":
            await ws.send(["one, ", "two, ", "three"])
        else:
            await ws.send(message)


async def main():
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:3])
    async with serve(echo, "127.0.0.1", 0, ssl=context, subprotocols=["b"]) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"{'wss' if context else 'ws'}://127.0.0.1:{port}", flush=True)
        await server.serve_forever()


asyncio.run(main())
