//! Clients behind proxies: the PROXY protocol, and headers of trusted proxies.

use ws_reactor::{
    Bind, Reactor, Reply, Server,
    net::sim::{PeerId, Sim},
    on_message,
};

use crate::support::{
    played::{SERVER, reactor},
    wire,
};

/// A server that answers each request with address and TLS of its client, and WebSockets with their address.
fn whoami() -> Server {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            let peer = ws.peer_addr().to_string();
            ws.send(&*peer);
        })
    });
    server.on_request(|request, _| match request.is_upgrade() {
        true => Reply::upgrade(),
        false => Reply::html(format!("{} {}", request.peer_addr(), request.is_secure())),
    })
}

fn serving(bind: Bind, server: Server) -> Reactor<Sim> {
    let mut reactor = reactor();
    reactor.listen(bind, server).unwrap();
    reactor
}

fn connect(reactor: &mut Reactor<Sim>, from: &str) -> PeerId {
    let to = SERVER.parse().unwrap();
    reactor.kernel_mut().connect_from(from.parse().unwrap(), to).unwrap()
}

fn send(reactor: &mut Reactor<Sim>, peer: PeerId, bytes: impl AsRef<[u8]>) -> String {
    reactor.kernel_mut().send(peer, bytes.as_ref());
    reactor.settle().unwrap();
    String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned()
}

