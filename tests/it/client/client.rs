//! The client, against servers of this crate on the same simulated system, and against far ends that a test plays.

#[cfg(feature = "tls")]
use crate::support::secure;
use std::{cell::RefCell, io, rc::Rc, time::Duration};

use crate::support::played::{Log, Names, Played, SERVER, URL, accept, echo, noting, played, taken, world};
use ws_reactor::{
    Callbacks, Client, CloseCode, ConnectError, ConnectionId, Error, Handler, Message, Proxy, Reactor, ReactorConfig,
    Reconnect, SendStatus, Server, Version, net::sim::Sim, on_message,
};

#[test]
fn every_version_talks_to_a_server_of_ours() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = world(echo().subprotocols(["b"]));
        let log = Log::default();
        let id = reactor.connect(URL, Client::new(noting(&log)).version(version).subprotocols(["a", "b"])).unwrap();
        reactor.settle().unwrap();
        assert_eq!(taken(&log), [format!("open {version} Some(\"b\") by 10.0.0.1:80")]);
        for text in ["hello", "", &"Zwölf Boxkämpfer ".repeat(10_000)] {
            assert!(reactor.hub().send(id, text).is_queued());
            reactor.settle().unwrap();
            assert_eq!(taken(&log), [format!("message {}", Message::Text(text))], "{version}");
        }
        if version.supports_ping() {
            reactor.hub().ping(id, b"there?");
            reactor.hub().send(id, b"\x00\xff");
            reactor.settle().unwrap();
            assert_eq!(taken(&log), ["pong there?", "message \\x00\\xff"], "{version}");
        }
        reactor.hub().close(id, CloseCode::NORMAL, "done");
        reactor.advance(Duration::from_secs(20)).unwrap();
        let closed = taken(&log);
        assert!(closed.len() == 1 && closed[0].starts_with("close "), "{version}: {closed:?}");
        assert_eq!(reactor.hub().stats().connections, 0, "{version}");
    }
}

#[test]
fn a_close_by_either_end_is_clean() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            ws.close(CloseCode::new(4000), "enough");
        })
    });
    let mut reactor = world(server);
    let log = Log::default();
    let id = reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    reactor.hub().send(id, "go");
    reactor.settle().unwrap();
    assert_eq!(taken(&log)[1..], ["close 4000 (enough), by the peer, clean"]);
    let id = reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    reactor.hub().close(id, CloseCode::new(3000), "");
    reactor.settle().unwrap();
    assert_eq!(taken(&log)[1..], ["close 3000, by the application, clean"]);
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[cfg(feature = "deflate")]
#[test]
fn messages_are_compressed_both_ways_if_both_ends_want_it() {
    use ws_reactor::DeflateConfig;
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut reactor = world(echo().deflate(DeflateConfig::dedicated()));
        let log = Log::default();
        let id = reactor.connect(URL, Client::new(noting(&log)).deflate(config)).unwrap();
        reactor.settle().unwrap();
        taken(&log);
        let before = reactor.hub().stats().bytes_in;
        for number in 0..50 {
            let text = format!("{{\"number\":{number},\"text\":\"{}\"}}", "all the same ".repeat(30 + number));
            reactor.hub().send(id, &text);
            reactor.settle().unwrap();
            assert_eq!(taken(&log), [format!("message {}", Message::Text(&text))]);
        }
        let stats = reactor.hub().stats();
        assert!(stats.bytes_in - before < 10_000, "{} bytes both ways", stats.bytes_in - before);
        assert_eq!(stats.compressions, 100);
    }
}

#[test]
fn the_request_says_what_was_asked_for() {
    let client = |handler| {
        Client::new(handler)
            .subprotocols(["a", "b"])
            .origin("https://example.com".parse().unwrap())
            .header("x-token".parse().unwrap(), "secret".parse().unwrap())
            .header("host".parse().unwrap(), "virtual.example".parse().unwrap())
    };
    let played = played(client);
    assert!(played.request.starts_with("GET /chat?room=1 HTTP/1.1\r\n") && played.request.ends_with("\r\n\r\n"));
    for (name, value) in [
        ("Host", "virtual.example"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "a, b"),
        ("Origin", "https://example.com"),
        ("X-Token", "secret"),
        ("Sec-WebSocket-Extensions", ""),
    ] {
        assert_eq!(played.header(name), value, "{name}");
    }
    assert_eq!(played.header("Sec-WebSocket-Key").len(), 24);
}

