//! Timers of a connection: one test for each row of the table in the module `reactor::connection::state`, for both
//! sides where the row concerns both. The far end is played in virtual time.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, Client, CloseCode, ConnectionId, Error, Reactor, Reply, Server, Stream, StreamHandler, Version,
    http::StatusCode,
    net::sim::{Buffers, PeerId, Sim},
};

use crate::support::{
    played::{FakeServer, Log, ManualResolver, SERVER, drain, reactor, recording},
    wire,
};

/// The rows of the table, by name.
const ROWS: [(&str, fn()); 18] = [
    ("connect, raw", connect_of_a_raw_stream),
    ("opening, client", opening_of_a_client),
    ("refusal, client", body_of_a_refusal),
    ("TLS handshake, raw", tls_handshake_of_a_raw_stream),
    ("idle, raw", idle_raw_stream),
    ("PROXY header", header_of_the_proxy_protocol),
    ("opening, server", opening_of_a_server),
    ("head, server", head_of_a_later_request),
    ("body, server", body_of_a_request),
    ("reply, server", deferred_reply),
    ("keep-alive, server", keep_alive),
    ("poll, server", poll_for_a_message),
    ("comment, server", comment_on_an_event_stream),
    ("silence", || both(silence)),
    ("pong", || both(pong)),
    ("stall", || both(stall)),
    ("closing", || {
        both(closing_after_output);
        both(closing_in_all);
    }),
    ("lingering, server", lingering_of_a_response),
];

#[test]
fn every_documented_timer_behaves_as_its_row_says() {
    let source = include_str!("../../../src/reactor/connection/state.rs");
    let table = source.lines().skip_while(|line| !line.starts_with("//! | timer")).skip(2);
    let rows = table.map_while(|line| line.strip_prefix("//! |")?.split('|').next()).map(str::trim);
    let names: Vec<&str> = rows.collect();
    assert_eq!(names, ROWS.map(|(name, _)| name), "the table and the tests have the same rows");
    for (name, test) in ROWS {
        println!("{name}");
        test();
    }
}

const SECOND: Duration = Duration::from_secs(1);
const PING: u8 = 9;

/// An open connection of one side, whose far end the test plays.
struct Open {
    reactor: Reactor<Sim>,
    peer: PeerId,
    id: ConnectionId,
    log: Log,
    masks: bool,
}

fn both(test: fn(Open)) {
    test(Open::server());
    test(Open::client());
}

impl Open {
    fn server() -> Open {
        let (log, ids) = (Log::default(), Rc::new(RefCell::new(None)));
        let (events, opened) = (Rc::clone(&log), Rc::clone(&ids));
        let server = Server::new(move |_| recording(&events)).on_request(move |_, hub| {
            *opened.borrow_mut() = hub.connections().next();
            Reply::upgrade()
        });
        let mut reactor = reactor();
        reactor.listen(SERVER, server).unwrap();
        let peer = reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        let id = {
            reactor.settle().unwrap();
            ids.borrow().unwrap()
        };
        Open { reactor, peer, id, log, masks: true }.opened()
    }

    fn client() -> Open {
        let mut server = FakeServer::dialed_by(Client::new);
        let response = server.response("");
        server.reactor.kernel_mut().send(server.peer, response.as_bytes());
        server.reactor.settle().unwrap();
        let FakeServer { reactor, peer, id, log, .. } = server;
        Open { reactor, peer, id, log, masks: false }.opened()
    }

    fn opened(mut self) -> Open {
        assert!(drain(&self.log)[0].starts_with("open"));
        self.reactor.kernel_mut().received(self.peer);
        self
    }

    fn send(&mut self, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peer, bytes);
        self.reactor.settle().unwrap();
    }

    /// A frame of the far end: masked by a key of zeros if the far end is a client.
    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        let (mask, key): (u8, &[u8]) = if self.masks { (0x80, &[0; 4]) } else { (0, &[]) };
        let length = match payload.len() {
            0..=125 => vec![mask | payload.len() as u8],
            length => [&[mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        };
        [&[first][..], &length, key, payload].concat()
    }

    fn advance(&mut self, seconds: u32) -> Vec<String> {
        self.reactor.advance(seconds * SECOND).unwrap();
        drain(&self.log)
    }

    /// The operation code of the frame received by the far end, if there is one.
    fn received(&mut self) -> Option<u8> {
        self.reactor.kernel_mut().received(self.peer).first().map(|first| first & 0xF)
    }
}

