"""Headless Chromium: the page of the server example, fetch and WebSockets in it, and files. Started by ../run.

    python3 peer.py URL

The checks use these ids of the page: #log, #text, #form, #line, #state.
"""

import pathlib
import signal
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE.parent.parent / "peers"
sys.path[:0] = [str(HERE.parent), str(PEERS), str(PEERS / "browser")]
import site_files  # noqa: E402
import webdriver  # noqa: E402
from checks import check, equal, run  # noqa: E402

BASE = sys.argv[1].rstrip("/")
SECURE = BASE.startswith("https")
MIB = 1 << 20
# Functions for the scripts that run in the page.
PAGE = """
    const bytes = size => Uint8Array.from({ length: size }, (_, n) => n * 7);
    const same = (one, other) => one.length === other.length && one.every((byte, n) => byte === other[n]);
    const peer = async () => (await (await fetch('/whoami', { cache: 'no-store' })).json()).peer;
"""


def in_page(script, *values):
    return browser.run(PAGE + script, *values)


def wait_for(description, condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{description}: not within {seconds} s")
        time.sleep(0.05)


def open_page():
    """Opens the page in a new window, and waits until it says that it is connected."""
    window = browser.new_window()
    browser.switch_to(window)
    browser.open(f"{BASE}/")
    wait_for("the page says 'connected'", lambda: "— connected" in browser.text("#log"))
    return window


@check("page connects its WebSocket on its own port, and shows what is posted and sent in another window")
def page():
    windows = [open_page(), open_page()]
    equal(in_page("return (await fetch('/topics/lobby', { method: 'POST', body: 'posted, ü' })).status"), 202)
    browser.type("#text", "sent <b>by hand</b>")
    browser.click("#form button")
    for window in windows:
        browser.switch_to(window)
        for text in ("posted, ü", "sent <b>by hand</b>"):
            wait_for(f"the page shows '{text}'", lambda: text in browser.text("#log"))


@check("page: the line of the chart gets points, and the page fits the widths of a desktop and a phone")
def chart():
    browser.open(f"{BASE}/")
    wait_for("the page says 'connected'", lambda: "— connected" in browser.text("#log"))
    wait_for("the line has three points", lambda: len(in_page("""
        return document.querySelector('#line').getAttribute('points').trim().split(/\\s+/);
    """)) >= 3)
    equal(any(word.isdigit() for word in browser.text("#state").split()), True)
    equal(in_page("return (await fetch('/topics/lobby', { method: 'POST', body: 'x'.repeat(2000) })).status"), 202)
    wait_for("the page shows a long word", lambda: "x" * 2000 in browser.text("#log"))
    for width in (375, 1280):
        browser.resize(width, 700)
        wait_for(f"the page is {width} wide", lambda: in_page("return innerWidth") == width)
        equal((width, in_page("""
            const { scrollWidth, clientWidth } = document.documentElement;
            return scrollWidth <= clientWidth;
        """)), (width, True))


@check("EventSource: posted texts arrive in order, with ids that grow")
def event_source():
    texts = ["one", "two\nlines", "", "\n", "ü", " space"]
    equal(in_page("""
        const events = new EventSource('/topics/browser/events');
        const received = [];
        await new Promise((resolve, reject) => { events.onopen = resolve; events.onerror = () => reject('refused'); });
        const done = new Promise((resolve, reject) => {
            events.onmessage = ({ data, lastEventId }) => {
                received.push([data, Number(lastEventId)]);
                if (received.length === given[0].length) resolve();
            };
            events.onerror = () => reject('the stream has ended');
        });
        for (const body of given[0]) await fetch('/topics/browser', { method: 'POST', body });
        await done;
        events.close();
        return [received.map(([data]) => data), received.every(([, id], n) => n === 0 || id > received[n - 1][1])];
    """, texts), [texts, True])


@check("fetch: bodies are echoed with their type")
def echo():
    for size in (0, 1, 1024, MIB - 1, MIB):
        equal(in_page("""
            const sent = bytes(given[0]);
            const answer = await fetch('/echo', { method: 'POST', body: sent, headers: { 'Content-Type': 'image/x' } });
            return [answer.status, answer.headers.get('Content-Type'),
                    same(sent, new Uint8Array(await answer.arrayBuffer()))];
        """, size), [200, "image/x", True])


@check("fetch: body over 1 MiB is refused with 413")
def too_large():
    for size in (MIB + 1, 4 * MIB):
        equal(in_page("""
            return (await fetch('/echo', { method: 'POST', body: new Blob([bytes(given[0])]) })).status;
        """, size), 413)


@check("fetch: methods of HTTP and others reach a route for all methods, HEAD has no body, 405 has Allow")
def methods():
    equal(in_page("""
        const all = ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'];
        const answers = await Promise.all(all.map(method => fetch('/echo', { method, body: method })));
        const texts = await Promise.all(answers.map(answer => answer.text()));
        return texts.every((text, n) => text === all[n]);
    """), True)
    equal(in_page("const head = await fetch('/', { method: 'HEAD' }); return [head.status, await head.text()]"),
          [200, ""])
    equal(in_page("const answer = await fetch('/', { method: 'PUT' }); return [answer.status, "
                  "answer.headers.get('Allow')]"), [405, "GET, HEAD, OPTIONS"])


@check("fetch: 200 requests, one after the other, use one connection")
def keep_alive():
    equal(in_page("""
        const peers = new Set();
        for (let n = 0; n < 200; n += 1) peers.add(await peer());
        return peers.size;
    """), 1)


@check("fetch: streams of 0 B, 1 B, 10 MiB and 300 MiB are read part by part")
def streams():
    for size in (0, 1, 10 * MIB, 300 * MIB):
        equal(in_page("""
            const reader = (await fetch('/stream/' + given[0], { cache: 'no-store' })).body.getReader();
            let received = 0;
            for (let part; !(part = await reader.read()).done;) received += part.value.length;
            return received;
        """, size), size)


@check("fetch: an aborted stream leaves the page usable")
def aborted():
    equal(in_page("""
        const abort = new AbortController();
        const options = { signal: abort.signal, cache: 'no-store' };
        await (await fetch('/stream/1000000000000', options)).body.getReader().read();
        abort.abort();
        return (await fetch('/health')).text();
    """), "ok")


@check("upload of 50 MiB by XMLHttpRequest is counted, with its progress")
def upload():
    equal(in_page("""
        const request = new XMLHttpRequest();
        let progress = 0;
        request.upload.onprogress = event => { progress = event.loaded; };
        const done = new Promise((resolve, reject) => { request.onload = resolve; request.onerror = reject; });
        request.open('PUT', '/count');
        request.send(new Blob([new Uint8Array(given[0])]));
        await done;
        return [request.status, request.responseText, progress];
    """, 50 * MIB), [200, str(50 * MIB), 50 * MIB])


@check("fetch: 20 replies of another thread arrive")
def slow():
    equal(in_page("""
        const late = async n => (await fetch('/slow?ms=100&number=' + n)).text();
        return Promise.all(Array.from({ length: 20 }, (_, n) => late(n)));
    """), ["late"] * 20)


@check("files: redirect to the folder, compressed script, range")
def files():
    equal(in_page("const answer = await fetch('/files/folder'); return [answer.redirected, answer.url, "
                  "await answer.text()]"), [True, f"{BASE}/files/folder/", "<title>Folder</title>"])
    equal(in_page("const answer = await fetch('/files/app.js'); return [await answer.text(), "
                  "['gzip', 'br'].includes(answer.headers.get('Content-Encoding'))]"), [site_files.COMPRESSED, True])
    equal(in_page("const answer = await fetch('/files/data.bin', { headers: { Range: 'bytes=4-7' } }); "
                  "return [answer.status, ...new Uint8Array(await answer.arrayBuffer())]"),
          [206, *site_files.data()[4:8]])


if not SECURE:  # Chromium stores nothing of a server whose certificate it does not trust

    @check("files: the cache asks whether its copy is valid, and the page gets the copy")
    def revalidation():
        equal(in_page("""
            performance.clearResourceTimings();  // Chromium keeps the first 250 entries
            const load = async () => (await (await fetch('/files/data.bin?cached', { cache: 'no-cache' })).blob()).size;
            const sizes = [await load(), await load()];
            const entries = performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('?cached'));
            const [first, second] = entries.map(entry => entry.transferSize);
            return [...sizes, first >= 3000000, second > 0 && second < 3000];
        """), [3_000_000, 3_000_000, True, True])


@check("script, style and page of the served folder are used by the browser")
def subresources():
    browser.open(f"{BASE}/files/folder/")
    equal(in_page("return document.title"), "Folder")
    equal(in_page("""
        const script = document.createElement('script');
        script.src = '../app.js';
        const style = document.createElement('link');
        [style.rel, style.href] = ['stylesheet', '../only-gzip.css'];
        const loaded = [script, style].map(element => new Promise((resolve, reject) => {
            element.onload = resolve;
            element.onerror = () => reject(element.tagName);
        }));
        document.head.append(script, style);
        await Promise.all(loaded);
        return true;
    """), True)


@check("WebSocket: messages are echoed, next to requests")
def websocket():
    equal(in_page("""
        const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/echo');
        socket.binaryType = 'arraybuffer';
        const message = () => new Promise((resolve, reject) => {
            socket.onmessage = event => resolve(event.data);
            socket.onerror = () => reject('the connection failed');
        });
        await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = () => reject('refused'); });
        let next = message();
        socket.send('ü');
        const text = await next;
        next = message();
        const sent = bytes(100000);
        socket.send(sent);
        const binary = same(sent, new Uint8Array(await next));
        const other = await (await fetch('/health')).text();
        const closed = new Promise(resolve => { socket.onclose = ({ code, wasClean }) => resolve([code, wasClean]); });
        socket.close(4000);
        return [text, binary, other, ...await closed];
    """), ["ü", True, "ok", 4000, True])


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the context manager stops the browser
NAME = "browser-https" if SECURE else "browser"
try:
    with webdriver.Browser(any_certificate=SECURE) as browser:
        run(NAME)
except (webdriver.Failed, OSError) as error:
    print(f"FAILED  {NAME}: {error}", flush=True)
    sys.exit(1)
