#!/usr/bin/env python3
"""Tests the contract of the example `multicast`, alone and joined with other processes by Redis.

    tests/interop/redis/contract.py [--bin FILE] [--jobs N] [--list] [CASE]...

A CASE is a name or a part of a name; without one, all cases run. Needs Python 3.11 or later, openssl, and Debian's
redis-server, or the server that $REDIS_SERVER names. Each case runs in a process group of its own, which is ended
after the case. Exits with status 0 if every case passed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent.parent / "target").resolve()
PORTS_OF_A_CASE = 100

sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
import servers  # noqa: E402
from registry import Run, Skipped, Violated, cases  # noqa: E402

import abuse_cases  # noqa: E402, F401
import access_cases  # noqa: E402, F401
import backoff_cases  # noqa: E402, F401
import channel_cases  # noqa: E402, F401
import local_cases  # noqa: E402, F401
import log_cases  # noqa: E402, F401
import outage_cases  # noqa: E402, F401
import payload_cases  # noqa: E402, F401
import publication_cases  # noqa: E402, F401
import reconnect_cases  # noqa: E402, F401
import tls_cases  # noqa: E402, F401
import url_cases  # noqa: E402, F401


def main():
    options = arguments()
    names = [name for name in cases if not options.cases or any(part in name for part in options.cases)]
    if options.list:
        print("\n".join(names))
        return 0
    for tool in (servers.PROGRAM, "openssl"):
        if not shutil.which(tool):
            sys.exit(f"required tool not found: {tool}")
    if not options.bin.exists():
        sys.exit(f"{options.bin} does not exist; cargo build --all-features --example multicast")
    if not names:
        sys.exit("no case has such a name")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the cases that run are ended
    began, results = time.monotonic(), {}
    together = sorted((name for name in names if not cases[name].alone), key=lambda name: -cases[name].limit)
    alone = [name for name in names if cases[name].alone]
    running = {}
    try:
        for queue, jobs in ((alone, 1), (together, options.jobs)):
            while queue or running:
                while queue and len(running) < jobs:
                    running.update([start(queue.pop(0), options.bin)])
                for pid in list(running):
                    running[pid].poll()
                    if running[pid].result:
                        process = running.pop(pid)
                        results[process.name] = process.result
                time.sleep(0.02)
    finally:
        for process in running.values():
            process.end()
    failed = [name for name in names if results.get(name) == "FAILED"]
    skipped = sum(result == "skipped" for result in results.values())
    print(f"{time.monotonic() - began:.0f} s")
    print(f"redis: {len(results) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser()
    default = os.environ.get("MULTICAST") or TARGET / "release" / "examples" / "multicast"
    parser.add_argument("--bin", type=pathlib.Path, default=default,
                        help="the example; default: $MULTICAST, or target/release/examples/multicast")
    parser.add_argument("--jobs", type=int, default=8, help="cases that run at the same time; default: 8")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("cases", nargs="*", help="names of cases, or parts of names")
    options = parser.parse_args()
    options.bin = options.bin.resolve()
    return options


class Process:
    """A case in a process of its own."""

    def __init__(self, name, pid, folder):
        self.name, self.pid, self.folder = name, pid, folder
        self.began, self.result = time.monotonic(), None

    def poll(self):
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self.began
        if not ended and seconds < cases[self.name].limit:
            return
        report = self.folder / "report"
        if ended and report.exists():
            self.result, text = json.loads(report.read_text())
        else:
            self.result, text = "FAILED", f"the case ended with status {status}" if ended else "timed out"
        self.end(wait=not ended)
        title = f"{self.name.replace('_', ' ')} ({seconds:.1f} s)"
        print(f"{self.result:7} {title}{': ' if text else ''}{text}", flush=True)

    def end(self, wait=True):
        """Ends what is left of the process group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if wait:
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(name, binary, first=random.randrange(100), started=[0]):
    """Runs a case in a new process. Returns its id and the `Process`."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="contract-"))
    while True:
        base = 20000 + (first + started[0]) % 120 * PORTS_OF_A_CASE
        started[0] += 1
        guard = socket.socket()  # keeps other runs from using the same ports
        with contextlib.suppress(OSError):
            guard.bind(("127.0.0.1", base))
            break
    pid = os.fork()
    if pid:
        guard.close()  # the child has it
        return pid, Process(name, pid, folder)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    servers.ports = iter(range(base + 1, base + PORTS_OF_A_CASE))
    result, text = "ok", ""
    try:
        with Run(binary, folder) as run:
            cases[name].body(run)
            text = "; ".join(run.notes)
    except Skipped as reason:
        result, text = "skipped", str(reason)
    except Violated as evidence:
        result, text = "FAILED", "; ".join([str(evidence), *run.notes])
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = "; ".join([f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})", *run.notes])
        result = "FAILED"
    (folder / "report").write_text(json.dumps([result, text]))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
