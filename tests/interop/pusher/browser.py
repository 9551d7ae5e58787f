"""Headless Chromium: the pages of the example `pusher`. Started by ./run.

    python3 browser.py URL
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import pathlib
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
PEERS = pathlib.Path(sys.argv[0]).resolve().parent / "peers"
sys.path[:0] = [str(PEERS), str(PEERS / "browser")]
import webdriver  # noqa: E402
from checks import check, equal, run  # noqa: E402

URL = sys.argv[1]
LINES = "return [...document.querySelectorAll('#log li')].map(item => item.textContent)"
MEMBERS = "return [...document.querySelectorAll('#members li')].map(item => item.textContent)"
STATE = "return document.querySelector('#state').textContent"


def until(browser, script, expected):
    """Waits until a script of the page has the expected result."""
    last = time.monotonic() + 15
    while (found := browser.run(script)) != expected and time.monotonic() < last:
        time.sleep(0.05)
    equal(found, expected)


def trigger(channel, event, data):
    """Posts an event, as a server library does."""
    body = json.dumps({"name": event, "channel": channel, "data": json.dumps(data)})
    query = (f"auth_key=key&auth_timestamp={int(time.time())}&auth_version=1.0"
             f"&body_md5={hashlib.md5(body.encode()).hexdigest()}")
    signature = hmac.new(b"secret", f"POST\n/apps/1/events\n{query}".encode(), hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=10)
    connection.request("POST", f"/apps/1/events?{query}&auth_signature={signature}", body)
    equal(connection.getresponse().status, 200)


def join(browser, path, name):
    browser.open(URL + path)
    browser.run(f"document.querySelector('#name').value = '{name}'; document.querySelector('#door button').click()")
    until(browser, STATE, "connected")


def say(browser, text):
    browser.run(f"document.querySelector('#text').value = '{text}'; document.querySelector('#send').click()")


def chat(first, second):
    def body(browser):
        ann, bob = browser.new_window(), browser.new_window()
        browser.switch_to(ann)
        join(browser, first, "Ann")
        until(browser, MEMBERS, ["Ann"])
        browser.switch_to(bob)
        join(browser, second, "Bob")
        until(browser, MEMBERS, ["Ann", "Bob"])
        trigger("presence-room", "message", "hello \u2603")
        until(browser, LINES, ["serverhello \u2603"])
        browser.switch_to(ann)
        until(browser, MEMBERS, ["Ann", "Bob"])
        until(browser, LINES, ["Bob joined", "serverhello \u2603"])
        say(browser, "bye")
        until(browser, LINES, ["Bob joined", "serverhello \u2603", "Annbye"])
        browser.close_window()
        browser.switch_to(bob)
        until(browser, MEMBERS, ["Bob"])
        browser.close_window()
    return body


check("pages of pusher-js hear each other, the server, and who comes and goes")(chat("/", "/"))
check("pages of Laravel Echo do, too")(chat("/echo", "/echo"))


@check("whispers of Echo arrive at Echo")
def whispers(browser):
    ann, bob = browser.new_window(), browser.new_window()
    for window, name in ((ann, "Ann"), (bob, "Bob")):
        browser.switch_to(window)
        join(browser, "/echo", name)
    until(browser, MEMBERS, ["Ann", "Bob"])
    say(browser, "psst")
    browser.switch_to(ann)
    until(browser, LINES, ["Bob joined", "Bobpsst"])


with contextlib.ExitStack() as stack:
    chromium = stack.enter_context(webdriver.Browser())
    run("browser", lambda body: body(chromium))
