//! Recording of what arrives, and its replay.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use ws_reactor::{
    Callbacks, Client, ConnectionId, Hub, Message, Reactor, ReactorConfig, Reconnect, Server, Version,
    net::{Answer, Resolver},
    recording::{Record, Recorder, Recording, StreamNumber},
    testing::{self, Playback},
};

use crate::support::{
    answer,
    wire::{self, Kind},
};

/// A file that is removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str) -> Self {
        TempFile(std::env::temp_dir().join(format!("ws-reactor-{}-{name}.wsr", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What handlers did, with the time since the first entry.
type Log = Rc<RefCell<Vec<(Instant, String)>>>;

fn note(log: &Log, hub: &Hub, what: impl Into<String>) {
    log.borrow_mut().push((hub.now(), what.into()));
}

/// The entries with their times since the first one.
fn entries(log: &Log) -> Vec<(Duration, String)> {
    let log = log.borrow();
    log.iter().map(|(at, what)| (*at - log[0].0, what.clone())).collect()
}

/// A handler whose behaviour depends on all that a replay repeats: time, timers, order, commands, randomness, and room
/// for output.
fn server(log: &Log) -> Server {
    let log = Rc::clone(log);
    Server::new(move |handshake| {
        let (path, log) = (handshake.path().to_owned(), Rc::clone(&log));
        let (opened, messages, timers, drained, closed) =
            (Rc::clone(&log), Rc::clone(&log), Rc::clone(&log), Rc::clone(&log), log);
        let names = [(); 5].map(|()| path.clone());
        let [open_name, message_name, timer_name, drain_name, close_name] = names;
        Callbacks::new()
            .on_open(move |ws, handshake| {
                ws.subscribe("all");
                ws.set_periodic_timer(Duration::from_millis(7));
                let mut random = [0; 4];
                ws.hub().random(&mut random);
                note(&opened, ws.hub(), format!("{open_name} open {:?} {random:?}", handshake.peer_addr().ip()));
                ws.send(format!("{random:?}"));
            })
            .on_message(move |ws, message| {
                note(&messages, ws.hub(), format!("{message_name} message of {}", message.len()));
                match message {
                    Message::Text("large") => drop(ws.send("y".repeat(8 << 20))),
                    Message::Text(text) => {
                        ws.hub().publish("all", format!("{message_name} said {text}"));
                    }
                    Message::Binary(_) => drop(ws.send(message)),
                }
            })
            .on_timer(move |ws, _| note(&timers, ws.hub(), format!("{timer_name} timer")))
            .on_drain(move |ws| note(&drained, ws.hub(), format!("{drain_name} drained")))
            .on_close(move |ws, reason| note(&closed, ws.hub(), format!("{close_name} closed: {reason}")))
    })
}

/// Connects, and waits for the response.
fn connect(reactor: &mut Reactor, addr: SocketAddr, path: &str, lines: &str) -> TcpStream {
    let opened = reactor.hub().stats().opened;
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, path, lines)).unwrap();
    while reactor.hub().stats().opened == opened {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    stream
}

fn turns(reactor: &mut Reactor, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

fn replayed(file: &TempFile, log: &Log) -> Playback {
    let mut playback = testing::replay(&file.0).unwrap();
    playback.reactor().listen("127.0.0.1:80", server(log)).unwrap();
    playback.run().unwrap();
    playback
}

#[test]
fn handlers_do_in_a_replay_what_they_did() {
    let (file, log) = (TempFile::new("server"), Log::default());
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&log)).unwrap().addr;
    let mut first = connect(&mut reactor, addr, "/first", "");
    let mut slow = connect(&mut reactor, addr, "/slow", "");
    SockRef::from(&slow).set_recv_buffer_size(64 * 1024).unwrap();
    slow.write_all(&wire::text(Version::Rfc6455, "large")).unwrap();
    turns(&mut reactor, Duration::from_millis(30));
    for number in 0..20 {
        first.write_all(&wire::text(Version::Rfc6455, format!("{number}"))).unwrap();
        if number % 3 == 0 {
            reactor.remote().publish("all", format!("remote {number}")).unwrap();
        }
        turns(&mut reactor, Duration::from_millis(2));
    }
    let frame = wire::frame(Version::Rfc6455, Kind::Binary, true, &vec![b'z'; 300_000]);
    let mut writer = first.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&frame).unwrap());
    let mut reader = slow.try_clone().unwrap();
    let drain = std::thread::spawn(move || {
        let mut left = 8 << 20;
        while left > 0 {
            left -= reader.read(&mut vec![0; 65_536]).unwrap().min(left);
        }
    });
    while !drain.is_finished() || !sender.is_finished() {
        turns(&mut reactor, Duration::from_millis(1));
    }
    drain.join().unwrap();
    sender.join().unwrap();
    turns(&mut reactor, Duration::from_millis(20));
    first.write_all(&wire::frame(Version::Rfc6455, Kind::Close, true, b"\x03\xe9bye")).unwrap();
    drop(slow);
    turns(&mut reactor, Duration::from_millis(20));
    drop(reactor);

    let again = Log::default();
    let mut playback = replayed(&file, &again);
    let (recorded, repeated) = (entries(&log), entries(&again));
    assert!(recorded.len() > 40, "{recorded:?}");
    assert!(recorded.iter().any(|(_, what)| what == "/slow drained"), "{recorded:?}");
    for (at, (recorded, repeated)) in recorded.iter().zip(&repeated).enumerate() {
        assert_eq!(recorded, repeated, "entry {at}");
    }
    assert_eq!((recorded.len(), playback.skipped()), (repeated.len(), 0));
    let output = playback.output(StreamNumber::Accepted(0));
    let said = b"/first said 19";
    assert!(output.windows(said.len()).any(|bytes| bytes == said), "the output of the replay is there");
}

