"""Headless Chromium on the page of the chat example, and its WebSocket on the echo example; started by ../run.

    python3 peer.py CHAT_PROGRAM ECHO_URL SECURE_ECHO_URL DEFLATING_ECHO_URL SCREENSHOT_PATH

The page's ids: #state, #name, #join, #log, #text, #send. The chat server is started here because a check stops it.
"""

import pathlib
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import example_server  # noqa: E402
import webdriver  # noqa: E402

CHAT_PROGRAM, ECHO, SECURE_ECHO, DEFLATING, SCREENSHOT = sys.argv[1:]

# A WebSocket whose messages and close are waited for one after the other.
CLIENT = """
    const [url, ...more] = given;
    const open = (protocols = [], binaryType = 'arraybuffer') => new Promise((resolve, reject) => {
        const socket = new WebSocket(url, protocols);
        socket.binaryType = binaryType;
        socket.onopen = () => resolve(socket);
        socket.onerror = () => reject('the connection failed');
    });
    const back = (socket, message) => new Promise((resolve, reject) => {
        socket.onmessage = event => resolve(event.data);
        socket.onclose = event => reject('closed with ' + event.code);
        socket.send(message);
    });
    const closed = (socket, ...why) => new Promise(resolve => {
        socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
        socket.close(...why);
    });
"""

failures = 0


def check(name, body):
    global failures
    try:
        body()
        print(f"ok      browser: {name}", flush=True)
    except (AssertionError, webdriver.Failed, OSError) as error:
        failures += 1
        print(f"FAILED  browser: {name}: {error}", flush=True)


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"{got!r} instead of {expected!r}")


def wait_for(what, condition, seconds=5):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def chat_checks(browser, server):
    windows = {"Ann": browser.new_window(), "Bea": browser.new_window()}
    page = server.url.replace("ws", "http", 1)

    def join():
        for name, window in windows.items():
            browser.switch_to(window)
            browser.open(page)
            browser.type("#name", name)
            browser.click("#join")
            wait_for(f"{name}'s page says 'connected'", lambda: browser.text("#state").strip() == "connected")

    def say(name, words):
        browser.switch_to(windows[name])
        browser.type("#text", words)
        browser.click("#send")
        for reader in windows:
            browser.switch_to(windows[reader])
            wait_for(f"{reader} reads '{name}: {words}'", lambda: f"{name}: {words}" in browser.text("#log"))

    def markup_stays_text():
        say("Bea", "<b id='injected'>1 & 2</b>")
        for window in windows.values():
            browser.switch_to(window)
            equal(browser.run("return document.querySelector('#injected') === null"), True)

    def stop():
        server.stop()
        for name, window in windows.items():
            browser.switch_to(window)
            wait_for(f"{name}'s page says it is not connected", lambda: browser.text("#state").strip() != "connected")
            equal(browser.text("#state").strip() != "", True)

    def picture():
        browser.switch_to(windows["Ann"])
        browser.screenshot(SCREENSHOT)
        equal(pathlib.Path(SCREENSHOT).read_bytes()[:4], b"\x89PNG")

    check("two pages of the chat join and say that they are connected", join)
    check("what one page sends, both show", lambda: say("Ann", "Hello, Bea"))
    check("the other way, beyond ASCII", lambda: say("Bea", "Grüße, κόσμε"))
    check("markup in a message is shown as text", markup_stays_text)
    check("a screenshot is taken", picture)
    echo_checks(browser)  # from the chat's page: another origin than the echo server's
    check("a chat server that stops is noticed by both pages", stop)


def echo_checks(browser):
    def answer(script, expected, *more):
        equal(browser.run(CLIENT + script, ECHO, *more), expected)

    text = "κόσμε, 日本語, 🦀" * 1000
    check("echo: text", lambda: answer("const socket = await open(); return back(socket, more[0])", text, text))
    check("echo: an empty text", lambda: answer("const socket = await open(); return back(socket, '')", ""))
    # 65536 needs the 64-bit length; both directions are compared byte by byte, in the page.
    binary = """
        const socket = await open([], more[0]);
        const sent = Uint8Array.from({ length: 65536 }, (_, n) => n * 7);
        const got = await back(socket, more[0] === 'blob' ? new Blob([sent]) : sent.buffer);
        const bytes = new Uint8Array(got instanceof Blob ? await got.arrayBuffer() : got);
        return [got.constructor.name, bytes.length, bytes.every((byte, n) => byte === sent[n])];
    """
    check("echo: an ArrayBuffer", lambda: answer(binary, ["ArrayBuffer", 65536, True], "arraybuffer"))
    check("echo: a Blob", lambda: answer(binary, ["Blob", 65536, True], "blob"))
    check("echo: 1000 messages at once, in order", lambda: answer("""
        const socket = await open();
        const got = [];
        const all = new Promise(resolve => {
            socket.onmessage = ({ data }) => { if (got.push(data) === 1000) resolve(); };
        });
        for (let n = 0; n < 1000; n += 1) socket.send('message ' + n);
        await all;
        return got.every((data, n) => data === 'message ' + n);
    """, True))
    check("deflate: many messages and a large one, with context takeover", lambda: equal(browser.run(CLIENT + """
        const socket = await open();
        const texts = Array.from({ length: 100 }, (_, n) => `{"id":${n},"name":"user${n * 7}"}`.repeat(n));
        texts.push(texts.join('').repeat(5));
        for (const text of texts) if (await back(socket, text) !== text) return 'another text came back';
        return socket.extensions;""", DEFLATING), "permessage-deflate; client_max_window_bits=12"))
    check("echo: the first subprotocol offered is chosen", lambda: answer(
        "return (await open(['v2.example', 'v1.example'])).protocol", "v2.example"))
    check("echo: a close with 4000 is answered with 4000, clean", lambda: answer(
        "const [code, , clean] = await closed(await open(), 4000, 'that is all'); return [code, clean]", [4000, True]))
    check("echo: a close without a code is clean", lambda: answer("return closed(await open())", [1005, "", True]))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the browser is ended then, too
    with example_server.ExampleServer(CHAT_PROGRAM) as chat, webdriver.Browser() as browser:
        chat_checks(browser, chat)
    # Chromium knows no way of trusting one certificate; so it distrusts ours first, and then is told to distrust none.
    with webdriver.Browser() as browser:
        check("wss: a certificate that nobody signed is refused", lambda: equal(browser.run(CLIENT + """
            return open().then(() => 'it was trusted', error => error)""", SECURE_ECHO), "the connection failed"))
    with webdriver.Browser(trusting=True) as browser:
        browser.open(SECURE_ECHO.replace("wss", "https", 1))  # a page that was gone to in spite of its certificate
        check("wss: text and a clean close", lambda: equal(browser.run(CLIENT + """
            const socket = await open();
            const got = await back(socket, 'κόσμε');
            const [code, , clean] = await closed(socket, 4000);
            return [got, code, clean];""", SECURE_ECHO), ["κόσμε", 4000, True]))
    sys.exit(1 if failures else 0)


try:
    main()
except (example_server.Failed, webdriver.Failed, OSError) as error:
    print(f"FAILED  browser: {error}", flush=True)
    sys.exit(1)
