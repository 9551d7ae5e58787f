"""Clients that ask for too much of `socket_io_conformance abuse`. Started by ./run.

    python3 abuse.py URL PID
"""

import http.client
import json
import os
import pathlib
import socket
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = pathlib.Path(sys.argv[0]).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]
from checks import check, equal, run  # noqa: E402
from socket_client import Client  # noqa: E402

URL, PID = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
POLLING = "/socket.io/?EIO=4&transport=polling"
MIB = 1 << 20


def memory():
    """Bytes in memory of the server."""
    return int(pathlib.Path(f"/proc/{PID}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grows_by_at_most(limit, before):
    grown = memory() - before
    if grown > limit:
        raise AssertionError(f"the server has grown by {grown / MIB:.1f} MiB, more than {limit / MIB:.0f}")


def request(method, target, body=None, connection=None, headers=None):
    connection = connection or http.client.HTTPConnection(URL.hostname, URL.port, timeout=10)
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def counts():
    client = Client(sys.argv[1])
    client.join()
    answer, = client.ask("counts")
    client.socket.close()
    return answer


def until_alone():
    """Waits until the sessions of others are gone."""
    last = time.monotonic() + 15
    while (found := counts()["connections"]) > 1 and time.monotonic() < last:
        time.sleep(0.1)
    equal(found, 1)


@check("10,000 abandoned polling sessions are gone after interval and time-out, and their memory is given back")
def abandoned():
    until_alone()
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=10)
    before = memory()
    for _ in range(10_000):
        equal(request("GET", POLLING, connection=connection)[0], 200)
    connection.close()
    until_alone()
    # Once for the pools and tables of the server.
    time.sleep(5)
    first = memory()
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=10)
    for _ in range(10_000):
        request("GET", POLLING, connection=connection)
    connection.close()
    until_alone()
    time.sleep(5)
    # A leak of 1 KiB for each would be 10 MiB. How many there are at a time depends on the speed of the machine.
    grows_by_at_most(8 * MIB, first)
    grows_by_at_most(24 * MIB, before)


@check("packets without a place close the client, and others are served")
def packets():
    for packet in ["9", "4", "49", "42", "42[]", '42["connect"]', "42[null]", "4511-[1]", "4" + "[" * 90_000, "2"]:
        client = Client(sys.argv[1])
        client.join()
        client.send(packet)
        try:
            while True:
                client.next()
        except EOFError as ended:
            equal(ended.args, (1000,))
    client = Client(sys.argv[1])
    client.join()
    deep = "[" * 40_000 + "]" * 40_000
    client.send(f'420["echo",{deep}]')
    equal(client.next(), f"430[{deep}]")
    client.socket.close()


@check("a client that does not read is closed, and memory stays bounded")
def slow_reader():
    before, client, other = memory(), Client(sys.argv[1]), Client(sys.argv[1])
    client.join()
    client.ask("join", "slow")
    other.join()
    for _ in range(300):
        other.ask("emit", {"to": "slow", "event": "e", "fill": 50_000})
    grows_by_at_most(24 * MIB, before)
    equal(other.ask("room-size", "slow"), [0])
    client.socket.close()
    other.socket.close()


@check("a client that does not poll is closed, and memory stays bounded")
def slow_poller():
    before, other = memory(), Client(sys.argv[1])
    other.join()
    sid = json.loads(request("GET", POLLING)[1][1:])["sid"]
    for packet in ("40", '42["join","slow"]'):
        equal(request("POST", f"{POLLING}&sid={sid}", packet)[0], 200)
    equal(other.ask("room-size", "slow"), [1])
    for _ in range(100):
        other.ask("emit", {"to": "slow", "event": "e", "fill": 50_000})
    equal(other.ask("room-size", "slow"), [0])
    grows_by_at_most(24 * MIB, before)
    equal(request("POST", f"{POLLING}&sid={sid}", "3")[0], 400)
    other.socket.close()


@check("a recovery id gives one live socket")
def recovered_once():
    other, client = Client(sys.argv[1]), Client(sys.argv[1])
    other.join()
    known = client.join()
    client.ask("join", "kept")
    other.ask("emit", {"to": "kept", "event": "e", "args": [1]})
    offset = json.loads(client.next()[2:])[-1]
    client.socket.shutdown(socket.SHUT_RDWR)
    time.sleep(0.2)
    other.ask("emit", {"to": "kept", "event": "e", "args": [2]})
    auth = json.dumps({"pid": known["pid"], "offset": offset})
    again, too = Client(sys.argv[1]), Client(sys.argv[1])
    equal(again.join(auth)["sid"], known["sid"])
    who, = again.ask("whoami")
    equal((who["recovered"], who["rooms"]), (True, sorted([known["sid"], "kept"])))
    assert too.join(auth)["sid"] != known["sid"]
    equal(other.ask("room-size", "kept"), [1])


@check("a second WebSocket for a session is closed, and the first goes on")
def second_websocket():
    sid = json.loads(request("GET", POLLING)[1][1:])["sid"]
    target = f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
    first = Client(sys.argv[1], target)
    first.send("2probe")
    equal(first.next(), "3probe")
    second = Client(sys.argv[1], target)
    try:
        raise AssertionError(second.next())
    except EOFError:
        pass
    first.send("5")
    first.send("40")
    assert first.next().startswith("40{")
    first.socket.close()


@check("bodies and messages over the limit are refused")
def too_long():
    sid = json.loads(request("GET", POLLING)[1][1:])["sid"]
    equal(request("POST", f"{POLLING}&sid={sid}", "4" + "x" * 100_000)[0], 413)
    client = Client(sys.argv[1])
    client.join()
    client.send("4" + "x" * 100_000)
    try:
        while True:
            client.next()
    except EOFError as ended:
        equal(ended.args, (1009,))


@check("only pages of the allowed origin may read")
def origins():
    for origin, is_allowed in (("http://good.test", True), ("http://bad.test", False)):
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=10)
        connection.request("GET", POLLING, headers={"Origin": origin})
        response = connection.getresponse()
        response.read()
        allowed = response.getheader("Access-Control-Allow-Origin")
        equal(allowed, origin if is_allowed else None)


run("abuse")
