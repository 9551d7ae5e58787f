#!/usr/bin/env python3
"""An echoed message costs one read and one write, and nothing is said to epoll after a connection was accepted.

    tests/system_calls/run.py [--server PATH]        (needs strace)
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

MESSAGES = 500
REQUEST = (b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def echo(connection, count):
    for number in range(count):
        payload = b"%04d" % number
        connection.sendall(b"\x82\x84\0\0\0\0" + payload)
        echoed = connection.recv(100)
        assert echoed == b"\x82\x04" + payload, echoed


def traced(server, log):
    """Runs the server under strace, and gives it MESSAGES messages between two marks."""
    command = ["strace", "-f", "-o", log, server, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(REQUEST)
            assert connection.recv(1000).startswith(b"HTTP/1.1 101 ")
            echo(connection, MESSAGES)
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # strace itself stays until the server has ended
        process.wait(timeout=20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.path.join(os.environ.get("CARGO_TARGET_DIR") or "target", "release/examples/echo"))
    server = parser.parse_args().server
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "calls"
        traced(server, str(log))
        lines = log.read_text().splitlines()
    # From the answer to the handshake until the peer has gone.
    start = next(index for index, line in enumerate(lines) if "Switching Protocols" in line) + 1
    leaves = (index for index, line in enumerate(lines) if index > start and re.search(r'recvfrom\(\d+, ""', line))
    end = next(leaves, len(lines))
    calls = collections.Counter(match[1] for line in lines[start:end] if (match := re.match(r"\d+ +(\w+)\(", line)))
    waits = calls.pop("epoll_wait", 0)
    print(f"system calls: {dict(calls)} and {waits} waits for {MESSAGES} messages")
    if calls != {"recvfrom": MESSAGES, "sendto": MESSAGES} or waits > MESSAGES + 1:
        sys.exit("system calls: FAILED, not one read and one write for each message")


if __name__ == "__main__":
    main()
