"""Clients that ask for too much of the example `action_cable`. Started by ./run.

    python3 abuse.py URL PID

Each check looks at the memory of the server, PID, which has to stay within bounds.
"""

import json
import os
import pathlib
import socket
import struct
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).resolve().parent / "peers"))
from checks import check, equal, run  # noqa: E402

URL, PID = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
EXTENDED = "actioncable-v1-ext-json"
MIB = 1 << 20


class Client:
    """A WebSocket that sends and receives JSON. Its key and its masks are constant."""

    def __init__(self, protocol="actioncable-v1-json", query=""):
        self.socket = socket.create_connection((URL.hostname, URL.port), 20)
        target = f"{URL.path}?{query}"
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {URL.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode())
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        equal(head.split()[1], b"101")
        self.welcome = self.next()
        equal(self.welcome["type"], "welcome")

    def fill(self):
        octets = self.socket.recv(1 << 16)
        if not octets:
            raise EOFError("the connection has ended")
        self.buffer += octets

    def frame(self):
        """The opcode and the payload of the next frame."""
        while True:
            length, start = (self.buffer[1], 2) if len(self.buffer) > 1 else (0, 99)
            if length == 126:
                length, start = (struct.unpack(">H", self.buffer[2:4])[0], 4) if len(self.buffer) > 3 else (0, 99)
            elif length == 127:
                length, start = (struct.unpack(">Q", self.buffer[2:10])[0], 10) if len(self.buffer) > 9 else (0, 99)
            if len(self.buffer) >= start + length:
                opcode, payload = self.buffer[0] & 15, self.buffer[start:start + length]
                self.buffer = self.buffer[start + length:]
                return opcode, payload
            self.fill()

    def next(self):
        """The next message that is no ping of the cable."""
        while True:
            opcode, payload = self.frame()
            if opcode == 1 and not payload.startswith(b'{"type":"ping"'):
                return json.loads(payload)
            if opcode == 8:
                raise EOFError(struct.unpack(">H", payload[:2])[0])

    @staticmethod
    def framed(text):
        octets = text.encode()
        size = len(octets)
        length = struct.pack(">B", 128 | size) if size < 126 else (
            struct.pack(">BH", 254, size) if size < 65_536 else struct.pack(">BQ", 255, size))
        return b"\x81" + length + bytes(4) + octets

    def send(self, **command):
        self.socket.sendall(self.framed(json.dumps(command)))

    def subscribe(self, **params):
        self.send(command="subscribe", identifier=json.dumps({"channel": "ChatChannel", **params}))


def memory():
    """Bytes in memory of the server."""
    return int(pathlib.Path(f"/proc/{PID}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grows_by_at_most(limit, before):
    grown = memory() - before
    if grown > limit:
        raise AssertionError(f"the server has grown by {grown / MIB:.1f} MiB, more than {limit / MIB:.0f}")


def is_alive():
    client = Client()
    client.subscribe(room="alive")
    equal(client.next()["type"], "confirm_subscription")
    client.socket.close()


@check("of 10,000 subscriptions of a connection, 1,000 are confirmed")
def subscriptions():
    before, client = memory(), Client()
    for start in range(0, 10_000, 100):
        commands = [{"command": "subscribe", "identifier": json.dumps({"channel": "ChatChannel", "room": room})}
                    for room in range(start, start + 100)]
        client.socket.sendall(b"".join(client.framed(json.dumps(command)) for command in commands))
    kinds = [client.next()["type"] for _ in range(10_000)]
    equal((kinds.count("confirm_subscription"), kinds.count("reject_subscription")), (1000, 9000))
    grows_by_at_most(16 * MIB, before)
    client.socket.close()
    is_alive()


@check("an identifier of 1 MB ends the connection with 1009")
def long_identifier():
    before, client = memory(), Client()
    client.subscribe(room="x" * 1_000_000)
    try:
        raise AssertionError(client.next())
    except EOFError as ended:
        equal(ended.args, (1009,))
    grows_by_at_most(8 * MIB, before)
    is_alive()


@check("deep JSON is ignored, and the connection goes on")
def deep():
    client = Client(EXTENDED)
    nested = "[" * 20_000 + "]" * 20_000
    for field in ("identifier", "data", "history", "presence", "other"):
        for command in ("subscribe", "message", "whisper", "history", "join", "presence"):
            client.socket.sendall(client.framed(f'{{"command":"{command}","identifier":"i","{field}":{nested}}}'))
            client.socket.sendall(client.framed(f'{{"command":"{command}","identifier":{json.dumps(nested)}}}'))
    client.send(command="ping")
    equal(client.next(), {"type": "pong"})
    client.socket.close()


@check("a client that does not read is disconnected, and the others get everything")
def slow_reader():
    before = memory()
    slow, reader, speaker = Client(), Client(), Client()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for client in (slow, reader, speaker):
        client.subscribe(room="flood")
    equal([client.next()["type"] for client in (reader, speaker)], ["confirm_subscription"] * 2)
    identifier, count, largest = json.dumps({"channel": "ChatChannel", "room": "flood"}), 3000, before
    for number in range(count):
        data = json.dumps({"action": "speak", "body": f"{number} {'x' * 32_000}"})
        speaker.send(command="message", identifier=identifier, data=data)
        for client in (reader, speaker):
            equal(client.next()["message"]["body"].split()[0], str(number))
        largest = max(largest, memory()) if number % 100 == 0 else largest
    if largest - before > 64 * MIB:
        raise AssertionError(f"the server has grown by {(largest - before) / MIB:.1f} MiB")
    try:
        slow.socket.settimeout(10)
        while True:
            slow.fill()
            slow.buffer = b""
    except (EOFError, ConnectionResetError):
        pass
    for client in (slow, reader, speaker):
        client.socket.close()


@check("20,000 sessions that are cut and left are bounded")
def sessions():
    before = memory()
    for number in range(20_000):
        client = Client(EXTENDED, f"user={number}")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
    time.sleep(0.5)
    grows_by_at_most(48 * MIB, before)
    is_alive()


run("abuse")
