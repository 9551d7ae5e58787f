"""Headless Chromium: the page of the chat example, and the WebSocket API with the echo example. Started by ../run.

    python3 peer.py CHAT_PROGRAM ECHO_URL SECURE_ECHO_URL DEFLATING_ECHO_URL SCREENSHOT_PATH

The checks use these ids of the page: #state, #name, #join, #log, #text, #send. The chat server is started here because
a check stops it.
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

# Functions for the scripts that run in the page: open a WebSocket, await an echo, await the close.
CLIENT = """
    const [url, ...values] = given;
    const open = (protocols = [], binaryType = 'arraybuffer') => new Promise((resolve, reject) => {
        const socket = new WebSocket(url, protocols);
        socket.binaryType = binaryType;
        socket.onopen = () => resolve(socket);
        socket.onerror = () => reject('the connection failed');
    });
    const echoed = (socket, message) => new Promise((resolve, reject) => {
        socket.onmessage = event => resolve(event.data);
        socket.onclose = event => reject('closed with ' + event.code);
        socket.send(message);
    });
    const closed = (socket, ...codeAndReason) => new Promise(resolve => {
        socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
        socket.close(...codeAndReason);
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
        raise AssertionError(f"expected {expected!r}, got {got!r}")


def wait_for(description, condition, seconds=5):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{description}: not within {seconds} s")
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

    def send(name, text):
        browser.switch_to(windows[name])
        browser.type("#text", text)
        browser.click("#send")
        for reader in windows:
            browser.switch_to(windows[reader])
            wait_for(f"{reader} reads '{name}: {text}'", lambda: f"{name}: {text}" in browser.text("#log"))

    def markup_stays_text():
        send("Bea", "<b id='injected'>1 & 2</b>")
        for window in windows.values():
            browser.switch_to(window)
            equal(browser.run("return document.querySelector('#injected') === null"), True)

    def stop():
        server.stop()
        for name, window in windows.items():
            browser.switch_to(window)
            wait_for(f"{name}'s page does not say 'connected'", lambda: browser.text("#state").strip() != "connected")
            equal(browser.text("#state").strip() != "", True)

    def screenshot():
        browser.switch_to(windows["Ann"])
        browser.screenshot(SCREENSHOT)
        equal(pathlib.Path(SCREENSHOT).read_bytes()[:4], b"\x89PNG")

    check("two pages join the chat and show that they are connected", join)
    check("both pages show a message of the first page", lambda: send("Ann", "Hello, Bea"))
    check("both pages show a non-ASCII message of the second page", lambda: send("Bea", "Grüße, κόσμε"))
    check("markup in a message is shown as text", markup_stays_text)
    check("a screenshot is taken", screenshot)
    echo_checks(browser)  # in the page of the chat: its origin is not that of the echo server
    check("both pages show that the chat server has stopped", stop)


def echo_checks(browser):
    def check_result(script, expected, *values):
        equal(browser.run(CLIENT + script, ECHO, *values), expected)

    text = "κόσμε, 日本語, 🦀" * 1000
    check("echo: a text message", lambda: check_result(
        "const socket = await open(); return echoed(socket, values[0])", text, text))
    check("echo: an empty text message", lambda: check_result(
        "const socket = await open(); return echoed(socket, '')", ""))
    # A length of 65536 needs the 64-bit form. The page compares the bytes.
    binary = """
        const socket = await open([], values[0]);
        const sent = Uint8Array.from({ length: 65536 }, (_, n) => n * 7);
        const got = await echoed(socket, values[0] === 'blob' ? new Blob([sent]) : sent.buffer);
        const bytes = new Uint8Array(got instanceof Blob ? await got.arrayBuffer() : got);
        return [got.constructor.name, bytes.length, bytes.every((byte, n) => byte === sent[n])];
    """
    check("echo: an ArrayBuffer", lambda: check_result(binary, ["ArrayBuffer", 65536, True], "arraybuffer"))
    check("echo: a Blob", lambda: check_result(binary, ["Blob", 65536, True], "blob"))
    check("echo: 1000 messages in flight, in order", lambda: check_result("""
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
        for (const text of texts) if (await echoed(socket, text) !== text) return 'the echo differs';
        return socket.extensions;""", DEFLATING), "permessage-deflate; client_max_window_bits=12"))
    check("echo: the first subprotocol offered is chosen", lambda: check_result(
        "return (await open(['v2.example', 'v1.example'])).protocol", "v2.example"))
    check("echo: a close with 4000 is clean and gets the reply 4000", lambda: check_result(
        "const [code, , clean] = await closed(await open(), 4000, 'that is all'); return [code, clean]", [4000, True]))
    check("echo: a close without a code is clean and gets a reply without a code", lambda: check_result(
        "return closed(await open())", [1005, "", True]))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the context managers stop the browser
    with example_server.ExampleServer(CHAT_PROGRAM) as chat, webdriver.Browser() as browser:
        chat_checks(browser, chat)
    # Chromium has no option to trust a single certificate. The first browser refuses the self-signed certificate, the
    # second accepts any certificate.
    with webdriver.Browser() as browser:
        check("wss: a self-signed certificate is refused", lambda: equal(browser.run(CLIENT + """
            return open().then(() => 'the certificate was accepted', error => error)""",
            SECURE_ECHO), "the connection failed"))
    with webdriver.Browser(any_certificate=True) as browser:
        browser.open(SECURE_ECHO.replace("wss", "https", 1))  # the page is opened in spite of its certificate
        check("wss: a text message and a clean close", lambda: equal(browser.run(CLIENT + """
            const socket = await open();
            const got = await echoed(socket, 'κόσμε');
            const [code, , clean] = await closed(socket, 4000);
            return [got, code, clean];""", SECURE_ECHO), ["κόσμε", 4000, True]))
    sys.exit(1 if failures else 0)


try:
    main()
except (example_server.Failed, webdriver.Failed, OSError) as error:
    print(f"FAILED  browser: {error}", flush=True)
    sys.exit(1)
