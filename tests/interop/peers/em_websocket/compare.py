#!/usr/bin/env python3
"""Sends the same bytes to em-websocket and to the echo example, and compares the responses.

    compare.py ECHO_URL GUIDE

GUIDE is src/em_websocket.md. Its table "Differences on the wire" lists each difference with the versions that have it,
under the name of the case in this file. A difference missing from the table is a failure, and so is a listed difference
that does not occur. Prints all differences.
"""

import concurrent.futures
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
QUIET_SECONDS = 0.7  # a response is complete after this time without data
TIMEOUT = 10  # seconds, for a response
VERSIONS = [75, 76, 1, 2, 3, 5, 6, 7, 8, 13]
HIXIE, TWO_KEYS, LATE = (75, 76), (76, 1, 2, 3), (7, 8, 13)
KEYS = "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
MASK = bytes([0x11, 0xA2, 0x33, 0xC4])
CODES = {"continuation": (0, 0), "text": (4, 1), "binary": (5, 2), "close": (1, 8), "ping": (2, 9), "pong": (3, 10)}


def request(version, lines="", target="/demo", host="Host: example.com\r\n", start="GET {} HTTP/1.1\r\n", own=None):
    if own is None:
        own = KEYS if version in TWO_KEYS else KEY if version >= 5 and version != 75 else ""
        own += f"Sec-WebSocket-Draft: {version}\r\n" if version in (1, 2, 3) else ""
        own += f"Sec-WebSocket-Version: {version}\r\n" if version in (5, 6, 7, 8, 13) else ""
    head = start.format(target) + "Upgrade: WebSocket\r\nConnection: Upgrade\r\n" + host + own + lines + "\r\n"
    return head.encode() + (b"^n:ds[4U" if version in TWO_KEYS else b"")


def masked(data):
    return bytes(octet ^ MASK[index % 4] for index, octet in enumerate(data))


def frame(version, kind, data=b"", fin=True, flags=0, mask=True, length=None, code=None):
    if version in HIXIE:
        return {"text": b"\0" + data + b"\xff", "close": b"\xff\0"}[kind]
    early, late = CODES[kind]
    code = (early if version < 7 else late) if code is None else code
    flag = (0 if fin else 0x80) if version < 5 else (0x80 if fin else 0)
    size = len(data) if length is None else length
    size = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
    if version < 5:
        return bytes([flag | flags | code]) + size + data
    if version < 7:
        return MASK + masked(bytes([flag | flags | code]) + size + data)
    bit = 0x80 if mask else 0
    return bytes([flag | flags | code, size[0] | bit]) + size[1:] + (MASK + masked(data) if mask else data)


