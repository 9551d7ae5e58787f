"""Requests that never end, are too much, or mean two things at once."""

import re
import time

from attacker import TEXT, Client, Cut, frame, request
from registry import check


def status_of(server, data):
    with Client(server.address, upgrade=False) as client:
        try:
            client.send(data)
        except Cut:
            pass  # refused while it was said; there may be an answer all the same
        return client.answer()


def refused(server, data, *statuses):
    status, head = status_of(server, data)
    allowed = statuses or range(400, 500)
    if status not in allowed and (statuses or status != 0):
        raise AssertionError(f"answered {head[:60]!r}")


def not_opened(server, data):
    """Refused, or cut without a word; but never opened."""
    status, head = status_of(server, data)
    if status == 101 or 200 <= status < 400:
        raise AssertionError(f"answered {head[:60]!r}")


@check("a connection that says nothing is cut", waits=True)
def silent_connection_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.ends_within(15)


@check("a request that drips is cut: a deadline that no byte moves", waits=True)
def slow_handshake_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        client.ends_within(15, b"x")


@check("a request that stops half-way is cut", waits=True)
def stalled_handshake_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.send(request()[:-20])
        client.ends_within(15)


@check("a header without end is refused", grows=8)
def endless_header_bounded(server):
    with Client(server.address, upgrade=False) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        try:
            for _ in range(1000):
                client.send(b"x" * 4096)
        except Cut:
            return
        if client.answer()[0] not in (0, 431):
            raise AssertionError("taken")


@check("a header line of 64 KiB is refused")
def header_line_64k_refused(server):
    refused(server, request(f"X: {'x' * 65536}"), 431)


@check("64 KiB of headers are refused")
def headers_64k_refused(server):
    refused(server, request(*[f"X-{number}: {'x' * 1000}" for number in range(64)]), 431)


@check("a long target is refused")
def long_target_refused(server):
    refused(server, request(target="/" + "x" * 20_000), 414)


@check("two thousand headers are refused")
def headers_2000_refused(server):
    refused(server, request(*[f"X-{number}: y" for number in range(2000)]), 431)


@check("lists that are made to be slow to read are answered at once")
def extension_header_flood(server):
    floods = ["a," * 7000, "," * 14000, "a;" * 7000, "a; b=\"" + "\\" * 7000, " \t" * 7000 + "x", "a=" * 7000,
              "permessage-deflate; client_max_window_bits=" + "9" * 7000, "permessage-deflate," * 600]
    for flood in floods:
        for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection"):
            began = time.monotonic()
            with Client(server.address, upgrade=False) as client:
                client.send(request(f"{name}: {flood}"))
                client.answer()
            if time.monotonic() - began > 1:
                raise AssertionError(f"{name}: {flood[:20]}… takes {time.monotonic() - began:.1f} s")


GOOD = request()
MALFORMED = {
    "a bare CR": GOOD.replace(b"Host: localhost", b"Host: local\rhost"),
    "a bare LF": GOOD.replace(b"\r\nUpgrade", b"\nUpgrade"),
    "a NUL in a header": GOOD.replace(b"localhost", b"local\0host"),
    "a NUL in the target": GOOD.replace(b"GET /", b"GET /\0"),
    "a CR in the target": GOOD.replace(b"GET /", b"GET /\r"),
    "a space before a colon": GOOD.replace(b"Host:", b"Host :"),
    "a folded header": GOOD.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
    "a header without a name": GOOD.replace(b"\r\n\r\n", b"\r\n: x\r\n\r\n"),
    "a method of another make": GOOD.replace(b"GET", b"POST"),
    "HTTP/1.0": GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a body of two lengths": GOOD.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "two lengths of a body": GOOD.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "two hosts": GOOD.replace(b"\r\n\r\n", b"\r\nHost: other\r\n\r\n"),
    "no host": GOOD.replace(b"Host: localhost\r\n", b""),
    "two keys": GOOD.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
    "a short key": request(key="AAAA"),
    "no connection": GOOD.replace(b"Connection: Upgrade\r\n", b""),
    "a target that is no path": GOOD.replace(b"GET /", b"GET x"),
    "a hello of TLS, or something like it": bytes.fromhex("160301020001000001fc0303") + b"x" * 500,
    "what is no HTTP": bytes(range(256)) * 4,
}


def malformed(title, data):
    def is_refused(server):
        not_opened(server, data)

    # Its name, too, is made of what it shows.
    words = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    is_refused.__name__ = f"{words.removeprefix('a_')}_refused"
    check(f"{title} is refused")(is_refused)


for title, data in MALFORMED.items():
    malformed(title, data)


@check("nothing that is echoed splits the answer")
def response_splitting(server):
    for line in ("Sec-WebSocket-Protocol: a\x0bX-Injected: 1", "Sec-WebSocket-Protocol: a b",
                 "Origin: http://a\x0bX-Injected: 1", "Sec-WebSocket-Protocol: chat%0d%0aX-Injected: 1"):
        for target in ("/", "/%0d%0aX-Injected:%201"):
            _, head = status_of(server, request(line, target=target))
            if b"\nx-injected" in head.lower():
                raise AssertionError(f"{line!r} injects a header")


@check("frames in the segment of the request are not lost")
def early_frames(server):
    with Client(server.address, upgrade=False) as client:
        client.send(request() + frame(TEXT, b"early") + frame(TEXT, b"bird"))
        if client.answer()[0] != 101 or client.message() != b"early" or client.message() != b"bird":
            raise AssertionError("lost")


@check("other versions are told which there are")
def wrong_version_426(server):
    status, head = status_of(server, GOOD.replace(b"Version: 13", b"Version: 99"))
    if status != 426 or b"sec-websocket-version:" not in head.lower():
        raise AssertionError(f"answered {head[:200]!r}")


@check("a lone percent sign in the target is taken literally")
def lone_percent_is_literal(server):
    with Client(server.address, upgrade=False) as client:
        client.send(GOOD.replace(b"GET /", b"GET /%2?rate=5%"))
        if client.answer()[0] != 101:
            raise AssertionError("refused")
        client.echoes()


@check("a request may come octet by octet")
def handshake_byte_by_byte(server):
    with Client(server.address, upgrade=False) as client:
        for octet in request():
            client.send(bytes([octet]))
        if client.answer()[0] != 101:
            raise AssertionError("refused")
        client.echoes()
