//! `Stream::hand_over`: a stream changes its handler.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, CloseReason, Error, Reactor, ReactorConfig, Server, Stream, StreamConfig, StreamHandler, StreamServer,
    TimerId,
    net::sim::{PeerId, Sim},
};

use crate::support::{REQUEST, frames, played::Log};

/// Reads the line `PROXY name`, as a proxy sends it first, and hands over to `Lines`.
struct Prefix {
    log: Log,
    server: StreamServer,
    line: Vec<u8>,
}

/// Reads lines: `echo …` is sent back, `timer` sets a timer, `websocket` hands over to a WebSocket server.
struct Lines {
    log: Log,
    server: StreamServer,
    name: String,
    line: Vec<u8>,
}

impl StreamHandler for Prefix {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let end = data.iter().position(|byte| *byte == b'\n');
        self.line.extend_from_slice(&data[..end.unwrap_or(data.len())]);
        let Some(end) = end else { return };
        stream.unread(data.len() - end - 1);
        let line = String::from_utf8_lossy(&self.line).into_owned();
        let Some(name) = line.strip_prefix("PROXY ") else { return stream.close() };
        let lines =
            Lines { log: Rc::clone(&self.log), server: self.server.clone(), name: name.to_owned(), line: Vec::new() };
        stream.hand_over(lines);
        match name {
            "closing" => stream.close(),
            "panic" => panic!("deliberate: a handler panics"),
            _ => {}
        }
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.log.borrow_mut().push(format!("prefix: {error}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.log.borrow_mut().push(format!("prefix closed by {:?}", reason.by));
    }
}

impl StreamHandler for Lines {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.write(format!("hello {}\n", self.name).as_bytes());
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let end = data.iter().position(|byte| *byte == b'\n');
        self.line.extend_from_slice(&data[..end.unwrap_or(data.len())]);
        let Some(end) = end else { return };
        stream.unread(data.len() - end - 1);
        match &*String::from_utf8_lossy(&std::mem::take(&mut self.line)) {
            "websocket" => stream.hand_over(self.server.stream_handler()),
            "timer" => _ = stream.set_timer(Duration::from_secs(1)),
            line => _ = stream.write(format!("{line} back\n").as_bytes()),
        }
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        stream.write(b"timer\n");
    }

    fn on_close(&mut self, _: &mut Stream<'_>, _: &CloseReason) {
        self.log.borrow_mut().push("lines closed".to_owned());
    }
}

struct Fixture {
    reactor: Reactor<Sim>,
    peer: PeerId,
    log: Log,
}

impl Fixture {
    fn new() -> Self {
        let log = Log::default();
        let (opened, closed) = (Rc::clone(&log), Rc::clone(&log));
        let server = Server::new(move |handshake| {
            let (path, opened, closed) = (handshake.path().to_owned(), Rc::clone(&opened), Rc::clone(&closed));
            Callbacks::new()
                .on_open(move |ws, _| {
                    opened.borrow_mut().push(format!("open {path}"));
                    ws.send("welcome");
                })
                .on_message(|ws, message| _ = ws.send(message))
                .on_close(move |_, reason| closed.borrow_mut().push(format!("websocket closed {}", reason.code)))
        })
        .ping_after(None)
        .into_stream_server();
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let shared = Rc::clone(&log);
        let prefix = move |_| Prefix { log: Rc::clone(&shared), server: server.clone(), line: Vec::new() };
        let addr = reactor.listen_stream("10.0.0.1:80", prefix).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        Fixture { reactor, peer, log }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.reactor.kernel_mut().send(self.peer, bytes.as_ref());
        self.reactor.settle().unwrap();
        self.reactor.kernel_mut().received(self.peer)
    }
}

