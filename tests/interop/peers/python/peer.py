"""The PyPI package `websockets` as a client of the example servers. Started by ../run.

    python peer.py ECHO_URL MULTICAST_URL MAX_MESSAGE_BYTES [deflate]

The package has an asyncio client and a blocking client over the same protocol layer. Both are used.
"""

import asyncio
import os
import pathlib
import ssl
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect as connect_blocking

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from checks import check, equal, run  # noqa: E402

ECHO, MULTICAST, MAX_MESSAGE = sys.argv[1], sys.argv[2], int(sys.argv[3])
TIMEOUT = 20  # seconds, for each check
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, MAX_MESSAGE]
MULTIBYTE = "κόσμε – Grüße, 日本語, 🦀\U0010ffff\0" * 500


def pattern(size):
    """Repeated random bytes, so that they compress: compressed random bytes of the limit would exceed the limit."""
    return (os.urandom(1021) * (size // 1021 + 1))[:size]


def echo(**options):
    return connect(ECHO, max_size=None, **{"open_timeout": 10, "close_timeout": 10, **options})


def echo_blocking(**options):
    if ECHO.startswith("wss"):
        # The client reads and writes in two threads, and sometimes loses data that arrives with TLS 1.3 tickets.
        options["ssl"] = ssl.create_default_context()
        options["ssl"].maximum_version = ssl.TLSVersion.TLSv1_2
    return connect_blocking(ECHO, max_size=None, **{"open_timeout": 10, "close_timeout": 10, **options})


async def closed_by_server(ws):
    """The close code that the server sent; skips messages before it. 1006 if there was no close frame."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


@check("text is echoed as text and binary as binary, also if empty")
async def types():
    async with echo() as ws:
        for message in ("Hello", bytes(range(256)), "", b"", MULTIBYTE):
            await ws.send(message)
            equal(await ws.recv(), message)


@check("messages of every length encoding are echoed unchanged")
async def sizes():
    async with echo() as ws:
        for size in SIZES:
            payload = pattern(size)
            await ws.send(payload)
            equal(await ws.recv(), payload)


@check("a fragmented message is echoed as one")
async def fragments():
    async with echo() as ws:
        await ws.send(["one, ", "", "two, ", "thréé"])
        equal(await ws.recv(), "one, two, thréé")
        await ws.send([b"\x00\x01", b"\x02", b""])
        equal(await ws.recv(), b"\x00\x01\x02")


@check("a ping in the middle of 1000 fragments is answered before the message")
async def many_fragments():
    async with echo() as ws:
        pongs = []

        async def fragments():
            for number in range(1000):
                if number == 500:
                    pongs.append(await ws.ping(b"between"))
                yield str(number)

        await ws.send(fragments())
        equal(await ws.recv(), "".join(map(str, range(1000))))
        if not pongs[0].done():
            raise AssertionError("no pong before the echo of the message")


@check("a ping gets a pong with its payload")
async def ping():
    async with echo() as ws:
        for payload in (b"", b"are you there?", os.urandom(125)):
            await (await ws.ping(payload))  # resolved only by a pong with the same payload


@check("keepalive pings of the library are answered")
async def keepalive():
    async with echo(ping_interval=0.1, ping_timeout=2) as ws:
        await asyncio.sleep(0.5)
        if not 0 < ws.latency < 2:
            raise AssertionError(f"no pong: the measured latency is {ws.latency}")
        await ws.send("still here")
        equal(await ws.recv(), "still here")


@check("1000 messages in flight are echoed in order")
async def pipelined():
    async with echo() as ws:
        sent = [f"{number}:" + "x" * (number % 300) for number in range(1000)]
        received = asyncio.create_task(collect(ws, len(sent)))
        for message in sent:
            await ws.send(message)
        equal(await received, sent)


async def collect(ws, count):
    return [await ws.recv() for _ in range(count)]


@check("a client that pauses reading gets all echoes afterwards")
async def paused_reader():
    # 24 MiB exceed the socket buffers of both sides: the server has to pause reading and to resume.
    sent = [os.urandom(1 << 20) for _ in range(24)]
    async with echo(max_queue=1, ping_interval=None) as ws:
        sending = asyncio.create_task(send_all(ws, sent))
        await asyncio.sleep(1)
        equal(await collect(ws, len(sent)), sent)
        await sending


async def send_all(ws, messages):
    for message in messages:
        await ws.send(message)


@check("the first offered subprotocol is selected")
async def subprotocol():
    async with echo(subprotocols=["v2.example", "v1.example"]) as ws:
        equal(ws.subprotocol, "v2.example")
    async with echo() as ws:
        equal(ws.subprotocol, None)


@check("a close is clean and gets a reply with its code")
async def closes():
    for code in (1000, 1001, 1011, 3000, 4999):
        async with echo() as ws:
            started = time.monotonic()
            await ws.close(code, "that is all")
            equal(ws.close_code, code)  # as received: 1006 without a close frame
            if time.monotonic() - started > 2:
                raise AssertionError(f"the server disconnected after {time.monotonic() - started:.1f} s")


@check("a close without a code gets a reply without a code")
async def close_without_code():
    async with echo() as ws:
        ws.transport.write(bytes.fromhex("8880 00000000"))
        equal(await closed_by_server(ws), 1005)


for title, frame, code in (
    ("an unmasked frame", "8102 4869", 1002),
    ("a reserved opcode", "8380 00000000", 1002),
    ("a close payload of one byte", "8881 00000000 00", 1002),
    ("a close reason that is not UTF-8", "8884 00000000 03e8 c080", 1007),
    ("text that is not UTF-8", "8182 00000000 c080", 1007),
    ("text that is not UTF-8 in an incomplete frame", "81ff 0000000000010000 00000000 eda080", 1007),
):

    @check(f"{title} is refused with {code}")
    async def refused(frame=frame, code=code):
        async with echo(close_timeout=1) as ws:
            ws.transport.write(bytes.fromhex(frame))
            equal(await asyncio.wait_for(closed_by_server(ws), 5), code)


@check("a message over the limit is refused with 1009")
async def too_big():
    async with echo() as ws:
        try:
            await ws.send(os.urandom(MAX_MESSAGE + 1))
        except ConnectionClosed:
            pass  # the server may refuse the message before it has read all of it
        equal(await closed_by_server(ws), 1009)


@check("200 simultaneous connections each get their own messages")
async def simultaneous_connections():
    async def client(number):
        async with echo() as ws:
            await all_connected.wait()
            await ws.send(f"I am {number}")
            equal(await ws.recv(), f"I am {number}")
        equal(ws.close_code, 1000)

    all_connected = asyncio.Barrier(200)
    await asyncio.gather(*map(client, range(200)))


@check("multicast sends a message to all clients, including the sender")
async def multicast():
    async with connect(MULTICAST) as first, connect(MULTICAST) as second:
        await first.send("to all")
        equal([await first.recv(), await second.recv()], ["to all", "to all"])
        await second.send(b"\x01\x02")
        equal([await first.recv(), await second.recv()], [b"\x01\x02", b"\x01\x02"])


@check("a request without an upgrade is answered with 426")
async def plain_request():
    host, port = ECHO.split("//")[1].rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=True if ECHO.startswith("wss") else None)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    response = (await reader.read()).decode("latin-1")
    writer.close()
    equal(response.splitlines()[0][:12], "HTTP/1.1 426")


@check("the blocking client: types, sizes, fragments, ping, subprotocol, close")
def blocking():
    with echo_blocking(subprotocols=["v2.example"], ping_interval=0.1) as ws:
        equal(ws.subprotocol, "v2.example")
        for message in ("Hello", b"\x00\xff", "", b"", MULTIBYTE, *map(pattern, SIZES)):
            ws.send(message)
            equal(ws.recv(timeout=10), message)
        ws.send(["one, ", "two"])
        equal(ws.recv(timeout=10), "one, two")
        equal(ws.ping(b"are you there?").wait(10), True)
        time.sleep(0.5)
        if not 0 < ws.latency < 2:
            raise AssertionError(f"no pong: the measured latency is {ws.latency}")
        ws.close(4000, "that is all")
        equal(ws.close_code, 4000)


@check("the blocking client: 1000 messages in flight are echoed in order")
def blocking_pipelined():
    with echo_blocking() as ws:
        sent = [f"message {number}" for number in range(1000)]
        for message in sent:
            ws.send(message)
        equal([ws.recv(timeout=10) for _ in sent], sent)


if "deflate" in sys.argv[4:]:
    RECORDS = [f'{{"id":{number},"name":"user{number * 7}","active":true}}' * 20 for number in range(100)]

    @check("deflate: compressed messages, with and without context takeover, and with smaller windows")
    async def deflated():
        for options in ({}, {"server_no_context_takeover": True}, {"client_no_context_takeover": True},
                        {"server_max_window_bits": 9, "client_max_window_bits": 9}):
            factory = ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **options})
            async with echo(extensions=[factory], compression=None) as ws:
                extension, = ws.protocol.extensions
                equal(extension.remote_no_context_takeover, "server_no_context_takeover" in options)
                for record in RECORDS:
                    await ws.send(record)
                    equal(await ws.recv(), record)

    @check("deflate: fragmented compressed messages with pings between the fragments")
    async def deflated_fragments():
        async with echo() as ws:
            equal(len(ws.protocol.extensions), 1)
            for _ in range(3):
                pongs = []

                async def fragments():
                    for record in RECORDS:
                        pongs.append(await ws.ping())
                        yield record

                await ws.send(fragments())
                equal(await ws.recv(), "".join(RECORDS))
                equal(len([await pong for pong in pongs]), len(RECORDS))

    @check("deflate: the blocking client")
    def deflated_blocking():
        with echo_blocking() as ws:
            equal(len(ws.protocol.extensions), 1)
            for record in RECORDS:
                ws.send(record)
            equal([ws.recv(timeout=10) for _ in RECORDS], RECORDS)


def call(body):
    if asyncio.iscoroutinefunction(body):
        asyncio.run(asyncio.wait_for(body(), TIMEOUT))
    else:
        body()  # each receive has a timeout, and ../run has a timeout for the peer


run("python", call)
