"""Headless Chromium: pages with the client of Rails and with Turbo, at the example `action_cable`. Started by ./run.

    python3 browser.py URL PAGES SECRET KEY

The pages are served from another origin, which the example allows: PAGES. SECRET signs the names of Turbo's streams.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
PEERS = pathlib.Path(sys.argv[0]).resolve().parent / "peers"
sys.path[:0] = [str(PEERS), str(PEERS / "browser")]
import webdriver  # noqa: E402
from checks import check, equal, run  # noqa: E402

CABLE, PAGES, SECRET, KEY = sys.argv[1:]
BROADCAST = CABLE.replace("ws://", "http://").replace("/cable", "/_broadcast")
STATE = "return document.querySelector('#messages').dataset.state"
ITEMS = "return [...document.querySelectorAll('#messages li')].map(item => item.textContent)"
CONNECTED = "return document.querySelector('turbo-cable-stream-source')?.hasAttribute('connected')"


def page(name, **query):
    return f"{PAGES}/{name}.html?{urllib.parse.urlencode({'cable': CABLE, **query})}"


def until(browser, script, expected):
    """Waits until a script of the page has the expected result."""
    last = time.monotonic() + 10
    while (found := browser.run(script)) != expected and time.monotonic() < last:
        time.sleep(0.05)
    equal(found, expected)


def broadcast(stream, value):
    body = json.dumps({"stream": stream, "data": json.dumps(value)}).encode()
    request = urllib.request.Request(BROADCAST, body, {"Authorization": f"Bearer {KEY}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as response:
        equal(response.status, 201)


def signed(stream):
    """The name of a stream, as Rails signs it."""
    encoded = base64.b64encode(json.dumps(stream).encode()).decode()
    return f"{encoded}--{hmac.new(SECRET.encode(), encoded.encode(), hashlib.sha256).hexdigest()}"


@check("pages with the client of Rails hear each other, and broadcasts")
def rails(browser):
    windows = [browser.new_window() for _ in range(2)]
    for window in windows:
        browser.switch_to(window)
        browser.open(page("rails"))
        until(browser, STATE, "connected")
    browser.run("speak('<b>from a page</b>')")
    broadcast("chat:browser", {"body": "from elsewhere \u2028"})
    for window in windows:
        browser.switch_to(window)
        until(browser, ITEMS, ["<b>from a page</b>", "from elsewhere \u2028"])


@check("Turbo appends, replaces and removes what is broadcast to a signed stream")
def turbo(browser):
    browser.open(page("turbo", stream=signed("news")))
    until(browser, CONNECTED, True)
    stream = '<turbo-stream action="{}" target="{}"><template>{}</template></turbo-stream>'
    broadcast("news", stream.format("append", "messages", '<li id="one">one</li>'))
    broadcast("news", stream.format("append", "messages", '<li id="two">two &amp; more</li>'))
    until(browser, ITEMS, ["one", "two & more"])
    broadcast("news", stream.format("replace", "one", '<li id="one">1</li>'))
    broadcast("news", stream.format("remove", "two", ""))
    until(browser, ITEMS, ["1"])


@check("Turbo does not follow a stream whose name is signed with another key")
def forged(browser):
    browser.open(page("turbo", stream=signed("news")[:-1] + "x"))
    time.sleep(1)
    broadcast("news", '<turbo-stream action="append" target="messages"><template><li>no</li></template></turbo-stream>')
    time.sleep(0.5)
    equal((browser.run(CONNECTED), browser.run(ITEMS)), (False, []))


with contextlib.ExitStack() as stack:
    chromium = stack.enter_context(webdriver.Browser())
    run("browser", lambda body: body(chromium))
