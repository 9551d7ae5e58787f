"""The processes under test: `multicast` and `redis-server`. Each ends with its context."""

import itertools
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import resp
from registry import Violated, require, wait_until
from websocket import Client

# Below the ports that Linux gives to outgoing connections: a connection to a port of that range on which nothing
# listens can be connected to itself. The runner gives each case a range of its own.
ports = iter(range(20000, 20100))
PROGRAM = os.environ.get("REDIS_SERVER") or "redis-server"
SECRET = "p@ss:w0rd/?#%"  # every reserved character of a password in a URL


def free_port():
    for port in ports:
        try:
            for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
                with socket.socket(family) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, port))
            return port
        except OSError:
            pass
    raise RuntimeError("no free port is left for this case")


class Multicast:
    """`multicast` on a free port. `lines` is what it wrote on stderr, each with the time."""

    def __init__(self, binary, *arguments, redis=None, prefix=None, threads=None, ca=None, wrapper=()):
        self.command = [*wrapper, str(binary), "--listen", "127.0.0.1:0"]
        options = {"--redis": redis, "--redis-prefix": prefix, "--redis-ca": ca, "--threads": threads}
        self.command += [str(word) for pair in options.items() if pair[1] is not None for word in pair]
        self.command += arguments
        self.lines, self.address = [], None
        self._listening = threading.Event()

    def __enter__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUST")}
        self._process = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.pid = self._process.pid
        threading.Thread(target=self._read, daemon=True).start()
        if not self._listening.wait(15) or not self.address:
            self.kill()
            raise Violated(f"{' '.join(self.command)} does not listen: {self.text()[-500:]!r}")
        return self

    def __exit__(self, *_):
        self.kill()

    def terminate(self, timeout=15):
        """Sends SIGTERM. Returns the exit status and the seconds it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout), time.monotonic() - began
        except subprocess.TimeoutExpired:
            return None, timeout

    def stop(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout):
        """The exit status of a process that ends by itself."""
        return self._process.wait(timeout)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def alive(self):
        status = self._process.poll()
        require(status is None, lambda: f"multicast ended with status {status}: {self.text()[-500:]!r}")
        return True

    def text(self, since=0):
        """The lines written since the time `since`."""
        return "\n".join(line for when, line in self.lines[:] if when >= since)

    def wait_line(self, pattern, timeout=15, since=0):
        """Waits for a line that matches. Returns its time."""
        def found():
            self.alive()
            lines = (when for when, line in self.lines[:] if when >= since and re.search(pattern, line, re.I))
            return next(lines, None)

        return wait_until(found, timeout, lambda: f"a line like {pattern!r}; stderr: {self.text(since)[-600:]!r}")

    def cpu(self):
        """Seconds of processor time used so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_share(self, seconds):
        """The share of one processor used in the next `seconds`."""
        before, began = self.cpu(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu() - before) / (time.monotonic() - began)

    def memory(self):
        """Resident memory in bytes."""
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self):
        """Peak resident memory in bytes since `reset_peak`."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024

    def _read(self):
        for line in self._process.stderr:
            line = line.decode(errors="replace").rstrip()
            self.lines.append((time.monotonic(), line))
            found = re.search(r"listening on ws://([\d.]+):(\d+)", line)
            if found and not self.address:
                self.address = found[1], int(found[2])
                self._listening.set()
        self._listening.set()


class Redis:
    """The server of `$REDIS_SERVER`, `redis-server` by default. Commands of the test use the ACL user `observer`, which
    may do everything.

    `port=0` is for a server without TCP. `connect` returns a socket, for servers with TLS or a Unix socket.
    """

    numbers = itertools.count(1)

    def __init__(self, folder, *options, port=None, host="127.0.0.1", connect=None, start=True):
        self.port, self.host = free_port() if port is None else port, host
        self.connect = connect or resp.tcp(host, self.port)
        self.folder = pathlib.Path(folder) / f"redis-{next(self.numbers)}"
        self.folder.mkdir()
        self.options = [str(option) for option in options]
        self.address = f"{host}:{self.port}"
        self.url = f"redis://{self.address}"
        self._start, self._process, self._admin = start, None, None

    def __enter__(self):
        if self._start:
            self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Starts the server. Returns the time of its first answer."""
        command = [PROGRAM, "--port", str(self.port), "--bind", self.host, "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self.folder), "--logfile", str(self.folder / "log")]
        command += ["--user", "observer", "on", "nopass", "~*", "&*", "+@all", *self.options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)

        def answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"redis-server ended: {(self.folder / 'log').read_text()[-500:]}")
            try:
                return b"process_id:%d\r\n" % self._process.pid in self.call("INFO", "server")
            except OSError:
                return None

        wait_until(answers, 10, "redis-server answers INFO")
        return time.monotonic()

    def kill(self):
        """Ends the server with SIGKILL."""
        if self._admin:
            self._admin.close()
            self._admin = None
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)
        return time.monotonic()

    def call(self, *words):
        if self._admin is None:
            self._admin = resp.Connection(self.connect, "observer")
        return self._admin.call(*words)

    def publish(self, channel, *payloads):
        for payload in payloads:
            self.call("PUBLISH", channel, payload)

    def subscriber(self, channel):
        return resp.Subscriber(self.connect, "observer", "SUBSCRIBE", channel)

    def monitor(self):
        return resp.Subscriber(self.connect, "observer", "MONITOR")

    def subscribers(self, channel):
        """The number of subscribers of a channel."""
        return self.call("PUBSUB", "NUMSUB", channel)[1]

    def channels(self):
        return set(self.call("PUBSUB", "CHANNELS"))

    def clients(self):
        """The connections of the processes under test, as CLIENT LIST describes them."""
        lines = self.call("CLIENT", "LIST").decode().splitlines()
        listed = [dict(word.split("=", 1) for word in line.split(" ") if "=" in word) for line in lines]
        return [client for client in listed if client["user"] != "observer"]


def wait_joined(multicast, redis, prefix="", timeout=5):
    """Waits until a payload published in Redis reaches a client of the process. Returns the time."""
    path = f"/join-{time.monotonic_ns()}"
    with Client(multicast.address, path) as client:
        def published():
            redis.publish(prefix + path[1:], "joined?")
            return "joined?" in client.messages

        wait_until(published, timeout, lambda: f"{redis.address} is joined; stderr: {multicast.text()[-600:]!r}")
    when = time.monotonic()
    wait_until(lambda: redis.subscribers(prefix + path[1:]) == 0, 5, f"UNSUBSCRIBE of {path} after its client left")
    return when


def wait_linked(sender, receiver, timeout=5):
    """Waits until a message sent by one client reaches a client of another process. Returns the time."""
    def sent():
        probe = f"probe {time.monotonic_ns()}"
        sender.send(probe)
        return receiver.wait_message(probe, 0.1)

    wait_until(sent, timeout, lambda: f"a message crosses from one process to the other on {receiver.path}")
    return time.monotonic()
