"""An example server of this crate, started on a free port and ended whatever happens."""

import os
import re
import signal
import subprocess
import threading


class Failed(Exception):
    """The server could not be started, did not say that it listens, or ended by itself."""


def certificate(folder):
    """A certificate for localhost that signs itself, and its key, made anew: two paths in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-out", files[0], "-keyout", files[1]]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"openssl cannot make a certificate: {error}") from None
    return files


def tls_arguments(folder):
    """What an example server needs to speak TLS with such a certificate."""
    made, key = certificate(folder)
    return ["--tls-cert", str(made), "--tls-key", str(key)]


class ExampleServer:
    """`with ExampleServer(path) as server: server.url` - listening when the block is entered."""

    READY_WITHIN = 20  # seconds

    def __init__(self, path, *arguments, environment=None):
        self.environment = {**os.environ, **(environment or {})}
        self.command = [os.path.abspath(path), "--listen", "127.0.0.1:0", *arguments]
        self.url = None
        self.said = []
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
                start_new_session=True,  # ended as a group, and not by a Ctrl-C meant for the runner
            )
        except OSError as error:
            raise Failed(f"{self.command[0]} cannot be started: {error.strerror}") from None
        # The pipe is read to its end by a thread: a server that logs must not block on a full pipe.
        threading.Thread(target=self._listen_to_it, daemon=True).start()
        try:
            self._ready.wait(self.READY_WITHIN)
            if self.url is None:
                raise Failed(f"{self.command[0]} never said 'listening on ws://…': {self.last_words()}")
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
        """How the process ended by itself, or None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"the server ended with {how}: {self.last_words()}"

    def last_words(self):
        return " / ".join(self.said[-5:]) or "it said nothing"

    def _listen_to_it(self):
        for line in self._process.stderr:
            self.said = self.said[-50:] + [line.rstrip()]
            found = re.search(r"listening on (wss?://\S+)", line)
            if found and self.url is None:
                self.url = found.group(1)
                self._ready.set()
        self._ready.set()  # the end of the output: waiting longer is pointless
