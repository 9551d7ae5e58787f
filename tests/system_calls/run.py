#!/usr/bin/env python3
"""Counts the system calls of the echo example, over ws and wss.

    tests/system_calls/run.py [--server PATH]        (needs strace)

An echoed message costs one read and one write. There are no calls of epoll_ctl after a connection is accepted. A large
message is read with one call if it has arrived, and is sent with one call. No write can raise SIGPIPE.
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
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop" / "peers"))
from example_server import tls_arguments  # noqa: E402

MESSAGES = 500
REQUEST = (b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
LARGE = 100_000


def echo_large(connection):
    """Messages whose header and payload are written as two slices of one call."""
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


def trace(server, log, tls=None):
    """Runs the server under strace and has it echo MESSAGES messages. Returns the number of log lines before them."""
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
            time.sleep(0.3)  # until strace has logged the response, too
            before = log.read_text().count("\n")
            echo(connection, MESSAGES)
            echo_large(connection)
        return before
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # strace exits after the server
        process.wait(timeout=20)


def check(name, server, folder, tls=None):
    log = folder / name
    start = trace(server, log, tls)
    lines = log.read_text().splitlines()
    calls, echoed = collections.Counter(), 0
    for line in lines[start:]:
        if match := re.match(r"\d+ +(\w+)\(", line):
            if echoed == MESSAGES and match[1] == "recvfrom":
                break  # the large messages follow
            calls[match[1]] += 1
            echoed += match[1] == "sendto"
    waits = calls.pop("epoll_wait", 0)
    print(f"system calls, {name}: {dict(calls)} and {waits} calls of epoll_wait for {MESSAGES} messages")
    writes = [line for line in lines if re.search(r" (writev|sendto|sendmsg|sendmmsg)\(", line)]
    signalling = [line for line in writes if "MSG_NOSIGNAL" not in line]
    print(f"system calls, {name}: {len(writes)} socket writes, {len(signalling)} of them can raise SIGPIPE")
    large_in_one_call = any(" sendmsg(" in line for line in writes)
    longest = max(int(match[1]) for line in lines if (match := re.search(r" recvfrom\(.* = (\d+)$", line)))
    print(f"system calls, {name}: the longest read has {longest} bytes")
    large_in_one_call &= longest >= LARGE
    one_read_one_write = calls == {"recvfrom": MESSAGES, "sendto": MESSAGES} and waits <= MESSAGES + 1
    return one_read_one_write and not signalling and (large_in_one_call or tls)


def main():
    parser = argparse.ArgumentParser()
    default = os.path.join(os.environ.get("CARGO_TARGET_DIR") or "target", "release/examples/echo")
    parser.add_argument("--server", default=default, help="the echo example; default: the release build")
    server = parser.parse_args().server
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        passed = [check("ws", server, folder), check("wss", server, folder, tls_arguments(folder / "tls"))]
    if not all(passed):
        sys.exit("system calls: FAILED")


if __name__ == "__main__":
    main()
