//! What a crowd has needed is given back when it has gone.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use counting::live;
use socket2::SockRef;
use ws_reactor::{Reactor, Server, Version, on_message};

mod counting;
mod wire;

const CROWD: usize = 200;

#[test]
fn what_a_crowd_of_slow_readers_has_needed_is_given_back() {
    let mut reactor = Reactor::new().unwrap();
    let server = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let message = wire::text(Version::Rfc6455, "x".repeat(60_000));
    let before = live();
    let mut crowd: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
            stream
        })
        .collect();
    // Each says as much as is taken, and reads nothing.
    let mut written = vec![0; CROWD];
    for _ in 0..1000 {
        for (stream, written) in crowd.iter_mut().zip(&mut written) {
            while let Ok(length) = stream.write(&message[*written % message.len()..]) {
                *written += length;
            }
        }
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
        if live() - before > 2 * CROWD * 60_000 {
            break;
        }
    }
    let held = live() - before;
    assert!(held > CROWD * 60_000, "{held} bytes are no crowd's");
    // The limit of what waits for each, and a message that is gathered.
    assert!(held < CROWD * 400_000, "{held} bytes");
    // One stays, and goes on: it is not for idle servers only.
    let mut other = TcpStream::connect(addr).unwrap();
    other.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
    other.set_nonblocking(true).unwrap();
    drop(crowd);
    let (until, mut after) = (Instant::now() + Duration::from_secs(30), usize::MAX);
    while after > 100_000 && Instant::now() < until {
        other.write_all(&wire::text(Version::Rfc6455, "are you there?")).unwrap();
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        let mut answers = [0; 4096];
        while other.read(&mut answers).is_ok_and(|length| length == answers.len()) {}
        after = live().saturating_sub(before);
    }
    assert!(after <= 100_000, "{after} bytes are still held, of {held}");
}
