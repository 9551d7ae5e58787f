"""curl as a client of the server example: requests, bodies, connections. Started by ../run.

    python3 http_checks.py URL
"""

import email.utils
import json
import os
import pathlib
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "peers"))
import curl as curl_command  # noqa: E402
from checks import check, equal, run  # noqa: E402
from curl import CurlError  # noqa: E402

BASE = sys.argv[1].rstrip("/")
SECURE = BASE.startswith("https")
MIB = 1 << 20
SIZES = [0, 1, 1024, MIB - 1, MIB]
# Longer than any check may take: curl sends the body only because the server asks for it.
AWAIT_CONTINUE = ("--header", "Expect: 100-continue", "--expect100-timeout", "60")


def curl(path, *options, **more):
    return curl_command.curl(BASE + path, *options, **more)


def whoami(*options):
    return json.loads(curl("/whoami", *options).text)


def sized(size):
    return os.urandom(size)


def chunked(*options):
    """Options of an upload from standard input, whose length curl does not know."""
    return ("--upload-file", "-", "--request", "POST", *options)


@check("GET of the page is answered with its length, its type and a date")
def page():
    answer = curl("/")
    equal(answer.status, 200)
    equal("<title>One port</title>" in answer.text, True)
    equal(answer.headers["content-type"], "text/html; charset=utf-8")
    equal(int(answer.headers["content-length"]), len(answer.body))
    equal(abs(email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 30, True)


@check("HEAD has the headers of GET and no body")
def head():
    get, got = curl("/"), curl("/", "--head")
    equal((got.status, got.report["size_download"]), (200, 0))
    for headers in (get.headers, got.headers):
        headers.pop("date")
    equal(got.headers, get.headers)
    equal(curl("/stream/1000000", "--head").status, 200)


@check("bodies of known length are echoed with their type")
def echo_length():
    for size in SIZES:
        body = sized(size)
        answer = curl("/echo", "--header", "Content-Type: application/x-test", "--data-binary", "@-", body=body)
        equal((answer.status, answer.headers["content-type"]), (200, "application/x-test"))
        equal(answer.body == body, True)


@check("chunked bodies are echoed with their type")
def echo_chunked():
    for size in SIZES:
        body = sized(size)
        answer = curl("/echo", *chunked("--header", "Content-Type: application/x-test"), body=body)
        equal((answer.status, answer.headers["content-type"]), (200, "application/x-test"))
        equal(answer.body == body, True)


@check("body over 1 MiB is refused with 413, whether its length is known or not")
def too_large():
    for options in (["--data-binary", "@-"], chunked()):
        for expect in ("Expect:", "Expect: 100-continue"):
            answer = curl("/echo", *options, "--header", expect, body=sized(MIB + 1))
            equal((answer.status, answer.headers["connection"]), (413, "close"))


@check("body known to be too long is refused before it is sent")
def too_large_unsent():
    answer = curl("/echo", *AWAIT_CONTINUE, "--data-binary", "@-", body=sized(5 * MIB))
    equal((answer.statuses, answer.report["size_upload"]), ([413], 0))


@check("body of 20 MiB that no route takes is not awaited")
def unwanted():
    body = bytes(20 * MIB)
    for path, status in (("/missing", 404), ("/", 405), ("/files/index.html", 405)):
        for options in (["--data-binary", "@-"], chunked()):
            equal(curl(path, *options, "--header", "Expect:", body=body).status, status)
            answer = curl(path, *options, *AWAIT_CONTINUE, body=body)
            equal((answer.statuses, answer.report["size_upload"]), ([status], 0))


@check("any method reaches a route for all methods")
def methods():
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "x!#$%&'*+.^_`|~"):
        answer = curl("/echo", "--request", method, "--data-binary", "@-", body=method.encode())
        equal((answer.status, answer.text), (200, method))


@check("100 requests use one connection")
def keep_alive():
    output = curl_command.run("--write-out", "%{num_connects}", f"{BASE}/whoami?[1-100]")
    peers = [line.split("}")[0] for line in output.split("{")[1:]]
    equal((len(peers), len(set(peers))), (100, 1))
    equal(output.count("}1"), 1)


