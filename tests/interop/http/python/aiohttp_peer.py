"""The PyPI packages `aiohttp` and `websockets` as clients of the server example. Started by ../run.

    python aiohttp_peer.py URL
"""

import asyncio
import os
import pathlib
import ssl
import sys
import time

import aiohttp
from websockets.asyncio.client import connect

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "peers")]
import site_files  # noqa: E402
from checks import check, equal, run  # noqa: E402

BASE = sys.argv[1].rstrip("/")
SECURE = BASE.startswith("https")
SOCKETS = BASE.replace("http", "ws", 1)
MIB = 1 << 20
SIZES = [0, 1, 1024, MIB - 1, MIB]
TIMEOUT = 60  # seconds, for each check


def client(connections=1):
    """A session with so many connections."""
    context = ssl.create_default_context() if SECURE else True
    connector = aiohttp.TCPConnector(limit=connections, ssl=context)
    return aiohttp.ClientSession(BASE, connector=connector, headers={"Accept-Encoding": "gzip"})


async def pieces(body):
    """A body whose length aiohttp does not know: it is sent in chunks."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


async def peer(session):
    async with session.get("/whoami") as answer:
        return (await answer.json())["peer"]


@check("GET and HEAD of the page")
async def page():
    async with client() as session, session.get("/") as get, session.head("/") as head:
        text = await get.text()
        equal((get.status, head.status, "One port" in text, await head.read()), (200, 200, True, b""))
        equal(int(head.headers["Content-Length"]), len(text.encode()))


@check("bodies are echoed with their type, by length and in chunks, with and without Expect")
async def echo():
    async with client() as session:
        for size in SIZES:
            body = os.urandom(size)
            for chunked in (False, True):
                for expect in (False, True):
                    data, headers = pieces(body) if chunked else body, {"Content-Type": "image/x-test"}
                    async with session.post("/echo", data=data, headers=headers, expect100=expect) as answer:
                        equal((answer.status, answer.headers["Content-Type"]), (200, "image/x-test"))
                        equal(await answer.read() == body, True)


@check("body over 1 MiB is refused with 413, also if aiohttp waits for 100")
async def too_large():
    async with client() as session:
        for data in (bytes(MIB + 1), bytes(3 * MIB)):
            for expect in (True, False):
                async with session.post("/echo", data=data, expect100=expect) as answer:
                    equal(answer.status, 413)
        async with session.post("/echo", data=pieces(bytes(MIB + 1))) as answer:
            equal(answer.status, 413)


@check("any method reaches a route for all methods, and others are refused with 405 and Allow")
async def methods():
    async with client() as session:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LINK"):
            async with session.request(method, "/echo", data=method) as answer:
                equal(await answer.text(), method)
        async with session.delete("/topics/a") as answer:
            equal((answer.status, answer.headers["Allow"]), (405, "GET, HEAD, OPTIONS, POST"))
        async with session.options("/topics/a") as answer:
            equal((answer.status, answer.headers["Allow"]), (204, "GET, HEAD, OPTIONS, POST"))


@check("1,000 requests use one connection")
async def keep_alive():
    async with client() as session:
        equal(len({await peer(session) for _ in range(1000)}), 1)


@check("upload of 50 MiB in chunks is counted")
async def upload():
    async with client() as session, session.post("/count", data=pieces(bytes(50 * MIB)), expect100=True) as answer:
        equal((answer.status, await answer.text()), (200, str(50 * MIB)))


@check("streams of 0 B, 1 B, 10 MiB and 300 MiB arrive whole")
async def streams():
    async with client() as session:
        for size in (0, 1, 10 * MIB, 300 * MIB):
            async with session.get(f"/stream/{size}") as answer:
                received = 0
                async for part in answer.content.iter_any():
                    received += len(part)
                equal((answer.status, received), (200, size))


@check("HTTP/1.0: streams end with the connection")
async def http_10():
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context() if SECURE else True)
    async with aiohttp.ClientSession(BASE, connector=connector, version=aiohttp.HttpVersion10) as session:
        async with session.get("/stream/1000000") as answer:
            equal(await answer.read() == b"7" * 1_000_000, True)
        async with session.post("/echo", data=b"body") as answer:
            equal(await answer.read(), b"body")


@check("files: conditions, ranges, coding")
async def files():
    data = site_files.data()
    async with client() as session:
        async with session.get("/files/data.bin") as whole:
            equal(await whole.read() == data, True)
        async with session.get("/files/data.bin", headers={"If-None-Match": whole.headers["ETag"]}) as answer:
            equal(answer.status, 304)
        headers = {"Range": "bytes=-7", "If-Range": whole.headers["ETag"]}
        async with session.get("/files/data.bin", headers=headers) as answer:
            equal((answer.status, await answer.read()), (206, data[-7:]))
        async with session.get("/files/app.js") as answer:
            equal((answer.headers["Content-Encoding"], await answer.text()), ("gzip", site_files.COMPRESSED))


@check("20 replies of another thread are awaited side by side, and 500 short ones")
async def slow():
    async def late(milliseconds):
        async with session.get(f"/slow?ms={milliseconds}") as answer:
            return await answer.text()

    async with client(500) as session:
        started = time.monotonic()
        equal(await asyncio.gather(*(late(500) for _ in range(20))), ["late"] * 20)
        equal(time.monotonic() - started < 5, True)
        equal(await asyncio.gather(*(late(number % 7) for number in range(500))), ["late"] * 500)


@check("aiohttp's WebSocket is echoed to on the port of HTTP, before and after other requests")
async def websocket():
    async with client(2) as session:
        async with session.get("/health"), session.ws_connect("/echo") as ws:
            for message in ("text", "ü" * 50_000):
                await ws.send_str(message)
                equal(await ws.receive_str(timeout=10), message)
            await ws.send_bytes(bytes(70_000))
            equal(await ws.receive_bytes(timeout=10) == bytes(70_000), True)
        equal(ws.close_code, 1000)
        equal(bool(await peer(session)), True)


@check("post to a topic reaches its WebSocket subscribers, and those of no other topic")
async def topics():
    async def post(topic, text):
        async with session.post(f"/topics/{topic}", data=text.encode()) as answer:
            equal(answer.status, 202)

    async with client() as session, connect(f"{SOCKETS}/topics/a") as first, \
            connect(f"{SOCKETS}/topics/a") as second, connect(f"{SOCKETS}/topics/%C3%BC") as other:
        await post("a", "Grüße")
        await post("%C3%BC", "other")
        equal([await first.recv(), await second.recv(), await other.recv()], ["Grüße", "Grüße", "other"])
        await first.send("from a socket")
        equal([await first.recv(), await second.recv()], ["from a socket"] * 2)
        for number in range(200):
            await post("a", str(number))
        for ws in (first, second):
            equal([await ws.recv() for _ in range(200)], [str(number) for number in range(200)])


@check("websockets' messages are echoed on the port of HTTP")
async def echoed():
    async with connect(f"{SOCKETS}/echo") as ws:
        for message in ("Hello", b"\x00\xff", "", b"", "ü" * 100_000):
            await ws.send(message)
            equal(await ws.recv(), message)
    equal(ws.close_code, 1000)


run("aiohttp-https" if SECURE else "aiohttp", lambda body: asyncio.run(asyncio.wait_for(body(), TIMEOUT)))
