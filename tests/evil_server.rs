//! Servers, and proxies, that do a client harm or try to: whatever they say, and wherever they stop, the client has one
//! end, keeps its limits, and nobody else on the reactor is the worse for it.
//!
//! `EVIL_SEEDS=100000` tries more nonsense.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, env, rc::Rc, time::Duration};

use played::{Log, SERVER, URL, echo, noting, taken};
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

/// What a handler is told, and whether it is told as promised.
#[derive(Debug, Default)]
struct Told {
    opened: u32,
    messages: u32,
    errors: Vec<String>,
    closed: Option<CloseReason>,
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct Watch(Rc<RefCell<Told>>);

impl Watch {
    fn note(&self, what: &str, needs_open: bool) {
        let mut told = self.0.borrow_mut();
        if told.closed.is_some() || needs_open && told.opened != 1 {
            let wrong = format!("{what} after {told:?}");
            told.wrong.push(wrong);
        }
    }
}

impl Handler for Watch {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.note("open", false);
        self.0.borrow_mut().opened += 1;
        ws.send("hello yourself");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        self.note("message", true);
        self.0.borrow_mut().messages += 1;
        ws.send(message);
    }

    fn on_ping(&mut self, _: &mut WebSocket<'_>, _: &[u8]) {
        self.note("ping", true);
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.note("error", false);
        self.0.borrow_mut().errors.push(error.to_string());
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        self.note("close", false);
        self.0.borrow_mut().closed = Some(reason.clone());
    }
}

/// A reactor with a bystander, who talks with a good server, and a client of one that the test plays.
struct Scene {
    reactor: Reactor<Sim>,
    peer: PeerId,
    watch: Watch,
    request: Vec<u8>,
    bystander: Log,
}

impl Scene {
    fn new(sim: Sim, client: impl FnOnce(Watch) -> Client) -> Scene {
        let mut reactor = Reactor::on(sim, ReactorConfig::default());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        reactor.listen(BYSTANDER, echo()).unwrap();
        let (watch, bystander) = (Watch::default(), Log::default());
        reactor.connect(URL, client(watch.clone())).unwrap();
        // The request is there before anything else is drawn by chance, so that it is the same each time.
        let (peer, request) = loop {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            if let Some((peer, _)) = reactor.kernel_mut().dialed() {
                reactor.settle().unwrap();
                break (peer, reactor.kernel_mut().received(peer));
            }
        };
        reactor.connect(&format!("ws://{BYSTANDER}/"), Client::new(noting(&bystander))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(taken(&bystander).len(), 1);
        Scene { reactor, peer, watch, request, bystander }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peer, bytes);
        self.reactor.settle().unwrap();
    }

    /// What the client was told, once its time is over: it has ended, once, and the bystander is served.
    fn over(mut self, what: impl Fn() -> String) -> Told {
        self.reactor.advance(Duration::from_secs(31)).unwrap();
        // The bystander is pinged meanwhile; a client that waits for a pong has 20 s more.
        self.reactor.advance(Duration::from_secs(30)).unwrap();
        // The versions of Hixie have no pings, and silence is nothing to be suspicious of.
        self.reactor.kernel_mut().finish(self.peer);
        self.reactor.settle().unwrap();
        let somebody = self.reactor.hub().connections().collect::<Vec<_>>();
        for id in somebody {
            self.reactor.hub().send(id, "are you there?");
        }
        self.reactor.settle().unwrap();
        let heard = taken(&self.bystander);
        assert!(heard.iter().any(|heard| heard.ends_with("are you there?")), "{}: {heard:?}", what());
        let told = self.watch.0.take();
        assert!(told.wrong.is_empty() && told.closed.is_some() && told.opened <= 1, "{}: {told:?}", what());
        assert_eq!(self.reactor.hub().stats().connections, 2, "{}: the bystander and its server", what());
        assert!(self.reactor.kernel_mut().is_closed(self.peer), "{}", what());
        told
    }
}

