//! Raw streams that a client opens.

use super::*;

/// Logs its events, sends a greeting when connected, and closes on the first data.
struct Greeting {
    log: Log,
    text: &'static [u8],
}

impl StreamHandler for Greeting {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.log.borrow_mut().push(format!("connected to {}", stream.peer_addr()));
        stream.write(self.text);
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
fn raw_stream_connects_to_addresses_and_names_and_reports_failures() {
    /// Echoes with a prefix.
    struct Prefixing;
    impl StreamHandler for Prefixing {
        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            stream.write(&[b"received: ", &*data].concat());
        }
    }
    let mut reactor = reactor();
    reactor.listen_stream("10.0.0.1:43", |_| Prefixing).unwrap();
    reactor.kernel_mut().silence("10.0.0.2:43".parse().unwrap());
    let log = Log::default();
    let greeting = |text| Greeting { log: Rc::clone(&log), text };
    for to in ["10.0.0.1:43", "whois.example:43"] {
        let id = reactor.connect_stream(to, greeting(b"hello")).unwrap();
        assert!(reactor.hub().write(id, b"first, ").is_queued());
        reactor.settle().unwrap();
        let events = drain(&log);
        assert_eq!(events[..2], ["connected to 10.0.0.1:43", "data received: first, hello"], "{to}");
        assert!(events[2].contains("by the application") && events.len() == 3, "{events:?}");
    }
    for (to, seconds, error) in [
        ("10.0.0.1:44", 0, "cannot connect to 10.0.0.1:44: connection refused"),
        ("10.0.0.2:43", 3, "connecting timed out"),
    ] {
        let settings = StreamConfig::new().connect_timeout(Duration::from_secs(3));
        reactor.hub().connect_stream_with(to, settings, greeting(b"")).unwrap();
        reactor.advance(Duration::from_secs(seconds)).unwrap();
        let events = drain(&log);
        assert_eq!((events[0].as_str(), events.len()), (format!("error {error:#}").as_str(), 2), "{to}");
    }
    // The connect timeout does not apply to an open stream.
    let id = reactor.connect_stream("10.0.0.1:43", greeting(b"")).unwrap();
    reactor.advance(Duration::from_secs(3600)).unwrap();
    assert!(reactor.hub().is_open(id));
    for invalid in ["10.0.0.1", "10.0.0.1:x", ":1"] {
        assert!(reactor.connect_stream(invalid, greeting(b"")).is_err(), "{invalid}");
    }
}

#[cfg(feature = "tls")]
mod over_tls {
    use super::*;

    #[test]
    fn raw_stream_that_starts_tls_in_on_connect_exchanges_data_over_tls() {
        /// Starts TLS when connected, sends a request, and logs the TLS version and the status line.
        struct StartingTls(TlsConnector, Log);
        impl StreamHandler for StartingTls {
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
        let server_pem = secure::self_signed(&["server.example"]);
        let mut reactor = reactor();
        reactor.listen("10.0.0.1:443", echo().tls(presenting(&server_pem))).unwrap();
        let log = Log::default();
        reactor
            .connect_stream("server.example:443", StartingTls(trusting(&server_pem).into(), Rc::clone(&log)))
            .unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["TLSv1_3 HTTP/1.1 200 OK"]);
    }

    // regression: bytes that an attacker appended to the plaintext were read as data of the TLS session.
    #[test]
    fn plaintext_unread_when_tls_starts_fails_the_stream() {
        /// A STARTTLS client that returns to the stream what follows the greeting.
        struct StartTls(Log);
        impl StreamHandler for StartTls {
            fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
                self.0.borrow_mut().push(format!("data {}", data.escape_ascii()));
                if let Some(rest) = data.strip_prefix(b"220 go\r\n") {
                    stream.start_tls(&without_verification(), "mail.example");
                    stream.unread(rest.len());
                }
            }

            fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
                self.0.borrow_mut().push(format!("error {error:#}"));
            }
        }
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:25".parse().unwrap());
        let log = Log::default();
        reactor.connect_stream("mail.example:25", StartTls(Rc::clone(&log))).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        reactor.kernel_mut().send(peer, b"220 go\r\nEVIL");
        reactor.settle().unwrap();
        let events = drain(&log);
        assert_eq!(events, ["data 220 go\\r\\nEVIL", "error TLS failed: input arrived before the TLS handshake"]);
    }

    // regression: a second call was accepted before the first handshake was complete.
    #[test]
    fn second_start_tls_during_the_tls_handshake_is_an_error() {
        struct Twice(Log);
        impl StreamHandler for Twice {
            fn on_connect(&mut self, stream: &mut Stream<'_>) {
                stream.start_tls(&without_verification(), "outer.example");
                stream.start_tls(&without_verification(), "inner.example");
            }

            fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
                self.0.borrow_mut().push(format!("{error:#}"));
            }
        }
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        let log = Log::default();
        reactor.connect_stream("10.0.0.1:443", Twice(Rc::clone(&log))).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["connection failed: a TLS handshake is already in progress"]);
    }

    #[test]
    fn server_that_speaks_plain_text_after_start_tls_is_reported() {
        struct StartTls(Log);
        impl StreamHandler for StartTls {
            fn on_connect(&mut self, stream: &mut Stream<'_>) {
                stream.start_tls(&without_verification(), "mail.example");
            }

            fn on_data(&mut self, _: &mut Stream<'_>, _: &mut [u8]) {
                self.0.borrow_mut().push("data".to_owned());
            }

            fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
                self.0.borrow_mut().push(format!("{error:#}"));
            }
        }
        for (answer, error) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "TLS failed: the server speaks plain HTTP, not TLS;"),
            (b"220 mail.example ESMTP\r\n", "TLS failed: the peer does not speak TLS"),
        ] {
            let mut reactor = reactor();
            reactor.kernel_mut().play("10.0.0.1:25".parse().unwrap());
            let log = Log::default();
            reactor.connect_stream("mail.example:25", StartTls(Rc::clone(&log))).unwrap();
            reactor.settle().unwrap();
            let (peer, _) = reactor.kernel_mut().dialed().unwrap();
            reactor.kernel_mut().send(peer, answer);
            reactor.settle().unwrap();
            let events = drain(&log);
            assert!(events.len() == 1 && events[0].starts_with(error), "{events:?}");
        }
    }
}
