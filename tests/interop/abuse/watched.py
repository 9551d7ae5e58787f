"""A server under watch: what it costs, and whether it still serves while somebody else is being abusive."""

import os
import pathlib
import subprocess
import sys
import threading
import time

from attacker import Client

MIB = 1 << 20


class Watched:
    """The process of a server, and a bystander who talks with it all the time."""

    def __init__(self, address, process, mode, seed, allocator):
        self.address, self.pid, self.mode, self.seed, self.allocator = address, process, mode, seed, allocator
        self.slowest_during = []
        self.waits, self.trouble = [], None
        self.figures = {}

    def __enter__(self):
        Client(self.address).close()  # what is allocated once is there
        # In a process of its own: it is the server that it waits for, and not the attackers.
        command = [sys.executable, str(pathlib.Path(__file__).with_name("bystander.py")), self.address.url]
        self._bystander = subprocess.Popen([*command, *(["deflate"] if self.address.deflate else [])], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        while not self.waits and not self.trouble:
            time.sleep(0.01)
        self.descriptors_at_first, self.memory_at_first = self.descriptors(), self.memory()
        heard = len(self.waits)
        self.busy_by_itself = self.busy(1)  # with the bystander
        self.quiet = sorted(self.waits[heard:])
        return self

    def __exit__(self, *_):
        self.hush()

    def hush(self):
        """The bystander leaves."""
        if self._bystander.poll() is None:
            self._bystander.stdin.close()
            self._bystander.wait(10)
        self._listener.join()

    def _listen(self):
        for line in self._bystander.stdout:
            self.waits.append(float(line))
        said = self._bystander.stderr.read().strip().splitlines()
        if said:
            self.trouble = f"the bystander: {said[-1]}"

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def maps(self, library):
        """Whether the process has loaded it."""
        with open(f"/proc/{self.pid}/maps") as maps:
            return library in maps.read()

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as clear:
            clear.write("5")

    def peak(self):
        """The most resident bytes since then."""
        with open(f"/proc/{self.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def busy(self, seconds):
        """Which part of so much time the process has computed."""
        began, used = time.monotonic(), self.computed()
        time.sleep(seconds)
        return (self.computed() - used) / (time.monotonic() - began)

    def computed(self):
        """Seconds on the CPU so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def report(self):
        """Shows how long the bystander has waited, and what the checks have measured."""
        for kind, waits in (("before", self.quiet), ("in all", sorted(self.waits))):
            if not waits:
                print(f"        {self.mode}: no echo to the bystander {kind}: {self.trouble}", flush=True)
                continue
            print(f"        {self.mode}: {len(waits)} echoes to the bystander {kind}, half within {waits[len(waits) // 2] * 1e3:.2f} ms, "
                  f"99 of 100 within {waits[len(waits) * 99 // 100] * 1e3:.1f}, all within {waits[-1] * 1e3:.1f}", flush=True)
        for wait, name in sorted(self.slowest_during, reverse=True)[:3]:
            print(f"        {self.mode}: {wait * 1e3:.1f} ms at most during {name}", flush=True)
        for what, figure in self.figures.items():
            print(f"        {self.mode}: {what}: {figure}", flush=True)

    def has(self, client):
        """Whether the server has a socket that leads to the client."""
        port = client.stream.getsockname()[1]
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        # What has an inode belongs to a process; what waits only for time to pass does not.
        return any(int(fields[2].split(":")[1], 16) == port and fields[9] != "0" for fields in rows)

    def serves(self):
        """The bystander goes on, and whoever comes is served."""
        heard = len(self.waits)
        with Client(self.address) as client:
            client.echoes()
        until = time.monotonic() + 5
        while len(self.waits) == heard and not self.trouble and time.monotonic() < until:
            time.sleep(0.01)
        if self.trouble or len(self.waits) == heard:
            raise AssertionError(self.trouble or "the bystander is not answered any more")

    def forgets(self, within=5):
        """No descriptor is left of what was."""
        until = time.monotonic() + within
        while self.descriptors() > self.descriptors_at_first:
            if time.monotonic() > until:
                left = self.descriptors() - self.descriptors_at_first
                raise AssertionError(f"{left} descriptors are still open after {within} s")
            time.sleep(0.02)