/// The body of the response to bytes from an address.
fn body(reactor: &mut Reactor<Sim>, from: &str, bytes: impl AsRef<[u8]>) -> String {
    let peer = connect(reactor, from);
    let response = send(reactor, peer, bytes);
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned()
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

#[test]
fn trusted_proxy_tells_address_and_tls_of_its_client() {
    let server = whoami().trusted_proxies(["10.0.0.0/8"]).unwrap();
    let mut reactor = serving(SERVER.into(), server);
    for (from, headers, expected) in [
        ("10.0.0.2:5", "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n", "192.0.2.7:0 true"),
        ("10.0.0.2:5", "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7:0 false"),
        ("10.0.0.2:5", "Forwarded: for=\"[2001:db8::7]:80\";proto=https\r\n", "[2001:db8::7]:80 true"),
        ("10.0.0.2:5", "", "10.0.0.2:5 false"),
        ("192.0.2.9:5", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n", "192.0.2.9:5 false"),
    ] {
        assert_eq!(body(&mut reactor, from, get(headers)), expected, "{from} {headers}");
    }
    // Each request of a connection counts on its own.
    let peer = connect(&mut reactor, "10.0.0.2:5");
    for (headers, expected) in [("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7:0"), ("", "10.0.0.2:5")] {
        assert!(send(&mut reactor, peer, get(headers)).ends_with(&format!("{expected} false")));
    }
    // A WebSocket belongs to one client.
    let request = wire::request(ws_reactor::Version::Rfc6455, "/", "X-Forwarded-For: 192.0.2.7\r\n");
    send(&mut reactor, peer, request);
    let answer = send(&mut reactor, peer, b"\x81\x81\0\0\0\0x");
    assert!(answer.ends_with("192.0.2.7:0"), "{answer}");
}

#[test]
fn network_with_a_fault_is_refused() {
    assert!(whoami().trusted_proxies(["10.0.0.1/8"]).is_err());
    assert!(whoami().trusted_proxies(["proxy.example"]).is_err());
}

#[cfg(feature = "proxy-protocol")]
mod proxy_protocol {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use ws_reactor::{BlockList, ProxyProtocol};

    use super::*;

    const V1: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 40000 80\r\n";

    /// Version 2, over TLS at the proxy.
    const V2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\xc0\0\x02\x08\x0a\0\0\x01\x9c\x40\0\x50\x20\0\x05\x01\0\0\0\0";

    fn required() -> Bind {
        Bind::to(SERVER).proxy_protocol(ProxyProtocol::Required)
    }

    #[test]
    fn header_names_the_client_wherever_the_network_cuts_it() {
        let mut reactor = serving(required(), whoami());
        for (header, expected) in [
            (V1.as_bytes(), "192.0.2.7:40000 false"),
            (V2, "192.0.2.8:40000 true"),
            (b"PROXY UNKNOWN\r\n", "10.0.0.2:5 false"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "10.0.0.2:5 false"),
        ] {
            let bytes = [header, get("").as_bytes()].concat();
            assert_eq!(body(&mut reactor, "10.0.0.2:5", &bytes), expected);
            for cut in 1..bytes.len() {
                let peer = connect(&mut reactor, "10.0.0.2:5");
                assert_eq!(send(&mut reactor, peer, &bytes[..cut]), "", "{cut}");
                assert!(send(&mut reactor, peer, &bytes[cut..]).ends_with(expected), "{cut}");
                reactor.kernel_mut().reset(peer);
            }
        }
    }

    #[test]
    fn connection_without_a_header_is_closed_or_served_as_it_is() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&errors);
        let server = whoami().on_error(move |peer, error| log.borrow_mut().push(format!("{peer}: {error:#}")));
        let mut reactor = serving(required(), server);
        for (bytes, error) in [
            (get(""), "the connection does not begin with a PROXY protocol header"),
            ("PROXY TCP4 nonsense\r\n".to_owned(), "the PROXY protocol header is malformed"),
        ] {
            let peer = connect(&mut reactor, "10.0.0.2:5");
            assert_eq!(send(&mut reactor, peer, bytes), "");
            assert!(reactor.kernel_mut().is_closed(peer));
            assert_eq!(errors.borrow_mut().pop(), Some(format!("10.0.0.2:5: connection failed: {error}")));
        }
        assert_eq!(reactor.hub().stats().protocol_errors, 2);
        let mut reactor = serving(Bind::to(SERVER).proxy_protocol(ProxyProtocol::Optional), whoami());
        assert_eq!(body(&mut reactor, "10.0.0.2:5", get("")), "10.0.0.2:5 false");
        assert_eq!(body(&mut reactor, "10.0.0.2:5", [V1, &get("")].concat()), "192.0.2.7:40000 false");
        // `P` may be the start of a header.
        let peer = connect(&mut reactor, "10.0.0.2:5");
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(send(&mut reactor, peer, &post[..1]), "");
        assert!(send(&mut reactor, peer, &post[1..]).ends_with("10.0.0.2:5 false"));
    }

    #[test]
    fn header_has_the_time_of_a_tls_handshake() {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&errors);
        let server = whoami().on_error(move |_, error| log.borrow_mut().push(error.to_string()));
        let mut reactor = serving(required(), server);
        let (silent, slow) = (connect(&mut reactor, "10.0.0.2:5"), connect(&mut reactor, "10.0.0.2:6"));
        for octet in V1.bytes().take(9) {
            send(&mut reactor, slow, [octet]);
            reactor.advance(Duration::from_secs(1)).unwrap();
        }
        assert!(!reactor.kernel_mut().is_closed(slow));
        reactor.advance(Duration::from_secs(1)).unwrap();
        assert!(reactor.kernel_mut().is_closed(slow) && reactor.kernel_mut().is_closed(silent));
        assert_eq!(errors.borrow().len(), 1, "one of them has sent something: {errors:?}");
    }

    #[test]
    fn rules_concern_the_client() {
        let list = BlockList::new();
        let mut reactor = serving(required().block_list(&list).connections_per_address(2), whoami());
        list.block("192.0.2.8".parse::<std::net::IpAddr>().unwrap());
        let blocked = connect(&mut reactor, "10.0.0.2:5");
        assert_eq!(send(&mut reactor, blocked, [V2, get("").as_bytes()].concat()), "");
        assert!(reactor.kernel_mut().is_closed(blocked));
        let request = [V1, &get("")].concat();
        let peers: Vec<PeerId> = (0..3).map(|_| connect(&mut reactor, "10.0.0.2:5")).collect();
        let answered = peers.iter().map(|peer| !send(&mut reactor, *peer, &request).is_empty());
        assert_eq!(answered.collect::<Vec<_>>(), [true, true, false]);
        reactor.kernel_mut().reset(peers[0]);
        reactor.settle().unwrap();
        assert_eq!(body(&mut reactor, "10.0.0.2:5", &request), "192.0.2.7:40000 false");
        assert_eq!(reactor.hub().stats().turned_away, 2);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_follows_the_header() {
        use crate::support::secure::{self, Peer};
        let mut reactor = serving(required(), secure::server(whoami()));
        let mut first = None;
        for (cut, mode) in [(V1.len(), "apart"), (V1.len() - 1, "with TLS"), (3, "cut"), (0, "at once")] {
            let mut peer = Peer::at(SERVER, &mut reactor, secure::trust(&secure::LOCALHOST), "localhost");
            reactor.kernel_mut().send(peer.id, &V1.as_bytes()[..cut]);
            reactor.settle().unwrap();
            let hello = [&V1.as_bytes()[cut..], &peer.output()].concat();
            reactor.kernel_mut().send(peer.id, &hello);
            peer.talk(&mut reactor, get("").as_bytes()).unwrap();
            let text = String::from_utf8(peer.received.clone()).unwrap();
            assert!(text.ends_with("192.0.2.7:40000 true"), "{mode}: {text}");
            first.get_or_insert(peer);
        }
        // A client that speaks no TLS is told so, as without a header.
        let peer = connect(&mut reactor, "10.0.0.2:5");
        let answer = send(&mut reactor, peer, [V1, &get("")].concat());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    // regression: what a handler writes when the connection is handed over to it left as plaintext.
    #[cfg(feature = "tls")]
    #[test]
    fn greeting_of_a_raw_stream_behind_a_header_is_encrypted() {
        use crate::support::secure::{self, Peer};

        struct Greeter;
        impl ws_reactor::StreamHandler for Greeter {
            fn on_connect(&mut self, stream: &mut ws_reactor::Stream<'_>) {
                stream.write(b"220 ready");
            }
        }

        let mut reactor = Reactor::on(Sim::new(), ws_reactor::ReactorConfig::default());
        let pem = &secure::LOCALHOST;
        let tls = ws_reactor::TlsConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()).unwrap();
        let config = ws_reactor::StreamConfig::default();
        reactor.listen_stream_over_tls(required(), tls, config, |_| Greeter).unwrap();
        let mut peer = Peer::at(SERVER, &mut reactor, secure::trust(pem), "localhost");
        reactor.kernel_mut().send(peer.id, V1.as_bytes());
        reactor.settle().unwrap();
        assert_eq!(reactor.kernel_mut().received(peer.id), b"");
        peer.talk(&mut reactor, b"").unwrap();
        assert_eq!(peer.received, b"220 ready");
    }

    #[test]
    fn raw_streams_have_the_address_of_the_client() {
        struct Greeter;
        impl ws_reactor::StreamHandler for Greeter {
            fn on_connect(&mut self, stream: &mut ws_reactor::Stream<'_>) {
                let peer = stream.peer_addr().to_string();
                stream.write(peer.as_bytes());
            }
            fn on_data(&mut self, stream: &mut ws_reactor::Stream<'_>, data: &mut [u8]) {
                stream.write(data);
            }
        }
        let mut reactor = reactor();
        reactor.listen_stream(required(), |_| Greeter).unwrap();
        let peer = connect(&mut reactor, "10.0.0.2:5");
        assert_eq!(send(&mut reactor, peer, [V1, " data"].concat()), "192.0.2.7:40000 data");
    }
}