#[test]
fn nothing_is_said_before_the_answer_has_come() {
    let mut played = played(Client::new);
    assert!(played.request.ends_with("\r\n\r\n"), "{}", played.request);
    let (hub, id) = (played.reactor.hub(), played.id);
    assert_eq!([hub.send(id, "early"), hub.ping(id, b""), hub.write(id, b"early")], [SendStatus::Unsupported; 3]);
    played.reactor.settle().unwrap();
    assert_eq!(played.reactor.kernel_mut().received(played.peer), b"");
    let answer = played.answer("");
    played.say(answer);
    assert_eq!(played.reactor.hub().send(id, "now"), SendStatus::Queued);
}

#[test]
fn a_good_answer_opens_and_what_stands_behind_it_is_not_lost() {
    let mut played = played(|handler| Client::new(handler).subprotocols(["a", "b"]));
    let answer = [played.answer("Sec-WebSocket-Protocol: b\r\n").as_bytes(), b"\x81\x05Hello"].concat();
    let told = played.say(answer);
    assert_eq!(told, ["open RFC 6455 Some(\"b\") by 10.0.0.1:80", "message Hello"]);
    // A client masks, and never twice by the same key.
    for _ in 0..2 {
        played.reactor.hub().send(played.id, "Hello");
    }
    played.reactor.settle().unwrap();
    let frames = played.reactor.kernel_mut().received(played.peer);
    let [one, other] = [&frames[..11], &frames[11..]];
    for frame in [one, other] {
        assert_eq!(frame[..2], [0x81, 0x85]);
        let plain: Vec<u8> = frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(plain, b"Hello");
    }
    assert_ne!(one[2..6], other[2..6]);
}

