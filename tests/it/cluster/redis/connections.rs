//! Connections to Redis: log-in, channels, outages.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::played::{ADDRESS, World};

#[test]
fn both_connections_log_in_select_the_database_and_have_a_name() {
    let mut world = World::new(&format!("redis://us%65r:p@{ADDRESS}/3"), |redis| redis.client_name("chat"));
    world.settle();
    let login = ["AUTH user p", "SELECT 3", "CLIENT SETNAME chat", "CLIENT ID"];
    assert_eq!(world.redis.commands, [login, login].concat());
    assert!(world.handle.stats().is_connected);

    let mut world = World::new(&format!("redis://:p@{ADDRESS}"), |redis| redis.resp3(true));
    world.settle();
    assert_eq!(world.redis.commands[..3], ["HELLO 3 AUTH default p", "CLIENT SETNAME ws-reactor", "CLIENT ID"]);
    let client = world.client();
    world.publish_foreign(b"in version 3");
    world.pass(Duration::from_secs(15));
    world.publish("own");
    assert_eq!(world.messages(client), ["in version 3", "own"]);
    assert_eq!(world.handle.stats().outages, 0);
}

#[test]
fn messages_cross_once_and_channels_follow_their_subscribers() {
    let mut world = World::connected();
    let clients = [world.client(), world.client()];
    assert_eq!(world.redis.commands, ["SUBSCRIBE p:room"]);
    world.publish("own");
    world.publish_foreign(b"foreign");
    world.publish_foreign(b"\xff\x00binary");
    world.publish_foreign(b"\xc0 neither");
    for client in clients {
        assert_eq!(world.messages(client), ["own", "foreign", r"\x00binary"]);
    }
    let stats = world.handle.stats();
    assert_eq!((stats.published, stats.received, stats.unreadable, stats.lost), (1, 2, 1, 0));
    world.redis.commands.clear();
    for client in clients {
        world.reactor.kernel_mut().reset(client);
    }
    world.settle();
    assert_eq!(world.redis.commands, ["UNSUBSCRIBE p:room"]);
    world.reactor.hub().publish("room", b"\x01");
    world.settle();
    assert_eq!(world.redis.commands[1..], [r"PUBLISH p:room \xff\x01"]);
}

#[test]
fn refused_name_is_ignored_and_a_wrong_password_is_tried_again() {
    let mut world = World::new(&format!("redis://:p@{ADDRESS}"), |redis| redis);
    world.redis.replies =
        vec![("AUTH", b"-WRONGPASS invalid username-password pair\r\n"), ("CLIENT", b"-NOPERM no permissions\r\n")];
    world.pass(Duration::from_secs(10));
    assert!(!world.handle.stats().is_connected);
    let attempts = world.redis.commands.iter().filter(|line| line.starts_with("AUTH")).count() / 2;
    assert!((3..=12).contains(&attempts), "{attempts} attempts in 10 s");
    world.redis.replies.remove(0);
    world.pass(Duration::from_secs(5));
    assert!(world.handle.stats().is_connected);
}

#[test]
fn outage_is_told_and_exactly_the_topics_with_subscribers_are_subscribed_afterwards() {
    let mut world = World::connected();
    let client = world.client();
    world.reset();
    world.publish("while Redis is away");
    let gone = world.client();
    world.reactor.kernel_mut().reset(gone);
    world.redis.commands.clear();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.gaps.take(), ["room"]);
    assert!(world.redis.commands.ends_with(&["SUBSCRIBE p:room".to_owned()]), "{:?}", world.redis.commands);
    world.publish_foreign(b"foreign");
    assert_eq!(world.messages(client), ["while Redis is away", "foreign"]);
    let stats = world.handle.stats();
    assert_eq!((stats.outages, stats.lost, stats.is_connected), (1, 1, true));
}

#[test]
fn redis_that_does_not_answer_is_left_and_its_connections_are_ended_there_afterwards() {
    let mut world = World::connected();
    let client = world.client();
    world.redis.silent = vec!["PING", "PUBLISH"];
    world.publish("not answered");
    world.pass(Duration::from_secs(11));
    assert_eq!((world.handle.stats().outages, world.messages(client)), (1, vec!["not answered".to_owned()]));
    world.redis.silent.clear();
    world.pass(Duration::from_secs(5));
    assert!(world.handle.stats().is_connected);
    let kills = world.redis.commands.iter().filter(|line| *line == "CLIENT KILL ID 77").count();
    assert_eq!(kills, 2, "{:?}", world.redis.commands);
    // Nothing is sent again.
    assert_eq!(world.redis.commands.iter().filter(|line| line.starts_with("PUBLISH")).count(), 1);
    assert_eq!(world.handle.stats().lost, 1);
}

