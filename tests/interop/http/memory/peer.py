"""Memory and descriptors of the server while clients read slowly, upload much, or leave. Started by ../run.

    python3 peer.py URL PROCESS_ID [long]

The clients are curl and Python's http.client. With `long`, also 10 GiB to a slow reader and an upload of 1 GiB.
"""

import contextlib
import http.client
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402
from memory import ProcessMemory  # noqa: E402

URL, SERVER = urllib.parse.urlsplit(sys.argv[1]), ProcessMemory(int(sys.argv[2]))
LONG = "long" in sys.argv
SECURE = URL.scheme == "https"
NAME = "memory-https" if SECURE else "memory"
CERTIFICATE = os.environ["CURL_CA_BUNDLE"]
CHUNKED = ["--header", "Transfer-Encoding: chunked"]
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TIMEOUT = 30  # seconds, for each read and write


def curl(path, *options, timeout=120, **more):
    command = ["curl", "--disable", "--silent", "--show-error", "--fail", "--max-time", str(timeout), *options]
    done = subprocess.run([*command, URL.geturl().rstrip("/") + path], stdout=subprocess.PIPE, check=True, **more)
    return done.stdout.decode("latin-1")


def connect():
    if SECURE:
        context = ssl.create_default_context(cafile=CERTIFICATE)
        connection = http.client.HTTPSConnection(URL.hostname, URL.port, timeout=TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=TIMEOUT)
    connection.connect()
    return contextlib.closing(connection)


@contextlib.contextmanager
def growth(limit):
    """The memory grows by at most `limit` bytes above that of the idle server."""
    SERVER.reset_peak()
    yield
    grown = SERVER.peak() - IDLE
    print(f"        {NAME}: at most {grown / MIB:.2f} MiB above the idle server's {IDLE / MIB:.1f} MiB", flush=True)
    if grown > limit:
        raise AssertionError(f"the memory has grown by {grown / MIB:.2f} MiB")


def read_slowly(path, size):
    """Reads a body in small parts, then not at all, then to its end."""
    with connect() as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        equal(response.status, 200)
        received = 0
        for _ in range(100):
            received += len(response.read(16 * KIB))
            time.sleep(0.01)
        time.sleep(1.5)  # in the meantime the server has filled all buffers
        while part := response.read(256 * KIB):
            received += len(part)
        equal(received, size)


@check("stream of 300 MiB to a slow reader costs less than 1 MiB")
def slow_stream():
    with growth(MIB):
        read_slowly(f"/stream/{300 * MIB}", 300 * MIB)


@check("file of 300 MiB to a slow reader costs less than 1 MiB")
def slow_file():
    with growth(MIB):
        read_slowly("/files/sparse.bin", 300 * MIB)


@check("stream to curl with a limited rate costs less than 1 MiB")
def limited_rate():
    with growth(MIB):
        curl(f"/stream/{10 * MIB}", "--limit-rate", "8M", "--output", "/dev/null")


@check("upload of 300 MiB, of known and of unknown length, costs less than 1 MiB")
def upload():
    for options in ([], CHUNKED):
        with growth(MIB), sparse_file(300 * MIB) as file:
            equal(curl("/count", *options, "--upload-file", file), str(300 * MIB))


@contextlib.contextmanager
def sparse_file(size):
    """The path of a file of zeros that takes no space on the disk."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        yield file.name


@check("pipeline of a client that does not read costs less than 1 MiB")
def unread_pipeline():
    request = b"GET /files/data.json HTTP/1.1\r\nHost: a\r\n\r\n"
    with growth(MIB), connect() as connection:
        connection.sock.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError, ssl.SSLWantWriteError):
            while sent < 100 * MIB:
                sent += connection.sock.send(request * 1000)
        # The network holds some of it, and the server does not read the rest.
        equal(sent < 100 * MIB, True)


if LONG:

    @check("stream of 10 GiB to a slow reader costs less than 1 MiB")
    def long_stream():
        with growth(MIB):
            report = curl(f"/stream/{10 * GIB}", "--limit-rate", "100M", "--output", "/dev/null", "--write-out",
                          "%{size_download}", timeout=600)
            equal(int(report), 10 * GIB)

    @check("upload of 1 GiB costs less than 1 MiB, and one byte more is refused with 413")
    def long_upload():
        for size, options, status in ((GIB, ["--limit-rate", "50M"], "200"), (GIB, CHUNKED, "200"),
                                      (GIB + 1, [], "413"), (GIB + 1, CHUNKED, "413")):
            with growth(MIB), sparse_file(size) as file:
                got = curl("/count", "--no-fail", *options, "--upload-file", file, "--write-out", " %{http_code}",
                           timeout=300)
            equal(got.split()[-1], status)
            equal(status != "200" or got.split()[0] == str(size), True)


@check("40 readers that have stopped cost less than 256 KiB each")
def stopped_readers():
    with growth(10 * MIB), contextlib.ExitStack() as connections:
        for number in range(40):
            connection = connections.enter_context(connect())
            connection.request("GET", "/files/sparse.bin" if number % 2 else f"/stream/{GIB}")
            connection.sock.recv(1)
        time.sleep(1)


@check("clients that leave in the middle of a response or an upload leave no descriptor and no memory")
def leaving():
    before, memory = descriptors(), []
    for _ in range(3):
        for number in range(100):
            leave(number)
        until = time.monotonic() + 20
        while descriptors() > before and time.monotonic() < until:
            time.sleep(0.02)
        equal(descriptors() <= before, True)
        memory.append(SERVER.memory())
    # The allocator keeps what was once in use, so the first round is the measure for the others.
    if memory[-1] > memory[0] + MIB:
        raise AssertionError(f"the memory has grown by {(memory[-1] - memory[0]) / MIB:.2f} MiB")
    equal(curl("/health"), "ok")


def leave(number):
    with connect() as connection:
        if number % 4 == 0:
            connection.putrequest("POST", "/count")
            connection.putheader("Content-Length", "1000000")
            connection.endheaders(b"x" * 1000)
        else:
            connection.request("GET", (f"/stream/{GIB}", "/files/sparse.bin", "/slow?ms=100")[number % 4 - 1])
        time.sleep(0.002)


def descriptors():
    return len(os.listdir(f"/proc/{SERVER.pid}/fd"))


# What the server allocates once is not due to a client.
for warm_up in (["/stream/1000000"], ["/files/data.bin"], ["/count", "--upload-file", __file__], ["/slow?ms=1"]):
    curl(warm_up[0], *warm_up[1:])
IDLE = SERVER.memory()
run(NAME)
