//! Clients of malicious servers and proxies: whatever the server sends, and wherever it stops, the connection ends once
//! and in time, memory stays within its limits, and other connections are served.
//!
//! `EVIL_SEEDS=100000` sets the number of corrupted sessions.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, env, rc::Rc, time::Duration};

use played::{Log, SERVER, URL, drain, echo, recording};
use ws_reactor::{
    Callbacks, Client, CloseCode, CloseReason, Error, Handler, Handshake, Message, Reactor, ReactorConfig, Server,
    Version, WebSocket,
    net::sim::{PeerId, Random, Sim},
};

#[path = "it/support/counting.rs"]
mod counting;
#[path = "it/support/played.rs"]
mod played;
#[cfg(all(feature = "deflate", feature = "tls"))]
#[path = "it/support/secure.rs"]
mod secure;
#[cfg(feature = "deflate")]
#[path = "it/support/wire/mod.rs"]
mod wire;

const BYSTANDER: &str = "10.0.0.9:80";

/// The events of one handler.
#[derive(Debug, Default)]
struct Events {
    opened: u32,
    messages: u32,
    errors: Vec<String>,
    closed: Option<CloseReason>,
    /// Events before `on_open` or after `on_close`.
    out_of_order: Vec<String>,
}

/// Records its events, and checks their order.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Events>>);

impl Recorder {
    fn check_order(&self, event: &str, needs_open: bool) {
        let mut events = self.0.borrow_mut();
        if events.closed.is_some() || needs_open && events.opened != 1 {
            let violation = format!("{event} after {events:?}");
            events.out_of_order.push(violation);
        }
    }
}

impl Handler for Recorder {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.check_order("open", false);
        self.0.borrow_mut().opened += 1;
        ws.send("hello from the client");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        self.check_order("message", true);
        self.0.borrow_mut().messages += 1;
        ws.send(message);
    }

    fn on_ping(&mut self, _: &mut WebSocket<'_>, _: &[u8]) {
        self.check_order("ping", true);
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.check_order("error", false);
        self.0.borrow_mut().errors.push(error.to_string());
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        self.check_order("close", false);
        self.0.borrow_mut().closed = Some(reason.clone());
    }
}

/// A reactor with two clients: one of a server that the test plays, and a bystander of an echo server.
struct Scenario {
    reactor: Reactor<Sim>,
    peer: PeerId,
    recorder: Recorder,
    request: Vec<u8>,
    bystander: Log,
}

impl Scenario {
    fn new(sim: Sim, client: impl FnOnce(Recorder) -> Client) -> Scenario {
        let mut reactor = Reactor::on(sim, ReactorConfig::default());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        reactor.listen(BYSTANDER, echo()).unwrap();
        let (recorder, bystander) = (Recorder::default(), Log::default());
        reactor.connect(URL, client(recorder.clone())).unwrap();
        // The request is sent before other random numbers are drawn, so that its key is always the same.
        let (peer, request) = loop {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if let Some((peer, _)) = reactor.kernel_mut().dialed() {
                reactor.settle().unwrap();
                break (peer, reactor.kernel_mut().received(peer));
            }
        };
        reactor.connect(&format!("ws://{BYSTANDER}/"), Client::new(recording(&bystander))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&bystander).len(), 1);
        Scenario { reactor, peer, recorder, request, bystander }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peer, bytes);
        self.reactor.settle().unwrap();
    }

    /// Lets all timeouts pass, checks that the client has ended once and that the bystander is served, and returns the
    /// events.
    fn finish(mut self, case: impl Fn() -> String) -> Events {
        self.reactor.advance(Duration::from_secs(31)).unwrap();
        // A client that waits for a pong has 20 s more. The bystander is pinged meanwhile.
        self.reactor.advance(Duration::from_secs(30)).unwrap();
        // The Hixie versions have no pings, so that silence does not end a connection.
        self.reactor.kernel_mut().finish(self.peer);
        self.reactor.settle().unwrap();
        let ids = self.reactor.hub().connections().collect::<Vec<_>>();
        for id in ids {
            self.reactor.hub().send(id, "are you there?");
        }
        self.reactor.settle().unwrap();
        let received = drain(&self.bystander);
        assert!(received.iter().any(|event| event.ends_with("are you there?")), "{}: {received:?}", case());
        let events = self.recorder.0.take();
        assert!(
            events.out_of_order.is_empty() && events.closed.is_some() && events.opened <= 1,
            "{}: {events:?}",
            case()
        );
        assert_eq!(self.reactor.hub().stats().connections, 2, "{}: only the bystander and its server remain", case());
        assert!(self.reactor.kernel_mut().is_closed(self.peer), "{}", case());
        events
    }
}

