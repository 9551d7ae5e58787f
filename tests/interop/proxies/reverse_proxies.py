"""Starts nginx, HAProxy and stunnel with the configurations of the guide, on free ports, and always stops them."""

import os
import pathlib
import random
import re
import socket
import subprocess
import time

import processes
from example_server import Failed

GUIDE = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "src" / "guide" / "proxies"
START_TIMEOUT = 10  # seconds
ATTEMPTS = 3  # another process may take a port before the proxy does


class ReverseProxy:
    """`with ReverseProxy(…) as proxy:` waits until the proxy listens, at `proxy.ports[entry]`.

    `entries` are the lines of the configuration that name a port to listen on. `values` replace values of the
    configuration: paths, and addresses of servers.
    """

    command, configuration, first_lines = (), "", ""

    def __init__(self, folder, entries, values):
        self.folder, self.entries, self.values = folder, entries, values
        self.file = folder / f"{type(self).__name__}-{id(self)}.conf"
        self.log = self.file.with_suffix(".log")

    def __enter__(self):
        for attempt in range(ATTEMPTS):
            self.ports = free_ports(self.entries)
            self.file.write_text(self.first_lines + self.substituted())
            try:
                self.start()
                return self
            except Failed:
                if attempt == ATTEMPTS - 1:
                    raise

    def __exit__(self, *_):
        processes.end(self.process)

    def substituted(self):
        """The configuration of the guide, with the ports and paths of the test."""
        text = (GUIDE / self.configuration).read_text()
        listening = {mark: re.sub(r":?\d+", f"127.0.0.1:{self.ports[entry]}", mark, count=1)
                     for entry, mark in self.entries.items()}
        values = {**self.values, **listening}
        for mark in values:
            if mark not in text:
                raise Failed(f"{self.configuration} lacks {mark!r}")
        # In one pass, so that no mark is found in what has replaced another.
        marks = sorted(values, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, marks)), lambda found: str(values[found.group()]), text)

    def start(self):
        command = [*self.command, str(self.file)]
        try:
            with open(self.log, "w") as log:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True)
        except OSError as error:
            raise Failed(f"{command[0]} cannot be started: {error.strerror}") from None
        try:
            for port in self.ports.values():
                self.wait_for(port)
        except BaseException:
            processes.end(self.process)
            raise

    def wait_for(self, port):
        """Waits until the port accepts connections. In TCP mode, the proxy connects to the server, too."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and not self.ended():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        if self.ended() or time.monotonic() >= deadline:
            raise Failed(self.ended() or f"{self.command[0]} does not listen: {self.last_output()}")

    def ended(self):
        """The status of a process that exited by itself, or None while it runs."""
        status = self.process.poll()
        return None if status is None else f"{self.command[0]} exited with status {status}: {self.last_output()}"

    def last_output(self):
        return " / ".join(self.log.read_text(errors="replace").splitlines()[-5:]) or "no output"


class Nginx(ReverseProxy):
    command, configuration = ("nginx", "-g", "daemon off;", "-c"), "nginx.conf"


class NginxUnix(Nginx):
    configuration = "nginx-unix.conf"


class Haproxy(ReverseProxy):
    command, configuration = ("haproxy", "-db", "-f"), "haproxy.cfg"


class Stunnel(ReverseProxy):
    command, configuration, first_lines = ("stunnel4",), "stunnel.conf", "foreground = yes\n"


def free_ports(names):
    """A free port for each name, below the ports that the system gives to clients."""
    ports = {}
    while len(ports) < len(names):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports.values():
            ports[list(names)[len(ports)]] = port
    return ports


def search_path():
    """Debian keeps nginx and haproxy in directories that only the path of root has."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
