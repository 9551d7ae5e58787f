"""A WebDriver client with the commands that the browser checks need."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element reference in the WebDriver standard


class Failed(Exception):
    """The driver did not start, or refused a command."""


class Browser:
    """`with Browser() as browser:` starts headless Chromium, controlled by ChromeDriver."""

    ARGUMENTS = [
        "--headless=new",
        "--no-sandbox",  # Chromium does not run as root with a sandbox, and build machines often run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",  # Chromium would otherwise contact Google's servers
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=900,700",
    ]

    def __init__(self, any_certificate=False):
        self.any_certificate = any_certificate

    def __enter__(self):
        driver = shutil.which("chromedriver")
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not (driver and chromium):
            raise Failed("Chromium and ChromeDriver are needed (Debian: chromium, chromium-driver)")
        self._base = self._start_driver(driver)
        try:
            chrome = {"binary": chromium, "args": self.ARGUMENTS}
            capabilities = {"browserName": "chrome", "goog:chromeOptions": chrome, "timeouts": {"script": 20_000},
                            "acceptInsecureCerts": self.any_certificate}
            created = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._base += f"/session/{created['sessionId']}"
            return self
        except BaseException:
            self._end_driver()
            raise

    def __exit__(self, *_):
        try:
            self._call("DELETE", "")
        except (Failed, OSError):
            pass  # the driver is ended even if the browser has crashed
        self._end_driver()

    def new_window(self):
        return self._call("POST", "/window/new", {"type": "window"})["handle"]

    def switch_to(self, window):
        self._call("POST", "/window", {"handle": window})

    def close_window(self):
        """Closes the current window, and switches to the first one."""
        self.switch_to(self._call("DELETE", "/window")[0])

    def open(self, url):
        self._call("POST", "/url", {"url": url})

    def resize(self, width, height):
        """Sets the size of the viewport. A window cannot be as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 0, "mobile": False}
        self._call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def run(self, script, *arguments):
        """Runs `script` as the body of an async function, with the arguments in `given`. Returns its result."""
        wrapped = f"const done = arguments[arguments.length - 1]; const given = [...arguments].slice(0, -1); \
            (async (...given) => {{ {script} }})(...given).then(value => done({{ value }}), \
            error => done({{ error: String(error) }}));"
        result = self._call("POST", "/execute/async", {"script": wrapped, "args": arguments})
        if "error" in result:
            raise Failed(f"error in the page: {result['error']}")
        return result.get("value")

    def text(self, selector):
        return self.run("return document.querySelector(given[0]).textContent", selector)

    def click(self, selector):
        self._on_element(selector, "/click", {})

    def type(self, selector, text):
        self._on_element(selector, "/clear", {})
        self._on_element(selector, "/value", {"text": text})

    def screenshot(self, path):
        image = base64.b64decode(self._call("GET", "/screenshot"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(image)

    def _on_element(self, selector, verb, body):
        """Sends a command for an element; waits until the element exists and is visible."""
        until = time.monotonic() + 5
        while True:
            try:
                found = self._call("POST", "/element", {"using": "css selector", "value": selector})
                return self._call("POST", f"/element/{found[ELEMENT]}{verb}", body)
            except Failed as failed:
                if time.monotonic() > until:
                    raise Failed(f"{selector}: {failed}") from None
                time.sleep(0.05)

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._direct.open(request, timeout=60) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            details = json.load(error)["value"]
            raise Failed(f"{details['error']}: {details['message'].splitlines()[0]}") from None

    # Ignores proxies in the environment variables: ChromeDriver listens on this machine.
    _direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _start_driver(self, driver):
        """Starts ChromeDriver and returns its URL. Tries five times: ChromeDriver selects a random port, and exits if
        another process uses that port on IPv4 or on IPv6."""
        for _ in range(5):
            self._driver = subprocess.Popen(
                [driver, "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )
            timer = threading.Timer(20, self._driver.kill)
            timer.start()
            output = []
            try:
                for line in self._driver.stdout:
                    output.append(line)
                    found = re.search(r"started successfully on port (\d+)", line)
                    if found:
                        threading.Thread(target=self._driver.stdout.read, daemon=True).start()
                        return f"http://127.0.0.1:{found.group(1)}"
            finally:
                timer.cancel()
            self._end_driver()
            time.sleep(0.5)
        raise Failed(f"ChromeDriver did not start (status {self._driver.returncode}): {''.join(output).strip()}")

    def _end_driver(self):
        try:
            os.killpg(self._driver.pid, signal.SIGKILL)  # the group includes Chromium
        except ProcessLookupError:
            pass
        self._driver.wait()
