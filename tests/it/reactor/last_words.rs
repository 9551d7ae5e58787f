//! Real sockets: what was said before a close arrives, whatever the peer has said meanwhile.

use crate::support::wire;
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::support::wire::Kind;
use ws_reactor::{CloseCode, Reactor, Server, Version, on_message};

const MESSAGE: usize = 80_000;
const MESSAGES: usize = 100;

/// A system that is left with input nobody has read resets the connection, and what was on its way out is lost.
#[test]
fn eight_megabytes_and_a_close_arrive_though_the_peer_goes_on_talking() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            let text = "x".repeat(MESSAGE);
            for _ in 0..MESSAGES {
                assert!(ws.send(&text).is_queued());
            }
            ws.close(CloseCode::NORMAL, "all said");
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
        // The first is answered; the others nobody reads, as far as they find room.
        stream.set_nonblocking(true).unwrap();
        let unheard = wire::text(Version::Rfc6455, "y".repeat(1000));
        let (mut written, mut stuck) = (0, 0);
        while written < 1 << 20 && stuck < 50 {
            match stream.write(&unheard[written % unheard.len()..]) {
                Ok(length) => (written, stuck) = (written + length, 0),
                Err(_) => {
                    thread::sleep(Duration::from_millis(1));
                    stuck += 1;
                }
            }
        }
        stream.set_nonblocking(false).unwrap();
        let mut received = Vec::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            thread::sleep(Duration::from_millis(1));
            match stream.read(&mut piece).expect("no reset") {
                0 => return received,
                length => received.extend_from_slice(&piece[..length]),
            }
            // The peer goes on, and never answers the close.
            let _ = stream.write(&unheard);
        }
    });
    while !client.is_finished() {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let received = client.join().unwrap();
    let head = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let frame = [&[0x81, 127][..], &(MESSAGE as u64).to_be_bytes(), "x".repeat(MESSAGE).as_bytes()].concat();
    let close = wire::frame(Version::Rfc6455, Kind::Close, true, b"")[0];
    let (messages, rest) = received[head..].split_at(MESSAGES * frame.len());
    assert!(messages.chunks(frame.len()).all(|message| message == frame));
    assert_eq!(rest, [&[close, 10, 0x03, 0xe8][..], b"all said"].concat());
}
