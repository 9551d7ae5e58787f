//! Raw streams over TLS.

use super::*;

/// Echoes all data and records the close reason; checks that `tls_info` is known.
struct TlsEcho(Rc<RefCell<String>>);

impl StreamHandler for TlsEcho {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        assert!(stream.tls_info().is_some());
        stream.write(data);
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        *self.0.borrow_mut() = reason.to_string();
    }
}

#[test]
fn raw_stream_over_tls_reports_eof_without_close_notify_as_1006() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let config = config(&LOCALHOST);
    let close_reason: Rc<RefCell<String>> = Rc::default();
    let shared = Rc::clone(&close_reason);
    let settings = StreamConfig::default();
    reactor.listen_stream_over_tls("10.0.0.1:443", config, settings, move |_| TlsEcho(Rc::clone(&shared))).unwrap();
    for truncated in [false, true] {
        let mut peer = localhost_peer(&mut reactor);
        peer.talk(&mut reactor, b"raw").unwrap();
        assert_eq!(peer.received, b"raw");
        if !truncated {
            peer.client.tls.send_close_notify();
            peer.talk(&mut reactor, b"").unwrap();
            assert!(
                peer.client.tls.process_new_packets().unwrap().peer_has_closed(),
                "close_notify is answered with close_notify"
            );
        }
        reactor.kernel_mut().finish(peer.id);
        reactor.settle().unwrap();
        let expected = if truncated { "1006, unexpected end of file" } else { "1005, by the peer, clean" };
        assert_eq!(*close_reason.borrow(), expected);
    }
}

// regression: `rustls` held data written before the handshake, and a handler that paused or closed the stream stopped
// the handshake.
#[test]
fn data_written_before_the_tls_handshake_is_sent_after_it() {
    for banner_bytes in [1, 1000, 100_000] {
        for (pauses, closes) in [(false, false), (true, false), (false, true)] {
            let mut reactor = raw_echo(&RawEcho { banner_bytes, pauses, closes, ..RawEcho::default() });
            let mut peer = localhost_peer(&mut reactor);
            peer.talk(&mut reactor, b"").unwrap();
            assert_eq!(peer.received.len(), banner_bytes, "pauses: {pauses}, closes: {closes}");
        }
    }
}

// regression: a close_notify that followed data in the same read was not reported.
#[test]
fn close_notify_after_data_in_the_same_read_is_reported() {
    let handler = RawEcho::default();
    let mut reactor = raw_echo(&handler);
    let mut peer = localhost_peer(&mut reactor);
    peer.talk(&mut reactor, b"").unwrap();
    peer.client.encrypt(&mut b"last".to_vec());
    peer.client.tls.send_close_notify();
    peer.talk(&mut reactor, b"").unwrap();
    assert_eq!(
        (peer.received.as_slice(), handler.close_reason.borrow().as_str()),
        (&b"last"[..], "1005, by the peer, clean")
    );
}

#[test]
fn plain_text_to_a_raw_stream_over_tls_is_reported_by_name_and_never_delivered() {
    #[derive(Clone)]
    struct Recorder(Rc<RefCell<Vec<String>>>);
    impl StreamHandler for Recorder {
        fn on_data(&mut self, _: &mut Stream<'_>, _: &mut [u8]) {
            self.0.borrow_mut().push("data".to_owned());
        }

        fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
            self.0.borrow_mut().push(format!("{error:#}"));
        }
    }
    for (sent, error, answer) in [
        (
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            "TLS failed: the client speaks plain HTTP to a TLS port",
            &b"HTTP/1.1 400 "[..],
        ),
        (b"EHLO mail.example\r\n", "TLS failed: the peer does not speak TLS", b""),
    ] {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let recorder = Recorder(Rc::default());
        let (events, settings) = (Rc::clone(&recorder.0), StreamConfig::default());
        let handler = move |_| recorder.clone();
        reactor.listen_stream_over_tls("10.0.0.1:443", config(&LOCALHOST), settings, handler).unwrap();
        let peer = reactor.kernel_mut().connect("10.0.0.1:443".parse().unwrap()).unwrap();
        reactor.kernel_mut().send(peer, sent);
        reactor.settle().unwrap();
        assert!(reactor.kernel_mut().is_closed(peer));
        assert_eq!(events.take(), [error]);
        let received = reactor.kernel_mut().received(peer);
        assert!(received.starts_with(answer) && received.is_empty() == answer.is_empty());
    }
}
