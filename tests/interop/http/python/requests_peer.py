"""The PyPI package `requests` as a client of the server example. Started by ../run.

    python requests_peer.py URL
"""

import concurrent.futures
import os
import pathlib
import sys
import time

import requests

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "peers")]
import site_files  # noqa: E402
from checks import check, equal, run  # noqa: E402

BASE = sys.argv[1].rstrip("/")
SECURE = BASE.startswith("https")
MIB = 1 << 20
SIZES = [0, 1, 1024, MIB - 1, MIB]
TIMEOUT = 20  # seconds, for each request


def call(session, method, path, **options):
    return session.request(method, BASE + path, **{"timeout": TIMEOUT, "allow_redirects": False, **options})


def pieces(body, size=100_000):
    """A body whose length requests does not know: it is sent in chunks."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


@check("GET and HEAD of the page")
def page():
    with requests.Session() as session:
        get, head = call(session, "GET", "/"), call(session, "HEAD", "/")
        equal((get.status_code, head.status_code, "One port" in get.text, head.content), (200, 200, True, b""))
        equal(head.headers["Content-Length"], str(len(get.content)))
        equal(get.encoding, "utf-8")


@check("bodies are echoed with their type, by length and in chunks")
def echo():
    with requests.Session() as session:
        for size in SIZES:
            body = os.urandom(size)
            for data in (body, pieces(body)):
                answer = call(session, "POST", "/echo", data=data, headers={"Content-Type": "image/x-test"})
                equal((answer.status_code, answer.headers["Content-Type"]), (200, "image/x-test"))
                equal(answer.content == body, True)


@check("JSON, forms and files are echoed as sent")
def types():
    with requests.Session() as session:
        equal(call(session, "POST", "/echo", json={"a": ["ü", 1]}).json(), {"a": ["ü", 1]})
        answer = call(session, "POST", "/echo", data={"a": "b c", "d": "ü"})
        equal((answer.text, answer.headers["Content-Type"]), ("a=b+c&d=%C3%BC", "application/x-www-form-urlencoded"))
        answer = call(session, "POST", "/echo", files={"file": ("name.txt", b"content")})
        equal((b"content" in answer.content, answer.headers["Content-Type"][:19]), (True, "multipart/form-data"))


@check("body over 1 MiB is refused with 413, and a new connection serves on")
def too_large():
    with requests.Session() as session:
        for size in (MIB + 1, 3 * MIB):
            equal(call(session, "POST", "/echo", data=bytes(size)).status_code, 413)
        equal(call(session, "GET", "/health").text, "ok")


@check("any method reaches a route for all methods")
def methods():
    with requests.Session() as session:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "LINK"):
            equal(call(session, method, "/echo", data=method).text, method)


@check("1,000 requests of a session use one connection")
def keep_alive():
    with requests.Session() as session:
        peers = {call(session, "GET", f"/whoami?number={number}").json()["peer"] for number in range(1000)}
        equal(len(peers), 1)
        for path, status in (("/missing", 404), ("/files/folder", 301), ("/count", 405), ("/stream/100000", 200)):
            equal(call(session, "GET", path).status_code, status)
        peers.add(call(session, "GET", "/whoami").json()["peer"])
        equal(len(peers), 1)
        equal(call(session, "GET", "/whoami").json()["secure"], SECURE)


@check("connection is not used again after Connection: close")
def close():
    with requests.Session() as session:
        peers = {call(session, "GET", "/whoami", headers={"Connection": "close"}).json()["peer"] for _ in range(5)}
        equal(len(peers), 5)


@check("upload of 50 MiB, by length and in chunks, is counted")
def upload():
    body = bytes(50 * MIB)
    with requests.Session() as session:
        for data in (body, pieces(body, MIB)):
            equal(call(session, "PUT", "/count", data=data).text, str(len(body)))


@check("streams arrive whole, and an abandoned one leaves the session usable")
def streams():
    with requests.Session() as session:
        for size in (0, 1, 10 * MIB):
            with call(session, "GET", f"/stream/{size}", stream=True) as answer:
                equal(answer.headers["Transfer-Encoding"], "chunked")
                equal(sum(part.count(b"7") for part in answer.iter_content(65536)), size)
        with call(session, "GET", f"/stream/{300 * MIB}", stream=True) as answer:
            equal(next(answer.iter_content(1000)), b"7" * 1000)
        equal(call(session, "GET", "/health").text, "ok")


@check("files: conditions, ranges, coding, redirect")
def files():
    data = site_files.data()
    with requests.Session() as session:
        whole = call(session, "GET", "/files/data.bin")
        equal(whole.content == data, True)
        for name, value in (("If-None-Match", whole.headers["ETag"]), ("If-Modified-Since",
                            whole.headers["Last-Modified"])):
            equal(call(session, "GET", "/files/data.bin", headers={name: value}).status_code, 304)
        part = call(session, "GET", "/files/data.bin", headers={"Range": "bytes=1000-1999"})
        equal((part.status_code, part.content == data[1000:2000]), (206, True))
        coded = call(session, "GET", "/files/app.js")
        equal((coded.headers["Content-Encoding"] in ("gzip", "br"), coded.text), (True, site_files.COMPRESSED))
        followed = call(session, "GET", "/files/folder", allow_redirects=True)
        equal((followed.url, followed.text), (f"{BASE}/files/folder/", "<title>Folder</title>"))


@check("20 replies of another thread are awaited side by side")
def slow():
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(20) as pool, requests.Session() as session:
        answers = list(pool.map(lambda _: call(session, "GET", "/slow?ms=500").text, range(20)))
    equal(answers, ["late"] * 20)
    equal(time.monotonic() - started < 5, True)


if SECURE:

    @check("certificate of an unknown authority is refused by requests, and the server serves on")
    def unknown_authority():
        try:
            requests.get(f"{BASE}/health", timeout=TIMEOUT, verify=requests.certs.where())
            raise AssertionError("the certificate was accepted")
        except requests.exceptions.SSLError:
            pass
        equal(requests.get(f"{BASE}/health", timeout=TIMEOUT).text, "ok")


run("requests-https" if SECURE else "requests")
