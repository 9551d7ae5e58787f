//! The ways from a client to its server: redirections, proxies within TLS, sockets in the file system; and raw streams
//! to anywhere.

use crate::support::played;
#[cfg(feature = "tls")]
use crate::support::secure;
use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::support::played::{Log, SERVER, URL, echo, noting, reactor, taken};
use ws_reactor::{
    Callbacks, Client, CloseCode, CloseReason, ConnectionId, Error, Reactor, Reconnect, Reply, Stream, StreamConfig,
    StreamHandler, Upgrade, Version,
    http::{HeaderValue, Response, StatusCode},
    net::{Answer, Resolver, sim::Sim},
};

/// Sends those who ask for `/home` elsewhere, and is an echo for all others; notes what it was asked.
fn leading(reactor: &mut Reactor<Sim>, at: &str, status: StatusCode, to: &'static str) -> Log {
    let asked = Log::default();
    let notes = Rc::clone(&asked);
    let server = echo().on_request(move |request, _| {
        let shown = |name: &str| request.header(name).unwrap_or("-").to_owned();
        let headers = ["authorization", "cookie", "x-secret", "x-public"].map(shown).join(" ");
        notes.borrow_mut().push(format!("{} at {}: {headers}", request.path(), shown("host")));
        match request.path() == "/home" {
            true => {
                let mut response = Response::new(b"elsewhere".to_vec());
                *response.status_mut() = status;
                response.headers_mut().insert("location", to.parse().unwrap());
                Reply::from(response)
            }
            false => Upgrade::new().into(),
        }
    });
    reactor.listen(at, server).unwrap();
    asked
}

fn with_secrets(handler: Callbacks) -> Client {
    let mut secret: HeaderValue = "token".parse().unwrap();
    secret.set_sensitive(true);
    Client::new(handler)
        .header("x-secret".parse().unwrap(), secret)
        .header("x-public".parse().unwrap(), "all".parse().unwrap())
        .header("cookie".parse().unwrap(), "a=b".parse().unwrap())
}

#[test]
fn redirections_are_followed_if_that_is_wanted_and_credentials_stay_where_they_belong() {
    for (status, to, beyond) in [
        (301, "/there", "/there at a.example: Basic dTpw a=b token all"),
        (302, "//a.example/x/../y", "/y at a.example: Basic dTpw a=b token all"),
        (303, "http://A.example:80/there?x", "/there at A.example: Basic dTpw a=b token all"),
        (307, "ws://b.example/there", "/there at b.example: - - - all"),
        (308, "http://v:q@b.example/there", "/there at b.example: Basic djpx - - all"),
        (308, "http://a.example:81/there", "/there at a.example:81: - - - all"),
    ] {
        let mut reactor = reactor();
        let log = Log::default();
        let status = StatusCode::from_u16(status).unwrap();
        let asked = leading(&mut reactor, SERVER, status, to);
        let other = leading(&mut reactor, "10.0.0.1:81", status, to);
        let id = reactor.connect("ws://u:p@a.example/home", with_secrets(noting(&log)).follow_redirects(1)).unwrap();
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told.len() == 1 && told[0].starts_with("open RFC 6455 None by 10.0.0.1:8"), "{to}: {told:?}");
        let heard = [taken(&asked), taken(&other)].concat();
        assert_eq!(heard, ["/home at a.example: Basic dTpw a=b token all", beyond], "{to}");
        // It is the same connection, and as good as any.
        assert!(reactor.hub().send(id, "hello").is_queued());
        reactor.settle().unwrap();
        assert_eq!(taken(&log), ["message hello"]);
    }
}