#[test]
fn log_in_that_is_not_answered_is_given_up_after_its_time() {
    let mut world = World::new(&format!("redis://{ADDRESS}"), |redis| redis.connect_timeout(Duration::from_secs(2)));
    world.redis.silent = vec!["CLIENT"];
    world.pass(Duration::from_secs(20));
    let attempts = world.redis.commands.iter().filter(|line| line.starts_with("CLIENT SETNAME")).count() / 2;
    assert!((4..=10).contains(&attempts), "{attempts} attempts in 20 s");
    world.redis.silent.clear();
    world.pass(Duration::from_secs(6));
    assert!(world.handle.stats().is_connected);
}

#[test]
fn topic_is_live_when_redis_has_answered() {
    let mut world = World::connected();
    world.redis.silent = vec!["SUBSCRIBE"];
    world.client();
    let live = Rc::new(Cell::new(false));
    let noted = Rc::clone(&live);
    world.reactor.hub().when_live("room", move |_| noted.set(true));
    world.publish("it waits");
    assert!(!live.get() && !world.redis.commands.iter().any(|line| line.starts_with("PUBLISH")));
    // The answer comes.
    let (peer, session) = world.redis.sessions.iter_mut().next().unwrap();
    session.channels.insert("p:room".to_owned());
    world.reactor.kernel_mut().send(*peer, b"*3\r\n$9\r\nsubscribe\r\n$6\r\np:room\r\n:1\r\n");
    world.settle();
    assert!(live.get());
    assert_eq!(world.redis.commands.last().unwrap(), "PUBLISH p:room it waits");
}

#[test]
fn refused_channel_and_refused_publications_leave_the_rest_alone() {
    let mut world = World::connected();
    world.redis.replies = vec![
        ("SUBSCRIBE p:room", b"-NOPERM this user has no permissions to access one of the channels\r\n"),
        ("PUBLISH p:room refused", b"-OOM command not allowed\r\n"),
    ];
    let client = world.client();
    world.publish("refused");
    world.publish("accepted");
    assert_eq!(world.messages(client), ["refused", "accepted"]);
    let stats = world.handle.stats();
    assert_eq!((stats.is_connected, stats.outages, stats.lost), (true, 0, 1));
    let id = world.reactor.hub().connections().last().unwrap();
    world.reactor.hub().subscribe(id, "other");
    world.settle();
    assert_eq!(world.redis.commands.last().unwrap(), "SUBSCRIBE p:other");
}

#[test]
fn what_is_no_reply_is_survived() {
    // More arrays in each other than any reply has.
    let nested = b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n";
    let replies: [&'static [u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        nested,
        b"$107374182400\r\n",
        b":1\r\n:1\r\n:1\r\n:1\r\n",
        b"+OK\r\n-LOADING x\r\n",
    ];
    for reply in replies {
        let mut world = World::new(&format!("redis://{ADDRESS}"), |redis| redis);
        world.redis.replies = vec![("CLIENT", reply)];
        let client = world.client();
        world.pass(Duration::from_secs(10));
        world.publish("local");
        world.redis.replies.clear();
        world.pass(Duration::from_secs(5));
        assert!(world.handle.stats().is_connected, "{}", reply[..reply.len().min(40)].escape_ascii());
        world.publish_foreign(b"foreign");
        assert_eq!(world.messages(client), ["local", "foreign"]);
    }
}

#[test]
fn last_messages_before_a_shutdown_reach_redis_and_the_loop_ends() {
    let mut world = World::connected();
    let client = world.client();
    world.redis.commands.clear();
    let hub = world.reactor.hub();
    hub.publish("room", "last words");
    hub.shutdown(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.redis.commands[..1], ["PUBLISH p:room last words"]);
    assert_eq!(world.messages(client), ["last words", r"\x03\xe9"]);
    // Until the last client has answered, others may publish.
    world.reactor.hub().publish("room", "one has gone");
    world.settle();
    assert!(world.redis.commands.contains(&"PUBLISH p:room one has gone".to_owned()), "{:?}", world.redis.commands);
    world.reactor.kernel_mut().reset(client);
    // Also if Redis does not end its side.
    world.pass(Duration::from_millis(1200));
    assert_eq!(world.reactor.hub().stats().connections, 0);
}