/// A short text frame of a client, with a mask of zeros.
fn text(text: &str) -> Vec<u8> {
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[test]
fn prefix_hands_over_to_a_line_protocol_and_that_to_a_websocket_server() {
    let mut fixture = Fixture::new();
    assert!(fixture.send("PROXY an").is_empty());
    assert_eq!(fixture.send("n\necho 1\necho 2\n"), b"hello ann\necho 1 back\necho 2 back\n");
    let response = fixture.send([b"websocket\n", REQUEST, &text("ping")].concat());
    assert!(response.starts_with(b"HTTP/1.1 101 "), "{}", response.escape_ascii());
    assert_eq!(frames(&response), [b"welcome".to_vec(), b"ping".to_vec()]);
    assert_eq!(*fixture.log.borrow(), ["open /"]);
    fixture.send(b"\x88\x82\0\0\0\0\x03\xe8");
    assert_eq!(*fixture.log.borrow(), ["open /", "websocket closed 1000"], "the former handlers are not called");
}

#[test]
fn bytes_arrive_in_order_however_they_are_split() {
    let all = [b"PROXY ann\necho 1\nwebsocket\n", REQUEST, &text("a"), &text("b")].concat();
    for split in 1..all.len() {
        let mut fixture = Fixture::new();
        let received = [fixture.send(&all[..split]), fixture.send(&all[split..])].concat();
        assert!(received.starts_with(b"hello ann\necho 1 back\nHTTP/1.1 101 "), "split at {split}");
        assert_eq!(frames(&received), [b"welcome".to_vec(), b"a".to_vec(), b"b".to_vec()], "split at {split}");
    }
}

#[test]
fn timer_stays_with_the_connection_and_goes_to_the_next_handler() {
    let mut fixture = Fixture::new();
    fixture.send("PROXY ann\ntimer\n");
    fixture.reactor.advance(Duration::from_secs(2)).unwrap();
    let peer = fixture.peer;
    assert_eq!(fixture.reactor.kernel_mut().received(peer), b"timer\n");
}

#[test]
fn handler_of_a_closing_connection_stays() {
    let mut fixture = Fixture::new();
    assert!(fixture.send("PROXY closing\necho\n").is_empty(), "the next handler is not connected");
    let peer = fixture.peer;
    fixture.reactor.kernel_mut().finish(peer);
    fixture.reactor.settle().unwrap();
    assert_eq!(*fixture.log.borrow(), ["prefix closed by Application"]);
}

#[test]
fn handler_that_panics_after_the_request_stays() {
    let mut fixture = Fixture::new();
    fixture.send("PROXY panic\n");
    let log = fixture.log.borrow().clone();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].starts_with("prefix: ") && log[1] == "prefix closed by Panic", "{log:?}");
}

#[test]
fn opening_timeout_of_the_server_begins_with_the_hand_over() {
    let mut fixture = Fixture::new();
    fixture.reactor.advance(Duration::from_secs(60)).unwrap();
    fixture.send("PROXY ann\nwebsocket\n");
    fixture.reactor.advance(Duration::from_secs(9)).unwrap();
    let peer = fixture.peer;
    assert!(!fixture.reactor.kernel_mut().is_closed(peer));
    fixture.reactor.advance(Duration::from_secs(2)).unwrap();
    assert!(fixture.reactor.kernel_mut().is_closed(peer));
}

#[test]
fn connection_stats_follow_the_config_of_the_stream_and_not_of_the_server() {
    struct Direct(StreamServer);
    impl StreamHandler for Direct {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            stream.hand_over(self.0.stream_handler());
        }
    }
    for counted in [false, true] {
        let seen = Rc::new(RefCell::new(None));
        let last = Rc::clone(&seen);
        let server = Server::new(move |_| {
            let last = Rc::clone(&last);
            Callbacks::new().on_message(move |ws, _| *last.borrow_mut() = ws.stats().map(|stats| stats.messages_in))
        });
        let server = server.into_stream_server();
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let config = StreamConfig::new().connection_stats(counted);
        let addr = reactor.listen_stream_with("10.0.0.1:80", config, move |_| Direct(server.clone())).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &[REQUEST, &text("a"), &text("b")].concat());
        reactor.settle().unwrap();
        assert_eq!(*seen.borrow(), counted.then_some(2));
    }
}

#[test]
fn handler_that_takes_over_in_on_dial_gets_on_connect_once() {
    struct First(Log);
    struct Second(Log);
    impl StreamHandler for First {
        fn on_dial(&mut self, stream: &mut Stream<'_>) {
            stream.hand_over(Second(Rc::clone(&self.0)));
        }

        fn on_connect(&mut self, _: &mut Stream<'_>) {
            self.0.borrow_mut().push("first".to_owned());
        }
    }
    impl StreamHandler for Second {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(format!("second to {}", stream.peer_addr()));
        }
    }
    let log = Log::default();
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.1:80".parse().unwrap());
    reactor.connect_stream("10.0.0.1:80", First(Rc::clone(&log))).unwrap();
    reactor.settle().unwrap();
    assert_eq!(*log.borrow(), ["second to 10.0.0.1:80"]);
}

#[test]
fn handlers_that_hand_over_to_each_other_endlessly_end_their_connection_only() {
    struct Endless(Log);
    impl StreamHandler for Endless {
        fn on_connect(&mut self, stream: &mut Stream<'_>) {
            self.0.borrow_mut().push(String::new());
            stream.hand_over(Endless(Rc::clone(&self.0)));
        }

        fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
            self.0.borrow_mut().push(format!("{:?}", reason.by));
        }
    }
    let log = Log::default();
    let shared = Rc::clone(&log);
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen_stream("10.0.0.1:80", move |_| Endless(Rc::clone(&shared))).unwrap().addr;
    reactor.kernel_mut().connect(addr).unwrap();
    reactor.settle().unwrap();
    assert_eq!(log.borrow().len(), 17 + 1, "the first handler, 16 hand-overs, and on_close");
    assert_eq!(log.borrow().last().unwrap(), "Application");
    assert_eq!(reactor.hub().stats().connections, 0);
}
