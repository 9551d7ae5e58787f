//! Memory that attackers, slow readers and panics cost, counted by the allocator, and its release.
//!
//! `READERS=1000` sets the number of slow readers at a time, `PANICS=10000` the number of panics. The defaults are
//! smaller.
#![allow(clippy::unwrap_used)]

use std::{
    cell::RefCell,
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    panic,
    rc::Rc,
    time::{Duration, Instant},
};

use counting::{forget_peak, live, peak};
use socket2::SockRef;
use wire::Kind;
use ws_reactor::{
    Callbacks, CloseReason, Error, Handler, Handshake, Message, OutputLimits, Overflow, Reactor, ReactorConfig,
    SendStatus, Server, TimerId, Version, WebSocket, net::sim::Sim, on_message,
};

#[path = "it/support/counting.rs"]
mod counting;
#[path = "it/support/wire/mod.rs"]
mod wire;

const CROWD: usize = 200;

fn echo() -> Server {
    Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    })
}

/// A connection with a small receive buffer that has sent its handshake request.
fn connect(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.write_all(&wire::request(Version::Rfc6455, path, "")).unwrap();
    stream
}

/// Runs turns until `done`, for at most half a minute.
fn turn_until(reactor: &mut Reactor, mut done: impl FnMut(&mut Reactor) -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done(reactor) {
        assert!(Instant::now() < until, "done within 30 seconds");
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

/// Sends `bytes` from a client that reads nothing. Returns the peak of the memory in use, and how many bytes the server
/// read.
fn cost_of(server: Server, bytes: &[u8]) -> (usize, usize) {
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let mut stream = connect(addr, "/");
    turn_until(&mut reactor, |reactor| reactor.hub().stats().opened == 1);
    let (before, head) = (live(), reactor.hub().stats().bytes_in as usize);
    forget_peak();
    let (mut written, mut stuck) = (0, 0);
    while stuck < 50 {
        let before = reactor.hub().stats().bytes_in;
        while let Ok(length @ 1..) = stream.write(&bytes[written..]) {
            written += length;
        }
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
        stuck = if reactor.hub().stats().bytes_in == before { stuck + 1 } else { 0 };
    }
    assert_eq!(reactor.hub().stats().connections, 1);
    (peak() - before, reactor.hub().stats().bytes_in as usize - head)
}

#[test]
fn pings_whose_pongs_are_not_read_cost_at_most_256_kib() {
    let pings = wire::frame(Version::Rfc6455, Kind::Ping, true, &[b'x'; 125]).repeat(200_000);
    let (cost, read) = cost_of(echo(), &pings);
    println!("{read} bytes of pings: {cost} bytes");
    // The server reads until no more pongs fit.
    assert!(read > 100_000, "{read} bytes read");
    assert!(cost <= 256 * 1024, "{cost} bytes");
}

#[test]
fn message_in_one_byte_fragments_costs_at_most_three_times_its_length() {
    const PAYLOAD: usize = 1_000_000;
    let tiny = wire::frame(Version::Rfc6455, Kind::Continuation, false, b"x").repeat(PAYLOAD - 1);
    let fragments = [wire::frame(Version::Rfc6455, Kind::Text, false, b"x"), tiny].concat();
    let (cost, read) = cost_of(echo(), &fragments);
    println!("{PAYLOAD} bytes in as many fragments: {cost} bytes");
    assert_eq!(read, fragments.len());
    // While the message grows, its old and its new block are counted.
    assert!((PAYLOAD..=3 * PAYLOAD).contains(&cost), "{cost} bytes");
}

#[test]
fn announced_frame_length_costs_only_what_has_arrived() {
    const ARRIVED: usize = 300_000;
    let frame = wire::frame(Version::Rfc6455, Kind::Binary, true, &vec![b'x'; 10 << 20]);
    let (cost, read) = cost_of(echo(), &frame[..ARRIVED]);
    println!("{ARRIVED} bytes of an announced 10 MiB: {cost} bytes");
    assert_eq!(read, ARRIVED);
    assert!((ARRIVED / 2..=3 * ARRIVED).contains(&cost), "{cost} bytes");
}

#[test]
fn slow_reader_costs_its_output_limit_and_one_message() {
    let readers: usize = env::var("READERS").map_or(50, |count| count.parse().unwrap());
    for (limit, size) in [(32 * 1024, 1000), (1024 * 1024, 1000), (1024 * 1024, 60_000)] {
        let ids = Rc::new(RefCell::new(Vec::new()));
        let opened = Rc::clone(&ids);
        let silent = Server::new(move |_| {
            let opened = Rc::clone(&opened);
            Callbacks::new().on_open(move |ws, _| opened.borrow_mut().push(ws.id()))
        });
        let output = OutputLimits::new().limit_bytes(limit).overflow(Overflow::DropNewest);
        let mut reactor = Reactor::new().unwrap();
        let addr = reactor
            .listen("127.0.0.1:0", silent.configure(|config| config.websocket.stream.output = output))
            .unwrap()
            .addr;
        let mut crowd = Vec::new();
        for number in 1..=readers {
            crowd.push(connect(addr, "/"));
            turn_until(&mut reactor, |_| ids.borrow().len() == number);
        }
        let before = live();
        // Each connection gets its own message, so that none is shared.
        let text = "x".repeat(size);
        turn_until(&mut reactor, |reactor| {
            let ids = ids.borrow();
            ids.iter().filter(|id| reactor.hub().send(**id, &text) == SendStatus::Dropped).count() == readers
        });
        let each = (live() - before) / readers;
        println!("{readers} slow readers with a limit of {limit}: {each} bytes each");
        // The last segment of the queue may have free room.
        assert!(each >= limit && each <= limit + size + 64 * 1024, "{each} bytes each for a limit of {limit}");
    }
}

#[test]
fn message_published_to_many_slow_readers_is_in_memory_once() {
    const TEXT: usize = 1 << 20;
    const SUBSCRIBERS: usize = 10_000;
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            ws.subscribe("news");
        })
    });
    // Real systems buffer megabytes for a socket; the simulated one buffers one byte.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    for _ in 0..SUBSCRIBERS {
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
    }
    reactor.settle().unwrap();
    for peer in reactor.kernel_mut().peers() {
        reactor.kernel_mut().hold(peer, 1);
    }
    let text = "x".repeat(TEXT);
    let before = live();
    forget_peak();
    assert_eq!(reactor.hub().publish("news", &text).queued, SUBSCRIBERS);
    reactor.settle().unwrap();
    assert!(
        reactor.hub().stats().buffered_bytes > SUBSCRIBERS * (TEXT - 10),
        "the message is queued for every subscriber"
    );
    let cost = peak() - before;
    println!("{TEXT} bytes for {SUBSCRIBERS} slow readers: {cost} bytes");
    assert!(cost <= TEXT + TEXT / 2 + SUBSCRIBERS * 1024, "{cost} bytes");
}