#[test]
fn sentinels_are_asked_for_the_master_and_a_switch_is_followed() {
    let url = "redis+sentinel://10.0.0.7,10.0.0.8/main";
    let mut world = World::new(url, |redis| redis);
    for address in ["10.0.0.8:26379", "10.0.0.10:6379"] {
        world.reactor.kernel_mut().play(address.parse().unwrap());
    }
    world.redis.replies = vec![
        ("SENTINEL get-master-addr-by-name main", b"*2\r\n$8\r\n10.0.0.9\r\n$4\r\n6379\r\n"),
        ("ROLE", b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
    ];
    let client = world.client();
    world.pass(Duration::from_millis(100));
    assert!(world.handle.stats().is_connected);
    assert_eq!(world.redis.sessions.len(), 3, "two connections to Redis, and one to a Sentinel");
    world.publish_foreign(b"before");
    // A switch.
    world.redis.replies[0].1 = b"*2\r\n$9\r\n10.0.0.10\r\n$4\r\n6379\r\n";
    let sentinel = world.redis.sessions.iter().find(|(_, session)| session.channels.contains("+switch-master"));
    let (sentinel, _) = sentinel.unwrap();
    let switch = "main 10.0.0.9 6379 10.0.0.10 6379";
    let message = format!("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{switch}\r\n", switch.len());
    world.reactor.kernel_mut().send(*sentinel, message.as_bytes());
    world.settle();
    world.redis.sessions.clear();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.handle.stats().outages, 1);
    assert!(world.handle.stats().is_connected);
    assert_eq!(world.redis.sessions.len(), 3, "no connection is left over");
    world.publish_foreign(b"after");
    assert_eq!(world.messages(client), ["before", "after"]);
    // A replica is no master, whatever the Sentinels say.
    world.redis.replies[1].1 = b"*2\r\n$5\r\nslave\r\n:0\r\n";
    world.reset();
    world.pass(Duration::from_secs(6));
    assert!(!world.handle.stats().is_connected);
    world.redis.replies[1].1 = b"-NOPERM no permissions\r\n";
    world.pass(Duration::from_secs(5));
    assert!(world.handle.stats().is_connected, "a user may lack the right to ask");
}

#[test]
fn patterns_get_what_other_programs_publish() {
    let messages = Rc::<RefCell<Vec<String>>>::default();
    for resp3 in [false, true] {
        let noted = Rc::clone(&messages);
        let mut world = World::new(&format!("redis://{ADDRESS}"), |redis| {
            redis.resp3(resp3).on_pattern("news.*", move |_, channel, message| {
                noted.borrow_mut().push(format!("{channel} {message}"));
            })
        });
        for payload in ["one", "two"] {
            world.settle();
            world.redis.publish(world.reactor.kernel_mut(), "news.today", payload.as_bytes());
            world.redis.publish(world.reactor.kernel_mut(), "other", payload.as_bytes());
            world.settle();
            world.reset();
            world.pass(Duration::from_secs(5));
        }
        assert_eq!(messages.take(), ["news.today one", "news.today two"]);
    }
}

#[test]
fn messages_are_kept_for_a_redis_that_is_away_if_that_is_wanted() {
    let mut world = World::new(&format!("redis://{ADDRESS}"), |redis| redis.keep_while_away(1000));
    let client = world.client();
    world.publish("before");
    world.reset();
    (0..10).for_each(|number| world.publish(&format!("{number}")));
    world.pass(Duration::from_secs(5));
    let published = |world: &World| {
        let lines = world.redis.commands.iter().filter_map(|line| line.strip_prefix("PUBLISH p:room "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(published(&world), ["before", "0", "1", "2", "3", "4", "5", "6"], "as many as fit");
    assert_eq!(world.handle.stats().lost, 3);
    assert_eq!(world.messages(client).len(), 11, "each once");
}

#[test]
fn replies_are_read_octet_by_octet() {
    let mut world = World::connected();
    let client = world.client();
    let peer = *world.redis.sessions.iter().find(|(_, session)| !session.channels.is_empty()).unwrap().0;
    for octet in b"*3\r\n$7\r\nmessage\r\n$6\r\np:room\r\n$5\r\nhello\r\n".repeat(2).chunks(1) {
        world.reactor.kernel_mut().send(peer, octet);
        world.settle();
    }
    assert_eq!(world.messages(client), ["hello", "hello"]);
}
