//! Closed client connections leave no file descriptor and no memory.
//!
//! `CLIENTS=100000` sets the number of clients.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{env, fs, time::Duration};

use ws_reactor::{Callbacks, Client, CloseCode, Reactor, Server, on_message};

#[path = "it/support/counting.rs"]
mod counting;

/// Server addresses: each has its own range of client ports.
const ADDRESSES: usize = 10;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn clients_that_open_close_fail_or_are_terminated_leak_no_descriptor_and_no_memory() {
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
    let mut open_and_close = |count: usize| {
        let before = reactor.hub().stats().opened;
        for number in 0..count {
            let handler = Callbacks::new()
                .on_open(|ws, _| {
                    ws.send("hello");
                })
                .on_message(|ws, _| {
                    ws.close(CloseCode::NORMAL, "");
                });
            // Of ten clients, one dials a closed port and one is terminated before it is dialed.
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
        // Both ends of every other connection.
        assert_eq!(reactor.hub().stats().opened - before, 2 * (count - 2 * (count / 10)) as u64);
    };
    open_and_close(200);
    let (open, live) = (descriptors(), counting::live());
    open_and_close(clients);
    assert_eq!(descriptors(), open);
    assert!(counting::live() <= live + 64 * 1024, "{} bytes more", counting::live() - live);
}