/// A raw stream that logs its errors.
struct Recording(Log);

impl StreamHandler for Recording {
    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.0.borrow_mut().push(error.to_string());
    }
}

fn connect_of_a_raw_stream() {
    let resolver = ManualResolver::default();
    let mut reactor = reactor();
    reactor.set_resolver(resolver);
    reactor.kernel_mut().silence("10.0.0.2:80".parse().unwrap());
    for (to, error) in [("10.0.0.2:80", "connecting timed out"), ("silent.example:80", "name resolution timed out")] {
        let log = Log::default();
        reactor.connect_stream(to, Recording(Rc::clone(&log))).unwrap();
        reactor.advance(Duration::from_millis(19_999)).unwrap();
        assert_eq!(drain(&log), [""; 0]);
        reactor.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(drain(&log), [error]);
    }
}

fn opening_of_a_client() {
    let mut server = FakeServer::dialed_by(Client::new);
    let response = server.response("");
    // A response that arrives slowly does not restart the timer.
    for octet in response.as_bytes()[..29].chunks(1) {
        assert_eq!(server.send(octet), [""; 0]);
        server.reactor.advance(SECOND).unwrap();
    }
    assert_eq!(drain(&server.log), [""; 0]);
    server.reactor.advance(SECOND).unwrap();
    let timeout = "the opening handshake timed out";
    assert_eq!(drain(&server.log), [format!("error {timeout}"), format!("close 1006, {timeout}")]);
}

fn body_of_a_refusal() {
    let mut server = FakeServer::dialed_by(Client::new);
    assert_eq!(server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n"), [""; 0]);
    for _ in 0..9 {
        assert_eq!(server.send("x"), [""; 0]);
        server.reactor.advance(SECOND / 10).unwrap();
    }
    server.reactor.advance(SECOND / 10).unwrap();
    let refused = "the server responded with 403 Forbidden";
    assert_eq!(drain(&server.log), [format!("error {refused}"), format!("close 1006, {refused}")]);
}

#[cfg(not(feature = "tls"))]
fn tls_handshake_of_a_raw_stream() {}

#[cfg(feature = "tls")]
fn tls_handshake_of_a_raw_stream() {
    use crate::support::secure::LOCALHOST;

    let (log, mut reactor) = (Log::default(), reactor());
    let tls = ws_reactor::TlsConfig::from_pem(LOCALHOST.certificate.as_bytes(), LOCALHOST.key.as_bytes()).unwrap();
    let errors = Rc::clone(&log);
    let listening = reactor
        .listen_stream_over_tls(SERVER, tls, ws_reactor::StreamConfig::default(), move |_| Recording(errors.clone()))
        .unwrap();
    let peer = reactor.kernel_mut().connect(listening.addr).unwrap();
    // A record that arrives slowly does not restart the timer.
    for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03".chunks(1) {
        assert_eq!(drain(&log), [""; 0]);
        reactor.kernel_mut().send(peer, octet);
        reactor.advance(SECOND).unwrap();
    }
    assert_eq!(drain(&log), ["the TLS handshake timed out"]);
}

fn idle_raw_stream() {
    let (log, mut reactor) = (Log::default(), reactor());
    let (errors, config) = (Rc::clone(&log), ws_reactor::StreamConfig::new().idle_timeout(Some(8 * SECOND)));
    let listening = reactor.listen_stream_with(SERVER, config, move |_| Recording(errors.clone())).unwrap();
    let peer = reactor.kernel_mut().connect(listening.addr).unwrap();
    for _ in 0..3 {
        reactor.kernel_mut().send(peer, b"a byte restarts it");
        reactor.advance(7 * SECOND).unwrap();
        assert_eq!(drain(&log), [""; 0]);
    }
    // It is noticed up to an eighth later.
    reactor.advance(2 * SECOND).unwrap();
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert_eq!(drain(&log), ["nothing moved for the idle time-out"]);
}