def cases():
    """Yields the name of a case, its version (or None), and the pieces to send with a pause between them."""
    for version in VERSIONS:
        def text(data=b"Hello", **options):
            return frame(version, "text", data, **options)

        def after_handshake(name, *pieces):
            return name, version, [request(version), *pieces]

        def with_request(name, **options):
            return name, version, [request(version, **options), text()]

        origin = "Sec-WebSocket-Origin" if version in (5, 6, 7, 8) else "Origin"
        lines = f"{origin}: http://example.com\r\nX-Empty:\r\n"
        yield with_request("the handshake", target="/demo?a=1&b=%20", lines=lines)
        yield "the request in two pieces", version, [request(version)[:70], request(version)[70:], text()]
        yield "a frame in the same read as the request", version, [request(version) + text()]
        yield with_request("a subprotocol", lines="Sec-WebSocket-Protocol: chat\r\n")
        yield with_request("several subprotocols", lines="Sec-WebSocket-Protocol: chat, superchat\r\n")
        yield with_request("an empty subprotocol", lines="Sec-WebSocket-Protocol:\r\n")
        yield with_request("no Host", host="")
        yield with_request("HTTP/1.0", start="GET {} HTTP/1.0\r\n")
        yield with_request("a wrong protocol name", start="GET {} HTTQ/1.1\r\n")
        yield with_request("POST", start="POST {} HTTP/1.1\r\n")
        yield with_request("an empty line first", start="\r\nGET {} HTTP/1.1\r\n")
        yield with_request("two Upgrade headers", lines="Upgrade: WebSocket\r\n")
        yield with_request("a broken escape in the target", target="/demo%2")
        if version in TWO_KEYS:
            third = request(version)[-8:]
            yield "the head before the third key", version, [request(version)[:-8]]
            yield "the third key in two pieces", version, [request(version)[:-8], third[:3], third[3:], text()]
            draft = f"Sec-WebSocket-Draft: {version}\r\n" if version != 76 else ""
            yield with_request("a key without spaces", own=KEYS.replace(" 5 Y3 1  .", "5Y31.") + draft)
            yield with_request("a key that its spaces do not divide", own=KEYS.replace(".P00", ".P01") + draft)
        if version >= 5 and version not in HIXIE:
            number = f"Sec-WebSocket-Version: {version}\r\n"
            yield with_request("no key", own=number)
            yield with_request("an empty key", own="Sec-WebSocket-Key:\r\n" + number)
            yield with_request("a short key", own="Sec-WebSocket-Key: c2hvcnQ=\r\n" + number)
            yield with_request("two keys", own=KEY + KEY + number)
        yield after_handshake("text", text(), text("κόσμε".encode()), text(b""))
        yield after_handshake("text of 70,000 bytes", text(b"x" * 70_000))
        yield after_handshake("text that is not UTF-8", text(b"bad \xc0"))
        yield after_handshake("a close with a code", frame(version, "close", b"\x0f\xa1enough"))
        yield after_handshake("a close with text after it", frame(version, "close", b"\x0f\xa1") + text())
        if version in HIXIE:
            yield after_handshake("FF 00", b"\xff\0")
            yield after_handshake("80 00", b"\x80\0", text())
            yield after_handshake("a frame with a length", b"\x80\x03abc", text())
            yield after_handshake("a frame with a length, and text in the same read", b"\x80\x03abc" + text())
            yield after_handshake("a frame of a type from 01 to 7F", b"\x01abc\xff", text())
            yield after_handshake("a huge length", b"\x80" + b"\xa0" + b"\x80" * 9 + b"\0")
            yield after_handshake("text in two pieces", b"\0Hel", b"lo\xff")
            continue
        yield after_handshake("binary", frame(version, "binary", bytes(range(256))))
        yield after_handshake("an empty close", frame(version, "close"))
        yield after_handshake("a close with half a code", frame(version, "close", b"\x03"))
        yield after_handshake("a close with an illegal code", frame(version, "close", (2000).to_bytes(2)))
        yield after_handshake("a ping", frame(version, "ping", b"there?"))
        yield after_handshake("two pings at once", frame(version, "ping", b"one") + frame(version, "ping", b"two"))
        yield after_handshake("a ping of 126 bytes", frame(version, "ping", b"p" * 126))
        yield after_handshake("a pong", frame(version, "pong", b"here"), text())
        yield after_handshake("two fragments", text(b"Hel", fin=False), frame(version, "continuation", b"lo"))
        second, third = frame(version, "continuation", b"l", fin=False), frame(version, "continuation", b"o")
        yield after_handshake("three fragments", text(b"Hel", fin=False) + second + third)
        yield after_handshake("a continuation without a message", frame(version, "continuation", b"x"))
        yield after_handshake("text inside a fragmented message", text(b"Hel", fin=False), text(b"lo"))
        yield after_handshake("a fragmented ping", frame(version, "ping", b"x", fin=False), text())
        yield after_handshake("an unknown op-code", frame(version, "text", b"x", code=7 if version < 7 else 3))
        yield after_handshake("a reserved bit", text(flags=0x40), text())
        yield after_handshake("a length of 2^40 + 2", text(b"", length=(1 << 40) + 2)[:14], b"xx")
        if version in LATE:
            yield after_handshake("a frame without a mask", text(mask=False))

    def with_version(header, number):
        return [request(13, own=f"{KEYS}{KEY}Sec-WebSocket-{header}: {number}\r\n")]

    for number in ("0", "4", "9", "12", "14", "x"):
        yield "a version that does not exist", None, with_version("Version", number)
    for number in ("0", "4"):
        yield "a version that does not exist", None, with_version("Draft", number)
    for header, number in (("Version", "1"), ("Version", "76"), ("Draft", "13")):
        yield "a version in the wrong header", None, with_version(header, number)
    yield "a list of versions", None, with_version("Version", "13, 8")
    yield "a key and no version", None, [request(13, own=KEY)]
    yield "Key2 without Key1", None, [request(76, own=KEYS.split("\r\n")[1] + "\r\n")]
    yield "an ordinary request", None, [b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"]
    yield "junk", None, [b"junk\r\n\r\n"]
    yield "the policy request of Flash", None, [b"<policy-file-request/>\0"]
    yield "the policy request with blanks", None, [b"<policy-file-request \t/>\0"]
    yield "the policy request in two pieces", None, [b"<policy-file-", b"request/>\0"]
    yield "GET /healthcheck", None, [b"GET /healthcheck HTTP/1.1\r\nHost: example.com\r\n\r\n"]


def response(port, pieces):
    """Sends the pieces. Returns the response and whether the server closed the connection."""
    received, closed = b"", False
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for index, piece in enumerate(pieces):
                time.sleep(0.1 if index else 0)
                connection.sendall(piece)
            connection.settimeout(QUIET_SECONDS)
            until = time.monotonic() + TIMEOUT
            while time.monotonic() < until:
                data = connection.recv(65536)
                received, closed = received + data, not data
                if closed:
                    break
        except TimeoutError:
            pass
        except OSError:
            closed = True
    return received, closed


def summary(received, closed):
    received = re.sub(rb"(x){40,}", rb"x...", received)
    return f"{received[:160]!r}{'...' if len(received) > 160 else ''}{', closed' if closed else ''}"


def documented(guide):
    """The rows of the guide's table: the versions of each case."""
    section = guide.read_text().split("# Differences on the wire", 1)[1].split("\n# ", 1)[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and not cells[0].startswith(("---", "what")):
            versions = VERSIONS if cells[1] == "all" else [int(number) for number in re.findall(r"\d+", cells[1])]
            rows[cells[0].replace("`", "")] = set(versions) or {None}
    return rows


def main():
    ours = urllib.parse.urlsplit(sys.argv[1]).port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        theirs = probe.getsockname()[1]
    server = subprocess.Popen(["ruby", str(HERE / "server.rb"), str(theirs)], stdout=subprocess.PIPE, text=True)
    try:
        if "listening" not in server.stdout.readline():
            sys.exit("em-websocket did not start")
        all_cases = list(cases())
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            responses = list(pool.map(lambda case: (response(theirs, case[2]), response(ours, case[2])), all_cases))
    finally:
        server.kill()
        server.wait()
    found = {}
    for (name, version, _), (em_websocket, echo) in zip(all_cases, responses):
        if em_websocket != echo:
            found.setdefault(name, set()).add(version)
            print(f"differs {name}{f' ({version})' if version else ''}")
            print(f"    em-websocket {summary(*em_websocket)}\n    echo         {summary(*echo)}")
    expected = documented(pathlib.Path(sys.argv[2]))
    failed = 0
    for name in sorted(expected.keys() | found.keys()):
        measured, listed = found.get(name, set()), expected.get(name, set())
        if measured != listed:
            failed += 1
            versions = f"differs in {sorted(map(str, measured))}, listed in the guide for {sorted(map(str, listed))}"
            print(f"FAILED  em-websocket: {name}: {versions}")
        else:
            print(f"ok      em-websocket: {name}: differs as listed in the guide")
    same = len(all_cases) - sum(map(len, found.values()))
    print(f"ok      em-websocket: {same} of {len(all_cases)} responses are identical", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