#[test]
fn a_redirection_that_is_not_followed_is_a_refusal() {
    for (most, status, to) in [
        (0, 302, "/there"),
        (3, 302, "/home"),
        (9, 302, "ftp://a.example/"),
        (9, 302, "ws+unix:/run/secret.sock"),
        (9, 302, "http://"),
        (9, 300, "/there"),
        (9, 304, "/there"),
    ] {
        let mut reactor = reactor();
        let log = Log::default();
        let asked = leading(&mut reactor, SERVER, StatusCode::from_u16(status).unwrap(), to);
        reactor.connect("ws://a.example/home", with_secrets(noting(&log)).follow_redirects(most)).unwrap();
        reactor.settle().unwrap();
        let told = taken(&log);
        assert!(told[0].starts_with(&format!("error the server answered {status}")) && told.len() == 2, "{told:?}");
        assert_eq!(taken(&asked).len(), if to == "/home" { 4 } else { 1 }, "{to}");
        assert_eq!(reactor.hub().stats().connections, 0);
    }
}

#[test]
fn a_client_that_was_sent_on_comes_back_to_where_it_began() {
    let mut reactor = reactor();
    let asked = leading(&mut reactor, SERVER, StatusCode::FOUND, "ws://b.example/there");
    let client = with_secrets(Callbacks::new()).follow_redirects(1).reconnect(Reconnect::default());
    reactor.connect("ws://a.example/home", client).unwrap();
    reactor.settle().unwrap();
    assert_eq!(taken(&asked).len(), 2);
    // The server's end of the second connection.
    let last = reactor.kernel_mut().peers().last().unwrap();
    reactor.kernel_mut().reset(last);
    reactor.advance(Duration::from_secs(2)).unwrap();
    let heard = taken(&asked);
    assert_eq!(heard, ["/home at a.example: - a=b token all", "/there at b.example: - - - all"]);
}

#[test]
fn a_client_that_will_come_back_has_its_name_at_once_and_may_be_kept_away() {
    let mut reactor = reactor();
    let (log, names): (Log, Rc<RefCell<Vec<ConnectionId>>>) = Default::default();
    let notes = Rc::clone(&names);
    let handler = noting(&log).on_reconnect(move |ws, attempt, _| {
        notes.borrow_mut().push(ws.id());
        attempt < 3
    });
    let minute = Duration::from_secs(60);
    let policy = Reconnect::new().initial_backoff(minute).max_backoff(minute);
    let first = reactor.connect(URL, Client::new(handler).reconnect(policy)).unwrap();
    reactor.settle().unwrap();
    let failed =
        ["error cannot connect to 10.0.0.1:80: connection refused", "close 1006, by the network: connection refused"];
    assert_eq!(taken(&log).len(), failed.len());
    let second = names.borrow()[0];
    assert!(second != first && !reactor.hub().is_open(second) && !reactor.hub().is_open(first));
    assert_eq!(reactor.hub().send(second, "too early"), ws_reactor::SendStatus::Unsupported);
    assert_eq!(reactor.hub().write(second, b"too raw"), ws_reactor::SendStatus::Unsupported);
    reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((taken(&log).len(), names.borrow().len()), (2, 2));
    // Closing it ends the wait, and all.
    let third = names.borrow()[1];
    reactor.hub().close(third, CloseCode::NORMAL, "");
    reactor.advance(Duration::from_secs(600)).unwrap();
    assert_eq!(taken(&log), ["close 1006, by the application, not clean"]);
    assert_eq!((names.borrow().len(), reactor.hub().stats().connections), (2, 0));
}

#[test]
fn a_handler_that_wants_no_further_attempt_hears_no_more() {
    let mut reactor = reactor();
    let log = Log::default();
    let client = Client::new(noting(&log).on_reconnect(|_, _, _| false)).reconnect(Reconnect::default());
    reactor.connect(URL, client).unwrap();
    reactor.advance(Duration::from_secs(600)).unwrap();
    assert_eq!((taken(&log).len(), reactor.hub().stats().connections), (2, 0));
}