fn opening_of_a_server() {
    let mut reactor = reactor();
    let log = Log::default();
    let errors = Rc::clone(&log);
    let server = Server::new(|_| Callbacks::new());
    let server = server.on_error(move |_, error| errors.borrow_mut().push(error.to_string()));
    reactor.listen(SERVER, server).unwrap();
    let connect = |reactor: &mut Reactor<Sim>| reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
    let (silent, slow) = (connect(&mut reactor), connect(&mut reactor));
    for octet in b"GET / HTTP".chunks(1) {
        assert!(!reactor.kernel_mut().is_closed(silent) && reactor.kernel_mut().received(slow).is_empty());
        reactor.kernel_mut().send(slow, octet);
        reactor.advance(SECOND).unwrap();
    }
    assert!(reactor.kernel_mut().is_closed(silent));
    assert!(reactor.kernel_mut().received(slow).starts_with(b"HTTP/1.1 408 "));
    assert_eq!(drain(&log), ["the opening handshake timed out"]);
}

fn silence(mut open: Open) {
    assert_eq!((open.advance(15), open.received()), (vec![], None));
    // A sign of life restarts the timer.
    let pong = open.frame(0x8A, b"");
    open.send(&pong);
    assert_eq!((open.advance(19), open.received()), (vec!["pong ".to_owned()], None));
    assert_eq!((open.advance(1), open.received()), (vec![], Some(PING)));
}

fn pong(mut open: Open) {
    let timeout = ["error the peer did not answer a ping", "close 1006, the peer did not answer a ping"];
    open.advance(20);
    assert_eq!(open.received(), Some(PING));
    // The start of a large message keeps the connection alive.
    let mut whole = open.frame(0x82, &[7; 60_000]);
    open.advance(15);
    let rest = whole.split_off(5000);
    open.send(&whole);
    assert_eq!(open.advance(19), [""; 0]);
    assert_eq!(open.received(), None);
    // Few bytes do not.
    open.advance(1);
    assert_eq!(open.received(), Some(PING));
    open.send(&rest[..4000]);
    assert_eq!(open.advance(19), [""; 0]);
    assert_eq!(open.advance(1), timeout);
}

fn stall(mut open: Open) {
    let sent = vec![7; 1 << 20];
    open.reactor.kernel_mut().hold(open.peer, 1000);
    assert!(open.reactor.hub().send(open.id, &sent).is_queued());
    assert_eq!(open.advance(29), [""; 0]);
    // The peer takes more than 16 KiB.
    open.reactor.kernel_mut().hold(open.peer, 100_000);
    open.reactor.kernel_mut().release(open.peer);
    open.reactor.turn(Some(Duration::ZERO)).unwrap();
    open.reactor.kernel_mut().hold(open.peer, 1000);
    open.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(open.advance(29), [""; 0]);
    let events = open.advance(2);
    let (slow, close) = ("the peer did not read the output fast enough", "bytes not sent");
    assert_eq!(events[0], format!("error {slow}"));
    assert!(events[1].starts_with(&format!("close 1013, {slow}")) && events[1].ends_with(close), "{events:?}");
}

fn closing_after_output(mut open: Open) {
    // Output waits for 20 s, then the peer takes all of it, and does not answer.
    open.reactor.kernel_mut().hold(open.peer, 20_000);
    assert!(open.reactor.hub().send(open.id, vec![7; 50_000]).is_queued());
    open.reactor.hub().close(open.id, CloseCode::NORMAL, "bye");
    assert_eq!(open.advance(20), [""; 0]);
    open.reactor.kernel_mut().release(open.peer);
    assert_eq!(open.advance(4), [""; 0]);
    let timeout = "the closing handshake timed out";
    assert_eq!(open.advance(1), [format!("error {timeout}"), format!("close 1006, {timeout}")]);
}

fn closing_in_all(mut open: Open) {
    // Output waits for 58 s: the peer takes 20,000 bytes every 29 s.
    open.reactor.kernel_mut().hold(open.peer, 20_000);
    open.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(open.reactor.hub().send(open.id, vec![7; 500_000]).is_queued());
    open.reactor.hub().close(open.id, CloseCode::NORMAL, "bye");
    for _ in 0..2 {
        assert_eq!(open.advance(29), [""; 0]);
        open.reactor.kernel_mut().release(open.peer);
        open.reactor.turn(Some(Duration::ZERO)).unwrap();
        open.reactor.kernel_mut().hold(open.peer, 20_000);
    }
    assert_eq!(open.advance(1), [""; 0]);
    let events = open.advance(1);
    assert_eq!(events[0], "error the closing handshake timed out");
    assert!(events[1].starts_with("close 1006, the closing handshake timed out, "), "{events:?}");
    assert!(events[1].ends_with(" bytes not sent"), "{events:?}");
}

