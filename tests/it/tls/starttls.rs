//! TLS that begins in the middle of a raw stream, and its end in one direction, between two handlers over loopback.

use std::{cell::Cell, time::Instant};

use ws_reactor::{SendStatus, TlsConnector, Turn};

use super::*;

/// What the two sides have seen.
#[derive(Default)]
struct Seen {
    by_server: Vec<String>,
    by_client: Vec<String>,
}

type Shared = Rc<RefCell<Seen>>;

/// Starts TLS at the word STARTTLS; echoes afterwards, and ends its output at the word end.
struct MailServer {
    tls: TlsAcceptor,
    seen: Shared,
    /// Bytes written before the answer to STARTTLS.
    banner_bytes: usize,
}

impl StreamHandler for MailServer {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        self.seen.borrow_mut().by_server.push(text.clone());
        if let Some(injected) = text.strip_prefix("STARTTLS\r\n") {
            stream.write(&vec![b'b'; self.banner_bytes]);
            stream.write(b"220 ready\r\n");
            stream.start_tls_as_server(&self.tls);
            // Behind the handshake.
            stream.write(b"greeting");
            stream.unread(injected.len());
        } else {
            assert!(stream.tls_info().is_some());
            stream.write(data);
            if text == "end" {
                assert_eq!(stream.end_output(), SendStatus::Queued);
            }
        }
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.seen.borrow_mut().by_server.push(format!("{error:#}"));
    }
}

struct MailClient {
    tls: TlsConnector,
    seen: Shared,
    /// Sent right behind the word STARTTLS.
    injected: &'static str,
    is_ready: bool,
}

impl StreamHandler for MailClient {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.write(b"STARTTLS\r\n");
        stream.write(self.injected.as_bytes());
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let text = String::from_utf8_lossy(data).into_owned();
        if !self.is_ready && text.ends_with("220 ready\r\n") {
            self.is_ready = true;
            stream.start_tls(&self.tls, "localhost");
            stream.write(b"secret");
        } else if text.ends_with("secret") {
            stream.write(b"end");
        }
        self.seen.borrow_mut().by_client.push(text);
    }

    fn on_end(&mut self, stream: &mut Stream<'_>) {
        self.seen.borrow_mut().by_client.push("end of input".to_owned());
        stream.write(b"after the end");
        stream.close();
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, reason: &CloseReason) {
        self.seen.borrow_mut().by_client.push(reason.to_string());
        stream.hub().stop();
    }
}

/// Plays a client and a server until the client's connection has ended.
fn play(banner_bytes: usize, injected: &'static str) -> Seen {
    let mut reactor = Reactor::new().unwrap();
    let seen = Shared::default();
    let (tls, of_server) = (TlsAcceptor::from(config(&LOCALHOST)), Rc::clone(&seen));
    let factory = move |_| MailServer { tls: tls.clone(), seen: Rc::clone(&of_server), banner_bytes };
    let addr = reactor.listen_stream("127.0.0.1:0", factory).unwrap().addr;
    let tls = TlsConnector::from(secure::trust(&LOCALHOST));
    let client = MailClient { tls, seen: Rc::clone(&seen), injected, is_ready: false };
    let half_open = StreamConfig::new().allow_half_open(true);
    reactor.hub().connect_stream_with(&addr.to_string(), half_open, client).unwrap();
    let (until, ended) = (Instant::now() + Duration::from_secs(20), Cell::new(false));
    while !ended.get() {
        assert!(Instant::now() < until, "the connection does not end");
        ended.set(reactor.turn(Some(Duration::from_millis(10))).unwrap() == Turn::Stopped);
    }
    drop(reactor);
    Rc::into_inner(seen).unwrap().into_inner()
}

#[test]
fn server_starts_tls_in_mid_stream_and_ends_its_output_before_its_input() {
    for banner_bytes in [0, 10_000] {
        let Seen { by_server, by_client } = play(banner_bytes, "");
        assert_eq!(by_server, ["STARTTLS\r\n", "secret", "end", "after the end"]);
        let [received @ .., end, end_of_input, reason] = &by_client[..] else { panic!("{by_client:?}") };
        let expected = "b".repeat(banner_bytes) + "220 ready\r\ngreetingsecret";
        assert_eq!(received.concat(), expected, "what was written before is plaintext, and ends a read");
        assert_eq!([end, end_of_input], ["end", "end of input"]);
        assert_eq!(reason, "1005, by the application, clean");
    }
}

// CVE-2011-0411: what an attacker has put behind the word must not pass for input received within TLS.
#[test]
fn input_behind_the_word_starttls_ends_the_connection() {
    let Seen { by_server, .. } = play(0, "injected");
    assert_eq!(by_server, ["STARTTLS\r\ninjected", "TLS failed: input arrived before the TLS handshake"]);
}

#[test]
fn output_before_tls_that_the_system_does_not_take_ends_the_connection() {
    let Seen { by_server, .. } = play(10_000_000, "");
    assert_eq!(by_server, ["STARTTLS\r\n", "connection failed: output before TLS was not taken by the system"]);
}

#[test]
fn input_that_waits_when_tls_starts_in_another_callback_ends_the_connection() {
    /// Keeps what is behind the word, and starts TLS later.
    struct Later(TlsAcceptor, Shared);

    impl StreamHandler for Later {
        fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
            self.1.borrow_mut().by_server.push(String::from_utf8_lossy(data).into_owned());
            stream.unread(data.len() - 10);
            stream.pause();
            stream.set_timer(Duration::from_millis(1));
        }

        fn on_timer(&mut self, stream: &mut Stream<'_>, _: ws_reactor::TimerId) {
            stream.start_tls_as_server(&self.0);
            stream.resume();
        }

        fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
            self.1.borrow_mut().by_server.push(format!("{error:#}"));
            stream.hub().stop();
        }
    }

    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let seen = Shared::default();
    let (tls, shared) = (TlsAcceptor::from(config(&LOCALHOST)), Rc::clone(&seen));
    reactor.listen_stream("10.0.0.1:25", move |_| Later(tls.clone(), Rc::clone(&shared))).unwrap();
    let peer = reactor.kernel_mut().connect("10.0.0.1:25".parse().unwrap()).unwrap();
    reactor.kernel_mut().send(peer, b"STARTTLS\r\ninjected");
    reactor.advance(Duration::from_secs(1)).unwrap();
    let expected = ["STARTTLS\r\ninjected", "TLS failed: input arrived before the TLS handshake"];
    assert_eq!(seen.borrow().by_server, expected);
}