@check("connection stays open after bodies, HEAD, streams, errors and redirects")
def mixed():
    mark = "--write-out", "%{http_code} %{local_port} %{num_connects}\n", "--output", "/dev/null"
    requests = [
        ["/whoami"], ["/echo", "--data", "x" * 1000], ["/health", "--head"], ["/stream/100000"], ["/missing"],
        ["/", "--data", "x" * 1000], ["/", "--request", "OPTIONS"], ["/files/data.bin", "--range", "5-9"],
        ["/files/data.bin", "--range", "3000000-"], ["/files/folder"], ["/count", "--upload-file", __file__],
        ["/topics/a", "--data", "x"], ["/files/link-out.txt"], ["/slow?ms=1"], ["/slow?ms=x"], ["/whoami"],
    ]
    arguments = []
    for path, *options in requests:
        arguments += ["--next"] * bool(arguments) + [*mark, *options, BASE + path]
    lines = [line.split() for line in curl_command.run(*arguments).splitlines()]
    expected = "200 200 200 200 404 405 204 206 416 301 200 202 404 200 400 200"
    equal([status for status, _, _ in lines], expected.split())
    equal((len({port for _, port, _ in lines}), sum(int(connects) for _, _, connects in lines)), (1, 1))


@check("Connection: close ends the connection after the response")
def close():
    answer = curl("/health", "--header", "Connection: close")
    equal((answer.status, answer.headers["connection"], answer.text), (200, "close", "ok"))
    ports = curl_command.run("--header", "Connection: close", "--write-out", "%{num_connects}", f"{BASE}/health?[1-3]")
    equal(ports, "ok1ok1ok1")


@check("upload of 50 MiB, announced with Expect, is asked for and counted")
def upload():
    body = bytes(50 * MIB)
    for options in (["--data-binary", "@-"], chunked()):
        started = time.monotonic()
        answer = curl("/count", *AWAIT_CONTINUE, *options, body=body)
        equal((answer.statuses, answer.text), ([100, 200], str(len(body))))
        equal(time.monotonic() - started < 30, True)


@check("upload is counted without Expect, and if curl does not wait for 100")
def upload_without_expect():
    body = sized(3 * MIB + 1)
    for expect in (["--header", "Expect:"], ["--header", "Expect: 100-continue", "--expect100-timeout", "0.001"]):
        for options in (["--data-binary", "@-"], chunked(), ["--upload-file", "-"]):
            answer = curl("/count", *expect, *options, body=body)
            equal((answer.status, answer.text), (200, str(len(body))))


@check("other expectations are refused with 417")
def expectation():
    equal(curl("/echo", "--header", "Expect: a-miracle", "--data", "x").status, 417)


@check("streams of 0 B, 1 B, 10 MiB and 300 MiB arrive whole, in chunks")
def streams():
    for size in (0, 1, 10 * MIB):
        answer = curl(f"/stream/{size}")
        equal((answer.status, answer.headers["transfer-encoding"]), (200, "chunked"))
        equal("content-length" in answer.headers, False)
        equal(answer.body == b"7" * size, True)
    size = curl_command.run("--output", "/dev/null", "--write-out", "%{size_download}", f"{BASE}/stream/{300 * MIB}")
    equal(int(size), 300 * MIB)


@check("HTTP/1.0: bodies, and streams up to the end of the connection")
def http_10():
    answer = curl("/echo", "--http1.0", "--data-binary", "@-", body=sized(100_000))
    equal((answer.status, answer.headers["connection"], len(answer.body)), (200, "close", 100_000))
    answer = curl("/stream/1000000", "--http1.0")
    equal((answer.status, answer.body == b"7" * 1_000_000), (200, True))
    equal({"transfer-encoding", "content-length"} & set(answer.headers), set())


@check("HTTP/1.0 with keep-alive: one connection for responses of known length")
def http_10_keep_alive():
    output = curl_command.run("--http1.0", "--header", "Connection: keep-alive", "--write-out", "%{num_connects}",
                              f"{BASE}/health?[1-5]")
    equal(output, "ok1ok0ok0ok0ok0")
    answer = curl("/stream/10", "--http1.0", "--header", "Connection: keep-alive")
    equal((answer.headers["connection"], answer.text), ("close", "7" * 10))