/// A connection to a server that defers replies of `/later`, and its errors.
struct Http {
    reactor: Reactor<Sim>,
    peer: PeerId,
    errors: Rc<RefCell<Vec<String>>>,
}

impl Http {
    fn new() -> Http {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let (log, responders) = (Rc::clone(&errors), RefCell::new(Vec::new()));
        #[cfg(feature = "server")]
        let server = Server::routes(ws_reactor::Routes::new().post("/body", |_, _| StatusCode::OK)).unwrap();
        #[cfg(not(feature = "server"))]
        let server = Server::new(|_| Callbacks::new());
        let server = server
            .on_request(move |request, _| match request.path() {
                "/later" => {
                    let (reply, responder) = Reply::later();
                    responders.borrow_mut().push(responder);
                    reply
                }
                "/large" => Reply::html("x".repeat(60_000)),
                "/body" => Reply::upgrade(),
                #[cfg(feature = "server")]
                "/poll" => ws_reactor::LongPoll::topic("a").into(),
                #[cfg(feature = "server")]
                "/events" => ws_reactor::EventStream::topic("a").into(),
                _ => Reply::html("page"),
            })
            .on_error(move |_, error| log.borrow_mut().push(error.to_string()));
        let mut reactor = reactor();
        reactor.listen(SERVER, server).unwrap();
        let peer = reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
        reactor.settle().unwrap();
        Http { reactor, peer, errors }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reactor.kernel_mut().send(self.peer, bytes.as_ref());
        self.reactor.settle().unwrap();
    }

    /// The status of the next response; empty if there is none.
    fn status(&mut self) -> String {
        let received = self.reactor.kernel_mut().received(self.peer);
        String::from_utf8_lossy(received.get(9..12).unwrap_or_default()).into_owned()
    }

