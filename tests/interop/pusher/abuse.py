"""Clients and programs that ask for too much of the example `pusher`. Started by ./run.

    python3 abuse.py URL PID
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).resolve().parent / "peers"))
from checks import check, equal, run  # noqa: E402
from memory import ProcessMemory  # noqa: E402

URL, SERVER = urllib.parse.urlsplit(sys.argv[1]), ProcessMemory(int(sys.argv[2]))
MIB = 1 << 20


class Client:
    """A WebSocket with as little as is needed."""

    def __init__(self):
        self.socket = socket.create_connection((URL.hostname, URL.port), 20)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET /app/key?protocol=7 HTTP/1.1\r\nHost: {URL.netloc}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
                             ).encode())
        self.file = self.socket.makefile("rb")
        while self.file.readline() != b"\r\n":
            pass
        equal(self.next()["event"], "pusher:connection_established")

    def send(self, text):
        body = text.encode()
        length = len(body)
        head = bytes([0x81, 0x80 | length]) if length < 126 else struct.pack(">BBH", 0x81, 0x80 | 126, length) \
            if length < 65536 else struct.pack(">BBQ", 0x81, 0x80 | 127, length)
        self.socket.sendall(head + bytes(4) + body)

    def frame(self):
        head = self.file.read(2)
        if len(head) < 2:
            raise EOFError
        length = head[1]
        if length >= 126:
            length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
        return head[0] & 15, self.file.read(length)

    def next(self):
        kind, body = self.frame()
        if kind == 8:
            raise EOFError(int.from_bytes(body[:2], "big"))
        return json.loads(body)

    def subscribe(self, channel):
        self.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}))


def post(body, connection=None):
    body = json.dumps(body)
    query = (f"auth_key=key&auth_timestamp={int(time.time())}&auth_version=1.0"
             f"&body_md5={hashlib.md5(body.encode()).hexdigest()}")
    signature = hmac.new(b"secret", f"POST\n/apps/1/events\n{query}".encode(), hashlib.sha256).hexdigest()
    connection = connection or http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
    connection.request("POST", f"/apps/1/events?{query}&auth_signature={signature}", body)
    response = connection.getresponse()
    response.read()
    return response.status


@check("10,000 channels on a connection are bounded, and others are served")
def channels():
    # Once for the tables of the server.
    for _ in range(2):
        before, client = SERVER.memory(), Client()
        answers = {"pusher_internal:subscription_succeeded": 0, "pusher:subscription_error": 0}
        for number in range(10_000):
            client.subscribe("x" * 150 + str(number))
            answers[client.next()["event"]] += 1
        equal(answers, {"pusher_internal:subscription_succeeded": 1000, "pusher:subscription_error": 9000})
        client.socket.close()
    grown = SERVER.memory() - before
    assert grown < 4 * MIB, f"the server has grown by {grown / MIB:.1f} MiB"
    other = Client()
    other.subscribe("a")
    equal(other.next()["event"], "pusher_internal:subscription_succeeded")


@check("deep and long messages are refused, and the server goes on")
def deep():
    client = Client()
    for text in ["[" * 60_000, '{"event":' * 5_000,
                 '{"event":"pusher:subscribe","data":' + "[" * 30_000 + "]" * 30_000 + "}"]:
        client.send(text)
        equal(client.next()["event"], "pusher:error")
    client.send("x" * 200_000)
    try:
        while True:
            client.next()
    except EOFError as ended:
        equal(ended.args, (1009,))
    for body in ["[" * 100_000, {"name": "e", "channel": "a", "data": [[]] * 10_000}]:
        equal(post(body), 400)


@check("a reader that is slow is closed, and the others lose nothing")
def slow_reader():
    slow, quick = Client(), Client()
    for client in (slow, quick):
        client.subscribe("big")
        equal(client.next()["event"], "pusher_internal:subscription_succeeded")
    before, received = SERVER.memory(), []

    def read():
        for _ in range(8_000):
            received.append(quick.next()["data"][:4])
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
    most = 0
    for number in range(8_000):
        equal(post({"name": "e", "channel": "big", "data": f"{number:04}" + "x" * 9_996}, connection), 200)
        if number % 100 == 0:
            most = max(most, SERVER.memory() - before)
    reader.join(20)
    equal(received, [f"{number:04}" for number in range(8_000)])
    assert most < 40 * MIB, f"the server has grown by {most / MIB:.1f} MiB"
    print(f"        by {most / MIB:.1f} MiB", flush=True)
    slow.socket.close()


@check("a flood of subscriptions is bounded, and the others are served")
def subscriptions():
    before, client = SERVER.memory(), Client()
    client.socket.setblocking(True)

    def read():
        with contextlib.suppress(OSError, EOFError):
            while True:
                client.frame()
    threading.Thread(target=read, daemon=True).start()
    for _ in range(20_000):
        client.subscribe("x")
        client.send('{"event":"pusher:unsubscribe","data":{"channel":"x"}}')
    other = Client()
    other.subscribe("a")
    equal(other.next()["event"], "pusher_internal:subscription_succeeded")
    grown = SERVER.memory() - before
    assert grown < 16 * MIB, f"the server has grown by {grown / MIB:.1f} MiB"
    client.socket.close()


@check("a flood of the HTTP API is delivered, and its memory is bounded")
def flood():
    client, counts = Client(), []
    client.subscribe("flood")
    client.next()
    before = SERVER.memory()

    def send():
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=20)
        counts.append(sum(post({"name": "e", "channel": "flood", "data": "x" * 1000}, connection) == 200
                          for _ in range(1_000)))
    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for _ in range(8_000):
        equal(client.next()["event"], "e")
    for sender in senders:
        sender.join()
    equal(sum(counts), 8_000)
    grown = SERVER.memory() - before
    assert grown < 16 * MIB, f"the server has grown by {grown / MIB:.1f} MiB"
    client.socket.close()


run("abuse")
