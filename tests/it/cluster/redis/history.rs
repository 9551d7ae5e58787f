//! Histories in a stream of Redis, which several processes share.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{Event, HistoryLimits, Redis, net::sim::PeerId};

use super::played::{PlayedStream, World};

/// Millisecond of the first entries: near to the clock, since old events are forgotten.
fn first_millis() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 - 2000
}

fn stream() -> Rc<RefCell<PlayedStream>> {
    let stream = PlayedStream { millis: first_millis(), ..PlayedStream::default() };
    Rc::new(RefCell::new(stream))
}

/// A process that keeps the history of `room` in a stream.
fn process(stream: &Rc<RefCell<PlayedStream>>, change: impl FnOnce(Redis) -> Redis) -> World {
    let mut world = World::new("redis://10.0.0.9:6379", |redis| change(redis.history_stream("s", 1000)));
    world.redis.stream = Rc::clone(stream);
    world.reactor.hub().keep_history("room", HistoryLimits::new());
    world.settle();
    assert!(world.handle.stats().is_connected);
    world
}

/// The history of `room`, and whether events may be missing.
fn history(world: &mut World, after: u64) -> (Vec<(u64, String)>, bool) {
    let replay = world.reactor.hub().events_after(["room"], after).unwrap();
    (replay.events.iter().map(|event| (event.id, event.data.to_string())).collect(), replay.gap_to.is_some())
}

fn texts(world: &mut World, after: u64) -> Vec<String> {
    history(world, after).0.into_iter().map(|(_, text)| text).collect()
}

/// Has both processes and their Redis work.
fn settle(worlds: &mut [World]) {
    for _ in 0..3 {
        worlds.iter_mut().for_each(World::settle);
    }
}

#[test]
fn events_have_the_same_ids_in_all_processes_and_each_client_gets_them_once() {
    for resp3 in [false, true] {
        let stream = stream();
        let millis = stream.borrow().millis;
        let mut worlds = [(); 2].map(|()| process(&stream, |redis| redis.resp3(resp3)));
        let clients: Vec<PeerId> = worlds.iter_mut().map(World::client).collect();
        worlds[0].reactor.hub().publish("room", "a");
        worlds[0].reactor.hub().publish_event("room", Event::new("b").name("named").unwrap());
        settle(&mut worlds);
        worlds[1].reactor.hub().publish("room", "c");
        worlds[1].reactor.hub().publish("room", b"\x01");
        settle(&mut worlds);
        stream.borrow_mut().add_event("room", "foreign");
        settle(&mut worlds);
        let ids = [0, 1, 2, 4].map(|number| millis * 1000 + number);
        for (world, client) in worlds.iter_mut().zip(clients) {
            let expected: Vec<_> = ids.into_iter().zip(["a", "b", "c", "foreign"].map(str::to_owned)).collect();
            assert_eq!(history(world, ids[0] - 1), (expected, false), "version 3: {resp3}");
            assert_eq!(world.messages(client), ["a", "b", "c", "\\x01", "foreign"]);
            let replay = world.reactor.hub().events_after(["room"], ids[0]).unwrap();
            assert_eq!(replay.events[0].name.as_deref(), Some("named"));
            assert!(!world.redis.commands.iter().any(|command| command.starts_with("PUBLISH")));
        }
    }
}

#[test]
fn process_that_starts_later_has_the_past_and_a_topic_that_is_kept_later_too() {
    let stream = stream();
    let mut first = process(&stream, |redis| redis);
    for number in 0..600 {
        first.reactor.hub().publish("room", format!("event {number}"));
    }
    first.reactor.hub().keep_history("later", HistoryLimits::new());
    first.reactor.hub().publish("later", "of the other topic");
    first.settle();
    let mut second = process(&stream, |redis| redis);
    let client = second.client();
    second.settle();
    assert!(second.messages(client).is_empty(), "it is the past");
    let limit = texts(&mut second, 0);
    assert_eq!((limit.len(), limit[99].as_str()), (100, "event 599"));
    second.reactor.hub().keep_history("later", HistoryLimits::new());
    second.settle();
    let later = second.reactor.hub().events_after(["later"], 0).unwrap();
    assert_eq!(later.events.len(), 1);
    let last = history(&mut first, 0).0.last().unwrap().0;
    assert_eq!(history(&mut second, last), (vec![], false), "its client may come from the other process");
}

