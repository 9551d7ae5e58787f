"""The checks of the Python peers: registered by title, run one after the other, and counted by ./run."""

import sys
import time

checks = []


def check(title):
    def register(body):
        checks.append((title, body))
        return body

    return register


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"expected {expected!r:.200}, got {got!r:.200}")


def run(peer, call=lambda body: body()):
    """Runs the registered checks and exits, with status 1 if a check failed."""
    failed = 0
    for title, body in checks:
        started = time.monotonic()
        try:
            call(body)
            print(f"ok      {peer}: {title} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED  {peer}: {title}: {type(error).__name__}: {str(error) or 'timed out'}", flush=True)
    sys.exit(1 if failed else 0)