/// Panics in the callback that the path of the request selects. Other paths echo.
struct Panicking(String);

impl Panicking {
    fn enter(&self, callback: &str) {
        assert!(self.0 != callback, "{DELIBERATE}");
    }
}

const DELIBERATE: &str = "deliberate: a handler panics";
const CALLBACKS: [&str; 7] = ["/open", "/message", "/ping", "/pong", "/timer", "/error", "/close"];

impl Handler for Panicking {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.enter("/open");
        if self.0 == "/timer" {
            ws.set_timer(Duration::ZERO);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        self.enter("/message");
        ws.send(message);
    }

    fn on_ping(&mut self, _: &mut WebSocket<'_>, _: &[u8]) {
        self.enter("/ping");
    }

    fn on_pong(&mut self, _: &mut WebSocket<'_>, _: &[u8]) {
        self.enter("/pong");
    }

    fn on_timer(&mut self, _: &mut WebSocket<'_>, _: TimerId) {
        self.enter("/timer");
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, _: &Error) {
        self.enter("/error");
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, _: &CloseReason) {
        self.enter("/close");
    }
}

#[test]
fn panic_in_any_callback_ends_its_connection_only_and_leaks_nothing() {
    let panics: usize = env::var("PANICS").map_or(700, |count| count.parse().unwrap());
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<String>().is_none_or(|message| message != DELIBERATE) {
            report(info);
        }
    }));
    let mut reactor = Reactor::new().unwrap();
    let addr =
        reactor.listen("127.0.0.1:0", Server::new(|handshake| Panicking(handshake.path().to_owned()))).unwrap().addr;
    let mut bystander = connect(addr, "/");
    // A message, a ping, a pong, and an invalid frame call the callbacks.
    let bytes_for_every_callback = [
        wire::text(Version::Rfc6455, "hello"),
        wire::frame(Version::Rfc6455, Kind::Ping, true, b""),
        wire::frame(Version::Rfc6455, Kind::Pong, true, b""),
        wire::raw(0x83, b""),
    ]
    .concat();
    let run_panics = |reactor: &mut Reactor, count: usize| {
        let before = reactor.hub().stats().panics as usize;
        for round in 1..=count / CALLBACKS.len() {
            let mut crowd: Vec<TcpStream> = CALLBACKS.iter().map(|path| connect(addr, path)).collect();
            crowd.iter_mut().for_each(|stream| stream.write_all(&bytes_for_every_callback).unwrap());
            // All but the last, whose `on_close` is still to come.
            let all = before + round * CALLBACKS.len();
            turn_until(reactor, |reactor| reactor.hub().stats().panics as usize == all - 1);
            drop(crowd);
            turn_until(reactor, |reactor| reactor.hub().stats().connections == 1);
            assert_eq!(reactor.hub().stats().panics as usize, all, "one panic for each connection");
        }
    };
    run_panics(&mut reactor, 70);
    let before = live();
    run_panics(&mut reactor, panics);
    assert!(live() <= before + 16 * 1024, "{} bytes more", live() - before);
    bystander.write_all(&wire::text(Version::Rfc6455, "still here")).unwrap();
    let mut received = Vec::new();
    turn_until(&mut reactor, |_| {
        let mut bytes = [0; 4096];
        let length = bystander.read(&mut bytes).unwrap_or(0);
        received.extend_from_slice(&bytes[..length]);
        received.ends_with(b"still here")
    });
}