/// The bytes that a server of this crate sends after `request`: response, messages, ping and close frame.
fn valid_session(request: &[u8], version: Version) -> Vec<u8> {
    let server = Server::new(move |_| {
        Callbacks::new().on_open(move |ws, _| {
            ws.send("hello");
            ws.send("all the same ".repeat(40));
            if version.supports_ping() {
                ws.send(b"\x00\x01\x02");
                ws.ping(b"there?");
            }
            ws.close(CloseCode::new(4000), "enough");
        })
    });
    #[cfg(feature = "deflate")]
    let server = server.deflate(ws_reactor::DeflateConfig::dedicated());
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let address = reactor.listen(SERVER, server).unwrap().addr;
    let peer = reactor.kernel_mut().connect(address).unwrap();
    reactor.kernel_mut().send(peer, request);
    reactor.settle().unwrap();
    reactor.kernel_mut().received(peer)
}

fn client(version: Version) -> impl FnOnce(Recorder) -> Client {
    move |recorder| {
        let client = Client::new(recorder).version(version);
        #[cfg(feature = "deflate")]
        let client = client.deflate(ws_reactor::DeflateConfig::dedicated());
        client
    }
}

#[test]
fn server_that_ends_resets_or_falls_silent_at_any_byte_ends_the_client_once() {
    for version in Version::ALL.iter().copied() {
        let session = valid_session(&Scenario::new(Sim::new(), client(version)).request, version);
        assert!(session.starts_with(b"HTTP/1.1 101 ") && session.len() > 150, "{version}");
        let mut opened = 0;
        for cut in 0..=session.len() {
            for ending in 0..3 {
                let mut scenario = Scenario::new(Sim::new(), client(version));
                scenario.send(&session[..cut]);
                match ending {
                    0 => scenario.reactor.kernel_mut().finish(scenario.peer),
                    1 => scenario.reactor.kernel_mut().reset(scenario.peer),
                    _ => {}
                }
                scenario.reactor.settle().unwrap();
                let case = || format!("{version}, ending {ending} at {cut} of {}", session.len());
                let events = scenario.finish(case);
                opened += events.opened;
                let clean = events.closed.as_ref().is_some_and(|reason| reason.clean);
                assert!(!clean || cut == session.len(), "{}: {events:?}", case());
                assert!(events.opened == 1 || events.errors.len() == 1, "{}: {events:?}", case());
            }
        }
        assert!(opened > 0, "{version}");
    }
}

#[test]
fn corrupted_session_ends_the_client_once() {
    let seeds: u64 = env::var("EVIL_SEEDS").map_or(400, |seeds| seeds.parse().unwrap());
    for version in Version::ALL.iter().copied() {
        let session = valid_session(&Scenario::new(Sim::new(), client(version)).request, version);
        for seed in 0..seeds / 4 {
            let mut random = Random::new(seed);
            let mut bytes = session.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = random.number() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.remove(at)),
                    3 => bytes.insert(at, random.number() as u8),
                    _ => bytes.extend_from_within(at..),
                }
            }
            let mut scenario = Scenario::new(Sim::new(), client(version));
            // In pieces of random length.
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, remaining) = rest.split_at((1 + random.below(60)).min(rest.len()));
                scenario.send(piece);
                rest = remaining;
            }
            scenario.finish(|| format!("{version}, seed {seed}"));
        }
    }
}

#[test]
fn endless_response_head_is_cut_off_at_its_limit_with_little_memory() {
    for line in
        ["X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", "", "x", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]
    {
        let mut scenario = Scenario::new(Sim::new(), client(Version::Rfc6455));
        scenario.send(if line.starts_with("HTTP") || line == "\r\n" { b"" } else { b"HTTP/1.1 101 Yes\r\nX: " });
        counting::forget_peak();
        let before = counting::live();
        let filler = line.repeat(1000);
        for _ in 0..1000 {
            scenario.send(filler.as_bytes());
            if scenario.recorder.0.borrow().closed.is_some() {
                break;
            }
        }
        let cost = counting::peak() - before;
        // This includes the buffers of the simulated network.
        assert!(cost < 300_000, "{line:?}: {cost} bytes");
        let events = scenario.finish(|| line.to_owned());
        assert_eq!(events.opened, 0);
    }
}

