"""Names of channels, SUBSCRIBE and UNSUBSCRIBE, and the connections to Redis."""

import threading
import time

from fakes import Proxy
from registry import case, require, variants, wait_until
from servers import wait_joined
from websocket import Client

PATHS = ["/", "/a", "/a/", "/a/b", "//a", "/a//b", "/a%20b", "/a%2Fb", "/%C3%A9", "/%c3%a9", "/%61", "/a%00b", "/a%",
         "/a%zz", "/a;v=1", "/a+b", "/a*", "/*", "/a&b=c", "/~x!$'(),:@", "/./x", "/a/../b", "/..%2f", "/%3Fq",
         "/:1/{x}", "/a%62"]
WITH_QUERIES = {"/q?x=1": b"q", "/q?": b"q", "/q?/r": b"q", "/q/?y": b"q/", "/?z": b"", "/h?llo": b"h",
                "/%3F?a?b": b"%3F"}
UNUSUAL = [b"/\xc3\xa9", b"/[a-z]", b"/a\\b", b"/{a}", b"/a|b", b"/^", b'/"', b"/a\xff"]  # a server may refuse these


@variants("the_channel_is_the_prefix_and_the_raw_path_with_{}",
          {"no_prefix": "", "a_prefix": "app:", "an_unusual_prefix": "p*[x]? é/%20:"})
def channel_names(run, prefix):
    redis = run.redis()
    server = run.multicast(redis=redis.url, prefix=prefix or None, threads=2)
    expected = {}
    for path in PATHS:
        expected[path] = prefix.encode() + path[1:].encode()
    for path, channel in WITH_QUERIES.items():
        expected[path] = prefix.encode() + channel
    refused = []
    clients = {path: run.client(server, path) for path in expected}
    for path in UNUSUAL:
        try:
            clients[path] = run.client(server, path)
            expected[path] = prefix.encode() + path[1:]
        except ConnectionError as answer:
            refused.append(str(answer))
    names = set(expected.values())
    wait_until(lambda: redis.channels() == names, 5,
               lambda: f"missing {names - redis.channels()}, not expected {redis.channels() - names}")
    for path, client in clients.items():
        with redis.subscriber(expected[path]) as observer:
            text = f"from {path!r}"
            client.send(text)
            observer.wait_for(1)
            require(observer.payloads == [text.encode()], f"{path!r}: {observer.payloads}")
            redis.publish(expected[path], f"to {path!r}")
            arrived = client.wait_message(f"to {path!r}", 5)
            require(arrived, f"a payload of {expected[path]!r} did not arrive at {path!r}")
    run.note(f"{len(clients)} paths; refused: {refused or 'none'}")


@case
def the_channel_of_the_root_path_is_the_prefix_alone(run):
    redis = run.redis()
    for prefix in ("", "app:"):
        first, second = (run.multicast(redis=redis.url, prefix=prefix or None) for _ in range(2))
        a, b = run.client(first, "/"), run.client(second, "/")
        wait_until(lambda: redis.subscribers(prefix) == 2, 5, lambda: f"prefix {prefix!r}: channels {redis.channels()}")
        a.send("one", b"two")
        b.expect(["one", b"two"])
        a.expect(["one", b"two"])
        a.close(), b.close()
        wait_until(lambda: redis.subscribers(prefix) == 0, 5, f"prefix {prefix!r}: UNSUBSCRIBE")


@variants("a_process_subscribes_once_for_a_path_and_unsubscribes_after_the_last_client_with_{}",
          {"one_thread": 1, "four_threads": 4})
def one_subscription(run, threads):
    redis = run.redis()
    monitor = run.enter_context(redis.monitor())
    server = run.multicast(redis=redis.url, prefix="p:", threads=threads)

    def lines(command):
        return [line for line in monitor.payloads[:] if f'"{command}"' in line and '"p:m"' in line]

    for number, end in enumerate((Client.close, Client.cut, Client.hang_up)):
        clients = [run.client(server, "/m") for _ in range(12)]
        wait_until(lambda: redis.subscribers("p:m") == 1, 5, "SUBSCRIBE")
        for client in clients[:-1]:
            (Client.close, Client.cut, Client.hang_up)[clients.index(client) % 3](client)
        clients[-1].send("still here")
        clients[-1].wait_for(1)
        redis.publish("p:m", "foreign")
        require(clients[-1].wait_message("foreign"), "the last client got no payload after the others had left")
        require(len(lines("UNSUBSCRIBE")) == number, f"before the last client left: {lines('UNSUBSCRIBE')}")
        end(clients[-1])
        wait_until(lambda: len(lines("UNSUBSCRIBE")) == number + 1, 5, f"UNSUBSCRIBE after {end.__name__} of the last")
        wait_until(lambda: redis.subscribers("p:m") == 0, 5, "no subscriber is left")
        require(len(lines("SUBSCRIBE")) == number + 1, f"SUBSCRIBE more than once: {lines('SUBSCRIBE')}")
    patterns = [line for line in monitor.payloads if "PSUBSCRIBE" in line.upper()]
    require(not patterns and redis.call("PUBSUB", "NUMPAT") == 0, f"PSUBSCRIBE: {patterns}")