#[test]
fn a_deadline_says_what_took_too_long() {
    /// Keeps what it is asked.
    #[derive(Default)]
    struct Nowhere(RefCell<Vec<Answer>>);
    impl Resolver for Nowhere {
        fn resolve(&self, _: &str, _: u16, answer: Answer) {
            self.0.borrow_mut().push(answer);
        }
    }
    let proxied = |handler| Client::new(handler).proxy("http://10.0.0.1:80".parse().unwrap());
    for (url, client, error) in [
        ("ws://name.example/", Client::new as fn(Callbacks) -> Client, "name resolution timed out"),
        ("ws://10.0.0.2/", Client::new, "connecting timed out"),
        ("ws://10.0.0.3/", proxied, "the proxy did not connect in time"),
        ("ws://10.0.0.1/", Client::new, "the opening handshake timed out"),
    ] {
        let mut reactor = reactor();
        reactor.set_resolver(Nowhere::default());
        reactor.kernel_mut().silence("10.0.0.2:80".parse().unwrap());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        let log = Log::default();
        reactor.connect(url, client(noting(&log))).unwrap();
        reactor.advance(Duration::from_millis(29_999)).unwrap();
        assert_eq!(taken(&log), [""; 0], "{url}");
        reactor.advance(Duration::from_millis(1)).unwrap();
        let told = taken(&log);
        assert_eq!((told[0].as_str(), told.len()), (format!("error {error:#}").as_str(), 2), "{url}");
    }
}

/// One end of a raw connection, which notes what it is told and says its piece.
struct Noting {
    log: Log,
    says: &'static [u8],
}

impl StreamHandler for Noting {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.log.borrow_mut().push(format!("connected to {}", stream.peer_addr()));
        stream.write(self.says);
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        self.log.borrow_mut().push(format!("data {}", data.escape_ascii()));
        stream.close();
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.log.borrow_mut().push(format!("error {error:#}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        self.log.borrow_mut().push(format!("close {reason}"));
    }
}

#[test]
fn a_raw_stream_goes_anywhere() {
    struct Answering;
    impl StreamHandler for Answering {
        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            stream.write(&[b"you said ", &*data].concat());
        }
    }
    let mut reactor = reactor();
    reactor.listen_stream("10.0.0.1:43", |_| Answering).unwrap();
    reactor.kernel_mut().silence("10.0.0.2:43".parse().unwrap());
    let log = Log::default();
    let noting = |says| Noting { log: Rc::clone(&log), says };
    for to in ["10.0.0.1:43", "whois.example:43"] {
        let id = reactor.connect_stream(to, noting(b"hello")).unwrap();
        assert!(reactor.hub().write(id, b"first, ").is_queued());
        reactor.settle().unwrap();
        let told = taken(&log);
        assert_eq!(told[..2], ["connected to 10.0.0.1:43", "data you said first, hello"], "{to}");
        assert!(told[2].contains("by the application") && told.len() == 3, "{told:?}");
    }
    for (to, waits, error) in [
        ("10.0.0.1:44", 0, "cannot connect to 10.0.0.1:44: connection refused"),
        ("10.0.0.2:43", 3, "connecting timed out"),
    ] {
        let settings = StreamConfig::new().connect_timeout(Duration::from_secs(3));
        reactor.hub().connect_stream_with(to, settings, noting(b"")).unwrap();
        reactor.advance(Duration::from_secs(waits)).unwrap();
        let told = taken(&log);
        assert_eq!((told[0].as_str(), told.len()), (format!("error {error:#}").as_str(), 2), "{to}");
    }
    // A deadline for connecting is none for what follows.
    let id = reactor.connect_stream("10.0.0.1:43", noting(b"")).unwrap();
    reactor.advance(Duration::from_secs(3600)).unwrap();
    assert!(reactor.hub().is_open(id));
    for unfit in ["10.0.0.1", "10.0.0.1:x", ":1"] {
        assert!(reactor.connect_stream(unfit, noting(b"")).is_err(), "{unfit}");
    }
}

/// An HTTP proxy: EventMachine's `enable_proxy`, both ways.
#[derive(Default)]
struct Gate {
    head: Vec<u8>,
    beyond: Option<ConnectionId>,
}

struct Beyond(ConnectionId);

impl StreamHandler for Gate {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        if let Some(beyond) = self.beyond {
            stream.hub().write(beyond, data);
            return;
        }
        self.head.extend_from_slice(data);
        if self.head.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&self.head).into_owned();
            let target = head.split(' ').nth(1).unwrap().to_owned();
            let here = stream.id();
            self.beyond = stream.hub().connect_stream(&target, Beyond(here)).ok();
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        if let Some(beyond) = self.beyond {
            stream.hub().close(beyond, CloseCode::NORMAL, "");
        }
    }
}

