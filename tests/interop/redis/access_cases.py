"""Access control: ACL users, refused channels, and passwords that become right."""

from registry import case, require, variants, wait_until
from servers import wait_joined, wait_linked

LEAST = ["resetchannels", "resetkeys", "-@all", "+@pubsub", "+@connection"]


def least_user(redis, *channels):
    redis.call("ACL", "SETUSER", "app", "reset", "on", ">secret", *LEAST, *[f"&{channel}" for channel in channels])
    return redis.url.replace("//", "//app:secret@")


@case
def a_user_with_only_the_channels_of_the_prefix_pubsub_and_connection_suffices(run):
    redis = run.redis()
    url = f"{least_user(redis, 'p:*')}/5"
    first, second = run.multicast(redis=url, prefix="p:", threads=2), run.multicast(redis=url, prefix="p:")
    clients = [run.client(server, path) for path in ("/", "/x") for server in (first, second)]
    for path in range(2):
        wait_linked(clients[2 * path], clients[2 * path + 1])
    got = {(client["user"], client["db"], client["name"] != "") for client in redis.clients()}
    require(got == {("app", "5", True)}, f"user, db, named: {got}")
    redis.stop()
    began = first.wait_line("redis", 40, first.lines[-1][0] + 0.001)
    redis.resume()
    wait_linked(clients[2], clients[3])
    first.wait_line("connected", 5, began)
    denied = redis.call("ACL", "LOG")
    require(not denied, f"ACL LOG has refusals: {denied}")


@case
def select_is_sent_on_every_connection_also_after_a_loss(run):
    redis = run.redis()
    server = run.multicast(redis=f"{redis.url}/9")
    for _ in range(3):
        wait_joined(server, redis)
        require({client["db"] for client in redis.clients()} == {"9"}, f"{redis.clients()}")
        redis.call("CLIENT", "KILL", "TYPE", "pubsub")
        redis.call("CLIENT", "KILL", "USER", "default")


@case
def a_channel_that_the_user_may_not_use_is_logged_and_the_others_go_on(run):
    redis = run.redis()
    url = least_user(redis, "p:ok", "p:fine*")
    first, second = run.multicast(redis=url, prefix="p:"), run.multicast(redis=url, prefix="p:", threads=2)
    ok = [run.client(server, "/ok") for server in (first, second)]
    wait_linked(*ok)
    before = {client["id"] for client in redis.clients()}
    denied = [run.client(first, "/denied") for _ in range(2)]
    elsewhere = run.client(second, "/denied")
    when = first.wait_line("redis.*(NOPERM|denied|permission)", 5)
    run.note(next(line for at, line in first.lines if at == when))
    denied[0].send(*["x"] * 500)
    for client in denied:
        client.expect(["x"] * 500)
    wait_linked(ok[0], ok[1]), wait_linked(ok[1], ok[0])
    fine = [run.client(server, "/fine") for server in (first, second)]
    wait_linked(*fine)
    denied[1].close()
    denied[0].send("y")
    require(denied[0].wait_message("y", 5), "the refused path is served locally")
    denied[0].cut()
    wait_linked(*fine), wait_linked(*ok)
    after = {client["id"] for client in redis.clients()}
    require(before == after, f"connections were replaced: {before}, {after}")
    require(not elsewhere.messages, f"a refused channel delivered {elsewhere.messages[:3]}")
    lines = [line for _, line in first.lines if "redis" in line.lower()]
    run.note(f"{len(lines)} log lines")
    require(len(lines) <= 30, f"{len(lines)} log lines")


@variants("refused_channels_do_not_keep_the_others_from_being_subscribed_{}",
          {"by_clients_that_come_at_once": "at_once", "before_redis_is_there": "before", "after_a_loss": "after"})