/// Does what a server does, on a real socket.
fn serve(listener: &TcpListener, connections: usize) {
    for number in 0..connections {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&answer(&request)).unwrap();
        for message in 0..5 {
            stream.write_all(&[0x81, 2, b'0' + number as u8, b'0' + message]).unwrap();
            // The client answers each, with a mask.
            stream.read_exact(&mut [0; 2 + 4 + 2]).unwrap();
        }
        // Ends without a close frame.
    }
}

fn client(log: &Log) -> Client {
    let (opened, messages, closed) = (Rc::clone(log), Rc::clone(log), Rc::clone(log));
    let callbacks = Callbacks::new()
        .on_open(move |ws, handshake| note(&opened, ws.hub(), format!("open {}", handshake.path())))
        .on_message(move |ws, message| {
            note(&messages, ws.hub(), format!("{message}"));
            ws.send(message);
        })
        .on_close(move |ws, reason| note(&closed, ws.hub(), format!("closed: {reason}")));
    Client::new(callbacks).reconnect(Reconnect::new().initial_backoff(Duration::from_millis(5)).max_attempts(Some(3)))
}

/// Answers before the turn has ended that asks: as a thread may, too.
struct Here;

impl Resolver for Here {
    fn resolve(&self, _: &str, port: u16, answer: Answer) {
        answer.give(Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    }
}

#[test]
fn client_that_resolves_and_reconnects_does_in_a_replay_what_it_did() {
    client_is_replayed("client", |_| {});
}

#[test]
fn client_whose_name_is_resolved_within_the_turn_does_in_a_replay_what_it_did() {
    // regression: the replay gave the answer before it was asked for, and dropped it
    client_is_replayed("quick-client", |reactor| reactor.set_resolver(Here));
}

fn client_is_replayed(name: &str, change: impl FnOnce(&mut Reactor)) {
    let (file, log) = (TempFile::new(name), Log::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || serve(&listener, 3));
    let mut reactor = Reactor::new().unwrap();
    change(&mut reactor);
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    reactor.connect(&format!("ws://localhost:{port}/feed"), client(&log)).unwrap();
    while reactor.hub().stats().connections > 0 {
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
    server.join().unwrap();
    drop(reactor);

    let again = Log::default();
    let mut playback = testing::replay(&file.0).unwrap();
    playback.reactor().connect("ws://elsewhere:1/feed", client(&again)).unwrap();
    playback.run().unwrap();
    let recorded = entries(&log);
    assert_eq!(recorded.iter().filter(|(_, what)| what.starts_with("open")).count(), 3, "{recorded:?}");
    assert_eq!(recorded, entries(&again));
    assert_eq!(playback.skipped(), 0);
}

#[test]
fn credentials_are_not_in_the_file_and_messages_are() {
    let file = TempFile::new("secrets");
    let mut reactor = Reactor::new().unwrap();
    let recorder = Recorder::create(&file.0).unwrap().redact_header("X-Tenant").redact_parameter("ticket");
    reactor.record(recorder).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&Log::default())).unwrap().addr;
    let lines = "Authorization: Bearer hidden-1\r\nCookie: session=hidden-2\r\nX-Tenant: hidden-3\r\n";
    let target = "/room?token=hidden-4&ticket=hidden-5&page=shown-1";
    let mut stream = connect(&mut reactor, addr, target, lines);
    stream.write_all(&wire::text(Version::Rfc6455, "shown-2")).unwrap();
    turns(&mut reactor, Duration::from_millis(20));
    drop(reactor);
    let bytes = std::fs::read(&file.0).unwrap();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for secret in 1..=5 {
        assert!(!contains(&format!("hidden-{secret}")), "hidden-{secret}");
    }
    assert!(contains("page=shown-1") && contains("session=xxxxxxxx"));
}

