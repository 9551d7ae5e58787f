#!/usr/bin/env python3
"""The same bytes to em-websocket and to the echo example; prints where the answers differ, and checks that the guide says why.

    compare.py ECHO_URL GUIDE

GUIDE is src/em_websocket.md; the table under "Differences on the wire" names each difference and the versions that have it. A difference
that the table does not name fails, and so does one that it names and that is not there.
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
READY_WITHIN, QUIET, AT_MOST = 20, 0.7, 10  # seconds
VERSIONS = [75, 76, 1, 2, 3, 5, 6, 7, 8, 13]
HIXIE, KEYED, EARLY, LATE = (75, 76), (76, 1, 2, 3), (1, 2, 3, 5, 6), (7, 8, 13)
KEYS = "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
MASK = bytes([0x11, 0xA2, 0x33, 0xC4])
CODES = {"continuation": (0, 0), "text": (4, 1), "binary": (5, 2), "close": (1, 8), "ping": (2, 9), "pong": (3, 10)}


def request(version, lines="", target="/demo", host="Host: example.com\r\n", start="GET {} HTTP/1.1\r\n", own=None):
    if own is None:
        own = KEYS if version in KEYED else KEY if version >= 5 and version != 75 else ""
        own += f"Sec-WebSocket-Draft: {version}\r\n" if version in (1, 2, 3) else ""
        own += f"Sec-WebSocket-Version: {version}\r\n" if version in (5, 6, 7, 8, 13) else ""
    head = start.format(target) + "Upgrade: WebSocket\r\nConnection: Upgrade\r\n" + host + own + lines + "\r\n"
    return head.encode() + (b"^n:ds[4U" if version in KEYED else b"")


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
    """Name, version (or None) and the pieces to be sent, with a pause between them."""
    for version in VERSIONS:
        def text(data=b"Hello", **how):
            return frame(version, "text", data, **how)

        def opened(name, *pieces):
            return name, version, [request(version), *pieces]

        def asked(name, **how):
            return name, version, [request(version, **how), text()]

        origin = "Sec-WebSocket-Origin" if version in (5, 6, 7, 8) else "Origin"
        yield asked("the handshake", target="/demo?a=1&b=%20", lines=f"{origin}: http://example.com\r\nX-Empty:\r\n")
        yield "the request in two pieces", version, [request(version)[:70], request(version)[70:], text()]
        yield "a frame in the same read as the request", version, [request(version) + text()]
        yield asked("a subprotocol", lines="Sec-WebSocket-Protocol: chat\r\n")
        yield asked("several subprotocols", lines="Sec-WebSocket-Protocol: chat, superchat\r\n")
        yield asked("an empty subprotocol", lines="Sec-WebSocket-Protocol:\r\n")
        yield asked("no Host", host="")
        yield asked("HTTP/1.0", start="GET {} HTTP/1.0\r\n")
        yield asked("a wrong protocol name", start="GET {} HTTQ/1.1\r\n")
        yield asked("POST", start="POST {} HTTP/1.1\r\n")
        yield asked("an empty line first", start="\r\nGET {} HTTP/1.1\r\n")
        yield asked("two Upgrade headers", lines="Upgrade: WebSocket\r\n")
        yield asked("a broken escape in the target", target="/demo%2")
        if version in KEYED:
            third = request(version)[-8:]
            yield "the head before the third key", version, [request(version)[:-8]]
            yield "the third key in two pieces", version, [request(version)[:-8], third[:3], third[3:], text()]
            draft = f"Sec-WebSocket-Draft: {version}\r\n" if version != 76 else ""
            yield asked("a key without spaces", own=KEYS.replace(" 5 Y3 1  .", "5Y31.") + draft)
            yield asked("a key that its spaces do not divide", own=KEYS.replace(".P00", ".P01") + draft)
        if version >= 5 and version not in HIXIE:
            number = f"Sec-WebSocket-Version: {version}\r\n"
            yield asked("no key", own=number)
            yield asked("an empty key", own="Sec-WebSocket-Key:\r\n" + number)
            yield asked("a short key", own="Sec-WebSocket-Key: c2hvcnQ=\r\n" + number)
            yield asked("two keys", own=KEY + KEY + number)
        yield opened("text", text(), text("κόσμε".encode()), text(b""))
        yield opened("text of 70,000 bytes", text(b"x" * 70_000))
        yield opened("text that is not UTF-8", text(b"bad \xc0"))
        yield opened("a close with a code", frame(version, "close", b"\x0f\xa1enough"))
        yield opened("a close and more behind it", frame(version, "close", b"\x0f\xa1") + text())
        if version in HIXIE:
            yield opened("FF 00", b"\xff\0")
            yield opened("80 00", b"\x80\0", text())
            yield opened("a frame with a length", b"\x80\x03abc", text())
            yield opened("a frame with a length, and text in the same read", b"\x80\x03abc" + text())
            yield opened("a frame of a type from 01 to 7F", b"\x01abc\xff", text())
            yield opened("a huge length", b"\x80" + b"\xa0" + b"\x80" * 9 + b"\0")
            yield opened("text in two pieces", b"\0Hel", b"lo\xff")
            continue
        yield opened("binary", frame(version, "binary", bytes(range(256))))
        yield opened("an empty close", frame(version, "close"))
        yield opened("a close with half a code", frame(version, "close", b"\x03"))
        yield opened("a close with an illegal code", frame(version, "close", (2000).to_bytes(2)))
        yield opened("a ping", frame(version, "ping", b"there?"))
        yield opened("two pings at once", frame(version, "ping", b"one") + frame(version, "ping", b"two"))
        yield opened("a ping of 126 bytes", frame(version, "ping", b"p" * 126))
        yield opened("a pong", frame(version, "pong", b"here"), text())
        yield opened("two fragments", text(b"Hel", fin=False), frame(version, "continuation", b"lo"))
        middle = frame(version, "continuation", b"l", fin=False)
        yield opened("three fragments", text(b"Hel", fin=False) + middle + frame(version, "continuation", b"o"))
        yield opened("a continuation of nothing", frame(version, "continuation", b"x"))
        yield opened("text inside a fragmented message", text(b"Hel", fin=False), text(b"lo"))
        yield opened("a fragmented ping", frame(version, "ping", b"x", fin=False), text())
        yield opened("an unknown op-code", frame(version, "text", b"x", code=7 if version < 7 else 3))
        yield opened("a reserved bit", text(flags=0x40), text())
        yield opened("a length of 2^40 + 2", text(b"", length=(1 << 40) + 2)[:14], b"xx")
        if version in LATE:
            yield opened("a frame without a mask", text(mask=False))
    def announced(header, number):
        return [request(13, own=f"{KEYS}{KEY}Sec-WebSocket-{header}: {number}\r\n")]

    for number in ("0", "4", "9", "12", "14", "x"):
        yield "a version that nobody speaks", None, announced("Version", number)
    for number in ("0", "4"):
        yield "a version that nobody speaks", None, announced("Draft", number)
    for header, number in (("Version", "1"), ("Version", "76"), ("Draft", "13")):
        yield "a version in the wrong header", None, announced(header, number)
    yield "a list of versions", None, announced("Version", "13, 8")
    yield "a key and no version", None, [request(13, own=KEY)]
    yield "Key2 without Key1", None, [request(76, own=KEYS.split("\r\n")[1] + "\r\n")]
    yield "an ordinary request", None, [b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"]
    yield "junk", None, [b"junk\r\n\r\n"]
    yield "the policy request of Flash", None, [b"<policy-file-request/>\0"]
    yield "the policy request with blanks", None, [b"<policy-file-request \t/>\0"]
    yield "the policy request in two pieces", None, [b"<policy-file-", b"request/>\0"]
    yield "GET /healthcheck", None, [b"GET /healthcheck HTTP/1.1\r\nHost: example.com\r\n\r\n"]


def answer(port, pieces):
    """What comes back, and whether the connection was ended."""
    said, ended = b"", False
    with socket.create_connection(("127.0.0.1", port), AT_MOST) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for index, piece in enumerate(pieces):
                time.sleep(0.1 if index else 0)
                connection.sendall(piece)
            connection.settimeout(QUIET)
            until = time.monotonic() + AT_MOST
            while time.monotonic() < until:
                more = connection.recv(65536)
                said, ended = said + more, not more
                if ended:
                    break
        except TimeoutError:
            pass
        except OSError:
            ended = True
    return said, ended


def shown(said, ended):
    said = re.sub(rb"(x){40,}", rb"x...", said)
    return f"{said[:160]!r}{'...' if len(said) > 160 else ''}{', end' if ended else ''}"


def documented(guide):
    """The rows of the guide's table: what, in which versions."""
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
            sys.exit("em-websocket does not start")
        everything = list(cases())
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda case: (answer(theirs, case[2]), answer(ours, case[2])), everything))
    finally:
        server.kill()
        server.wait()
    found = {}
    for (name, version, _), (em, we) in zip(everything, answers):
        if em != we:
            found.setdefault(name, set()).add(version)
            print(f"differs {name}{f' ({version})' if version else ''}\n    em   {shown(*em)}\n    ours {shown(*we)}")
    expected = documented(pathlib.Path(sys.argv[2]))
    wrong = 0
    for name in sorted(expected.keys() | found.keys()):
        here, there = found.get(name, set()), expected.get(name, set())
        if here != there:
            wrong += 1
            print(f"FAILED  em-websocket: {name}: differs in {sorted(map(str, here))}, the guide says {sorted(map(str, there))}")
        else:
            print(f"ok      em-websocket: {name}: differs as the guide says")
    same = len(everything) - sum(map(len, found.values()))
    print(f"ok      em-websocket: {same} of {len(everything)} answers are the same, byte for byte", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
