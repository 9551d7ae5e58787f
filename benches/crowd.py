"""Many WebSocket clients of a server that broadcasts, and the CPU time of the server. For benches/*/run."""

import os
import pathlib
import select
import socket
import statistics
import subprocess
import time

BODY = "x" * 1000


def compare(servers, clients, messages, rounds):
    """Starts each server, and prints the CPU time per delivery of each.

    `servers` has by name: the command for a port, the target and headers of the handshake, the steps of a client (a
    text to send, or None, and what the answer contains), and the text for which the server broadcasts BODY to all.
    Each server has one core, and the clients have the other. Returns the medians in µs, by name.
    """
    os.sched_setaffinity(0, {1})
    processes, costs, crowds = [], {name: [] for name in servers}, {}
    try:
        for name, (command, handshake, steps, speech) in servers.items():
            port = free_port()
            process = subprocess.Popen(["taskset", "--cpu-list", "0", *command(port)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            processes.append(process)
            crowds[name] = (process.pid, Crowd(port, clients, handshake, steps), speech)
        # The first round fills pools and buffers.
        for round_ in range(rounds + 1):
            for name, (pid, crowd, speech) in crowds.items():
                cost = crowd.cost(pid, speech, messages)
                if round_ > 0:
                    costs[name].append(cost)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for name, found in costs.items():
        print(f"{name}: {statistics.median(found):.2f} µs per delivery of {len(BODY)} B to {clients} clients, "
              f"{min(found):.2f} to {max(found):.2f} in {len(found)} rounds")
    return {name: statistics.median(found) for name, found in costs.items()}


class Crowd:
    """Clients that get the same broadcasts."""

    def __init__(self, port, count, handshake, steps):
        self.sockets = [self.connect(port, handshake, steps) for _ in range(count)]
        self.poll = select.epoll()
        for client in self.sockets:
            self.poll.register(client, select.EPOLLIN)
        self.by_number = {client.fileno(): client for client in self.sockets}

    @staticmethod
    def connect(port, handshake, steps):
        last = time.monotonic() + 30
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port), 20)
                break
            except OSError:
                if time.monotonic() > last:
                    raise
                time.sleep(0.1)
        target, headers = handshake
        client.sendall((f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
                        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        f"{headers}\r\n").encode())
        for text, answer in steps:
            if text is not None:
                client.sendall(framed(text))
            received(client, answer)
        return client

    def cost(self, pid, speech, messages):
        """CPU time of the server per delivery, in µs."""
        command = framed(speech)
        before = cpu_nanos(pid)
        for _ in range(messages):
            self.sockets[0].sendall(command)
            self.receive()
        return (cpu_nanos(pid) - before) / 1000 / messages / len(self.sockets)

    def receive(self):
        """Waits until every client has got one message. Pings are shorter, and none has as many bytes as a body."""
        missing = {number: len(BODY) for number in self.by_number}
        while missing:
            for number, _ in self.poll.poll(10):
                octets = self.by_number[number].recv(1 << 16)
                if not octets:
                    raise OSError("a connection has ended")
                if number in missing:
                    missing[number] -= octets.count(b"x")
                    if missing[number] <= 0:
                        del missing[number]


def received(client, what):
    """Waits until the client has got this."""
    got = b""
    while what not in got:
        octets = client.recv(4096)
        if not octets:
            raise OSError(f"the connection has ended: {got!r}")
        got += octets


def framed(text):
    octets = text.encode()
    length = bytes([128 | len(octets)]) if len(octets) < 126 else b"\xfe" + len(octets).to_bytes(2)
    return b"\x81" + length + bytes(4) + octets


def cpu_nanos(pid):
    """CPU time of all threads of a process."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