@case
def a_channel_has_one_subscriber_for_each_process(run):
    redis = run.redis()
    processes = [run.multicast(redis=redis.url, threads=2) for _ in range(3)]
    clients = [run.client(process, "/shared") for process in processes for _ in range(4)]
    for left in (3, 2, 1, 0):
        wait_until(lambda: redis.subscribers("shared") == left, 5, f"{left} subscribers")
        for client in clients[:4]:
            client.cut()
        del clients[:4]


@case
def quick_openings_and_closings_leave_exactly_the_channels_of_the_clients_that_stay(run):
    redis = run.redis()
    server = run.multicast(redis=redis.url, threads=2)
    wait_joined(server, redis)
    staying = []

    def churn(worker):
        for number in range(100):
            client = Client(server.address, f"/churn{number % 5}")
            if number % 3 == 0:
                client.send("x")
            (Client.cut, Client.close, Client.hang_up)[number % 3](client)
        staying.append(Client(server.address, f"/churn{worker}"))

    workers = [threading.Thread(target=churn, args=[worker]) for worker in range(4)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    for client in staying:
        run.enter_context(client)
    require(len(staying) == 4, "a worker failed")
    expected = {b"churn%d" % worker for worker in range(4)}
    wait_until(lambda: redis.channels() == expected, 5, lambda: f"{redis.channels()} are subscribed, not {expected}")
    for client in staying:
        redis.publish(client.path[1:], "foreign")
        require(client.wait_message("foreign"), f"{client.path} is subscribed and gets nothing")


@case
def foreign_publications_on_their_way_when_the_last_client_leaves_harm_nothing(run):
    redis = run.redis()
    proxy = run.enter_context(Proxy(redis.port, 0.01))
    server = run.multicast(redis=proxy.url)
    wait_joined(server, redis)
    before = {client["id"] for client in redis.clients()}
    with redis.subscriber("flood"):  # the observer itself is subscribed, too
        for number in range(60):
            client = run.client(server, "/flood")
            wait_until(lambda: redis.subscribers("flood") == 2, 5, "SUBSCRIBE")
            redis.publish("flood", *[f"{number} {index}" for index in range(20)])
            if number % 2:
                client.wait_for(5)
            (client.cut if number % 3 else client.close)()
            redis.publish("flood", *[f"late {number}"] * 20)
            wait_until(lambda: redis.subscribers("flood") == 1, 5, "UNSUBSCRIBE")
    wait_joined(server, redis)
    require({client["id"] for client in redis.clients()} == before, "a connection to Redis was replaced")


@case
def three_hundred_paths_are_subscribed_again_within_5_s(run):
    redis = run.redis()
    server = run.multicast(redis=redis.url, threads=2)
    clients = [run.client(server, f"/many/{number}") for number in range(300)]
    expected = {client.path[1:].encode() for client in clients}
    wait_until(lambda: redis.channels() == expected, 5, lambda: f"{len(redis.channels())} of 300 are subscribed")
    redis.kill()
    back = redis.start()
    wait_until(lambda: redis.channels() == expected, 5, lambda: f"{len(redis.channels())} of 300 are subscribed")
    run.note(f"{time.monotonic() - back:.1f} s")
    for client in clients:
        redis.publish(client.path[1:], "foreign")
    for client in clients:
        client.expect(["foreign"])


@variants("a_process_has_at_most_three_named_connections_with_{}", {"one_thread": 1, "four_threads": 4})
def connections(run, threads):
    redis = run.redis()
    server = run.multicast(redis=redis.url, threads=threads)
    clients = [run.client(server, f"/{number}") for number in range(30)]
    wait_until(lambda: len(redis.channels()) == 30, 5, "30 channels are subscribed")
    for client in clients:
        client.send(*["x"] * 20)
        client.wait_for(20)
    listed = redis.clients()
    require(1 <= len(listed) <= 3, f"{len(listed)} connections: {listed}")
    require(all(client["name"] for client in listed), f"names: {[client['name'] for client in listed]}")
    run.note(f"{len(listed)} connections named {sorted({client['name'] for client in listed})}")


@variants("a_refusal_of_client_setname_is_ignored_if_the_user_may_not_run_{}", {
    "client_setname": ["-client|setname"], "client": ["-client"], "connection_commands": ["-@connection", "+ping"]})
def setname_refused(run, rules):
    redis = run.redis()
    redis.call("ACL", "SETUSER", "app", "on", ">secret", "resetchannels", "&p:*", "-@all", "+@connection", "+@pubsub",
               *rules)
    first, second = (run.multicast(redis=redis.url.replace("//", "//app:secret@"), prefix="p:") for _ in range(2))
    a, b = run.client(first, "/x"), run.client(second, "/x")
    wait_until(lambda: redis.subscribers("p:x") == 2, 5, lambda: f"SUBSCRIBE; stderr: {first.text()[-500:]!r}")
    for number in range(20):
        a.send(f"a{number}")
        b.send(f"b{number}")
    for client in (a, b):
        client.wait_for(40)
    redis.publish("p:x", "fence")
    for client in (a, b):
        messages = client.take("fence")
        require(sorted(messages) == sorted(f"{s}{n}" for s in "ab" for n in range(20)), f"{len(messages)}: {messages}")
