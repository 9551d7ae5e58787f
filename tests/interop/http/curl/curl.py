"""Runs curl, and reads what it reports."""

import json
import pathlib
import subprocess
import tempfile

TIMEOUT = 30  # seconds, for each command


class CurlError(Exception):
    """curl has exited with a status other than 0."""

    def __init__(self, status, message):
        super().__init__(f"curl: status {status}: {message}")
        self.status = status


class Answer:
    """The last response: status, headers by their names in lower case, body. Also the statuses of all responses."""

    def __init__(self, heads, body, report):
        # Heads end with an empty line; the last one is that of the response, those before it of interim responses.
        blocks = [block.split("\r\n") for block in heads.decode("latin-1").split("\r\n\r\n") if block]
        self.statuses = [int(block[0].split(" ")[1]) for block in blocks]
        self.status = self.statuses[-1] if self.statuses else 0
        lines = [line.split(":", 1) for line in blocks[-1][1:]] if blocks else []
        self.headers = {name.strip().lower(): value.strip() for name, value in lines}
        self.body, self.report = body, report

    @property
    def text(self):
        return self.body.decode()


def curl(url, *options, body=b"", ending=0):
    """Runs curl for one transfer, with `body` as its standard input. `ending`: the status that curl exits with."""
    with tempfile.TemporaryDirectory() as folder:
        head, content = pathlib.Path(folder, "head"), pathlib.Path(folder, "content")
        output = ["--dump-header", str(head), "--output", str(content), "--write-out", "%{json}"]
        report = json.loads(run(*output, *options, url, body=body, ending=ending))
        return Answer(*(file.read_bytes() if file.exists() else b"" for file in (head, content)), report)


def run(*arguments, body=b"", ending=0):
    """Runs curl, and returns its standard output."""
    # The first option keeps curl from reading a configuration file.
    command = ["curl", "--disable", "--silent", "--show-error", "--max-time", str(TIMEOUT), *arguments]
    done = subprocess.run(command, input=body, capture_output=True, timeout=TIMEOUT + 10)
    if done.returncode != ending:
        raise CurlError(done.returncode, done.stderr.decode(errors="replace").strip())
    return done.stdout.decode("latin-1")
