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

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]
from cable_client import Client  # noqa: E402
from checks import check, equal, run  # noqa: E402

URL, PID = sys.argv[1], int(sys.argv[2])
EXTENDED = "actioncable-v1-ext-json"
MIB = 1 << 20


def memory():
    """Bytes in memory of the server."""
    return int(pathlib.Path(f"/proc/{PID}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grows_by_at_most(limit, before):
    grown = memory() - before
    if grown > limit:
        raise AssertionError(f"the server has grown by {grown / MIB:.1f} MiB, more than {limit / MIB:.0f}")


def is_alive():
    client = Client(URL)
    client.subscribe(room="alive")
    equal(client.next()["type"], "confirm_subscription")
    client.socket.close()


@check("of 10,000 subscriptions of a connection, 1,000 are confirmed")
def subscriptions():
    before, client = memory(), Client(URL)
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
    before, client = memory(), Client(URL)
    client.subscribe(room="x" * 1_000_000)
    try:
        raise AssertionError(client.next())
    except EOFError as ended:
        equal(ended.args, (1009,))
    grows_by_at_most(8 * MIB, before)
    is_alive()


@check("deep JSON is ignored, and the connection goes on")
def deep():
    client = Client(URL, EXTENDED)
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
    slow, reader, speaker = Client(URL), Client(URL), Client(URL)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for client in (slow, reader, speaker):
        client.subscribe(room="flood")
    equal([client.next()["type"] for client in (reader, speaker)], ["confirm_subscription"] * 2)
    count, largest = 3000, before
    for number in range(count):
        speaker.perform("speak", "flood", body=f"{number} {'x' * 32_000}")
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
        client = Client(URL, EXTENDED, f"user={number}")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
    time.sleep(0.5)
    grows_by_at_most(48 * MIB, before)
    is_alive()


run("abuse")