@check("offer of HTTP/2 is ignored, with and without a body")
def http_2():
    for options in ([], ["--data", "x" * 2000]):
        answer = curl("/echo", "--http2", *options)
        equal((answer.statuses, answer.report["http_version"]), ([200], "1.1"))
        equal("upgrade" in answer.headers, False)
        equal(answer.report["size_download"], 2000 if options else 0)
    equal(curl_command.run("--http2", "--write-out", "%{num_connects}", f"{BASE}/health?[1-3]"), "ok1ok0ok0")


@check("HTTP/2 without an offer is refused at once")
def http_2_prior():
    started = time.monotonic()
    # curl tells of an error of HTTP/2, of a missing protocol, or of an early end.
    try:
        curl("/health", "--http2-prior-knowledge")
        # Over TLS, the protocol that the server names counts.
        equal(SECURE, True)
    except CurlError as error:
        equal(error.status in (1, 16, 52, 56), True)
    equal(time.monotonic() - started < 10, True)
    equal(curl("/health").text, "ok")


@check("unknown paths are answered with 404, and other methods with 405 and Allow")
def methods_refused():
    equal(curl("/missing").status, 404)
    equal(curl("/missing", "--head").status, 404)
    page = "GET, HEAD, OPTIONS"
    for path, method, allow in (("/", "POST", page), ("/health", "BREW", page), ("/count", "GET", "OPTIONS, POST, PUT"),
                                ("/topics/a", "PUT", f"{page}, POST"), ("/files/index.html", "DELETE", page)):
        answer = curl(path, "--request", method)
        equal((path, answer.status, answer.headers["allow"]), (path, 405, allow))


@check("OPTIONS of a path and of the server are answered with 204")
def options():
    answer = curl("/topics/a", "--request", "OPTIONS")
    equal((answer.status, answer.headers["allow"], answer.body), (204, "GET, HEAD, OPTIONS, POST", b""))
    equal("content-length" in answer.headers, False)
    equal(curl("/", "--request", "OPTIONS", "--request-target", "*").status, 204)


@check("absolute request target, as sent to a proxy, is understood")
def absolute_target():
    equal(curl("/", "--request-target", "http://elsewhere.example/health").text, "ok")


@check("20 replies of another thread are awaited side by side")
def slow():
    started = time.monotonic()
    output = curl_command.run("--parallel", "--parallel-immediate", "--parallel-max", "20",
                              f"{BASE}/slow?ms=500&number=[1-20]")
    equal(output, "late" * 20)
    equal(time.monotonic() - started < 5, True)


@check("posts to a topic are accepted as UTF-8 text only, and a WebSocket's path asks for an upgrade")
def topics():
    equal(curl("/topics/a", "--data-binary", "@-", body="Grüße".encode()).status, 202)
    equal(curl("/topics/a", "--data-binary", "@-", body=b"\xff").status, 400)
    equal(curl("/topics/a%00b", "--data", "x").status, 400)
    answer = curl("/topics/a")
    equal((answer.status, answer.headers["upgrade"]), (426, "websocket"))


@check("whoami names the address of curl's socket, and TLS")
def address():
    answer = curl("/whoami")
    told = json.loads(answer.text)
    equal(told, {"peer": f"127.0.0.1:{answer.report['local_port']}", "secure": SECURE})


@check("header fields and targets over the limits are refused with 431 and 414")
def large_heads():
    for options, path, status in ((["--header", "X-Long: " + "x" * 100_000], "/health", 431),
                                  ([], "/health?" + "x" * 100_000, 414)):
        equal(curl(path, *options).status, status)


if SECURE:

    @check("curl refuses the certificate without its authority, and the server serves on")
    def unknown_authority():
        try:
            curl("/health", "--cacert", "/dev/null")
            raise AssertionError("the certificate was accepted")
        except CurlError as error:
            equal(error.status in (60, 77), True)
        equal(curl("/health").text, "ok")

    @check("TLS 1.2 and 1.3 are spoken, and earlier versions refused")
    def versions():
        for version in ("1.2", "1.3"):
            equal(curl("/health", f"--tlsv{version}", "--tls-max", version).text, "ok")
        curl("/health", "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", ending=35)

    @check("plain HTTP on the port of TLS is answered with 400")
    def plain():
        equal(curl_command.curl(BASE.replace("https", "http", 1) + "/health").status, 400)


run("curl-https" if SECURE else "curl")