def mixed_channels(run, when):
    redis = run.redis(start=when != "before")
    redis.options += ["--user", "app", "on", ">secret", *LEAST, "&p:ok*"]
    if when != "before":
        least_user(redis, "p:ok*")
    server = run.multicast(redis=redis.url.replace("//", "//app:secret@"), prefix="p:", threads=2)
    if when != "before":
        server.wait_line("connected")
    clients = {}
    for number in range(60):
        path = f"/{'no' if number % 3 == 1 else 'ok'}{number}"
        clients[path] = run.client(server, path)
        clients[path].send("early")
        if number % 5 == 4:
            clients.pop(path).close()
    expected = {b"p:" + path[1:].encode() for path in clients if path.startswith("/ok")}
    if when == "before":
        redis.start()
    if when == "after":
        wait_until(lambda: redis.channels() == expected, 5, lambda: f"{redis.channels()}")
        redis.kill()
        redis.start()
    wait_until(lambda: redis.channels() == expected, 5, lambda: f"missing {expected - redis.channels()}, not expected "
                                                                f"{redis.channels() - expected}")
    for path, client in clients.items():
        client.send("local")
        redis.publish("p:" + path[1:], "foreign")
        require(client.wait_message("local", 5), f"{path} is not served locally")
        if path.startswith("/ok"):
            require(client.wait_message("foreign", 5), f"{path} gets no foreign payload")
            require(sorted(client.messages) == ["early", "foreign", "local"], f"{path}: {client.messages}")
    lines = [line for _, line in server.lines if "redis" in line.lower()]
    run.note(f"{len(lines)} log lines")


@case
def a_refused_channel_works_for_a_later_client_once_the_user_may_use_it(run):
    redis = run.redis()
    server = run.multicast(redis=least_user(redis, "p:ok"), prefix="p:")
    wait_until(lambda: redis.clients(), 5, "the process connects")
    early = run.client(server, "/later")
    early.send("x")
    early.expect(["x"])
    server.wait_line("redis.*(NOPERM|denied|permission)", 5)
    early.close()
    redis.call("ACL", "SETUSER", "app", "&p:later")
    a, b = run.client(server, "/later"), run.client(server, "/later")
    wait_until(lambda: redis.subscribers("p:later") == 1, 5, "SUBSCRIBE for the later client")
    with redis.subscriber("p:later") as observer:
        a.send("x")
        observer.wait_for(1)
        redis.publish("p:later", "x", "fence")
        for client in (a, b):
            require(client.take("fence") == ["x", "x"], f"{client.messages}")


def other_password(redis):
    redis.call("CONFIG", "SET", "requirepass", "other")
    return redis.url.replace("//", "//:right@"), lambda: redis.call("CONFIG", "SET", "requirepass", "right")


def no_password_known(redis):
    redis.call("CONFIG", "SET", "requirepass", "other")
    return redis.url, lambda: redis.call("CONFIG", "SET", "requirepass", "")


def password_not_yet_set(redis):
    return redis.url.replace("//", "//:right@"), lambda: redis.call("CONFIG", "SET", "requirepass", "right")


def unknown_user(redis):
    rules = "on", ">right", "&*", "+@all"
    return redis.url.replace("//", "//app:right@"), lambda: redis.call("ACL", "SETUSER", "app", *rules)


def wrong_password_of_a_user(redis):
    redis.call("ACL", "SETUSER", "app", "on", ">wrong", "&*", "+@all")
    return redis.url.replace("//", "//app:right@"), lambda: redis.call("ACL", "SETUSER", "app", ">right")


def disabled_user(redis):
    redis.call("ACL", "SETUSER", "app", "off", ">right", "&*", "+@all")
    return redis.url.replace("//", "//app:right@"), lambda: redis.call("ACL", "SETUSER", "app", "on")


@variants("a_refused_login_is_logged_and_tried_again_until_it_is_right_with_{}", {
    "another_password": other_password, "no_password_in_the_url": no_password_known,
    "a_password_not_yet_set": password_not_yet_set, "an_unknown_user": unknown_user,
    "a_wrong_password_of_a_user": wrong_password_of_a_user, "a_disabled_user": disabled_user})
def refused_login(run, prepare):
    redis = run.redis()
    url, correct = prepare(redis)
    server = run.multicast(redis=url, prefix="p:")
    a, b = run.client(server, "/x"), run.client(server, "/x")
    when = server.wait_line(f"redis.*{redis.address}", 10)
    run.note(next(line for at, line in server.lines if at == when)[-160:])
    a.send("local")
    b.expect(["local"])
    wait_until(lambda: sum("redis" in line.lower() for _, line in server.lines) >= 3, 10, "three log lines")
    a.expect(["local"])
    correct()
    wait_joined(server, redis, "p:")
    wait_until(lambda: redis.subscribers("p:x") == 1, 2, "the path opened before is subscribed")
    redis.publish("p:x", "foreign")
    for client in (a, b):
        require(client.wait_message("foreign", 2), "a foreign payload arrives")
    server.wait_line("connected", 2)
    require("right" not in server.text(), "the password is in the log")
