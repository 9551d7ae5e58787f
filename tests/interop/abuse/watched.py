"""The server under attack: its resources, and whether it still serves other clients."""

import os
import pathlib
import subprocess
import sys
import threading
import time

from attacker import Client
from memory import ProcessMemory

MIB = 1 << 20


class Watched(ProcessMemory):
    """The process of a server, and a bystander: a client that exchanges messages with it all the time."""

    def __init__(self, address, process, mode, seed, allocator):
        super().__init__(process)
        self.address, self.mode, self.seed, self.allocator = address, mode, seed, allocator
        self.slowest_during = []
        self.latencies, self.trouble = [], None
        self.figures = {}

    def __enter__(self):
        Client(self.address).close()  # one-time allocations happen before the measurement
        # In its own process, so that the attacks in this process do not add to its latency.
        command = [sys.executable, str(pathlib.Path(__file__).with_name("bystander.py")), self.address.url]
        command += ["deflate"] if self.address.deflate else []
        self._bystander = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while not self.latencies and not self.trouble:
            time.sleep(0.01)
        self.initial_descriptors, self.initial_memory = self.descriptors(), self.memory()
        before = len(self.latencies)
        self.baseline_load = self.cpu_load(1)  # with the bystander
        self.baseline_latencies = sorted(self.latencies[before:])
        return self

    def __exit__(self, *_):
        self.end_bystander()

    def end_bystander(self):
        """Ends the bystander."""
        if self._bystander.poll() is None:
            self._bystander.stdin.close()
            self._bystander.wait(10)
        self._reader.join()

    def _read(self):
        for line in self._bystander.stdout:
            self.latencies.append(float(line))
        errors = self._bystander.stderr.read().strip().splitlines()
        if errors:
            self.trouble = f"the bystander: {errors[-1]}"

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def has_loaded(self, library):
        """Whether the process has loaded the library."""
        with open(f"/proc/{self.pid}/maps") as maps:
            return library in maps.read()

    def cpu_load(self, seconds):
        """The share of the next `seconds` that the process spends on the CPU."""
        started, used = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - used) / (time.monotonic() - started)

    def cpu_seconds(self):
        """CPU time of the process so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def report(self):
        """Prints the latencies of the bystander and the figures measured by the checks."""
        periods = {"before the attacks": self.baseline_latencies, "in total": sorted(self.latencies)}
        for period, latencies in periods.items():
            if not latencies:
                print(f"        {self.mode}: bystander {period}: no echoes: {self.trouble}", flush=True)
                continue
            count = len(latencies)
            median, p99 = latencies[count // 2] * 1e3, latencies[count * 99 // 100] * 1e3
            print(f"        {self.mode}: bystander {period}: {count} echoes, median {median:.2f} ms, p99 {p99:.1f} ms, "
                  f"max {latencies[-1] * 1e3:.1f} ms", flush=True)
        for latency, name in sorted(self.slowest_during, reverse=True)[:3]:
            print(f"        {self.mode}: bystander max {latency * 1e3:.1f} ms during {name}", flush=True)
        for title, figure in self.figures.items():
            print(f"        {self.mode}: {title}: {figure}", flush=True)

    def has(self, client):
        """Whether the server has a socket connected to the client."""
        port = client.stream.getsockname()[1]
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        # A socket in TIME_WAIT belongs to no process and has no inode.
        return any(int(fields[2].split(":")[1], 16) == port and fields[9] != "0" for fields in rows)

    def check_serving(self):
        """Checks that a new client and the bystander get their echoes."""
        before = len(self.latencies)
        with Client(self.address) as client:
            client.check_echo()
        until = time.monotonic() + 5
        while len(self.latencies) == before and not self.trouble and time.monotonic() < until:
            time.sleep(0.01)
        if self.trouble or len(self.latencies) == before:
            raise AssertionError(self.trouble or "the bystander gets no more echoes")

    def check_descriptors(self, within=5):
        """Checks that no descriptors remain open beyond those at the start."""
        until = time.monotonic() + within
        while self.descriptors() > self.initial_descriptors:
            if time.monotonic() > until:
                left = self.descriptors() - self.initial_descriptors
                raise AssertionError(f"{left} descriptors are still open after {within} s")
            time.sleep(0.02)
