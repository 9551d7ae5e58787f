//! Proxies: CONNECT, SOCKS5, and proxies that are reached over TLS.

use super::*;
use ws_reactor::Proxy;

#[test]
fn client_with_proxy_sends_connect_first_then_the_handshake_to_the_server() {
    for (proxy, replies, request_start) in [
        ("http://proxy.example:3128", &[&b"HTTP/1.1 200 OK\r\n\r\n"[..]][..], "CONNECT 10.0.0.1:80 HTTP/1.1"),
        ("socks5://proxy.example:3128", &[b"\x05\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0"], "\u{5}\u{1}\0"),
    ] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let (address, resolver, log) = ("10.3.3.3:3128".parse().unwrap(), ManualResolver::default(), Log::default());
        reactor.kernel_mut().play(address);
        reactor.set_resolver(resolver.clone());
        let client = Client::new(recording(&log)).proxy(proxy.parse::<Proxy>().unwrap());
        let id = reactor.connect(URL, client).unwrap();
        reactor.settle().unwrap();
        assert_eq!(resolver.0.borrow()[0].0, "proxy.example:3128", "only the name of the proxy is resolved");
        resolver.answer(Ok(&["10.3.3.3:3128"]));
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let received = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
        assert!(received.starts_with(request_start), "{received:?}");
        for reply in replies {
            reactor.kernel_mut().send(peer, reply);
            reactor.settle().unwrap();
        }
        let request = String::from_utf8_lossy(&reactor.kernel_mut().received(peer)).into_owned();
        let request = request[request.find("GET ").unwrap()..].to_owned();
        assert!(request.starts_with("GET /chat?room=1 HTTP/1.1\r\n") && request.contains("\r\nHost: 10.0.0.1\r\n"));
        let mut server = FakeServer { reactor, peer, id, log, request };
        let response = server.response("");
        assert_eq!(server.send(response), ["open RFC 6455 None via 10.3.3.3:3128"]);
    }
    // A proxy that refuses.
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.3.3.3:8080".parse().unwrap());
    let log = Log::default();
    let proxy = "http://10.3.3.3".parse::<Proxy>().unwrap();
    reactor.connect(URL, Client::new(recording(&log)).proxy(proxy)).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    reactor.kernel_mut().send(peer, b"HTTP/1.1 403 Forbidden\r\n\r\n");
    reactor.settle().unwrap();
    assert_eq!(drain(&log)[0], "error the proxy responded with 403 Forbidden");
}

/// The client's side of an HTTP proxy that relays bytes (EventMachine's `enable_proxy`).
#[derive(Default)]
struct ProxyDownstream {
    request: Vec<u8>,
    upstream: Option<ConnectionId>,
}

/// The server's side, with the id of the client's side.
struct ProxyUpstream(ConnectionId);

impl StreamHandler for ProxyDownstream {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        if let Some(upstream) = self.upstream {
            stream.hub().write(upstream, data);
            return;
        }
        self.request.extend_from_slice(data);
        if self.request.ends_with(b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&self.request).into_owned();
            let target = request.split(' ').nth(1).unwrap().to_owned();
            let downstream = stream.id();
            self.upstream = stream.hub().connect_stream(&target, ProxyUpstream(downstream)).ok();
        }
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        if let Some(upstream) = self.upstream {
            stream.hub().close(upstream, CloseCode::NORMAL, "");
        }
    }
}

impl StreamHandler for ProxyUpstream {
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
fn proxy_built_from_raw_streams_carries_every_version() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = reactor();
        reactor.listen(SERVER, echo()).unwrap();
        reactor.listen_stream("10.0.0.1:8080", |_| ProxyDownstream::default()).unwrap();
        let log = Log::default();
        let client = Client::new(recording(&log)).version(version).proxy("http://proxy.example".parse().unwrap());
        let id = reactor.connect("ws://a.example/", client).unwrap();
        reactor.settle().unwrap();
        reactor.hub().send(id, "hello");
        reactor.settle().unwrap();
        assert_eq!(drain(&log)[1..], ["message hello"], "{version}");
        reactor.hub().close(id, CloseCode::NORMAL, "");
        reactor.advance(Duration::from_secs(20)).unwrap();
        assert_eq!(reactor.hub().stats().connections, 0, "{version}");
    }
}