impl StreamHandler for Beyond {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.hub().write(self.0, b"HTTP/1.1 200 Connection established\r\n\r\n");
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        stream.hub().write(self.0, data);
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        stream.hub().close(self.0, CloseCode::NORMAL, "");
    }
}

#[test]
fn a_tunnel_through_a_proxy_carries_every_version() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = reactor();
        reactor.listen(SERVER, echo()).unwrap();
        reactor.listen_stream("10.0.0.1:8080", |_| Gate::default()).unwrap();
        let log = Log::default();
        let client = Client::new(noting(&log)).version(version).proxy("http://proxy.example".parse().unwrap());
        let id = reactor.connect("ws://a.example/", client).unwrap();
        reactor.settle().unwrap();
        reactor.hub().send(id, "hello");
        reactor.settle().unwrap();
        assert_eq!(taken(&log)[1..], ["message hello"], "{version}");
        reactor.hub().close(id, CloseCode::NORMAL, "");
        reactor.advance(Duration::from_secs(20)).unwrap();
        assert_eq!(reactor.hub().stats().connections, 0, "{version}");
    }
}

#[cfg(feature = "tls")]
mod by_tls {
    use ws_reactor::{TlsClientConfig, TlsConfig, TlsConnector};

    use super::*;

    fn presenting(pem: &secure::Pem) -> TlsConfig {
        TlsConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()).unwrap()
    }

    fn trusting(pem: &secure::Pem) -> TlsConnector {
        TlsClientConfig::trusting_pem(pem.certificate.as_bytes()).unwrap().into()
    }

    /// A proxy and two servers: one plain, and one with TLS, as which it says whether a client came by TLS.
    fn world(of_server: &secure::Pem, of_proxy: &secure::Pem) -> Reactor<Sim> {
        let mut reactor = reactor();
        reactor.listen(SERVER, echo()).unwrap();
        reactor.listen("10.0.0.1:443", echo().tls(presenting(of_server))).unwrap();
        let gate = |_| Gate::default();
        reactor.listen_stream_over_tls("10.0.0.1:8443", presenting(of_proxy), StreamConfig::default(), gate).unwrap();
        reactor
    }

    #[test]
    fn a_proxy_may_be_spoken_to_by_tls_and_the_server_within() {
        let (of_server, of_proxy) = (secure::made(&["server.example"]), secure::made(&["proxy.example"]));
        for url in ["ws://server.example/", "wss://server.example/"] {
            let mut reactor = world(&of_server, &of_proxy);
            let log = Log::default();
            let secured = Log::default();
            let notes = Rc::clone(&secured);
            let handler = noting(&log).on_open(move |_, handshake| {
                notes.borrow_mut().push(format!("{}", handshake.tls_info().is_some()));
            });
            let client = Client::new(handler).proxy("https://proxy.example:8443".parse().unwrap());
            let client = client.tls(trusting(&of_server)).proxy_tls(trusting(&of_proxy));
            let id = reactor.connect(url, client).unwrap();
            reactor.settle().unwrap();
            assert_eq!(taken(&secured), [format!("{}", url.starts_with("wss"))], "{url}: {:?}", taken(&log));
            for length in [5, 1 << 20] {
                let text = "x".repeat(length);
                reactor.hub().send(id, &text);
                reactor.settle().unwrap();
                assert_eq!(taken(&log), [format!("message {}", ws_reactor::Message::Text(&text))], "{url}");
            }
            reactor.hub().close(id, CloseCode::NORMAL, "");
            reactor.advance(Duration::from_secs(20)).unwrap();
            assert_eq!(taken(&log), ["close 1000, by the application, clean"]);
            assert_eq!(reactor.hub().stats().connections, 0);
        }
    }

    #[test]
    fn a_proxy_is_trusted_by_its_own_name_only() {
        let (of_server, of_proxy) = (secure::made(&["server.example"]), secure::made(&["proxy.example"]));
        for (tls, proxy_tls) in [(&of_server, &of_server), (&of_proxy, &of_proxy), (&of_proxy, &of_server)] {
            let mut reactor = world(&of_server, &of_proxy);
            let log = Log::default();
            let client = Client::new(noting(&log)).proxy("https://proxy.example:8443".parse().unwrap());
            let client = client.tls(trusting(tls)).proxy_tls(trusting(proxy_tls));
            reactor.connect("wss://server.example/", client).unwrap();
            reactor.settle().unwrap();
            let told = taken(&log);
            assert!(told[0].contains("invalid peer certificate") && told.len() == 2, "{told:?}");
        }
    }

    #[test]
    fn a_server_is_asked_for_by_the_name_that_is_wanted() {
        let of_server = secure::made(&["server.example"]);
        for (name, opens) in [(Some("server.example"), true), (None, false), (Some("other.example"), false)] {
            let mut reactor = reactor();
            let (log, asked) = (Log::default(), Log::default());
            let notes = Rc::clone(&asked);
            let server = echo().tls(presenting(&of_server)).on_request(move |request, _| {
                notes.borrow_mut().extend(request.tls_info().unwrap().server_name.clone());
                Reply::upgrade()
            });
            reactor.listen("10.0.0.1:443", server).unwrap();
            let client = Client::new(noting(&log)).tls(trusting(&of_server));
            let client = if let Some(name) = name { client.server_name(name) } else { client };
            reactor.connect("wss://10.0.0.1/", client).unwrap();
            reactor.settle().unwrap();
            assert_eq!(taken(&log)[0].starts_with("open"), opens, "{name:?}");
            assert_eq!(taken(&asked), if opens { vec!["server.example"] } else { vec![] });
        }
    }

    #[test]
    fn a_proxy_that_stalls_is_named_by_what_it_has_not_done() {
        let of_proxy = secure::made(&["proxy.example"]);
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:8443".parse().unwrap());
        let log = Log::default();
        let client = Client::new(noting(&log)).proxy("https://proxy.example:8443".parse().unwrap());
        reactor.connect("ws://server.example/", client.proxy_tls(trusting(&of_proxy))).unwrap();
        reactor.advance(Duration::from_secs(30)).unwrap();
        assert_eq!(taken(&log)[0], "error the TLS handshake timed out");
    }

    #[test]
    fn a_redirection_does_not_lead_out_of_tls() {
        let of_server = secure::made(&["a.example"]);
        for (to, opens) in [("http://a.example/there", false), ("https://a.example/there", true)] {
            let mut reactor = reactor();
            let asked = leading(&mut reactor, SERVER, StatusCode::FOUND, "https://a.example/home");
            let server = echo().tls(presenting(&of_server)).on_request(move |request, _| {
                let mut response = Response::new(Vec::new());
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert("location", to.parse().unwrap());
                if request.path() == "/home" { Reply::from(response) } else { Upgrade::new().into() }
            });
            reactor.listen("10.0.0.1:443", server).unwrap();
            let log = Log::default();
            let client = with_secrets(noting(&log)).follow_redirects(5).tls(trusting(&of_server));
            reactor.connect("ws://a.example/home", client).unwrap();
            reactor.settle().unwrap();
            assert_eq!(taken(&log)[0].starts_with("open"), opens, "{to}");
            assert_eq!(taken(&asked).len(), 1);
        }
    }

    #[test]
    fn a_raw_stream_may_speak_tls() {
        struct TlsInfo(TlsConnector, Log);
        impl StreamHandler for TlsInfo {
            fn on_connect(&mut self, stream: &mut Stream<'_>) {
                stream.start_tls(&self.0, "server.example");
                stream.write(b"GET /healthcheck HTTP/1.1\r\nHost: server.example\r\n\r\n");
            }

            fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
                let protocol = stream.tls_info().unwrap().protocol.clone();
                let status = String::from_utf8_lossy(data).lines().next().unwrap().to_owned();
                self.1.borrow_mut().push(format!("{protocol} {status}"));
            }
        }
        let of_server = secure::made(&["server.example"]);
        let mut reactor = world(&of_server, &of_server);
        let log = Log::default();
        reactor.connect_stream("server.example:443", TlsInfo(trusting(&of_server), Rc::clone(&log))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(taken(&log), ["TLSv1_3 HTTP/1.1 200 OK"]);
    }
}

