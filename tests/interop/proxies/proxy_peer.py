"""A client of the server example behind a proxy, with Python's http.client, websockets, and curl for HTTP/2. Started
by ./run.

    python proxy_peer.py NAME URL http|tcp secure|insecure

`http`: the proxy names the address of the client in headers of HTTP. `tcp`: also its port, by the PROXY protocol.
The last argument says whether the server must take the client's connection for secure.
"""

import asyncio
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

from websockets.asyncio.client import connect

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402

NAME, URL = sys.argv[1], urllib.parse.urlsplit(sys.argv[2])
HTTP_MODE, SECURE = sys.argv[3] == "http", sys.argv[4] == "secure"
TLS = ssl.create_default_context() if URL.scheme == "https" else None
TIMEOUT = 5  # seconds, for each read and write
PROMPT = 1  # seconds, until what is published must have arrived
MIB = 1 << 20
SPOOFED = {"Forwarded": "for=6.6.6.6;proto=wss", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "wss"}


def http_connection(client="127.0.0.2"):
    """A connection from an address of this machine. The server sees the proxy on 127.0.0.1."""
    options = {"timeout": TIMEOUT, "source_address": (client, 0)}
    if TLS:
        return http.client.HTTPSConnection(URL.hostname, URL.port, context=TLS, **options)
    return http.client.HTTPConnection(URL.hostname, URL.port, **options)


def answer(connection, method, target, body=None, headers=None):
    """The status and the body of the response."""
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read()


def publish(topic, text):
    """Publishes on a connection of its own. Returns when it began."""
    began = time.monotonic()
    connection = http_connection("127.0.0.9")
    equal(answer(connection, "POST", f"/topics/{topic}", text)[0], 202)
    connection.close()
    return began


def equal_whoami(connection, headers=None):
    status, body = answer(connection, "GET", "/whoami", headers=headers)
    address, port = connection.sock.getsockname()
    expected = {"peer": f"{address}:{0 if HTTP_MODE else port}", "secure": SECURE}
    equal((status, json.loads(body)), (200, expected))


@check("server knows the address of each client, and whether it uses TLS")
def whoami():
    connections = [http_connection(f"127.0.0.{number}") for number in range(2, 8)]
    # In turn, because a proxy may send requests of several clients on one connection to the server.
    for connection in connections * 3:
        equal_whoami(connection)
    for connection in connections:
        connection.close()


if HTTP_MODE:

    @check("headers of the client that name another client are not believed")
    def spoofed():
        connection = http_connection("127.0.0.8")
        equal_whoami(connection, SPOOFED)
        for name, value in SPOOFED.items():
            equal_whoami(connection, {name: value})
        connection.close()


@check("body of 1 MiB is echoed, with its length and in chunks")
def large_body():
    sent = os.urandom(MIB)
    connection = http_connection()
    equal(answer(connection, "POST", "/echo", sent) == (200, sent), True)
    # http.client sends a body without a length in chunks.
    equal(answer(connection, "POST", "/echo", iter([sent[:1000], sent[1000:]])) == (200, sent), True)
    connection.close()


@check("50 requests are answered on one connection")
def keep_alive():
    connection = http_connection()
    connection.connect()
    address = connection.sock.getsockname()
    for number in range(50):
        equal(answer(connection, "POST", "/echo", f"request {number}"), (200, f"request {number}".encode()))
        equal(connection.sock is not None and connection.sock.getsockname(), address)
    connection.close()


@check("WebSocket echoes text, binary and 1 MiB, and stays open in 3 s of silence")
def websocket():
    asyncio.run(echo_messages())


async def echo_messages():
    """Not with `websockets.sync`: its threads read and write one TLS connection at a time, so Python's ssl hangs in
    about one of 1,000 handshakes of TLS 1.3, with any server that sends session tickets."""
    scheme = "wss" if TLS else "ws"
    options = {"ssl": TLS} if TLS else {}
    async with connect(f"{scheme}://{URL.netloc}/echo", local_addr=("127.0.0.2", 0), proxy=None, ping_interval=None,
                       max_size=2 * MIB, open_timeout=TIMEOUT, close_timeout=TIMEOUT, **options) as connection:

        async def echo(message):
            await connection.send(message)
            equal(await asyncio.wait_for(connection.recv(), TIMEOUT) == message, True)

        for message in ("text", "é" * 1000, "", b"\0\xff", b"", os.urandom(MIB), "x" * MIB):
            await echo(message)
        await asyncio.sleep(3)
        await echo("after the silence")
    equal(connection.close_code, 1000)


def next_event(reader):
    """The id and the data of the next event. Comments and `retry` are skipped."""
    event = {}
    while True:
        line = reader.readline()
        equal(line != b"", True)  # else the stream has ended
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name:
            event[name] = value
        elif "data" in event:
            return event["id"], event["data"]


def equal_next(reader, expected, began):
    """Returns the id of the next event, which must have arrived in time."""
    event_id, data = next_event(reader)
    equal((data, time.monotonic() - began < PROMPT), (expected, True))
    return event_id


def open_events(topic, headers=None):
    connection = http_connection()
    connection.request("GET", f"/topics/{topic}/events", headers=headers or {})
    response = connection.getresponse()
    equal((response.status, response.getheader("Content-Type")), (200, "text/event-stream"))
    return connection, response


@check("events arrive one by one while the stream stays open, and go on after Last-Event-ID")
def events():
    topic = uuid.uuid4().hex
    connection, stream = open_events(topic)
    ids = []
    for number in range(3):
        ids.append(equal_next(stream, f"event {number}", publish(topic, f"event {number}")))
        time.sleep(0.2)
    stream.close()
    connection.close()
    publish(topic, "missed")
    began = time.monotonic()
    connection, stream = open_events(topic, {"Last-Event-ID": ids[1]})
    equal(equal_next(stream, "event 2", began), ids[2])
    equal_next(stream, "missed", began)
    equal_next(stream, "new", publish(topic, "new"))
    stream.close()
    connection.close()


@check("long poll is answered when a message is published")
def long_poll():
    topic = uuid.uuid4().hex
    arrived = []

    def poll():
        connection = http_connection()
        arrived.append((answer(connection, "GET", f"/topics/{topic}/poll?timeout=20000"), time.monotonic()))
        connection.close()

    poller = threading.Thread(target=poll, daemon=True)
    poller.start()
    time.sleep(0.7)
    equal(arrived, [])
    began = publish(topic, "news")
    poller.join(TIMEOUT)
    (status, body), ended = arrived[0]
    equal((status, json.loads(body)["data"], ended - began < PROMPT), (200, "news", True))


if HTTP_MODE and TLS:

    @check("client with HTTP/2 is known, and gets events one by one")
    def http_2():
        def command(target, *more):
            return ["curl", "--silent", "--http2", "--no-buffer", "--max-time", str(TIMEOUT),
                    "--interface", "127.0.0.3", *more, f"{URL.geturl()}{target}"]

        done = subprocess.run(command("/whoami", "--write-out", "\n%{http_version}"), capture_output=True, check=True)
        body, version = done.stdout.splitlines()
        equal((version, json.loads(body)), (b"2", {"peer": "127.0.0.3:0", "secure": SECURE}))
        topic = uuid.uuid4().hex
        with subprocess.Popen(command(f"/topics/{topic}/events"), stdout=subprocess.PIPE) as curl:
            try:
                equal(curl.stdout.readline(), b"retry: 2000\n")
                for number in range(3):
                    equal_next(curl.stdout, f"event {number}", publish(topic, f"event {number}"))
            finally:
                curl.kill()


run(NAME)