#[test]
fn nothing_of_the_answer_is_trusted() {
    fn good(played: &Played) -> String {
        played.answer("")
    }
    type Answers = dyn Fn(&Played) -> String;
    let cases: &[(&str, &Answers)] = &[
        ("HTTP/1.1", &|played| good(played).replace("HTTP/1.1", "HTTP/1.0")),
        ("Accept", &|played| good(played).replace("Accept: ", "Accept: x")),
        ("Accept", &|played| good(played).replace("Sec-WebSocket-Accept", "X")),
        ("Accept", &|played| played.answer(&format!("Sec-WebSocket-Accept: {}\r\n", accept("x")))),
        ("upgrade", &|played| good(played).replace("Upgrade: websocket", "Upgrade: h2c")),
        ("upgrade", &|played| good(played).replace("Upgrade: websocket\r\n", "")),
        ("Connection", &|played| good(played).replace("Connection: Upgrade", "Connection: close")),
        ("subprotocol", &|played| played.answer("Sec-WebSocket-Protocol: c\r\n")),
        ("subprotocol", &|played| played.answer("Sec-WebSocket-Protocol: a, b\r\n")),
        ("subprotocol", &|played| played.answer("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n")),
        ("extension", &|played| played.answer("Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("extension", &|played| played.answer("Sec-WebSocket-Extensions: \r\n")),
        ("answered 200", &|_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("head too large", &|_| format!("HTTP/1.1 101 Yes\r\nX: {}", "x".repeat(20_000))),
        ("too many headers", &|_| format!("HTTP/1.1 101 Yes\r\n{}\r\n", "X: y\r\n".repeat(200))),
        ("not HTTP/1", &|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()),
        ("bare CR or LF", &|_| "HTTP/1.1 101 Yes\n\n".to_owned()),
        ("answered 100", &|_| "HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
    ];
    for (error, answer) in cases {
        let mut played = played(|handler| Client::new(handler).subprotocols(["a", "b"]));
        let answer = answer(&played);
        let told = played.say(&answer);
        let told_once = told.len() == 2 && told[0].starts_with("error ") && told[0].contains(error);
        assert!(told_once && told[1].starts_with("close 1006"), "{error}: {told:?}");
        assert!(played.reactor.kernel_mut().is_closed(played.peer));
    }
}

#[test]
fn a_refusal_tells_its_status_headers_and_the_start_of_its_body() {
    let refusals: Rc<RefCell<Vec<(u16, String, usize)>>> = Rc::default();
    let endings = ["Content-Length: 9\r\n\r\nforbidden", "\r\nforbidden", "Content-Length: 9\r\n\r\nforb"];
    for (index, ending) in endings.into_iter().enumerate() {
        let told = Rc::clone(&refusals);
        let mut played = played(move |_| {
            Client::new(Callbacks::new().on_error(move |_, error| {
                let Error::Refused(refusal) = error else { panic!("{error}") };
                let why = refusal.headers["x-why"].to_str().unwrap().to_owned();
                told.borrow_mut().push((refusal.status.as_u16(), why, refusal.body.len()));
            }))
        });
        played.say(format!("HTTP/1.1 403 Forbidden\r\nX-Why: no\r\n{ending}"));
        played.reactor.kernel_mut().finish(played.peer);
        played.reactor.settle().unwrap();
        assert_eq!(refusals.take(), [(403, "no".to_owned(), if index == 2 { 4 } else { 9 })]);
    }
}

#[test]
fn an_answer_may_come_in_any_pieces_and_behind_others() {
    let mut played = played(Client::new);
    let answer = format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{}", played.answer(""));
    let mut told = Vec::new();
    for byte in answer.bytes() {
        told.extend(played.say([byte]));
    }
    assert_eq!(told, ["open RFC 6455 None by 10.0.0.1:80"]);
}

#[test]
fn a_server_that_masks_breaks_the_protocol() {
    let mut played = played(Client::new);
    let answer = played.answer("");
    played.say(answer);
    let told = played.say(b"\x81\x81\0\0\0\0x");
    assert_eq!(told, ["error protocol error: frame masked"]);
    played.reactor.kernel_mut().finish(played.peer);
    played.reactor.settle().unwrap();
    assert_eq!(taken(&played.log), ["close 1002 (frame masked), frame masked"]);
}

#[test]
fn what_cannot_be_connected_to_is_told_and_named() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let log = Log::default();
    for url in ["http://10.0.0.1/", "ws://", "ws://10.0.0.1/#x"] {
        let error = reactor.connect(url, Client::new(noting(&log))).unwrap_err();
        assert!(format!("{error:#}").starts_with(&format!("cannot connect to {url:?}: ")), "{error:#}");
    }
    reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    let told = taken(&log);
    assert!(
        told[0].starts_with("error cannot connect to 10.0.0.1:80: ") && told[1].starts_with("close 1006"),
        "{told:?}"
    );
    // Nobody answers at all.
    reactor.kernel_mut().silence(SERVER.parse().unwrap());
    reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.advance(Duration::from_secs(29)).unwrap();
    assert_eq!(taken(&log), [""; 0]);
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(taken(&log)[0], "error connecting timed out");
    // A server that says nothing.
    reactor.kernel_mut().play("10.0.0.2:80".parse().unwrap());
    reactor.connect("ws://10.0.0.2/", Client::new(noting(&log))).unwrap();
    reactor.advance(Duration::from_secs(31)).unwrap();
    assert_eq!(taken(&log)[0], "error the opening handshake timed out");
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[test]
fn a_name_is_resolved_and_its_addresses_are_tried_in_turns() {
    let mut reactor = world(echo());
    let (log, names) = (Log::default(), Names::default());
    reactor.set_resolver(names.clone());
    let connect = |reactor: &mut Reactor<Sim>| {
        let id = reactor.connect("ws://example.com/", Client::new(noting(&log))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(names.0.borrow()[0].0, "example.com:80");
        id
    };
    // The first refuses, the second is silent, the third is the one.
    reactor.kernel_mut().silence("[2001:db8::1]:80".parse().unwrap());
    connect(&mut reactor);
    names.answer(Ok(&["10.9.9.9:80", "10.0.0.1:80", "[2001:db8::1]:80"]));
    reactor.settle().unwrap();
    assert_eq!(taken(&log), [""; 0], "the silent one has its head start");
    reactor.advance(Duration::from_millis(250)).unwrap();
    assert_eq!(taken(&log), ["open RFC 6455 None by 10.0.0.1:80"]);
    // Nobody knows the name, or it has no addresses.
    for answer in [Err(io::Error::other("no such name")), Ok(&[][..])] {
        connect(&mut reactor);
        names.answer(answer);
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told[0].starts_with("error cannot connect to example.com:80: ") && told.len() == 2, "{told:?}");
    }
    // An answer that comes too late is nobody's.
    let id = connect(&mut reactor);
    reactor.hub().terminate(id);
    reactor.settle().unwrap();
    assert_eq!(taken(&log).len(), 1);
    names.answer(Ok(&["10.0.0.1:80"]));
    reactor.settle().unwrap();
    assert_eq!(taken(&log), [""; 0]);
    assert_eq!(reactor.hub().stats().connections, 2, "the first, and its other end");
}

/// Connects to itself from its own callbacks, to its end.
struct Chain {
    left: u32,
    log: Log,
}

impl Handler for Chain {
    fn on_open(&mut self, ws: &mut ws_reactor::WebSocket<'_>, _: &ws_reactor::Handshake) {
        self.log.borrow_mut().push(format!("{} open", self.left));
        ws.close(CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, ws: &mut ws_reactor::WebSocket<'_>, _: &ws_reactor::CloseReason) {
        self.log.borrow_mut().push(format!("{} closed", self.left));
        if self.left > 0 {
            let next = Chain { left: self.left - 1, log: Rc::clone(&self.log) };
            ws.hub().connect(URL, Client::new(next)).unwrap();
            // And one that is given up at once.
            let given_up = ws.hub().connect(URL, Client::new(Callbacks::new())).unwrap();
            ws.hub().terminate(given_up);
        }
    }
}

#[test]
fn a_connection_may_be_asked_for_wherever_another_ends() {
    let mut reactor = world(echo());
    let log = Log::default();
    reactor.connect(URL, Client::new(Chain { left: 3, log: Rc::clone(&log) })).unwrap();
    reactor.settle().unwrap();
    let expected: Vec<String> =
        (0..=3).rev().flat_map(|left| [format!("{left} open"), format!("{left} closed")]).collect();
    assert_eq!(taken(&log), expected);
    assert_eq!(reactor.hub().stats().connections, 0);
}

#[test]
fn a_proxy_is_asked_first_and_what_follows_is_the_servers() {
    for (proxy, words, hears) in [
        ("http://proxy.example:3128", &[&b"HTTP/1.1 200 OK\r\n\r\n"[..]][..], "CONNECT 10.0.0.1:80 HTTP/1.1"),
        ("socks5://proxy.example:3128", &[b"\x05\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0"], "\u{5}\u{1}\0"),
    ] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let (address, names, log) = ("10.3.3.3:3128".parse().unwrap(), Names::default(), Log::default());
        reactor.kernel_mut().play(address);
        reactor.set_resolver(names.clone());
        let client = Client::new(noting(&log)).proxy(proxy.parse::<Proxy>().unwrap());
        let id = reactor.connect(URL, client).unwrap();
        reactor.settle().unwrap();
        assert_eq!(names.0.borrow()[0].0, "proxy.example:3128", "the proxy's name, not the server's");
        names.answer(Ok(&["10.3.3.3:3128"]));
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let heard = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
        assert!(heard.starts_with(hears), "{heard:?}");
        for word in words {
            reactor.kernel_mut().send(peer, word);
            reactor.settle().unwrap();
        }
        let request = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
        let request = request[request.find("GET ").unwrap()..].to_owned();
        assert!(request.starts_with("GET /chat?room=1 HTTP/1.1\r\n") && request.contains("\r\nHost: 10.0.0.1\r\n"));
        let mut played = Played { reactor, peer, id, log, request };
        let answer = played.answer("");
        assert_eq!(played.say(answer), ["open RFC 6455 None by 10.3.3.3:3128"]);
    }
    // A proxy that does not want to.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.3.3.3:8080".parse().unwrap());
    let log = Log::default();
    let proxy = "http://10.3.3.3".parse::<Proxy>().unwrap();
    reactor.connect(URL, Client::new(noting(&log)).proxy(proxy)).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    reactor.kernel_mut().send(peer, b"HTTP/1.1 403 Forbidden\r\n\r\n");
    reactor.settle().unwrap();
    assert_eq!(taken(&log)[0], "error the proxy answers 403 Forbidden");
}

#[test]
fn a_subprotocol_is_a_token_and_offered_once() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    for bad in [&["a\r\nX: y"][..], &["a, b"], &[""], &["a", "b", "a"]] {
        let client = Client::new(Callbacks::new()).subprotocols(bad.iter().copied());
        let error = reactor.connect(URL, client).unwrap_err();
        assert!(matches!(error, ConnectError::Subprotocol(_)), "{bad:?}");
    }
}

#[test]
fn ten_thousand_connections_may_be_asked_for_at_once() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    for _ in 0..10_000 {
        reactor.connect(URL, Client::new(Callbacks::new())).unwrap();
    }
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().connections, 0, "nobody is there");
}

#[test]
fn a_close_while_dialing_ends_it_at_once() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().silence(SERVER.parse().unwrap());
    let log = Log::default();
    let client = Client::new(noting(&log)).reconnect(Reconnect::default());
    let id = reactor.connect(URL, client).unwrap();
    reactor.settle().unwrap();
    assert!(reactor.hub().close(id, CloseCode::NORMAL, "").is_queued());
    reactor.settle().unwrap();
    assert_eq!(taken(&log), ["close 1006, by the application, not clean"]);
    reactor.advance(Duration::from_secs(100)).unwrap();
    assert_eq!(taken(&log), [""; 0]);
}