#[test]
fn an_address_of_version_6_stands_in_brackets() {
    let mut reactor = reactor();
    let asked = Log::default();
    let notes = Rc::clone(&asked);
    let server = echo().on_request(move |request, _| {
        notes.borrow_mut().push(request.host().unwrap().to_owned());
        Reply::upgrade()
    });
    reactor.listen("[2001:db8::1]:8080", server).unwrap();
    let log = Log::default();
    reactor.connect("ws://[2001:db8::1]:8080/", Client::new(noting(&log))).unwrap();
    reactor.settle().unwrap();
    assert_eq!(taken(&log), ["open RFC 6455 None by [2001:db8::1]:8080"]);
    assert_eq!(taken(&asked), ["[2001:db8::1]:8080"]);
}

#[test]
fn a_resolver_that_sleeps_keeps_nobody_waiting() {
    use std::{sync::mpsc, thread};

    /// Answers in a thread, when it is told to.
    struct Sleepy(RefCell<Option<mpsc::Receiver<()>>>);
    impl Resolver for Sleepy {
        fn resolve(&self, _: &str, port: u16, answer: Answer) {
            let wake = self.0.take().unwrap();
            thread::spawn(move || {
                wake.recv().unwrap();
                answer.give(Ok(vec![([127, 0, 0, 1], port).into()]));
            });
        }
    }
    let (wake, sleeps) = mpsc::channel();
    let mut reactor = Reactor::new().unwrap();
    reactor.set_resolver(Sleepy(Some(sleeps).into()));
    let address = reactor.listen("127.0.0.1:0", echo()).unwrap().addr;
    let [slow, quick] = [Log::default(), Log::default()];
    reactor.connect(&format!("ws://slow.example:{}/", address.port()), Client::new(noting(&slow))).unwrap();
    let id = reactor.connect(&format!("ws://{address}/"), Client::new(noting(&quick))).unwrap();
    while quick.borrow().is_empty() {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    for number in 0..100 {
        reactor.hub().send(id, "meanwhile");
        while quick.borrow().len() < number + 2 {
            reactor.turn(Some(Duration::from_secs(10))).unwrap();
        }
    }
    assert_eq!(taken(&slow), [""; 0], "it sleeps");
    wake.send(()).unwrap();
    while slow.borrow().is_empty() {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    assert!(taken(&slow)[0].starts_with("open"));
}

#[cfg(unix)]
#[test]
fn a_server_may_listen_in_the_file_system() {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };
    let path = std::env::temp_dir().join(format!("ws-reactor-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            socket.read_exact(&mut octet).unwrap();
            request.extend(octet);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap().to_owned();
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        let answer =
            [head.as_bytes(), played::accept(&key).as_bytes(), b"\r\n\r\n\x81\x05hello\x88\x02\x03\xe8"].concat();
        socket.write_all(&answer).unwrap();
        // Our close frame was answered; the server ends the stream first.
        let mut closed = [0; 8];
        socket.read_exact(&mut closed).unwrap();
        (request.lines().next().unwrap().to_owned(), request.contains("\r\nHost: localhost\r\n"))
    });
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let client = |log: &Log| Client::new(noting(log).on_open(|_, _| {}));
    reactor.connect(&format!("ws+unix:{}:/chat?room=1", path.display()), client(&log)).unwrap();
    while log.borrow().len() < 2 {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    assert_eq!(taken(&log), ["message hello", "close 1000, by the peer, clean"]);
    assert_eq!(server.join().unwrap(), ("GET /chat?room=1 HTTP/1.1".to_owned(), true));
    std::fs::remove_file(&path).unwrap();
    reactor.connect(&format!("ws+unix:{}", path.display()), client(&log)).unwrap();
    reactor.turn(Some(Duration::from_secs(10))).unwrap();
    let told = taken(&log);
    assert!(told[0].starts_with(&format!("error cannot connect to {}: ", path.display())), "{told:?}");
}
