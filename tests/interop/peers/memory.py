"""Memory of a process, as Linux reports it."""

import os


class ProcessMemory:
    """Resident memory of the process `pid`."""

    def __init__(self, pid):
        self.pid = pid

    def memory(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def reset_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as clear:
            clear.write("5")

    def peak(self):
        """Peak resident memory in bytes since `reset_peak`."""
        with open(f"/proc/{self.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
