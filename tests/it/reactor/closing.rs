//! The end of a connection: queued output arrives first.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    rc::Rc,
    thread,
    time::Duration,
};

use ws_reactor::{
    CloseCode, CloseReason, Error, Reactor, Reply, Server, Stream, StreamHandler, TestSocket, Version,
    net::sim::{Buffers, Sim},
    on_message,
};

use crate::support::{
    played::{Log, SERVER, drain, echo, reactor, reactor_serving},
    wire::{self, Kind},
};

const MESSAGE: usize = 80_000;
const MESSAGES: usize = 100;

/// A server that answers each message with `length` bytes and a close frame.
fn answer_and_close(length: usize) -> Server {
    Server::new(move |_| {
        on_message(move |ws, _| {
            ws.send("x".repeat(length));
            ws.close(CloseCode::NORMAL, "");
        })
    })
}

// regression: EOF of the peer discarded the output that was queued before the close.
#[test]
fn peer_that_half_closed_still_gets_the_output_queued_before_the_close() {
    let page = || answer_and_close(0).on_request(|_, _| Reply::html("x".repeat(300_000)));
    let mut socket = TestSocket::request(page(), "");
    socket.hold(1000);
    socket.send_bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    socket.finish();
    socket.release();
    assert!(socket.received_bytes().len() > 300_000 && socket.is_closed());
    for version in [Version::Hixie75, Version::Rfc6455] {
        let mut socket = TestSocket::connect_as(version, answer_and_close(200_000), "/");
        socket.hold(1000);
        socket.send("go");
        socket.finish();
        socket.release();
        assert_eq!(socket.received()[0], "x".repeat(200_000).as_str().into(), "{version}");
        assert!(socket.is_closed());
    }
}

// A socket that is closed with unread input resets the connection, and the output in flight is lost.
#[test]
fn output_and_close_frame_arrive_while_the_peer_keeps_sending() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            let text = "x".repeat(MESSAGE);
            for _ in 0..MESSAGES {
                assert!(ws.send(&text).is_queued());
            }
            ws.close(CloseCode::NORMAL, "done");
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&wire::request(Version::Rfc6455, "/", "")).unwrap();
        // The server answers the first message. The others are never read and fill the buffers.
        stream.set_nonblocking(true).unwrap();
        let unread = wire::text(Version::Rfc6455, "y".repeat(1000));
        let (mut written, mut stuck) = (0, 0);
        while written < 1 << 20 && stuck < 50 {
            match stream.write(&unread[written % unread.len()..]) {
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
            match stream.read(&mut piece) {
                Ok(0) => return received,
                Ok(length) => received.extend_from_slice(&piece[..length]),
                // A signal that another test raises.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("a reset: {error}"),
            }
            // The peer keeps sending, and never answers the close frame.
            let _ = stream.write(&unread);
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
    assert_eq!(rest, [&[close, 6, 0x03, 0xe8][..], b"done"].concat());
}

/// A raw stream that writes half a megabyte and closes.
struct WritesAndCloses(Log);

impl StreamHandler for WritesAndCloses {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.write(&vec![1; 500_000]);
        stream.close();
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.0.borrow_mut().push(format!("error {error}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.0.borrow_mut().push(format!("close {reason}"));
    }
}

#[test]
fn output_lost_after_a_close_is_counted_and_its_cause_is_reported() {
    let log = Log::default();
    let events = Rc::clone(&log);
    let mut reactor = reactor();
    reactor.listen_stream(SERVER, move |_| WritesAndCloses(Rc::clone(&events))).unwrap();
    let connect = |reactor: &mut Reactor<Sim>| reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
    let silent = connect(&mut reactor);
    reactor.kernel_mut().hold(silent, 10_000);
    reactor.advance(Duration::from_secs(31)).unwrap();
    let slow_reader = "the peer did not read the output fast enough";
    let expected = [format!("error {slow_reader}"), format!("close 1005, {slow_reader}, 490000 bytes not sent")];
    assert_eq!(drain(&log), expected);
    // A peer that reads too slowly for 60 s.
    let slow = connect(&mut reactor);
    reactor.kernel_mut().slow_line(slow, 4000);
    reactor.advance(Duration::from_secs(59)).unwrap();
    assert_eq!(drain(&log), [""; 0]);
    reactor.advance(Duration::from_secs(1)).unwrap();
    let events = drain(&log);
    assert_eq!(events[0], "error the closing handshake timed out");
    assert!(events[1].starts_with("close 1005, the closing handshake timed out, "), "{events:?}");
}

// regression: each pong that had waited restarted the judgement of the time-out.
#[test]
fn flood_of_pings_does_not_postpone_the_closing_timeout() {
    let mut reactor = reactor_serving(echo());
    let peer = reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
    reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    reactor.settle().unwrap();
    let buffers = Buffers { send_bytes: 40_000, ..Buffers::default() };
    reactor.kernel_mut().set_buffers(peer, buffers);
    let id = reactor.hub().connections().next().unwrap();
    reactor.hub().close(id, CloseCode::NORMAL, "");
    let flood = wire::frame(Version::Rfc6455, Kind::Ping, true, &[7; 125]).repeat(1500);
    let mut milliseconds = 0;
    while !reactor.kernel_mut().is_closed(peer) {
        assert!(milliseconds < 6_000, "the connection is still open");
        reactor.kernel_mut().send(peer, &flood);
        reactor.turn(Some(Duration::ZERO)).unwrap();
        reactor.kernel_mut().received(peer);
        reactor.kernel_mut().advance(Duration::from_millis(5));
        milliseconds += 5;
    }
}
