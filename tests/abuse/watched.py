"""A server under watch: what it costs, and whether it still serves while somebody else is being abusive."""

import os
import threading
import time

from attacker import Client, Cut

MIB = 1 << 20


class Watched:
    """The process of a server, and a bystander who talks with it all the time."""

    def __init__(self, address, process, mode, seed):
        self.address, self.pid, self.mode, self.seed = address, process, mode, seed
        self.waits, self.trouble, self._stop = [], None, threading.Event()
        self._bystander = threading.Thread(target=self._talk, daemon=True)

    def __enter__(self):
        Client(self.address).close()  # what is allocated once is there
        self._bystander.start()
        while not self.waits and not self.trouble:
            time.sleep(0.01)
        self.descriptors_at_first, self.memory_at_first = self.descriptors(), self.memory()
        self.busy_by_itself = self.busy(1)  # with the bystander
        return self

    def __exit__(self, *_):
        self.hush()

    def hush(self):
        """The bystander leaves."""
        self._stop.set()
        if self._bystander.is_alive():
            self._bystander.join()

    def _talk(self):
        try:
            with Client(self.address) as client:
                number = 0
                while not self._stop.wait(0.01):
                    began = time.monotonic()
                    client.echoes(f"bystander {number}")
                    self.waits.append(time.monotonic() - began)
                    number += 1
        except (AssertionError, OSError, Cut) as error:
            self.trouble = f"the bystander: {type(error).__name__}: {error}"

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

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
        began, used = time.monotonic(), self._computed()
        time.sleep(seconds)
        return (self._computed() - used) / (time.monotonic() - began)

    def _computed(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def report(self):
        """Shows how long the bystander has waited."""
        waits = sorted(self.waits)
        print(f"        {self.mode}: {len(waits)} echoes to the bystander, the slowest of a hundred {waits[-len(waits) // 100 - 1] * 1e3:.1f} ms, "
              f"the slowest {waits[-1] * 1e3:.1f} ms", flush=True)

    def left_by(self, client):
        """The server has no socket any more that leads to the client."""
        port = client.stream.getsockname()[1]
        with open("/proc/net/tcp") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                there, state = int(fields[2].split(":")[1], 16), fields[3]
                # What has an inode belongs to a process; what waits only for time to pass does not.
                if there == port and fields[9] != "0":
                    raise AssertionError(f"the server's socket is in state {state}")

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
