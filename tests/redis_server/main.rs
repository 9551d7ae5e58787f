//! Processes that share a real Redis.
//!
//! `REDIS_SERVER=redis-server cargo test --features redis --test redis_server -- --ignored`, and so with
//! `valkey-server`.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "redis")]

mod cluster;
mod process;
mod server;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use ws_reactor::{HistoryLimits, Redis};

use self::{
    process::{Process, after_begin, receive, receive_many},
    server::{RedisServer, wait_until},
};

#[test]
#[ignore = "needs a redis-server"]
fn all_processes_have_the_messages_of_several_publishers_in_one_order() {
    let server = RedisServer::start(&[]);
    let url = server.url();
    let processes: Vec<_> = (0..2)
        .map(|index| {
            let url = url.clone();
            Process::start(1 + index, move || Redis::new(&url).unwrap().one_order(true), |_| {})
        })
        .collect();
    let mut clients: Vec<_> =
        processes.iter().flat_map(|process| [process.client("room"), process.client("room")]).collect();
    wait_until("both are subscribed", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
    thread::scope(|scope| {
        for (index, process) in processes.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..2000 {
                    process.remote.publish("room", format!("{index} {number}")).unwrap();
                    if number % 50 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    let orders: Vec<_> =
        clients.iter_mut().map(|client| [vec![after_begin(client)], receive_many(client, 3999)].concat()).collect();
    assert!(orders.iter().all(|order| *order == orders[0]));
    let switches = orders[0].windows(2).filter(|pair| pair[0][..1] != pair[1][..1]).count();
    assert!(switches > 10, "the publishers were concurrent: {switches} changes");
}

#[test]
#[ignore = "needs a redis-server"]
fn histories_are_the_same_in_all_processes_and_outlive_them_and_outages() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = server.url();
    let start = || {
        let url = url.clone();
        let redis = move || Redis::new(&url).unwrap().history_stream("events", 10_000).resp3(true);
        Process::start(2, redis, |hub| hub.keep_history("room", HistoryLimits::new().max_events(5000)))
    };
    let processes = [start(), start()];
    let mut clients: Vec<_> = processes.iter().map(|process| process.client("room")).collect();
    wait_until("both are connected", || server.command(&["CLIENT", "LIST"]).matches("ws-reactor").count() == 6);
    for number in 0..1000 {
        processes[number % 2].remote.publish("room", number.to_string()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(receive_many(client, 1000).len(), 1000);
    }
    let history = processes[0].history("room");
    assert_eq!((history.len(), &history), (1000, &processes[1].history("room")));

    server.kill();
    thread::sleep(Duration::from_millis(200));
    processes[0].remote.publish("room", "without Redis").unwrap();
    assert_eq!(receive(&mut clients[0]), "without Redis");
    server.start_again();
    // Another program publishes before they are back, perhaps.
    server.command(&["XADD", "events", "*", "topic", "room", "data", "of another program"]);
    clients.iter_mut().for_each(|client| assert_eq!(receive(client), "of another program"));

    let third = start();
    wait_until("the third one has the past", || third.history("room").len() == 1001);
    assert_eq!(third.history("room"), processes[1].history("room"));
}

#[test]
#[ignore = "needs a redis-server"]
fn redis_that_is_killed_under_load_costs_no_process_its_own_messages_and_none_arrives_twice() {
    let mut server = RedisServer::start(&[]);
    let url = server.url();
    let processes: Vec<_> = (0..2)
        .map(|index| {
            let url = url.clone();
            Process::start(1 + index, move || Redis::new(&url).unwrap(), |_| {})
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let received: Vec<Vec<String>> = thread::scope(|scope| {
        let publish = |index: usize| {
            let (processes, is_over) = (&processes, &is_over);
            move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    processes[index].remote.publish("room", format!("{index} {number}")).unwrap();
                    number += 1;
                    thread::sleep(Duration::from_micros(100));
                }
                number
            }
        };
        let read = |process: &Process| {
            let (mut client, mut messages) = (process.client("room"), Vec::new());
            while messages.last().is_none_or(|last| last != "end") {
                messages.push(receive(&mut client));
            }
            messages
        };
        let readers: Vec<_> = processes.iter().map(|process| scope.spawn(move || read(process))).collect();
        wait_until("both are subscribed", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
        let publishers = [0, 1].map(|index| scope.spawn(publish(index)));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            server.kill();
            thread::sleep(Duration::from_millis(300));
            server.start_again();
            wait_until("both are back", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
        }
        is_over.store(true, Ordering::Relaxed);
        let published = publishers.map(|publisher| publisher.join().unwrap());
        thread::sleep(Duration::from_millis(500));
        server.command(&["PUBLISH", "room", "end"]);
        let received: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        for (index, messages) in received.iter().enumerate() {
            let of = |publisher: usize| {
                let begin = format!("{publisher} ");
                let numbers = messages.iter().filter_map(|message| message.strip_prefix(&begin)?.parse().ok());
                numbers.collect::<Vec<usize>>()
            };
            assert!(of(index).into_iter().eq(0..published[index]), "the own messages of process {index}");
            let of_other = of(1 - index);
            assert!(of_other.is_sorted_by(|one, two| one < two), "each at most once, in order");
            let lost = published[1 - index] - of_other.len();
            assert!(lost > 0 && of_other.len() > published[1 - index] / 8, "{lost} of {}", published[1 - index]);
        }
        received
    });
    assert!(received.iter().all(|messages| messages.len() > 1000));
}

#[test]
#[ignore = "needs a redis-server"]
fn idle_connections_are_kept() {
    let server = RedisServer::start(&[]);
    let url = server.url();
    let redis =
        move || Redis::new(&url).unwrap().history_stream("events", 100).ping_interval(Duration::from_millis(50));
    let process = Process::start(1, redis, |hub| hub.keep_history("room", HistoryLimits::new()));
    wait_until("it is connected", || process.stats().is_connected);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(process.stats().outages, 0);
}

#[test]
#[ignore = "needs a redis-server"]
fn events_that_redis_removes_before_they_are_read_reach_subscribers_and_are_a_gap() {
    const COUNT: usize = 20_000;
    let server = RedisServer::start(&[]);
    let url = server.url();
    let redis = move || Redis::new(&url).unwrap().history_stream("events", 100);
    let process = Process::start(1, redis, |hub| hub.keep_history("room", HistoryLimits::new().max_events(COUNT)));
    let mut client = process.client("room");
    wait_until("it is connected", || process.stats().is_connected);
    process.call(|hub| (0..COUNT).for_each(|number| _ = hub.publish("room", number.to_string())));
    let expected: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(receive_many(&mut client, COUNT), expected);
    process.remote.publish("room", "last").unwrap();
    assert_eq!(receive(&mut client), "last");
    let (first, count, gap) = process.call(|hub| {
        let replay = hub.events_after(["room"], 1).expect("it is kept");
        let first = replay.events[0].id;
        (first, replay.events.len(), hub.events_after(["room"], first).expect("it is kept").gap_to)
    });
    assert!(count > COUNT || gap.is_some(), "{count} events from {first} on, and no gap");
}