/// All that a good server says to that request: it greets, pings, and closes.
fn good_session(request: &[u8], version: Version) -> Vec<u8> {
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

fn client(version: Version) -> impl FnOnce(Watch) -> Client {
    move |watch| {
        let client = Client::new(watch).version(version);
        #[cfg(feature = "deflate")]
        let client = client.deflate(ws_reactor::DeflateConfig::dedicated());
        client
    }
}

#[test]
fn a_server_may_stop_break_or_fall_silent_at_any_byte() {
    for version in Version::ALL.iter().copied() {
        let session = good_session(&Scene::new(Sim::new(), client(version)).request, version);
        assert!(session.starts_with(b"HTTP/1.1 101 ") && session.len() > 150, "{version}");
        let mut opened = 0;
        for cut in 0..=session.len() {
            for ending in 0..3 {
                let mut scene = Scene::new(Sim::new(), client(version));
                scene.say(&session[..cut]);
                match ending {
                    0 => scene.reactor.kernel_mut().finish(scene.peer),
                    1 => scene.reactor.kernel_mut().reset(scene.peer),
                    _ => {}
                }
                scene.reactor.settle().unwrap();
                let what = || format!("{version}, ending {ending} at {cut} of {}", session.len());
                let told = scene.over(what);
                opened += told.opened;
                let clean = told.closed.as_ref().is_some_and(|reason| reason.clean);
                assert!(!clean || cut == session.len(), "{}: {told:?}", what());
                assert!(told.opened == 1 || told.errors.len() == 1, "{}: {told:?}", what());
            }
        }
        assert!(opened > 0, "{version}");
    }
}

#[test]
fn nonsense_has_one_end_too() {
    let seeds: u64 = env::var("EVIL_SEEDS").map_or(400, |seeds| seeds.parse().unwrap());
    for version in Version::ALL.iter().copied() {
        let session = good_session(&Scene::new(Sim::new(), client(version)).request, version);
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
            let mut scene = Scene::new(Sim::new(), client(version));
            // In pieces of any length.
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + random.below(60)).min(rest.len()));
                scene.say(piece);
                rest = behind;
            }
            scene.over(|| format!("{version}, seed {seed}"));
        }
    }
}

#[test]
fn a_head_without_end_is_no_more_than_its_limit() {
    for line in
        ["X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", "", "x", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]
    {
        let mut scene = Scene::new(Sim::new(), client(Version::Rfc6455));
        scene.say(if line.starts_with("HTTP") || line == "\r\n" { b"" } else { b"HTTP/1.1 101 Yes\r\nX: " });
        counting::forget_peak();
        let before = counting::live();
        let filler = line.repeat(1000);
        for _ in 0..1000 {
            scene.say(filler.as_bytes());
            if scene.watch.0.borrow().closed.is_some() {
                break;
            }
        }
        let cost = counting::peak() - before;
        // What the simulated network holds is counted, too.
        assert!(cost < 300_000, "{line:?}: {cost} bytes");
        let told = scene.over(|| line.to_owned());
        assert_eq!(told.opened, 0);
    }
}

#[test]
fn a_refusal_without_end_is_cut_where_enough_is_known() {
    let heads = [
        ("HTTP/1.1 403 No\r\n\r\n", "body "),
        ("HTTP/1.1 403 No\r\nContent-Length: 99999999999\r\n\r\n", "body "),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbody \r\n"),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "body "),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5;", "extension "),
    ];
    for (head, piece) in heads {
        let mut scene = Scene::new(Sim::new(), client(Version::Rfc6455));
        scene.say(head.as_bytes());
        for _ in 0..200 {
            scene.say(piece.repeat(10).as_bytes());
            // A second is all it gets.
            scene.reactor.advance(Duration::from_millis(10)).unwrap();
        }
        let ended = scene.watch.0.borrow().closed.is_some();
        assert!(ended, "{head:?}");
        let told = scene.over(|| head.to_owned());
        assert_eq!(told.errors, ["the server answered 403 Forbidden"], "{head:?}");
    }
}

/// A scene in which the WebSocket is open.
fn open() -> Scene {
    let mut scene = Scene::new(Sim::new(), |watch| Client::new(watch).max_message_bytes(1 << 20));
    let key = String::from_utf8(scene.request.clone()).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = played::accept(key);
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    scene.say(format!("{head}{accept}\r\n\r\n").as_bytes());
    assert_eq!(scene.watch.0.borrow().opened, 1);
    scene
}

#[test]
fn frames_that_are_none_fail_with_their_code() {
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
        let mut scene = open();
        scene.say(bytes);
        // It goes on and on, and is not heard.
        for _ in 0..100 {
            scene.say(&[0x81; 1000]);
        }
        let told = scene.over(|| format!("{bytes:x?}"));
        let reason = told.closed.unwrap();
        assert_eq!((u16::from(reason.code), reason.clean, told.messages), (code, false, 0), "{bytes:x?}");
    }
}

#[test]
fn a_server_that_does_not_close_is_left_in_time() {
    // It answers the close and stays, or does not even answer.
    for answer in [&b"\x88\x02\x03\xe8"[..], b""] {
        let mut scene = open();
        let id = scene.reactor.hub().connections().next().unwrap();
        scene.reactor.hub().close(id, CloseCode::NORMAL, "");
        scene.say(answer);
        for _ in 0..49 {
            scene.say(b"\x89\x00\x81\x01x");
            scene.reactor.advance(Duration::from_millis(100)).unwrap();
        }
        assert!(scene.watch.0.borrow().closed.is_none(), "it has five seconds");
        scene.reactor.advance(Duration::from_millis(100)).unwrap();
        let told = scene.over(String::new);
        assert_eq!((told.closed.unwrap().clean, told.messages), (!answer.is_empty(), 0));
    }
}

