"""Talks with a server all the time, in a process of its own, and says how long each echo took: in seconds, line by line. Ends with its input.

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
        began = time.monotonic()
        client.echoes(f"bystander {number}")
        print(time.monotonic() - began, flush=True)
        number += 1