#[test]
fn a_client_that_the_application_closes_stays_away_however_the_close_went() {
    for reset in [false, true] {
        let mut played = played(|handler| Client::new(handler).reconnect(Reconnect::default()));
        let answer = played.answer("");
        played.say(answer);
        played.reactor.hub().close(played.id, CloseCode::new(4000), "");
        if reset {
            played.reactor.kernel_mut().reset(played.peer);
        }
        played.reactor.advance(Duration::from_secs(300)).unwrap();
        let told = taken(&played.log);
        assert_eq!(told.iter().filter(|told| told.starts_with("close ")).count(), 1, "{told:?}");
        assert_eq!(played.reactor.hub().stats().connections, 0);
    }
}

/// Dials again whenever it is closed.
struct Again;

impl Handler for Again {
    fn on_close(&mut self, ws: &mut ws_reactor::WebSocket<'_>, _: &ws_reactor::CloseReason) {
        let next = ws.hub().connect(URL, Client::new(Again));
        assert!(next.is_err(), "on the way to the end nothing is dialed");
    }
}

#[test]
fn stop_and_shutdown_end_though_handlers_dial_again() {
    for graceful in [false, true] {
        let mut reactor = world(echo());
        reactor.connect(URL, Client::new(Again)).unwrap();
        reactor.settle().unwrap();
        match graceful {
            true => reactor.hub().shutdown(Duration::from_secs(10)),
            false => reactor.hub().stop(),
        }
        let turn = reactor.advance(Duration::from_secs(1)).unwrap();
        assert_eq!((turn, reactor.hub().stats().panics), (ws_reactor::Turn::Stopped, 0));
    }
}

