"""A well-behaved client in its own process. Prints the latency of each echo in seconds. Exits at the end of stdin.

    python3 bystander.py URL [deflate]
"""

import sys
import threading
import time

from attacker import Address, Client

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
with Client(Address(sys.argv[1], "deflate" in sys.argv)) as client:
    number = 0
    while not stop.wait(0.01):
        started = time.monotonic()
        client.check_echo(f"bystander {number}")
        print(time.monotonic() - started, flush=True)
        number += 1