#[test]
fn memory_of_slow_readers_is_released_when_they_have_gone() {
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", echo()).unwrap().addr;
    let message = wire::text(Version::Rfc6455, "x".repeat(60_000));
    let before = live();
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(addr, "/")).collect();
    // Each client sends as much as the socket takes, and reads nothing.
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
    assert!(held > CROWD * 60_000, "the readers hold only {held} bytes");
    // The queued output of each reader is limited, and one message is being assembled.
    assert!(held < CROWD * 400_000, "{held} bytes");
    // One client stays active: memory is released without an idle server too.
    let mut other = connect(addr, "/");
    drop(crowd);
    let (until, mut after) = (Instant::now() + Duration::from_secs(30), usize::MAX);
    while after > 100_000 && Instant::now() < until {
        other.write_all(&wire::text(Version::Rfc6455, "are you there?")).unwrap();
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        let mut replies = [0; 4096];
        while other.read(&mut replies).is_ok_and(|length| length == replies.len()) {}
        after = live().saturating_sub(before);
    }
    assert!(after <= 100_000, "{after} bytes are still held, of {held}");
}

#[test]
fn tables_of_many_connections_are_released_when_these_have_gone() {
    const CONNECTIONS: usize = 400;
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, handshake| {
            ws.subscribe(handshake.path());
            ws.set_timer(Duration::from_secs(3600));
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let mut other = connect(addr, "/other");
    turn_until(&mut reactor, |reactor| reactor.hub().stats().opened == 1);
    let before = live();
    let mut crowd = Vec::with_capacity(CONNECTIONS);
    for number in 1..=CONNECTIONS {
        crowd.push(connect(addr, &format!("/{number}")));
        turn_until(&mut reactor, |reactor| reactor.hub().stats().opened as usize == 1 + number);
    }
    let held = live() - before;
    assert!(held > CONNECTIONS * 300, "the connections hold only {held} bytes");
    drop(crowd);
    turn_until(&mut reactor, |reactor| reactor.hub().stats().connections == 1);
    turn_until(&mut reactor, |_| live().saturating_sub(before) <= 16 * 1024);
    // The connection that is left, and its timer, are where they were.
    other.write_all(&wire::frame(Version::Rfc6455, Kind::Close, true, &1000_u16.to_be_bytes())).unwrap();
    turn_until(&mut reactor, |reactor| reactor.hub().stats().connections == 0);
}