#[test]
fn endless_refusal_body_is_cut_off_in_time_and_the_refusal_is_reported() {
    let heads = [
        ("HTTP/1.1 403 No\r\n\r\n", "body "),
        ("HTTP/1.1 403 No\r\nContent-Length: 99999999999\r\n\r\n", "body "),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbody \r\n"),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "body "),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5;", "extension "),
    ];
    for (head, piece) in heads {
        let mut scenario = Scenario::new(Sim::new(), client(Version::Rfc6455));
        scenario.send(head.as_bytes());
        for _ in 0..200 {
            scenario.send(piece.repeat(10).as_bytes());
            // The limit is one second; 200 pieces take two.
            scenario.reactor.advance(Duration::from_millis(10)).unwrap();
        }
        let ended = scenario.recorder.0.borrow().closed.is_some();
        assert!(ended, "{head:?}");
        let events = scenario.finish(|| head.to_owned());
        assert_eq!(events.errors, ["the server responded with 403 Forbidden"], "{head:?}");
    }
}

/// A scenario with an open WebSocket.
fn open() -> Scenario {
    let mut scenario = Scenario::new(Sim::new(), |recorder| Client::new(recorder).max_message_bytes(1 << 20));
    let key = String::from_utf8(scenario.request.clone()).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = played::accept_key(key);
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    scenario.send(format!("{head}{accept}\r\n\r\n").as_bytes());
    assert_eq!(scenario.recorder.0.borrow().opened, 1);
    scenario
}