#[cfg(feature = "tls")]
mod over_tls {
    use super::*;

    /// An HTTPS proxy on port 8443, a plain server on port 80, and a server over TLS on port 443.
    fn reactor_with_https_proxy(server_pem: &secure::Pem, proxy_pem: &secure::Pem) -> Reactor<Sim> {
        let mut reactor = reactor();
        reactor.listen(SERVER, echo()).unwrap();
        reactor.listen("10.0.0.1:443", echo().tls(presenting(server_pem))).unwrap();
        let proxy = |_| ProxyDownstream::default();
        reactor.listen_stream_over_tls("10.0.0.1:8443", presenting(proxy_pem), StreamConfig::default(), proxy).unwrap();
        reactor
    }

    #[test]
    fn https_proxy_carries_plain_websockets_and_tls_within_tls() {
        let (server_pem, proxy_pem) =
            (secure::self_signed(&["server.example"]), secure::self_signed(&["proxy.example"]));
        for url in ["ws://server.example/", "wss://server.example/"] {
            let mut reactor = reactor_with_https_proxy(&server_pem, &proxy_pem);
            let log = Log::default();
            let over_tls = Log::default();
            let recorded = Rc::clone(&over_tls);
            let handler = recording(&log).on_open(move |_, handshake| {
                recorded.borrow_mut().push(format!("{}", handshake.tls_info().is_some()));
            });
            let client = Client::new(handler).proxy("https://proxy.example:8443".parse().unwrap());
            let client = client.tls(trusting(&server_pem)).proxy_tls(trusting(&proxy_pem));
            let id = reactor.connect(url, client).unwrap();
            reactor.settle().unwrap();
            assert_eq!(drain(&over_tls), [format!("{}", url.starts_with("wss"))], "{url}: {:?}", drain(&log));
            for length in [5, 1 << 20] {
                let text = "x".repeat(length);
                reactor.hub().send(id, &text);
                reactor.settle().unwrap();
                assert_eq!(drain(&log), [format!("message {}", Message::Text(&text))], "{url}");
            }
            reactor.hub().close(id, CloseCode::NORMAL, "");
            reactor.advance(Duration::from_secs(20)).unwrap();
            assert_eq!(drain(&log), ["close 1000, by the application, clean"]);
            assert_eq!(reactor.hub().stats().connections, 0);
        }
    }

    #[test]
    fn certificates_of_proxy_and_server_are_verified_against_their_own_names_and_roots() {
        let (server_pem, proxy_pem) =
            (secure::self_signed(&["server.example"]), secure::self_signed(&["proxy.example"]));
        for (tls, proxy_tls) in [(&server_pem, &server_pem), (&proxy_pem, &proxy_pem), (&proxy_pem, &server_pem)] {
            let mut reactor = reactor_with_https_proxy(&server_pem, &proxy_pem);
            let log = Log::default();
            let client = Client::new(recording(&log)).proxy("https://proxy.example:8443".parse().unwrap());
            let client = client.tls(trusting(tls)).proxy_tls(trusting(proxy_tls));
            reactor.connect("wss://server.example/", client).unwrap();
            reactor.settle().unwrap();
            let events = drain(&log);
            assert!(events[0].contains("invalid peer certificate") && events.len() == 2, "{events:?}");
        }
    }

    #[test]
    fn https_proxy_that_speaks_plain_http_is_named_in_the_error() {
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:8443".parse().unwrap());
        let log = Log::default();
        let client = Client::new(recording(&log)).proxy("https://proxy.example:8443".parse().unwrap());
        reactor.connect("ws://server.example/", client.proxy_tls(trusting(&secure::LOCALHOST))).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        reactor.kernel_mut().send(peer, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        reactor.settle().unwrap();
        let events = drain(&log);
        assert!(events[0].starts_with("error TLS failed: the server speaks plain HTTP, not TLS;"), "{events:?}");
        assert!(
            events[0].ends_with("(the URL of a proxy: http)") && events[1] == "close 1006, TLS failed",
            "{events:?}"
        );
    }
}