    /// A time-out of `seconds` ends the wait that has just begun, with this status.
    fn times_out(&mut self, seconds: u64, status: &str) {
        self.reactor.advance(Duration::from_millis(1000 * seconds - 1)).unwrap();
        assert!(self.status().is_empty() && !self.reactor.kernel_mut().is_ended(self.peer));
        self.reactor.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(self.status(), status);
        assert!(self.reactor.kernel_mut().is_ended(self.peer));
        let expected: &[&str] = if status.is_empty() { &[] } else { &["the request took too long"] };
        assert_eq!(*self.errors.borrow(), expected);
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn head_of_a_later_request() {
    let mut http = Http::new();
    http.send(GET);
    assert_eq!(http.status(), "200");
    http.reactor.advance(74 * SECOND).unwrap();
    http.send("G");
    http.reactor.advance(5 * SECOND).unwrap();
    http.send("ET / ");
    http.times_out(5, "408");
}

fn body_of_a_request() {
    let post = |length: usize| format!("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    #[cfg(feature = "server")]
    {
        let mut http = Http::new();
        http.send(post(100_000));
        for _ in 0..10 {
            http.reactor.advance(9 * SECOND).unwrap();
            http.send([b'x'; 4096]);
        }
        http.reactor.advance(5 * SECOND).unwrap();
        http.send([b'x'; 4095]);
        http.times_out(5, "408");
    }
    // The rest of a body that no one wants is skipped as long, and the request was answered.
    let mut http = Http::new();
    http.send(post(1000).replace("/body", "/page"));
    assert_eq!(http.status(), "200");
    http.reactor.advance(9 * SECOND).unwrap();
    http.send([b'x'; 100]);
    http.times_out(1, "");
}

fn deferred_reply() {
    let mut http = Http::new();
    http.send(GET.replace("/ ", "/later "));
    http.times_out(60, "503");
    let mut later = Http::new();
    later.send(GET);
    assert_eq!(later.status(), "200");
    // The handshake of a WebSocket, too, if it is not the first request.
    later.send(wire::request(Version::Rfc6455, "/later", ""));
    later.times_out(60, "503");
}

fn keep_alive() {
    let mut http = Http::new();
    for _ in 0..3 {
        http.send(GET);
        assert_eq!(http.status(), "200");
        http.reactor.advance(70 * SECOND).unwrap();
    }
    http.send(GET);
    assert_eq!(http.status(), "200");
    http.times_out(75, "");
    // A response that is being read slowly is no idle time: 60,000 bytes at 600 bytes per second.
    let mut slow = Http::new();
    slow.reactor.kernel_mut().slow_line(slow.peer, 600);
    slow.reactor.kernel_mut().set_buffers(slow.peer, Buffers { send_bytes: 4096, ..Buffers::default() });
    slow.send(GET.replace("/ ", "/large "));
    slow.reactor.advance(169 * SECOND).unwrap();
    assert!(!slow.reactor.kernel_mut().is_ended(slow.peer));
    slow.reactor.advance(80 * SECOND).unwrap();
    assert!(slow.reactor.kernel_mut().is_ended(slow.peer));
    assert!(slow.errors.borrow().is_empty());
}

fn header_of_the_proxy_protocol() {
    #[cfg(feature = "proxy-protocol")]
    {
        let mut reactor = reactor();
        let bind = ws_reactor::Bind::to(SERVER).proxy_protocol(ws_reactor::ProxyProtocol::Required);
        reactor.listen(bind, Server::new(|_| Callbacks::new())).unwrap();
        let [silent, late] = [(); 2].map(|()| reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap());
        reactor.advance(9 * SECOND).unwrap();
        reactor.kernel_mut().send(late, b"PROXY UNKNOWN\r\n");
        reactor.advance(SECOND).unwrap();
        assert!(reactor.kernel_mut().is_ended(silent) && !reactor.kernel_mut().is_ended(late));
        // The opening runs from the end of the header.
        reactor.advance(9 * SECOND - Duration::from_millis(1)).unwrap();
        assert!(!reactor.kernel_mut().is_ended(late));
        reactor.advance(Duration::from_millis(1)).unwrap();
        assert!(reactor.kernel_mut().is_ended(late));
    }
}

fn poll_for_a_message() {
    #[cfg(feature = "server")]
    {
        let mut http = Http::new();
        http.reactor.hub().keep_history("a", ws_reactor::HistoryLimits::new());
        http.send(GET.replace("/ ", "/poll "));
        http.reactor.advance(25 * SECOND - Duration::from_millis(1)).unwrap();
        assert_eq!(http.status(), "");
        http.reactor.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(http.status(), "204");
        http.times_out(75, "");
    }
}

fn comment_on_an_event_stream() {
    #[cfg(feature = "server")]
    {
        let mut http = Http::new();
        http.send(GET.replace("/ ", "/events "));
        assert_eq!(http.status(), "200");
        for _ in 0..3 {
            http.reactor.advance(15 * SECOND - Duration::from_millis(1)).unwrap();
            assert_eq!(http.reactor.kernel_mut().received(http.peer), b"");
            http.reactor.advance(Duration::from_millis(1)).unwrap();
            assert_eq!(http.reactor.kernel_mut().received(http.peer), b"3\r\n:\n\n\r\n");
        }
    }
}

fn lingering_of_a_response() {
    let mut reactor = reactor();
    let server = Server::new(|_| Callbacks::new()).on_request(|_, _| Reply::text(StatusCode::NOT_FOUND, "no"));
    reactor.listen(SERVER, server).unwrap();
    let peer = reactor.kernel_mut().connect(SERVER.parse().unwrap()).unwrap();
    reactor.kernel_mut().send(peer, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    reactor.settle().unwrap();
    assert!(reactor.kernel_mut().received(peer).starts_with(b"HTTP/1.1 404 "));
    // Bytes of the peer are discarded and do not restart the timer.
    reactor.advance(SECOND).unwrap();
    reactor.kernel_mut().send(peer, b"GET / HTTP/1.1\r\n");
    reactor.advance(Duration::from_millis(999)).unwrap();
    assert!(!reactor.kernel_mut().is_closed(peer));
    reactor.advance(Duration::from_millis(1)).unwrap();
    assert!(reactor.kernel_mut().is_closed(peer));
}
