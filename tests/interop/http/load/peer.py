"""h2load, wrk and ab as clients of the server example: many connections, pipelines, no errors. Started by ../run.

    python3 peer.py URL
"""

import pathlib
import re
import resource
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402

BASE = sys.argv[1].rstrip("/")
SECURE = BASE.startswith("https")
NAME = "load-https" if SECURE else "load"
# Over TLS, the clients would spend their time on the handshakes of so many connections.
CONNECTIONS, SECONDS = 200 if SECURE else 1000, 2
TIMEOUT = 120


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]}: status {done.returncode}: {done.stdout[-300:]}")
    return done.stdout


def figures(text, pattern):
    found = re.search(pattern, text)
    if not found:
        raise AssertionError(f"no match of {pattern} in {text[-500:]}")
    return [int(figure) for figure in found.groups()]


def told(line):
    print(f"        {NAME}: {line}", flush=True)


def h2load(*options):
    """Runs h2load, and returns the number of requests. Each must have succeeded with a status of 2xx."""
    text = output("h2load", "--h1", *options)
    total, started, done, succeeded, failed, errored, timed_out = figures(
        text, r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, "
        r"(\d+) timeout")
    equal((started, done, failed, errored, timed_out), (total, total, 0, 0, 0))
    # Version 1.52 counts a status line twice if two reads share it.
    successes, *others = figures(text, r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
    equal((successes >= done, others), (True, [0, 0, 0]))
    told(f"h2load {' '.join(options)}: {done} requests")
    return succeeded


def wrk(*options):
    """Runs wrk, and returns the number of requests. There must be no errors of sockets and no other status than 2xx."""
    text = output("wrk", "--threads", "2", "--timeout", "30s", *options)
    errors = [line.strip() for line in text.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    equal(errors, [])
    requests, = figures(text, r"(\d+) requests in")
    told(f"wrk {' '.join(options)}: {requests} requests")
    return requests


@check(f"h2load: 20,000 requests on {CONNECTIONS} connections that stay open all succeed")
def h2load_many():
    equal(h2load("--clients", str(CONNECTIONS), "--requests", "20000", f"{BASE}/health"), 20_000)


@check("h2load: pipelines of 10 requests all succeed")
def h2load_pipelines():
    equal(h2load("--clients", "50", "--max-concurrent-streams", "10", "--requests", "20000", f"{BASE}/whoami",
                 f"{BASE}/stream/20000", f"{BASE}/slow?ms=1"), 20_000)


@check("h2load: posts are echoed on 100 connections")
def h2load_posts():
    equal(h2load("--clients", "100", "--requests", "5000", "--data", __file__, f"{BASE}/echo"), 5000)


@check(f"wrk: {CONNECTIONS} connections for {SECONDS} s without an error")
def wrk_many():
    equal(wrk("--connections", str(CONNECTIONS), "--duration", f"{SECONDS}s", f"{BASE}/health") > 0, True)


@check("wrk: pipelines of 16 requests without an error")
def wrk_pipelines():
    script = "--script", str(HERE / "pipeline.lua")
    equal(wrk("--connections", "50", "--duration", f"{SECONDS}s", *script, f"{BASE}/health") > 0, True)


@check("wrk: streams and files without an error")
def wrk_bodies():
    for path in ("/stream/200000", "/files/data.bin"):
        equal(wrk("--connections", "20", "--duration", "1s", f"{BASE}{path}") > 0, True)


@check("ab: HTTP/1.0 with and without keep-alive, on 100 connections, without a failed request")
def ab():
    for options in (["-k"], []):
        requests = 5000 if options else 1000
        text = output("ab", "-q", *options, "-n", str(requests), "-c", "100", f"{BASE}/health")
        equal(figures(text, r"Complete requests:\s+(\d+)\s+Failed requests:\s+(\d+)"), [requests, 0])
        if options:
            equal(figures(text, r"Keep-Alive requests:\s+(\d+)"), [requests])
        equal("Non-2xx" in text, False)
        told(f"ab {' '.join(options)}: {requests} requests")


# Each connection is a descriptor.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * CONNECTIONS)), hard))
run(NAME)
