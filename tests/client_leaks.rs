//! Clients that come and go leave nothing behind: no descriptor, no memory.
//!
//! `CLIENTS=100000` has so many come; the usual number is smaller.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{env, fs, time::Duration};

use ws_reactor::{Callbacks, Client, CloseCode, Reactor, Server, on_message};

#[path = "it/support/counting.rs"]
mod counting;

/// Each has ports of its own for those who come to it.
const ADDRESSES: usize = 10;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn connections_that_are_opened_and_closed_again_leak_nothing() {
    let clients: usize = env::var("CLIENTS").map_or(3000, |count| count.parse().unwrap());
    let mut reactor = Reactor::new().unwrap();
    let urls: Vec<String> = (1..=ADDRESSES)
        .map(|host| {
            let echo = Server::new(|_| {
                on_message(|ws, message| {
                    ws.send(message);
                })
            });
            let listening = reactor.listen(format!("127.0.0.{host}:0").as_str(), echo).unwrap();
            format!("ws://{}/", listening.addr)
        })
        .collect();
    let mut come_and_go = |count: usize| {
        let before = reactor.hub().stats().opened;
        for number in 0..count {
            let handler = Callbacks::new()
                .on_open(|ws, _| {
                    ws.send("hello");
                })
                .on_message(|ws, _| {
                    ws.close(CloseCode::NORMAL, "");
                });
            // Some find nobody, some are given up at once.
            let url = if number % 10 == 7 { "ws://127.0.0.1:9/" } else { &urls[number % ADDRESSES] };
            let id = reactor.connect(url, Client::new(handler)).unwrap();
            if number % 10 == 3 {
                reactor.hub().terminate(id);
            }
            while reactor.hub().stats().connections > 50 {
                reactor.turn(Some(Duration::from_millis(10))).unwrap();
            }
        }
        while reactor.hub().stats().connections > 0 {
            reactor.turn(Some(Duration::from_millis(10))).unwrap();
        }
        // Both ends of all but those.
        assert_eq!(reactor.hub().stats().opened - before, 2 * (count - 2 * (count / 10)) as u64);
    };
    come_and_go(200);
    let (open, live) = (descriptors(), counting::live());
    come_and_go(clients);
    assert_eq!(descriptors(), open);
    assert!(counting::live() <= live + 64 * 1024, "{} bytes more", counting::live() - live);
}