#[test]
fn subscribers_get_after_an_outage_what_others_have_published_and_the_history_has_no_gap() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    let client = world.client();
    world.publish("before");
    let last = history(&mut world, 0).0[0].0;
    world.reset();
    world.publish("away");
    assert_eq!(world.messages(client), ["before", "away"]);
    stream.borrow_mut().add_event("room", "of others");
    world.pass(Duration::from_secs(10));
    assert_eq!(world.messages(client), ["of others"]);
    let (events, has_gap) = history(&mut world, last);
    assert_eq!((events.len(), has_gap), (1, false), "an event of the time without Redis has no id");
}

#[test]
fn events_that_redis_has_removed_unread_are_a_gap() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    world.publish("before");
    let last = history(&mut world, 0).0[0].0;
    world.reset();
    {
        let mut stream = stream.borrow_mut();
        stream.millis += 5;
        (0..3).for_each(|number| stream.add_event("room", &format!("event {number}")));
        stream.entries.drain(..2);
    }
    world.pass(Duration::from_secs(10));
    let (events, has_gap) = history(&mut world, last);
    assert_eq!((events.len(), has_gap), (2, true));
}

#[test]
fn own_event_whose_connection_is_lost_is_delivered_once_and_kept_if_redis_has_it() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    let client = world.client();
    world.reactor.hub().publish("room", "in flight");
    world.reactor.settle().unwrap();
    let kernel = world.reactor.kernel_mut();
    // Redis executes the command, and the connection is lost before the event comes back.
    let peers: Vec<_> = world.redis.sessions.keys().copied().collect();
    let input: Vec<u8> = peers.iter().flat_map(|peer| kernel.received(*peer)).collect();
    let origin = input.windows(6).position(|word| word == b"origin").expect("an XADD");
    let length: usize = str::from_utf8(&input[origin + 9..origin + 11]).unwrap().parse().unwrap();
    let origin = input[origin + 13..origin + 13 + length].to_vec();
    let fields = [&b"topic"[..], b"room", b"data", b"in flight", b"origin", &origin].map(<[u8]>::to_vec);
    world.reset();
    assert_eq!(world.messages(client), ["in flight"]);
    stream.borrow_mut().add(&fields);
    world.pass(Duration::from_secs(10));
    assert!(world.messages(client).is_empty());
    assert_eq!(texts(&mut world, 0), ["in flight"]);
}

#[test]
fn stream_that_may_not_be_read_or_written_leaves_topics_to_their_channels() {
    let stream = stream();
    let mut world = World::new("redis://10.0.0.9:6379", |redis| redis.history_stream("s", 1000));
    world.redis.stream = Rc::clone(&stream);
    world.redis.replies = vec![("XR", b"-NOPERM no permissions\r\n")];
    world.reactor.hub().keep_history("room", HistoryLimits::new());
    world.settle();
    let client = world.client();
    world.publish("by the channel");
    assert_eq!(world.messages(client), ["by the channel"]);
    assert!(world.redis.commands.contains(&"PUBLISH p:room by the channel".to_owned()));
    world.pass(Duration::from_secs(30));
    assert_eq!(world.handle.stats().outages, 0);

    let mut world = process(&stream, |redis| redis);
    let client = world.client();
    world.redis.replies = vec![("XADD", b"-OOM command not allowed\r\n")];
    world.publish("refused");
    assert_eq!((world.messages(client), world.handle.stats().lost), (vec!["refused".to_owned()], 1));
}

#[test]
fn a_redis_that_does_not_answer_the_reader_counts_as_away() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.handle.stats().outages, 0, "without events it answers that there are none");
    world.redis.silent = vec!["XREAD"];
    world.pass(Duration::from_secs(20));
    assert_eq!(world.handle.stats().outages, 1);
}

#[test]
fn more_than_a_thousand_events_in_a_millisecond_have_growing_ids() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    world.reactor.hub().keep_history("room", HistoryLimits::new().max_events(2000));
    world.settle();
    (0..1500).for_each(|number| stream.borrow_mut().add_event("room", &format!("{number}")));
    world.settle();
    let (events, _) = history(&mut world, 0);
    assert_eq!(events.len(), 1500);
    assert!(events.is_sorted_by(|one, two| one.0 < two.0));
}