#[test]
fn recording_ends_at_its_largest_length_and_the_reactor_goes_on() {
    let (file, log) = (TempFile::new("full"), Log::default());
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap().max_bytes(10_000)).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&log)).unwrap().addr;
    let mut stream = connect(&mut reactor, addr, "/", "");
    let before = reactor.hub().stats().messages_in;
    for _ in 0..20 {
        stream.write_all(&wire::text(Version::Rfc6455, "x".repeat(1000))).unwrap();
        turns(&mut reactor, Duration::from_millis(1));
    }
    while reactor.hub().stats().messages_in < before + 20 {
        turns(&mut reactor, Duration::from_millis(1));
    }
    drop(reactor);
    assert!(std::fs::metadata(&file.0).unwrap().len() <= 10_100);
    let recording = Recording::open(&file.0).unwrap();
    let last = recording.records().last().unwrap();
    assert_eq!(*last, Record::Stopped { reason: "the file has the largest length".to_owned() });
    // What is there can be replayed.
    let again = Log::default();
    replayed(&file, &again);
    let (whole, part) = (entries(&log), entries(&again));
    assert!(part.len() > 1 && part.len() < whole.len() && whole[..part.len()] == part[..], "{part:?}");
}

#[test]
fn commands_that_are_functions_are_counted_as_skipped() {
    let file = TempFile::new("skipped");
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&Log::default())).unwrap().addr;
    let _stream = connect(&mut reactor, addr, "/", "");
    reactor.remote().run(|_| {}).unwrap();
    turns(&mut reactor, Duration::from_millis(5));
    drop(reactor);
    assert_eq!(replayed(&file, &Log::default()).skipped(), 1);
}

#[test]
fn message_for_a_connection_that_has_ended_reaches_no_other_in_the_replay() {
    let (file, log) = (TempFile::new("ended"), Log::default());
    let ids = Rc::new(RefCell::new(Vec::new()));
    let server = |log: &Log, ids: &Rc<RefCell<Vec<ConnectionId>>>| {
        let (log, ids) = (Rc::clone(log), Rc::clone(ids));
        Server::new(move |_| {
            let (log, ids) = (Rc::clone(&log), Rc::clone(&ids));
            Callbacks::new()
                .on_open(move |ws, _| ids.borrow_mut().push(ws.id()))
                .on_message(move |ws, message| note(&log, ws.hub(), message.to_string()))
        })
    };
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&log, &ids)).unwrap().addr;
    drop(connect(&mut reactor, addr, "/first", ""));
    turns(&mut reactor, Duration::from_millis(10));
    let mut second = connect(&mut reactor, addr, "/second", "");
    reactor.remote().send(ids.borrow()[0], "for the first").unwrap();
    turns(&mut reactor, Duration::from_millis(5));
    second.write_all(&wire::text(Version::Rfc6455, "still here")).unwrap();
    turns(&mut reactor, Duration::from_millis(5));
    drop(reactor);
    let again = Log::default();
    let mut playback = testing::replay(&file.0).unwrap();
    playback.reactor().listen("127.0.0.1:80", server(&again, &ids)).unwrap();
    playback.run().unwrap();
    let output = playback.output(StreamNumber::Accepted(1));
    assert!(!output.windows(9).any(|bytes| bytes == b"the first"), "the message is for nobody");
    assert_eq!((entries(&again).len(), playback.skipped()), (1, 1));
}