#[test]
fn a_server_that_pings_and_does_not_read_costs_little() {
    let mut scene = open();
    scene.reactor.kernel_mut().hold(scene.peer, 4096);
    let pings = b"\x89\x7d".iter().chain(&[b'x'; 125]).copied().collect::<Vec<u8>>().repeat(100);
    counting::forget_peak();
    let before = counting::live();
    for _ in 0..1000 {
        scene.say(&pings);
    }
    let cost = counting::peak() - before;
    assert!(cost < 600_000, "{cost} bytes for a hundred thousand pings");
    let told = scene.over(String::new);
    assert_eq!(told.closed.unwrap().by, ws_reactor::ClosedBy::SlowReader);
}

#[test]
fn a_message_that_grows_is_cut_at_its_limit() {
    let mut scene = open();
    counting::forget_peak();
    let before = counting::live();
    let part = [&b"\x00\x7e\xff\xff"[..], &vec![b'x'; 65_535]].concat();
    scene.say(b"\x01\x00");
    for _ in 0..1000 {
        scene.say(&part);
    }
    let cost = counting::peak() - before;
    assert!(cost < 3 << 20, "{cost} bytes for a limit of 1 MiB");
    assert_eq!(u16::from(scene.over(String::new).closed.unwrap().code), 1009);
}

#[cfg(feature = "deflate")]
#[test]
fn a_bomb_is_cut_at_the_limit() {
    let config = || ws_reactor::DeflateConfig::dedicated();
    let limited = |watch| Client::new(watch).deflate(config()).max_message_bytes(4 << 20);
    let mut scene = Scene::new(Sim::new(), limited);
    let answer = good_session(&scene.request, Version::Rfc6455);
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    scene.say(&answer[..head]);
    let payload = wire::deflate::Deflate::new(false, false).compress(&vec![b' '; 256 << 20]);
    let mut frame = vec![0xc1, 0x7f];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    counting::forget_peak();
    let before = counting::live();
    scene.say(&frame);
    let cost = counting::peak() - before;
    assert!(cost < 10 << 20, "{cost} bytes for a limit of 4 MiB");
    assert_eq!(u16::from(scene.over(String::new).closed.unwrap().code), 1009);
}

#[test]
fn a_proxy_may_stop_or_talk_nonsense_anywhere() {
    let stands = [5, 2, 1, 0, 5, 0, 0, 3, 4, b'n', b'a', b'm', b'e', 0, 80];
    let connected = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";
    for (proxy, good) in [("socks5://u:p@10.0.0.1:80", &stands[..]), ("http://10.0.0.1:80", &connected[..])] {
        let through = |watch: Watch| Client::new(watch).proxy(proxy.parse().unwrap());
        for cut in 0..good.len() {
            for wrong in [None, Some(0), Some(0xff), Some(good[cut] ^ 1)] {
                let mut scene = Scene::new(Sim::new(), through);
                scene.say(&good[..cut]);
                match wrong {
                    None => scene.reactor.kernel_mut().finish(scene.peer),
                    Some(octet) => scene.say(&[&[octet], &good[cut + 1..]].concat()),
                }
                let told = scene.over(|| format!("{proxy}: {wrong:?} at {cut}"));
                assert_eq!((told.opened, told.errors.len()), (0, 1), "{proxy}: {wrong:?} at {cut}: {told:?}");
            }
        }
        // More than a proxy says; that would be the server's, who does not speak first.
        let mut scene = Scene::new(Sim::new(), through);
        scene.say(&[good, b"\x81\x05hello"].concat());
        assert_eq!(scene.over(String::new).opened, 0);
    }
}

#[cfg(all(feature = "deflate", feature = "tls"))]
#[test]
fn what_is_no_tls_is_told_so() {
    let tls = || ws_reactor::TlsClientConfig::trusting_pem(secure::LOCALHOST.certificate.as_bytes()).unwrap();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        reactor.set_resolver(played::Here);
        let log = Log::default();
        reactor.connect("wss://localhost/", Client::new(noting(&log)).tls(tls())).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let mut bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.number() as u8).collect();
        if random.one_in(2) {
            // The head of a record of the handshake.
            bytes.splice(..0, [0x16, 3, 3, 0, random.number() as u8]);
        }
        reactor.kernel_mut().send(peer, &bytes);
        if random.one_in(2) {
            reactor.kernel_mut().finish(peer);
        }
        reactor.advance(Duration::from_secs(31)).unwrap();
        let told = taken(&log);
        assert!(told.len() == 2 && told[0].starts_with("error ") && told[1].starts_with("close 1006"), "{told:?}");
        assert_eq!(reactor.hub().stats().connections, 0);
    }
}
