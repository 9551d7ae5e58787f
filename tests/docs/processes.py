"""Processes of the checks: servers that are started, awaited, and ended by id."""

import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time

from reading import TARGET

CLONE_NEWNET = 0x40000000
PATIENCE = 20


class Missing(Exception):
    """What did not come in time."""


def isolate():
    """A network of this process and its children alone, so that the ports of the documents are free."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def await_that(what, condition):
    """Waits until a condition holds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Missing(what)


class Process:
    """A command in a process group of its own, which ends with the `with`."""

    def __init__(self, command, folder, port=None, lines=None, **environment):
        self.command, self.folder, self.port, self.input = command, folder, port, lines
        self.environment = environment

    def __enter__(self):
        if self.port and is_open(self.port):
            raise Missing(f"port {self.port} to be free")
        self.output = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, shell=isinstance(self.command, str), start_new_session=True,
            stdin=subprocess.PIPE if self.input else subprocess.DEVNULL, stdout=self.output, stderr=self.output,
            env={**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_TERM_COLOR": "never", **self.environment})
        try:
            if self.input:
                self.process.stdin.write(self.input.encode())
                self.process.stdin.flush()
            if self.port:
                await_that("a listener", lambda: self.ended() or is_open(self.port))
                if self.ended():
                    raise Missing(f"a server; it ended: {self.printed().strip()[-600:]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        if self.port:
            await_that("the port to be free again", lambda: not is_open(self.port))

    def ended(self):
        return self.process.poll() is not None

    def printed(self):
        self.output.seek(0)
        return self.output.read()

    def await_text(self, text):
        try:
            await_that(text, lambda: text in self.printed())
        except Missing:
            raise Missing(f"{text!r} in the output: {self.printed().strip()[-600:]!r}") from None


def is_open(port):
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
