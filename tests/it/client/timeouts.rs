//! Timeouts while a client connects.

use super::*;

#[test]
fn timeout_error_names_the_step_that_took_too_long() {
    /// Never answers. The queries are kept, because a dropped query is a failure.
    #[derive(Default)]
    struct SilentResolver(RefCell<Vec<Answer>>);
    impl Resolver for SilentResolver {
        fn resolve(&self, _: &str, _: u16, answer: Answer) {
            self.0.borrow_mut().push(answer);
        }
    }
    let with_proxy = |handler| Client::new(handler).proxy("http://10.0.0.1:80".parse().unwrap());
    for (url, client, error) in [
        ("ws://name.example/", Client::new as fn(Callbacks) -> Client, "name resolution timed out"),
        ("ws://10.0.0.2/", Client::new, "connecting timed out"),
        ("ws://10.0.0.3/", with_proxy, "the proxy did not connect in time"),
        ("ws://10.0.0.1/", Client::new, "the opening handshake timed out"),
    ] {
        let mut reactor = reactor();
        reactor.set_resolver(SilentResolver::default());
        reactor.kernel_mut().silence("10.0.0.2:80".parse().unwrap());
        reactor.kernel_mut().play(SERVER.parse().unwrap());
        let log = Log::default();
        reactor.connect(url, client(recording(&log))).unwrap();
        reactor.advance(Duration::from_millis(29_999)).unwrap();
        assert_eq!(drain(&log), [""; 0], "{url}");
        reactor.advance(Duration::from_millis(1)).unwrap();
        let events = drain(&log);
        assert_eq!((events[0].as_str(), events.len()), (format!("error {error:#}").as_str(), 2), "{url}");
    }
}

// regression: the deadline of a handler was reported as a timeout of connecting.
#[test]
fn deadline_set_by_a_handler_is_not_mistaken_for_the_connect_timeout() {
    /// Sets a deadline in `on_dial` and logs when it passes.
    struct WithDeadline(Log);
    impl StreamHandler for WithDeadline {
        fn on_dial(&mut self, stream: &mut Stream<'_>) {
            let at = stream.hub().now() + Duration::from_secs(3);
            stream.set_deadline(Some(at));
        }

        fn on_deadline(&mut self, _: &mut Stream<'_>) {
            self.0.borrow_mut().push("deadline".to_owned());
        }
    }
    let mut reactor = reactor();
    reactor.kernel_mut().silence("10.0.0.2:80".parse().unwrap());
    reactor.kernel_mut().play("10.0.0.3:80".parse().unwrap());
    for to in ["10.0.0.2:80", "10.0.0.3:80"] {
        let log = Log::default();
        let settings = StreamConfig::new().connect_timeout(Duration::from_secs(5));
        reactor.hub().connect_stream_with(to, settings, WithDeadline(Rc::clone(&log))).unwrap();
        reactor.advance(Duration::from_secs(4)).unwrap();
        assert_eq!(drain(&log), ["deadline"], "{to}");
    }
}

#[cfg(feature = "tls")]
mod over_tls {
    use super::*;

    #[test]
    fn silent_wss_server_fails_with_a_tls_handshake_timeout() {
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:443".parse().unwrap());
        let log = Log::default();
        reactor
            .connect("wss://localhost/chat", Client::new(recording(&log)).tls(trusting(&secure::LOCALHOST)))
            .unwrap();
        reactor.advance(Duration::from_secs(31)).unwrap();
        assert_eq!(drain(&log)[0], "error the TLS handshake timed out");
    }

    #[test]
    fn silent_https_proxy_fails_with_a_tls_handshake_timeout() {
        let proxy_pem = secure::self_signed(&["proxy.example"]);
        let mut reactor = reactor();
        reactor.kernel_mut().play("10.0.0.1:8443".parse().unwrap());
        let log = Log::default();
        let client = Client::new(recording(&log)).proxy("https://proxy.example:8443".parse().unwrap());
        reactor.connect("ws://server.example/", client.proxy_tls(trusting(&proxy_pem))).unwrap();
        reactor.advance(Duration::from_secs(30)).unwrap();
        assert_eq!(drain(&log)[0], "error the TLS handshake timed out");
    }
}