#[test]
fn connections_of_a_listener_that_is_missing_are_counted_and_the_others_are_played() {
    let (file, log) = (TempFile::new("listeners"), Log::default());
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let first = reactor.listen("127.0.0.1:0", server(&log)).unwrap().addr;
    let second = reactor.listen("127.0.0.1:0", server(&log)).unwrap().addr;
    let _streams = [second, first].map(|addr| connect(&mut reactor, addr, "/", ""));
    drop(reactor);
    let again = Log::default();
    let mut playback = replayed(&file, &again);
    assert_eq!((again.borrow().len(), playback.skipped()), (1, 1));
    assert!(playback.output(StreamNumber::Accepted(1)).starts_with(b"HTTP/1.1 101"));
}

#[test]
fn idle_turns_are_not_recorded() {
    let file = TempFile::new("idle");
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    for _ in 0..1000 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    drop(reactor);
    assert!(std::fs::metadata(&file.0).unwrap().len() < 100);
}

#[test]
fn handler_that_has_changed_since_is_played_the_same_input() {
    let (file, log) = (TempFile::new("changed"), Log::default());
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let addr = reactor.listen("127.0.0.1:0", server(&log)).unwrap().addr;
    let mut stream = connect(&mut reactor, addr, "/", "");
    stream.write_all(&wire::text(Version::Rfc6455, "one")).unwrap();
    turns(&mut reactor, Duration::from_millis(5));
    drop(reactor);
    let messages = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&messages);
    let mended = Server::new(move |_| {
        let heard = Rc::clone(&heard);
        ws_reactor::on_message(move |ws, message| {
            heard.borrow_mut().push(message.to_string());
            ws.close(ws_reactor::CloseCode::NORMAL, "mended");
        })
    });
    let mut playback = Playback::new(Recording::open(&file.0).unwrap(), ReactorConfig::new());
    playback.reactor().listen("127.0.0.1:80", mended).unwrap();
    playback.run().unwrap();
    assert_eq!(*messages.borrow(), ["one"]);
    assert!(playback.output(StreamNumber::Accepted(0)).ends_with(b"\x03\xe8mended"));
}

#[cfg(feature = "tls")]
#[test]
fn recording_of_tls_is_plaintext_and_is_replayed_without_tls() {
    use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

    use crate::support::secure;

    let (file, log) = (TempFile::new("tls"), Log::default());
    let mut reactor = Reactor::new().unwrap();
    reactor.record(Recorder::create(&file.0).unwrap()).unwrap();
    let addr = reactor.listen("127.0.0.1:0", secure::server(server(&log))).unwrap().addr;
    let peer = std::thread::spawn(move || {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(secure::trust(&secure::LOCALHOST), name).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(addr).unwrap());
        stream.write_all(&wire::request(Version::Rfc6455, "/tls", "")).unwrap();
        stream.write_all(&wire::text(Version::Rfc6455, "within TLS")).unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"within TLS") {
            let mut bytes = [0; 1000];
            let length = stream.read(&mut bytes).unwrap();
            received.extend_from_slice(&bytes[..length]);
        }
        stream.write_all(&wire::frame(Version::Rfc6455, Kind::Close, true, b"\x03\xe8")).unwrap();
        let _ = stream.read(&mut [0; 100]);
    });
    while !peer.is_finished() {
        turns(&mut reactor, Duration::from_millis(2));
    }
    peer.join().unwrap();
    turns(&mut reactor, Duration::from_millis(5));
    drop(reactor);
    let again = Log::default();
    replayed(&file, &again);
    let recorded = entries(&log);
    assert!(recorded.iter().any(|(_, what)| what == "/tls message of 10"), "{recorded:?}");
    assert_eq!(recorded, entries(&again));
}
