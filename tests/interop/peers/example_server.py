"""Starts an example server of this crate on a free port, and always stops it."""

import os
import re
import signal
import subprocess
import threading


class Failed(Exception):
    """The server did not start, did not report its address, or exited by itself."""


def make_certificate(folder):
    """Creates a self-signed certificate for localhost. Returns the paths of the certificate and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "7", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-out", files[0], "-keyout", files[1]]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"openssl cannot create a certificate: {error}") from None
    return files


def tls_arguments(folder):
    """The arguments of an example server that turn TLS on, with a new certificate."""
    certificate, key = make_certificate(folder)
    return ["--tls-cert", str(certificate), "--tls-key", str(key)]


class ExampleServer:
    """`with ExampleServer(path) as server:` waits until the server listens, at `server.url`."""

    START_TIMEOUT = 20  # seconds

    def __init__(self, path, *arguments, environment=None, unix=None):
        self.environment = {**os.environ, **(environment or {})}
        self.command = [os.path.abspath(path), "--listen", "127.0.0.1:0", *arguments]
        self.command += ["--unix", unix] if unix else []
        self.unix = unix  # path of the Unix socket
        self.url = None
        self.output = []
        self._ready = threading.Event()

    def __enter__(self):
        try:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # stopped as a group, and not by Ctrl-C in the terminal
            )
        except OSError as error:
            raise Failed(f"{self.command[0]} cannot be started: {error.strerror}") from None
        # A thread reads the pipe to its end, so that a server that logs does not block on a full pipe.
        threading.Thread(target=self._read_output, daemon=True).start()
        try:
            self._ready.wait(self.START_TIMEOUT)
            if self.url is None:
                raise Failed(f"{self.command[0]} did not print 'listening on …': {self.last_output()}")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, ending)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                pass

    @property
    def pid(self):
        return self._process.pid

    def ended(self):
        """The status of a process that exited by itself, or None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"the server exited with {how}: {self.last_output()}"

    def last_output(self):
        return " / ".join(self.output[-5:]) or "no output"

    def _read_output(self):
        for line in self._process.stderr:
            self.output = self.output[-50:] + [line.rstrip()]
            found = re.search(r"listening on ((?:ws|http)s?://\S+)", line)
            if found and self.url is None:
                self.url = found.group(1)
                self._ready.set()
        self._ready.set()  # end of the output: stop waiting
