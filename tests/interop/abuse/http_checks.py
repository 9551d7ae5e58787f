"""Handshake requests that never end, exceed a limit, are malformed or are ambiguous."""

import time

from attacker import TEXT, Client, Disconnected, frame, request
from registry import check


def status_of(server, data):
    with Client(server.address, upgrade=False) as client:
        try:
            client.send(data)
        except Disconnected:
            pass  # refused before the end of the request; there may still be a response
        return client.response()


def check_refused(server, data, *statuses):
    status, head = status_of(server, data)
    allowed = statuses or range(400, 500)
    if status not in allowed and (statuses or status != 0):
        raise AssertionError(f"the response is {head[:60]!r}")


def check_not_opened(server, data):
    """Checks that the server refuses the request, or disconnects without a response."""
    status, head = status_of(server, data)
    if status == 101 or 200 <= status < 400:
        raise AssertionError(f"the response is {head[:60]!r}")


@check("a connection that sends nothing is disconnected", parallel=True)
def silent_connection_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.check_end_within(15)


@check("a request sent byte by byte does not extend the handshake timeout", parallel=True)
def slow_handshake_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        client.check_end_within(15, b"x")


@check("a request that stops halfway is disconnected", parallel=True)
def stalled_handshake_cut(server):
    with Client(server.address, upgrade=False) as client:
        client.send(request()[:-20])
        client.check_end_within(15)


@check("a header line that never ends is refused", max_growth=8)
def endless_header_bounded(server):
    with Client(server.address, upgrade=False) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        try:
            for _ in range(1000):
                client.send(b"x" * 4096)
        except Disconnected:
            return
        status, _ = client.response()
        if status not in (0, 431):
            raise AssertionError(f"the status is {status}")


@check("a header line of 64 KiB is refused")
def header_line_64k_refused(server):
    check_refused(server, request(f"X: {'x' * 65536}"), 431)


@check("64 KiB of headers are refused")
def headers_64k_refused(server):
    check_refused(server, request(*[f"X-{number}: {'x' * 1000}" for number in range(64)]), 431)


@check("a long target is refused")
def long_target_refused(server):
    check_refused(server, request(target="/" + "x" * 20_000), 414)


@check("2000 headers are refused")
def headers_2000_refused(server):
    check_refused(server, request(*[f"X-{number}: y" for number in range(2000)]), 431)


@check("lists constructed to be slow to parse are answered within a second")
def extension_header_flood(server):
    floods = ["a," * 7000, "," * 14000, "a;" * 7000, "a; b=\"" + "\\" * 7000, " \t" * 7000 + "x", "a=" * 7000,
              "permessage-deflate; client_max_window_bits=" + "9" * 7000, "permessage-deflate," * 600]
    for flood in floods:
        for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection"):
            started = time.monotonic()
            with Client(server.address, upgrade=False) as client:
                client.send(request(f"{name}: {flood}"))
                client.response()
            if time.monotonic() - started > 1:
                raise AssertionError(f"{name}: {flood[:20]}… takes {time.monotonic() - started:.1f} s")


VALID = request()
MALFORMED = {
    "bare_cr": ("a bare CR in a header", VALID.replace(b"Host: localhost", b"Host: local\rhost")),
    "bare_lf": ("a bare LF as a line end", VALID.replace(b"\r\nUpgrade", b"\nUpgrade")),
    "nul_in_a_header": ("a NUL in a header", VALID.replace(b"localhost", b"local\0host")),
    "nul_in_the_target": ("a NUL in the target", VALID.replace(b"GET /", b"GET /\0")),
    "cr_in_the_target": ("a CR in the target", VALID.replace(b"GET /", b"GET /\r")),
    "space_before_a_colon": ("a space before the colon of a header", VALID.replace(b"Host:", b"Host :")),
    "folded_header": ("a folded header", VALID.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket")),
    "header_without_a_name": ("a header without a name", VALID.replace(b"\r\n\r\n", b"\r\n: x\r\n\r\n")),
    "method_of_another_make": ("a method other than GET", VALID.replace(b"GET", b"POST")),
    "http_1_0": ("HTTP/1.0", VALID.replace(b"HTTP/1.1", b"HTTP/1.0")),
    "http_2": ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "body_of_two_lengths": (
        "Content-Length and Transfer-Encoding",
        VALID.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ),
    "two_lengths_of_a_body": (
        "two Content-Length headers",
        VALID.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    ),
    "two_hosts": ("two Host headers", VALID.replace(b"\r\n\r\n", b"\r\nHost: other\r\n\r\n")),
    "no_host": ("no Host header", VALID.replace(b"Host: localhost\r\n", b"")),
    "two_keys": (
        "two Sec-WebSocket-Key headers",
        VALID.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
    ),
    "short_key": ("a short Sec-WebSocket-Key", request(key="AAAA")),
    "no_connection": ("no Connection header", VALID.replace(b"Connection: Upgrade\r\n", b"")),
    "target_that_is_no_path": ("a target that is not a path", VALID.replace(b"GET /", b"GET x")),
    "hello_of_tls_or_something_like_it": (
        "a TLS ClientHello in place of HTTP",
        bytes.fromhex("160301020001000001fc0303") + b"x" * 500,
    ),
    "what_is_no_http": ("arbitrary bytes in place of HTTP", bytes(range(256)) * 4),
}


def register_malformed(name, title, data):
    def refused(server):
        check_not_opened(server, data)

    refused.__name__ = f"{name}_refused"  # the name for --only
    check(f"a request with {title} is refused")(refused)


for name, (title, data) in MALFORMED.items():
    register_malformed(name, title, data)


@check("header values that the response repeats cannot inject a header")
def response_splitting(server):
    for line in ("Sec-WebSocket-Protocol: a\x0bX-Injected: 1", "Sec-WebSocket-Protocol: a b",
                 "Origin: http://a\x0bX-Injected: 1", "Sec-WebSocket-Protocol: chat%0d%0aX-Injected: 1"):
        for target in ("/", "/%0d%0aX-Injected:%201"):
            _, head = status_of(server, request(line, target=target))
            if b"\nx-injected" in head.lower():
                raise AssertionError(f"{line!r} injects a header")


@check("frames in the TCP segment of the request are not lost")
def early_frames(server):
    with Client(server.address, upgrade=False) as client:
        client.send(request() + frame(TEXT, b"early") + frame(TEXT, b"bird"))
        if client.response()[0] != 101 or client.message() != b"early" or client.message() != b"bird":
            raise AssertionError("a frame is lost")


@check("the response to an unknown version lists the supported versions")
def wrong_version_426(server):
    status, head = status_of(server, VALID.replace(b"Version: 13", b"Version: 99"))
    if status != 426 or b"sec-websocket-version:" not in head.lower():
        raise AssertionError(f"the response is {head[:200]!r}")


@check("a lone percent sign in the target is taken literally")
def lone_percent_is_literal(server):
    with Client(server.address, upgrade=False) as client:
        client.send(VALID.replace(b"GET /", b"GET /%2?rate=5%"))
        if client.response()[0] != 101:
            raise AssertionError("the request is refused")
        client.check_echo()


@check("a request that arrives byte by byte is accepted")
def handshake_byte_by_byte(server):
    with Client(server.address, upgrade=False) as client:
        for octet in request():
            client.send(bytes([octet]))
        if client.response()[0] != 101:
            raise AssertionError("the request is refused")
        client.check_echo()