#[test]
fn own_event_that_redis_has_before_the_newest_one_is_asked_for_comes_back() {
    let stream = stream();
    let mut world = World::new("redis://10.0.0.9:6379", |redis| redis.history_stream("s", 1000));
    world.redis.stream = Rc::clone(&stream);
    world.reactor.hub().keep_history("room", HistoryLimits::new());
    while !world.handle.stats().is_connected {
        world.reactor.settle().unwrap();
        if !world.handle.stats().is_connected {
            world.redis.serve(world.reactor.kernel_mut());
        }
    }
    // Redis serves the connection that publishes first.
    let kernel = world.reactor.kernel_mut();
    let client = kernel.connect("10.0.0.1:80".parse().unwrap()).unwrap();
    kernel.send(client, crate::support::REQUEST);
    world.reactor.settle().unwrap();
    world.publish("own");
    world.publish("second");
    assert_eq!(world.messages(client), ["own", "second"]);
    assert_eq!(texts(&mut world, 0), ["own", "second"]);
}

#[test]
fn past_is_not_delivered_where_the_newest_entry_may_not_be_asked_for() {
    let stream = stream();
    stream.borrow_mut().add_event("room", "old");
    let mut world = World::new("redis://10.0.0.9:6379", |redis| redis.history_stream("s", 1000));
    world.redis.stream = Rc::clone(&stream);
    world.redis.replies = vec![("XREVRANGE", b"-NOPERM no permissions\r\n")];
    world.reactor.hub().keep_history("room", HistoryLimits::new());
    let client = world.client();
    world.pass(Duration::from_secs(1));
    assert!(world.messages(client).is_empty());
}

#[test]
fn events_of_a_redis_with_another_past_and_a_slower_clock_arrive() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    let client = world.client();
    world.publish("a");
    let last = history(&mut world, 0).0[0].0;
    world.reset();
    stream.borrow_mut().entries.clear();
    stream.borrow_mut().millis -= 1000;
    world.pass(Duration::from_secs(10));
    world.publish("b");
    stream.borrow_mut().add_event("room", "c");
    world.settle();
    assert_eq!(world.messages(client), ["a", "b", "c"]);
    let (events, has_gap) = history(&mut world, last - 1);
    assert!(events.is_sorted_by(|one, two| one.0 < two.0) && events.len() == 3 && has_gap);
}

#[test]
fn own_events_that_redis_removes_before_they_are_read_are_delivered_and_are_a_gap() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    let client = world.client();
    world.publish("first");
    let last = history(&mut world, 0).0[0].0;
    for text in ["a", "b", "c"] {
        world.reactor.hub().publish("room", text);
    }
    world.reactor.settle().unwrap();
    // Redis executes all XADDs, and keeps the last entry.
    world.redis.trims_to = Some(1);
    world.settle();
    assert_eq!(world.messages(client), ["first", "a", "b", "c"]);
    world.redis.trims_to = None;
    world.publish("d");
    assert_eq!(world.messages(client), ["d"]);
    let (events, has_gap) = history(&mut world, last);
    assert_eq!((events.last().unwrap().1.as_str(), has_gap), ("d", true));
}

#[test]
fn history_that_is_kept_in_the_turn_of_an_entry_has_it_once_and_no_gap() {
    for turns in 0..4 {
        let stream = stream();
        let mut world = process(&stream, |redis| redis);
        stream.borrow_mut().add_event("later", "one");
        world.settle();
        stream.borrow_mut().add_event("later", "two");
        world.redis.serve(world.reactor.kernel_mut());
        (0..turns).for_each(|_| _ = world.reactor.turn(Some(Duration::ZERO)).unwrap());
        world.reactor.hub().keep_history("later", HistoryLimits::new());
        world.settle();
        let replay = world.reactor.hub().events_after(["later"], 0).unwrap();
        assert_eq!(replay.events.len(), 2, "{turns} turns before");
        let first = replay.events[0].id;
        let replay = world.reactor.hub().events_after(["later"], first).unwrap();
        assert_eq!((replay.events.len(), replay.gap_to), (1, None), "{turns} turns before");
    }
}

#[test]
fn event_that_is_forgotten_stays_a_gap() {
    let stream = stream();
    let mut world = process(&stream, |redis| redis);
    world.reactor.hub().keep_history("room", HistoryLimits::new().max_age(Duration::from_secs(3)));
    world.settle();
    world.publish("a");
    let first = history(&mut world, 0).0[0].0;
    world.pass(Duration::from_secs(5));
    assert_eq!(history(&mut world, first - 1), (vec![], true));
    world.reactor.hub().publish("room", "in flight");
    world.reactor.settle().unwrap();
    world.reset();
    world.pass(Duration::from_secs(10));
    assert!(history(&mut world, first - 1).1);
}