#[test]
fn a_refusal_is_told_even_if_the_connection_breaks_or_stays() {
    for breaks in [false, true] {
        let mut played = played(Client::new);
        played.say("HTTP/1.1 503 Busy\r\n\r\nlater");
        if breaks {
            played.reactor.kernel_mut().reset(played.peer);
        }
        played.reactor.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(taken(&played.log)[0], "error the server answered 503 Service Unavailable");
    }
}

#[test]
fn an_attempt_that_ends_with_its_connection_is_not_taken_for_another() {
    let mut reactor = world(echo());
    let log = Log::default();
    // The first is cut when its attempt has news, and the second is dialed before it is buried.
    let first = reactor.connect(URL, Client::new(Callbacks::new())).unwrap();
    reactor.turn(Some(Duration::ZERO)).unwrap();
    reactor.hub().terminate(first);
    reactor.connect(URL, Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    assert_eq!(taken(&log), ["open RFC 6455 None by 10.0.0.1:80"]);
}

/// Notes when it was open and what it was told of coming back; the rest is of no interest.
struct Returning {
    log: Log,
    enough: u32,
}

impl Handler for Returning {
    fn on_open(&mut self, _: &mut ws_reactor::WebSocket<'_>, _: &ws_reactor::Handshake) {
        self.log.borrow_mut().push("open".to_owned());
    }

    fn on_close(&mut self, _: &mut ws_reactor::WebSocket<'_>, reason: &ws_reactor::CloseReason) {
        self.log.borrow_mut().push(format!("close {}", reason.code));
    }

    fn on_reconnect(&mut self, _: &mut ws_reactor::WebSocket<'_>, attempt: u32, wait: Duration) -> bool {
        assert!(wait <= Duration::from_secs(1 << (attempt - 1).min(6)));
        self.log.borrow_mut().push(format!("attempt {attempt}"));
        attempt < self.enough
    }
}

#[test]
fn a_client_comes_back_until_it_is_closed_in_order_or_says_so() {
    let log = Log::default();
    let returning = |enough| Client::new(Returning { log: Rc::clone(&log), enough }).reconnect(Reconnect::default());
    // Nobody is there at first.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.connect(URL, returning(100)).unwrap();
    reactor.advance(Duration::from_secs(5)).unwrap();
    let tries = taken(&log);
    assert!(tries.len() >= 4 && tries.len().is_multiple_of(2), "{tries:?}");
    assert_eq!(tries[..4], ["close 1006", "attempt 1", "close 1006", "attempt 2"]);
    let server = Server::new(|_| {
        on_message(|ws, message| {
            let code = message.as_text().unwrap().parse::<u16>().unwrap();
            ws.close(CloseCode::from(code), "");
        })
    });
    reactor.listen(SERVER, server).unwrap();
    reactor.advance(Duration::from_secs(120)).unwrap();
    assert_eq!(taken(&log).last().map(String::as_str), Some("open"));
    // It has been stable: the next loss is a first one.
    let send = |reactor: &mut Reactor<Sim>, text: &str| {
        // The server's end of the newest connection is asked by the client's.
        let ids: Vec<ConnectionId> = reactor.hub().connections().collect();
        for id in ids {
            reactor.hub().send(id, text);
        }
    };
    send(&mut reactor, "1012");
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(taken(&log), ["close 1012", "attempt 1", "open"]);
    send(&mut reactor, "1000");
    reactor.advance(Duration::from_secs(200)).unwrap();
    assert_eq!(taken(&log), ["close 1000"]);
    assert_eq!(reactor.hub().stats().connections, 0);
    // The handler says when it is enough.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.connect(URL, returning(3)).unwrap();
    reactor.advance(Duration::from_secs(1000)).unwrap();
    assert_eq!(taken(&log), ["close 1006", "attempt 1", "close 1006", "attempt 2", "close 1006", "attempt 3"]);
}

#[test]
fn a_thousand_clients_that_lose_one_server_come_back_spread_out() {
    let mut reactor = world(echo());
    for _ in 0..1000 {
        reactor.connect(URL, Client::new(Callbacks::new()).reconnect(Reconnect::default())).unwrap();
    }
    reactor.settle().unwrap();
    assert_eq!(reactor.hub().stats().opened, 2000);
    // The server restarts: all of its connections break at once.
    for peer in reactor.kernel_mut().peers() {
        reactor.kernel_mut().reset(peer);
    }
    let mut arrived = Vec::new();
    for _ in 0..10 {
        let before = reactor.hub().stats().connected;
        reactor.advance(Duration::from_millis(100)).unwrap();
        arrived.push(reactor.hub().stats().connected - before);
    }
    assert_eq!(arrived.iter().sum::<u64>(), 1000, "{arrived:?}");
    assert!(arrived.iter().all(|count| (50..160).contains(count)), "{arrived:?}");
}

#[cfg(feature = "tls")]
mod by_tls {
    use ws_reactor::TlsClientConfig;

    use super::*;
    use crate::support::played::Here;

    const URL: &str = "wss://localhost/chat";

    /// A server with TLS, and a resolver that knows where.
    fn world(server: Server) -> Reactor<Sim> {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.listen("10.0.0.1:443", secure::server(server)).unwrap();
        reactor.set_resolver(Here);
        reactor
    }

    fn trusting() -> TlsClientConfig {
        TlsClientConfig::trusting_pem(secure::LOCALHOST.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn every_version_talks_by_wss() {
        for version in Version::ALL.iter().copied() {
            let mut reactor = world(echo());
            let log = Log::default();
            let id = reactor.connect(URL, Client::new(noting(&log)).version(version).tls(trusting())).unwrap();
            reactor.settle().unwrap();
            assert_eq!(taken(&log), [format!("open {version} None by 10.0.0.1:443")]);
            for text in ["hello", &"Zwölf Boxkämpfer ".repeat(10_000)] {
                reactor.hub().send(id, text);
                reactor.settle().unwrap();
                assert_eq!(taken(&log), [format!("message {}", Message::Text(text))], "{version}");
            }
            reactor.hub().close(id, CloseCode::NORMAL, "");
            reactor.advance(Duration::from_secs(20)).unwrap();
            assert_eq!((taken(&log).len(), reactor.hub().stats().connections), (1, 0), "{version}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_trusted_is_refused() {
        let other = secure::made(&["localhost"]);
        let strangers = TlsClientConfig::trusting_pem(other.certificate.as_bytes()).unwrap();
        #[cfg(feature = "bundled-roots")]
        let bundled = TlsClientConfig::trusting_bundled_roots();
        #[cfg(not(feature = "bundled-roots"))]
        let bundled = strangers.clone();
        for (url, tls) in
            [(URL, strangers), (URL, bundled), ("wss://wrong.example/", trusting()), ("wss://10.0.0.1/", trusting())]
        {
            let mut reactor = world(echo());
            let log = Log::default();
            reactor.connect(url, Client::new(noting(&log)).tls(tls)).unwrap();
            reactor.settle().unwrap();
            let told = taken(&log);
            assert!(told[0].contains("invalid peer certificate") && told[1].starts_with("close 1006"), "{told:?}");
            assert_eq!(reactor.hub().stats().opened, 0);
            let log = Log::default();
            let anybody = TlsClientConfig::dangerously_trusting_everybody();
            reactor.connect(url, Client::new(noting(&log)).tls(anybody)).unwrap();
            reactor.settle().unwrap();
            assert_eq!(taken(&log), ["open RFC 6455 None by 10.0.0.1:443"]);
        }
    }

    #[test]
    fn a_certificate_that_has_expired_is_refused_though_it_is_trusted() {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
        let old = params.self_signed(&key).unwrap();
        // A server of ours would not present it.
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let presenting = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(old.pem().as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.listen("10.0.0.1:443", echo().tls(std::sync::Arc::new(presenting))).unwrap();
        reactor.set_resolver(Here);
        let log = Log::default();
        let trusting = TlsClientConfig::trusting_pem(old.pem().as_bytes()).unwrap();
        reactor.connect(URL, Client::new(noting(&log)).tls(trusting)).unwrap();
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told[0].contains("invalid peer certificate") && told[0].contains("xpired"), "{told:?}");
        assert_eq!(reactor.hub().stats().opened, 0);
    }

    #[test]
    fn plain_where_tls_is_spoken_and_the_other_way_fails_with_its_reason() {
        let mut reactor = world(echo());
        reactor.listen("10.0.0.1:80", echo()).unwrap();
        let log = Log::default();
        reactor.connect("wss://localhost:80/", Client::new(noting(&log)).tls(trusting())).unwrap();
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told[0].starts_with("error ") && told[1].starts_with("close 1006"), "{told:?}");
        reactor.connect("ws://localhost:443/", Client::new(noting(&log))).unwrap();
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told[0].starts_with("error ") && told[1].starts_with("close 1006"), "{told:?}");
    }

    #[test]
    fn a_server_that_stalls_in_the_handshake_is_named_so() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        reactor.set_resolver(Here);
        let log = Log::default();
        reactor.connect(URL, Client::new(noting(&log)).tls(trusting())).unwrap();
        reactor.advance(Duration::from_secs(31)).unwrap();
        assert_eq!(taken(&log)[0], "error the TLS handshake timed out");
    }

    #[test]
    fn a_client_shows_its_certificate_to_servers_that_ask() {
        let own = secure::made(&["client"]);
        let config =
            ws_reactor::TlsConfig::from_pem(secure::LOCALHOST.certificate.as_bytes(), secure::LOCALHOST.key.as_bytes());
        let config = config.unwrap().require_client_certificates_pem(own.certificate.as_bytes()).unwrap();
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let server = Server::new(|handshake| {
            let shown = handshake.tls_info().unwrap().peer_certificates.len();
            Callbacks::new().on_open(move |ws, _| {
                ws.send(format!("{shown}"));
            })
        });
        reactor.listen("10.0.0.1:443", server.tls(config)).unwrap();
        reactor.set_resolver(Here);
        let log = Log::default();
        let shown = trusting().identity_pem(own.certificate.as_bytes(), own.key.as_bytes()).unwrap();
        reactor.connect(URL, Client::new(noting(&log)).tls(shown)).unwrap();
        reactor.settle().unwrap();
        assert_eq!(taken(&log)[1..], ["message 1"]);
        reactor.connect(URL, Client::new(noting(&log)).tls(trusting())).unwrap();
        reactor.settle().unwrap();
        assert!(taken(&log)[0].starts_with("error "), "nothing to show");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn wss_without_the_feature_is_an_error_that_says_so() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let error = reactor.connect("wss://localhost/", Client::new(Callbacks::new())).unwrap_err();
    assert_eq!(format!("{error:#}"), "cannot connect to \"wss://localhost/\": wss needs the feature `tls`");
}