#[test]
fn invalid_frame_fails_the_connection_with_the_right_close_code() {
    for (bytes, code) in [
        (&b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"[..], 1002),
        (b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x82\x7f\0\0\0\0\0\x10\0\x01", 1009),
        (b"\xc1\x00", 1002),
        (b"\x83\x00", 1002),
        (b"\x8b\x00", 1002),
        (b"\x89\x7e\0\x80", 1002),
        (b"\x09\x00", 1002),
        (b"\x80\x00", 1002),
        (b"\x01\x00\x81\x00", 1002),
        (b"\x81\x81\0\0\0\0x", 1002),
        (b"\x81\x02\xc3\x28", 1007),
        (b"\x88\x01\x03", 1002),
        (b"\x88\x02\x03\xed", 1002),
        (b"\x88\x03\x03\xe8\xff", 1007),
    ] {
        let mut scenario = open();
        scenario.send(bytes);
        // Later frames are ignored.
        for _ in 0..100 {
            scenario.send(&[0x81; 1000]);
        }
        let events = scenario.finish(|| format!("{bytes:x?}"));
        let reason = events.closed.unwrap();
        assert_eq!((u16::from(reason.code), reason.clean, events.messages), (code, false, 0), "{bytes:x?}");
    }
}

#[test]
fn server_that_does_not_close_is_disconnected_after_five_seconds() {
    // The server answers the close frame but keeps the stream open, or does not answer.
    for answer in [&b"\x88\x02\x03\xe8"[..], b""] {
        let mut scenario = open();
        let id = scenario.reactor.hub().connections().next().unwrap();
        scenario.reactor.hub().close(id, CloseCode::NORMAL, "");
        scenario.send(answer);
        for _ in 0..49 {
            scenario.send(b"\x89\x00\x81\x01x");
            scenario.reactor.advance(Duration::from_millis(100)).unwrap();
        }
        assert!(scenario.recorder.0.borrow().closed.is_none(), "the close timeout is five seconds");
        scenario.reactor.advance(Duration::from_millis(100)).unwrap();
        let events = scenario.finish(String::new);
        assert_eq!((events.closed.unwrap().clean, events.messages), (!answer.is_empty(), 0));
    }
}

#[test]
fn server_that_floods_pings_and_does_not_read_costs_little_memory() {
    let mut scenario = open();
    scenario.reactor.kernel_mut().hold(scenario.peer, 4096);
    let pings = b"\x89\x7d".iter().chain(&[b'x'; 125]).copied().collect::<Vec<u8>>().repeat(100);
    counting::forget_peak();
    let before = counting::live();
    for _ in 0..1000 {
        scenario.send(&pings);
    }
    let cost = counting::peak() - before;
    assert!(cost < 600_000, "{cost} bytes for a hundred thousand pings");
    let events = scenario.finish(String::new);
    assert_eq!(events.closed.unwrap().by, ws_reactor::ClosedBy::SlowReader);
}

#[test]
fn message_in_endless_fragments_fails_with_1009_at_the_limit() {
    let mut scenario = open();
    counting::forget_peak();
    let before = counting::live();
    let part = [&b"\x00\x7e\xff\xff"[..], &vec![b'x'; 65_535]].concat();
    scenario.send(b"\x01\x00");
    for _ in 0..1000 {
        scenario.send(&part);
    }
    let cost = counting::peak() - before;
    assert!(cost < 3 << 20, "{cost} bytes for a limit of 1 MiB");
    assert_eq!(u16::from(scenario.finish(String::new).closed.unwrap().code), 1009);
}

#[cfg(feature = "deflate")]
#[test]
fn compression_bomb_fails_with_1009_at_the_limit() {
    let config = || ws_reactor::DeflateConfig::dedicated();
    let with_limit = |recorder| Client::new(recorder).deflate(config()).max_message_bytes(4 << 20);
    let mut scenario = Scenario::new(Sim::new(), with_limit);
    let answer = valid_session(&scenario.request, Version::Rfc6455);
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    scenario.send(&answer[..head]);
    let payload = wire::deflate::Deflate::new(false, false).compress(&vec![b' '; 256 << 20]);
    let mut frame = vec![0xc1, 0x7f];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    counting::forget_peak();
    let before = counting::live();
    scenario.send(&frame);
    let cost = counting::peak() - before;
    assert!(cost < 10 << 20, "{cost} bytes for a limit of 4 MiB");
    assert_eq!(u16::from(scenario.finish(String::new).closed.unwrap().code), 1009);
}

#[test]
fn proxy_that_stops_or_sends_a_wrong_byte_anywhere_fails_the_connection_with_one_error() {
    let granted = [5, 2, 1, 0, 5, 0, 0, 3, 4, b'n', b'a', b'm', b'e', 0, 80];
    let connected = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";
    for (proxy, valid) in [("socks5://u:p@10.0.0.1:80", &granted[..]), ("http://10.0.0.1:80", &connected[..])] {
        let through = |recorder: Recorder| Client::new(recorder).proxy(proxy.parse().unwrap());
        for cut in 0..valid.len() {
            for wrong in [None, Some(0), Some(0xff), Some(valid[cut] ^ 1)] {
                let mut scenario = Scenario::new(Sim::new(), through);
                scenario.send(&valid[..cut]);
                match wrong {
                    None => scenario.reactor.kernel_mut().finish(scenario.peer),
                    Some(byte) => scenario.send(&[&[byte], &valid[cut + 1..]].concat()),
                }
                let events = scenario.finish(|| format!("{proxy}: {wrong:?} at {cut}"));
                assert_eq!((events.opened, events.errors.len()), (0, 1), "{proxy}: {wrong:?} at {cut}: {events:?}");
            }
        }
        // Bytes behind the proxy's reply: the server cannot have sent them, because it has no request yet.
        let mut scenario = Scenario::new(Sim::new(), through);
        scenario.send(&[valid, b"\x81\x05hello"].concat());
        assert_eq!(scenario.finish(String::new).opened, 0);
    }
}

#[cfg(all(feature = "deflate", feature = "tls"))]
#[test]
fn server_that_sends_random_bytes_instead_of_tls_fails_with_one_error() {
    let tls = || ws_reactor::TlsClientConfig::trusting_pem(secure::LOCALHOST.certificate.as_bytes()).unwrap();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        reactor.set_resolver(played::FixedResolver);
        let log = Log::default();
        reactor.connect("wss://localhost/", Client::new(recording(&log)).tls(tls())).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let mut bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.number() as u8).collect();
        if random.one_in(2) {
            // The header of a TLS handshake record.
            bytes.splice(..0, [0x16, 3, 3, 0, random.number() as u8]);
        }
        reactor.kernel_mut().send(peer, &bytes);
        if random.one_in(2) {
            reactor.kernel_mut().finish(peer);
        }
        reactor.advance(Duration::from_secs(31)).unwrap();
        let events = drain(&log);
        assert!(
            events.len() == 2 && events[0].starts_with("error ") && events[1].starts_with("close 1006"),
            "{events:?}"
        );
        assert_eq!(reactor.hub().stats().connections, 0);
    }
}
