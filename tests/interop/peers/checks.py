"""What the peers in Python have in common: checks that are named, run one after the other, and counted by ../run."""

import sys
import time

checks = []


def check(name):
    def register(body):
        checks.append((name, body))
        return body

    return register


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"{got!r:.200} came, {expected!r:.200} was expected")


def run(peer, call=lambda body: body()):
    """Runs what was registered, and ends the process: with status 1 if anything failed."""
    failed = 0
    for title, body in checks:
        began = time.monotonic()
        try:
            call(body)
            print(f"ok      {peer}: {title} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {peer}: {title}: {type(error).__name__}: {str(error) or 'no end in time'}", flush=True)
    sys.exit(1 if failed else 0)
