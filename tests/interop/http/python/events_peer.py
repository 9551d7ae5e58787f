"""Event streams and polls of the server example, with the PyPI packages sseclient-py, requests and prometheus-client.
Started by ../run.

    python events_peer.py URL UNIX_SOCKET
"""

import concurrent.futures
import contextlib
import http.client
import pathlib
import queue
import socket
import ssl
import sys
import threading
import time
import urllib.parse

import requests
from prometheus_client.parser import text_string_to_metric_families
from sseclient import SSEClient

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "peers"))
from checks import check, equal, run  # noqa: E402

BASE, UNIX_SOCKET = sys.argv[1].rstrip("/"), sys.argv[2]
URL = urllib.parse.urlsplit(BASE)
SECURE = URL.scheme == "https"
HISTORY = 100  # events
TIMEOUT = 20  # seconds, for each request and each event
NOT_UTF_8 = b"\xff\xfe"


def connect(topic, last_id=None):
    """The response of an event stream, whose body is not read."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    response = requests.get(f"{BASE}/topics/{topic}/events", headers=headers, stream=True, timeout=TIMEOUT)
    equal(response.status_code, 200)
    return response


class Stream:
    """The events of a stream, which a thread reads: `with Stream(topic) as stream: stream.next()`."""

    def __init__(self, topic, last_id=None):
        self.response = connect(topic, last_id)
        self.events = queue.Queue()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.response.raw.shutdown()  # wakes the thread
        self.thread.join(TIMEOUT)
        self.response.close()

    def next(self):
        """The name, the id and the data of the next event."""
        event = self.events.get(timeout=TIMEOUT)
        if event is None:
            raise AssertionError("the stream has ended")
        return event.event, event.id and int(event.id), event.data

    def take(self, count):
        """The next events. Each is named `message`. Returns their ids and their data."""
        events = [self.next() for _ in range(count)]
        equal({name for name, _, _ in events}, {"message"})
        return [number for _, number, _ in events], [data for _, _, data in events]

    def _read(self):
        try:
            for event in SSEClient(self.response).events():
                self.events.put(event)
        except (OSError, ValueError, requests.RequestException, http.client.HTTPException):
            pass  # `__exit__` has ended the connection
        except Exception as error:
            print(f"        the reader of a stream failed: {error!r}", flush=True)
        self.events.put(None)


def publish(topic, body, session=requests):
    answer = session.post(f"{BASE}/topics/{topic}", data=body.encode(), timeout=TIMEOUT)
    equal(answer.status_code, 202)


def publish_many(topic, count):
    """Publishes `event 1` to `event COUNT`. Returns their ids."""
    with Stream(topic) as stream:
        for number in range(1, count + 1):
            publish(topic, f"event {number}")
        ids, data = stream.take(count)
    equal(data, numbered(1, count))
    return ids


def numbered(first, last):
    return [f"event {number}" for number in range(first, last + 1)]


def poll(topic, session=requests, **query):
    answer = session.get(f"{BASE}/topics/{topic}/poll", params=query, timeout=40)
    equal(answer.headers["Cache-Control"], "no-store")
    if answer.status_code == 204:
        equal(answer.content, b"")
        return None
    equal(answer.status_code, 200)
    event = answer.json()
    equal(sorted(event), ["data", "id"])
    return event["id"], event["data"]


def raw(method, target, body=b""):
    """Sends the target unchanged: requests normalizes the percent-encoding. Returns the response and its body."""
    if SECURE:
        connection = http.client.HTTPSConnection(URL.hostname, URL.port, timeout=TIMEOUT)
    else:
        connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.putrequest(method, target)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response, response.read()


def metrics():
    answer = requests.get(f"{BASE}/metrics", timeout=TIMEOUT)
    equal((answer.status_code, answer.headers["Content-Type"].split(";")[0]), (200, "text/plain"))
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def metric(name):
    """The value of the one sample of a metric."""
    [sample] = metrics()[name].samples
    return sample.value


def connections():
    """Connections besides that of the request for the metrics."""
    return metric("ws_reactor_connections") - 1


def wait_for(description, condition, seconds=TIMEOUT):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{description}: not within {seconds} s")
        time.sleep(0.05)


def wait_for_connections(number):
    wait_for(f"{number} connections", lambda: connections() == number)


@check("sseclient: a stream without Last-Event-ID gets live events only, and its headers")
def live():
    publish("live", "before")
    with Stream("live") as stream:
        expected = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        equal({name: stream.response.headers.get(name) for name in expected}, expected)
        published = time.time()
        publish("live", "after")
        name, number, data = stream.next()
        equal((name, data), ("message", "after"))
        equal(abs(number / 1e6 - published) < 10, True)  # ids are microseconds since 1970


@check("sseclient: data of several lines, and empty data")
def lines():
    bodies = ["one\ntwo\r\nthree\rfour", "", "\nbegin", "\n", "end\r\n", "\r\r\n\n", " space", "id: 1\nevent: gap", ":"]
    with Stream("lines") as stream:
        for body in bodies:
            publish("lines", body)
        equal(stream.take(len(bodies))[1], [body.replace("\r\n", "\n").replace("\r", "\n") for body in bodies])


@check("sseclient: Last-Event-ID replays the later events, then live events arrive")
def replay():
    ids = publish_many("replay", 10)
    equal(sorted(set(ids)), ids)
    with Stream("replay", ids[3]) as stream, Stream("replay", ids[9]) as last:
        publish("replay", "event 11")
        got, data = stream.take(7)
        equal((got[:6], data), (ids[4:], numbered(5, 11)))
        equal(last.take(1), (got[6:], ["event 11"]))


@check("sseclient: Last-Event-ID before the history gets a gap, then the history")
def gap():
    ids = publish_many("gap", HISTORY + 20)
    with Stream("gap", 1) as oldest, Stream("gap", ids[4]) as old, Stream("gap", ids[29]) as known:
        for last, stream in ((1, oldest), (ids[4], old)):
            name, _, data = stream.next()
            equal((name, data), ("gap", f'{{"from":{last}}}'))
            equal(stream.take(HISTORY), (ids[20:], numbered(21, HISTORY + 20)))
        equal(known.take(HISTORY - 10), (ids[30:], numbered(31, HISTORY + 20)))
        publish("gap", "live")
        for stream in (oldest, old, known):
            equal(stream.take(1)[1], ["live"])


@check("a stream sends the reconnection time first, and a comment after 15 s")
def comment():
    with contextlib.closing(connect("quiet")) as response:
        started = time.monotonic()
        received = b""
        for part in response.iter_content(None):
            received += part
            if b"\n:" in received:
                break
        waited = time.monotonic() - started
        equal(received.splitlines()[:2], [b"retry: 2000", b""])
        equal({line[:1] for line in received.splitlines()[2:]} <= {b":", b""}, True)
        if not 13 < waited < 18:
            raise AssertionError(f"the first comment came after {waited:.1f} s")


@check("poll: event after an id, at once, with the ids of the stream")
def poll_history():
    ids = publish_many("polled", 5)
    equal(poll("polled", after=0, timeout=5000), (ids[0], "event 1"))
    for number, after in enumerate(ids[:4]):
        equal(poll("polled", after=after, timeout=5000), (ids[number + 1], f"event {number + 2}"))
    equal(poll("polled", after=ids[4], timeout=100), None)


@check("poll: without an event 204 after the time-out, at once if it is 0")
def poll_timeout():
    publish("timeout", "before")
    for query, shortest, longest in (({"timeout": 0}, 0, 0.5), ({"timeout": 700}, 0.7, 3), ({}, 25, 28)):
        started = time.monotonic()
        equal(poll("timeout", **query), None)
        waited = time.monotonic() - started
        if not shortest - 0.1 < waited < longest:
            raise AssertionError(f"{query}: 204 after {waited:.1f} s")


@check("poll: a poll without an id gets the next event")
def poll_now():
    publish("now", "before")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        parked = pool.submit(poll, "now", timeout=20_000)
        number = 0
        while not parked.done():
            time.sleep(0.2)
            number += 1
            publish("now", f"event {number}")
        equal(parked.result()[1] in numbered(1, number), True)


@check("poll: 50 parked polls are woken by one publish")
def parked():
    [first] = publish_many("parked", 1)
    wait_for_connections(0)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        polls = [pool.submit(poll, "parked", after=first, timeout=30_000) for _ in range(50)]
        wait_for_connections(50)
        time.sleep(0.5)
        equal([parked.done() for parked in polls], [False] * 50)
        started = time.monotonic()
        publish("parked", "wake")
        events = {parked.result(TIMEOUT) for parked in polls}
        equal((len(events), {data for _, data in events}), (1, {"wake"}))
        equal(time.monotonic() - started < 5, True)
    wait_for_connections(0)


@check("poll: a sequence of polls misses none of 200 events that are published at the same time")
def sequence():
    [last] = publish_many("sequence", 1)

    def publish_all():
        with requests.Session() as session:
            for number in range(200):
                publish("sequence", f"number {number}", session)
                time.sleep(0.003)  # the polls stay within the history

    with concurrent.futures.ThreadPoolExecutor(1) as pool, requests.Session() as session:
        publisher = pool.submit(publish_all)
        for number in range(200):
            before, (last, data) = last, poll("sequence", session, after=last, timeout=10_000) or (None, None)
            equal((data, last is not None and last > before), (f"number {number}", True))
        publisher.result()


@check("streams and polls whose clients have left end at the server")
def leaving():
    wait_for_connections(0)
    responses = [connect("left") for _ in range(50)]
    equal(connections(), 50)
    for response in responses:
        response.close()
    publish("left", "event")
    wait_for_connections(0)
    sockets = [open_socket() for _ in range(50)]
    for client in sockets:
        client.sendall(b"GET /topics/left/poll?timeout=60000 HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for_connections(50)
    time.sleep(0.3)
    for client in sockets:
        client.close()
    publish("left", "event")
    wait_for_connections(0)


def open_socket():
    client = socket.create_connection((URL.hostname, URL.port), TIMEOUT)
    return ssl.create_default_context().wrap_socket(client, server_hostname=URL.hostname) if SECURE else client


@check("a stream whose client does not read 40 MB is ended, and another stream gets every event")
def slow_reader():
    wait_for_connections(0)
    with Stream("large") as fast, contextlib.closing(connect("large")) as slow:
        for number in range(40):
            publish("large", f"{number} " + "x" * 1_000_000)
            [data] = fast.take(1)[1]
            equal((len(data) > 1_000_000, data[:5].split()[0]), (True, str(number)))
        wait_for("the slow reader is disconnected", lambda: connections() == 1)
        received = 0
        with contextlib.suppress(requests.RequestException, http.client.HTTPException, OSError, ValueError):
            for part in slow.iter_content(None):  # the buffers of the kernel, then the end of the stream
                received += len(part)
        equal(received < 40_000_000, True)
        publish("large", "still here")
        equal(fast.take(1)[1], ["still here"])


@check("statuses of errors: bodies, queries, names, methods, upgrades")
def errors():
    for target in ("/topics/a%00b", "/topics/%00", "/topics/%zz", "/topics/%ff", "/topics/%"):
        for method, path in (("POST", ""), ("GET", "/events"), ("GET", "/poll?timeout=0"), ("HEAD", "/events")):
            equal((method, target + path, raw(method, target + path)[0].status), (method, target + path, 400))
    equal(raw("POST", "/topics/errors", NOT_UTF_8)[0].status, 400)
    for query in ("timeout=60001", "timeout=-1", "timeout=x", "timeout=1.5", "after=x&timeout=0", "after=-1&timeout=0",
                  "after=1.5&timeout=0"):
        equal((query, raw("GET", f"/topics/errors/poll?{query}")[0].status), (query, 400))
    for method in ("GET", "HEAD"):
        equal((method, raw(method, "/topics/errors")[0].status), (method, 426))
    for path, allowed in (("", {"GET", "HEAD", "POST"}), ("/events", {"GET", "HEAD"}), ("/poll", {"GET", "HEAD"})):
        response, _ = raw("DELETE", f"/topics/errors{path}")
        equal((path, response.status), (path, 405))
        equal((path, set(response.headers["Allow"].split(", ")) - {"OPTIONS"}), (path, allowed))


@check("HEAD has the headers of GET and no body")
def head():
    publish("head", "event")
    for path, status in (("/events", 200), ("/poll?timeout=0", 204), ("/poll?after=0&timeout=5000", 200)):
        response, body = raw("HEAD", f"/topics/head{path}")
        equal((path, response.status, body, response.headers["Cache-Control"]), (path, status, b"", "no-store"))
    response, _ = raw("HEAD", "/topics/head/events")
    equal((response.headers["Content-Type"], response.headers["X-Accel-Buffering"]), ("text/event-stream", "no"))
    for path in ("/", "/metrics"):
        get, _ = raw("GET", path)
        response, body = raw("HEAD", path)
        equal((path, response.status, body), (path, 200, b""))
        equal((path, response.headers["Content-Type"]), (path, get.headers["Content-Type"]))


@check("names of topics are percent-decoded, and an encoded slash is a part of the name")
def names():
    for one, other in (("plain", "%70l%61in"), ("a%2Fb", "a%2fb"), ("x%2Fevents", "%78%2Fevents"), ("%C3%BC", "%c3%bc"),
                       ("100%25", "100%25"), ("a+b", "a%2Bb")):
        with Stream(one) as stream:
            equal((other, raw("POST", f"/topics/{other}", other.encode())[0].status), (other, 202))
            equal(stream.take(1)[1], [other])
    equal(raw("GET", "/topics/x%2Fevents")[0].status, 426)


@check("metrics are read by the parser of prometheus-client, and count requests")
def text_format():
    before = metrics()
    equal({family.type for family in before.values()} <= {"counter", "gauge", "histogram", "summary"}, True)
    equal([name for name, family in before.items() if not (family.documentation and family.samples)], [])
    [requests_before] = before["ws_reactor_requests"].samples
    for _ in range(10):
        equal(requests.get(f"{BASE}/health", timeout=TIMEOUT).status_code, 200)
    equal(metric("ws_reactor_requests") - requests_before.value, 11)


@check("whoami over the Unix socket names no address, and says that the connection is not secure")
def unix():
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT)
        connection.sock.connect(UNIX_SOCKET)
        connection.request("GET", "/whoami")
        response = connection.getresponse()
        equal((response.status, response.read()), (200, b'{"peer":"unix","secure":false}'))


run("events-python-https" if SECURE else "events-python")
