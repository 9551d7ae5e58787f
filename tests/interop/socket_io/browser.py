"""Headless Chromium: pages with the client of Socket.IO at the example `socket_io`. Started by ./run.

    python3 browser.py EXAMPLE PAGES BUNDLE
"""

import contextlib
import pathlib
import socket
import sys
import time

sys.dont_write_bytecode = True
PEERS = pathlib.Path(sys.argv[0]).resolve().parent / "peers"
sys.path[:0] = [str(PEERS), str(PEERS / "browser")]
import webdriver  # noqa: E402
from checks import check, equal, run  # noqa: E402
from example_server import ExampleServer  # noqa: E402

EXAMPLE, PAGES, BUNDLE = sys.argv[1:]
STATE = "return document.querySelector('#messages').dataset.state"
ITEMS = "return [...document.querySelectorAll('#messages li')].map(item => item.textContent)"


def server(port=0):
    listen = ["--listen", f"127.0.0.1:{port}"] if port else []
    return ExampleServer(EXAMPLE, "--public", PAGES, "--client", BUNDLE, *listen)


def until(browser, script, expected):
    """Waits until a script of the page has the expected result."""
    last = time.monotonic() + 15
    while (found := browser.run(script)) != expected and time.monotonic() < last:
        time.sleep(0.05)
    equal(found, expected)


@check("pages hear each other, and who comes and goes; a page that is loaded again is a new user")
def chat(browser):
    with server() as example:
        ann, bob = browser.new_window(), browser.new_window()
        browser.switch_to(ann)
        browser.open(f"{example.url}/index.html?name=ann")
        until(browser, ITEMS, ["login 1"])
        until(browser, "return transport()", "websocket")
        browser.switch_to(bob)
        browser.open(f"{example.url}/index.html?name=bob")
        until(browser, ITEMS, ["login 2"])
        browser.run("say('hello \u2603')")
        browser.switch_to(ann)
        until(browser, ITEMS, ["login 1", "joined bob", "bob: hello \u2603"])
        browser.switch_to(bob)
        browser.open(f"{example.url}/index.html?name=bob")
        until(browser, ITEMS, ["login 2"])
        browser.switch_to(ann)
        until(browser, ITEMS, ["login 1", "joined bob", "bob: hello \u2603", "left bob", "joined bob"])


@check("a page connects again to a server that was restarted")
def restart(browser):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with server(port) as example:
        browser.open(f"{example.url}/index.html?name=cat")
        until(browser, ITEMS, ["login 1"])
    until(browser, STATE, "disconnected")
    with server(port):
        until(browser, STATE, "connected")
        until(browser, ITEMS, ["login 1", "login 1"])


with contextlib.ExitStack() as stack:
    chromium = stack.enter_context(webdriver.Browser())
    run("browser", lambda body: body(chromium))
