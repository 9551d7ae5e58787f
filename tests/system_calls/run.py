#!/usr/bin/env python3
"""An echoed message costs one read and one write, and nothing is said to epoll after a connection was accepted; a large one is read at once where it
has come, and leaves at once. No write can raise SIGPIPE.

    tests/system_calls/run.py [--server PATH]        (needs strace)
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
from example_server import tls_arguments  # noqa: E402

MESSAGES = 500
REQUEST = (b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


LARGE = 100_000


def echo_large(connection):
    """A header and its payload leave in two slices."""
    for _ in range(20):
        connection.sendall(b"\x82\xff" + LARGE.to_bytes(8) + b"\0\0\0\0" + bytes(LARGE))
        rest = LARGE + 10
        while rest:
            rest -= len(connection.recv(rest))


def echo(connection, count):
    for number in range(count):
        payload = b"%04d" % number
        connection.sendall(b"\x82\x84\0\0\0\0" + payload)
        echoed = connection.recv(100)
        assert echoed == b"\x82\x04" + payload, echoed


def traced(server, log, tls=None):
    """Runs the server under strace, gives it MESSAGES messages, and says how many lines were in the log before them."""
    command = ["strace", "-f", "-o", str(log), server, "--listen", "127.0.0.1:0", *(tls or [])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        if tls:
            context = ssl.create_default_context(cafile=tls[1])
            connection = context.wrap_socket(connection, server_hostname="localhost")
        with connection:
            connection.sendall(REQUEST)
            assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
            time.sleep(0.3)  # until the answer stands in the log, too
            before = log.read_text().count("\n")
            echo(connection, MESSAGES)
            echo_large(connection)
        return before
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # strace itself stays until the server has ended
        process.wait(timeout=20)


def check(name, server, folder, tls=None):
    log = folder / name
    start = traced(server, log, tls)
    lines = log.read_text().splitlines()
    calls, done = collections.Counter(), 0
    for line in lines[start:]:
        if match := re.match(r"\d+ +(\w+)\(", line):
            if done == MESSAGES and match[1] == "recvfrom":
                break  # the large ones follow
            calls[match[1]] += 1
            done += match[1] == "sendto"
    waits = calls.pop("epoll_wait", 0)
    print(f"system calls, {name}: {dict(calls)} and {waits} waits for {MESSAGES} messages")
    writes = [line for line in lines if re.search(r" (writev|sendto|sendmsg|sendmmsg)\(", line)]
    signalling = [line for line in writes if "MSG_NOSIGNAL" not in line]
    print(f"system calls, {name}: {len(writes)} writes to sockets, {len(signalling)} of them may raise SIGPIPE")
    together = any(" sendmsg(" in line for line in writes)
    longest = max(int(match[1]) for line in lines if (match := re.search(r" recvfrom\(.* = (\d+)$", line)))
    print(f"system calls, {name}: {longest} bytes in the longest read")
    together &= longest >= LARGE
    return calls == {"recvfrom": MESSAGES, "sendto": MESSAGES} and waits <= MESSAGES + 1 and not signalling and (together or tls)


def main():
    parser = argparse.ArgumentParser()
    built = os.path.join(os.environ.get("CARGO_TARGET_DIR") or "target", "release/examples/echo")
    parser.add_argument("--server", default=built)
    server = parser.parse_args().server
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        good = [check("ws", server, folder), check("wss", server, folder, tls_arguments(folder / "tls"))]
    if not all(good):
        sys.exit("system calls: FAILED")


if __name__ == "__main__":
    main()
