//! Messages, control frames and the close of open connections.

use super::*;

#[test]
fn every_version_opens_echoes_pings_and_closes_with_a_server_of_this_crate() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = reactor_serving(echo().subprotocols(["b"]));
        let log = Log::default();
        let id = reactor.connect(URL, Client::new(recording(&log)).version(version).subprotocols(["a", "b"])).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log), [format!("open {version} Some(\"b\") via 10.0.0.1:80")]);
        for text in ["hello", "", &"Zwölf Boxkämpfer ".repeat(10_000)] {
            assert!(reactor.hub().send(id, text).is_queued());
            reactor.settle().unwrap();
            assert_eq!(drain(&log), [format!("message {}", Message::Text(text))], "{version}");
        }
        if version.supports_ping() {
            reactor.hub().ping(id, b"there?");
            reactor.hub().send(id, b"\x00\xff");
            reactor.settle().unwrap();
            assert_eq!(drain(&log), ["pong there?", "message \\x00\\xff"], "{version}");
        }
        reactor.hub().close(id, CloseCode::NORMAL, "done");
        reactor.advance(Duration::from_secs(20)).unwrap();
        let closed = drain(&log);
        assert!(closed.len() == 1 && closed[0].starts_with("close "), "{version}: {closed:?}");
        assert_eq!(reactor.hub().stats().connections, 0, "{version}");
    }
}

#[cfg(feature = "deflate")]
#[test]
fn messages_are_compressed_both_ways_if_both_peers_enable_deflate() {
    use ws_reactor::DeflateConfig;
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut reactor = reactor_serving(echo().deflate(DeflateConfig::dedicated()));
        let log = Log::default();
        let id = reactor.connect(URL, Client::new(recording(&log)).deflate(config)).unwrap();
        reactor.settle().unwrap();
        drain(&log);
        let before = reactor.hub().stats().bytes_in;
        for number in 0..50 {
            let text = format!("{{\"number\":{number},\"text\":\"{}\"}}", "all the same ".repeat(30 + number));
            reactor.hub().send(id, &text);
            reactor.settle().unwrap();
            assert_eq!(drain(&log), [format!("message {}", Message::Text(&text))]);
        }
        let stats = reactor.hub().stats();
        assert!(stats.bytes_in - before < 10_000, "{} bytes in both directions", stats.bytes_in - before);
        assert_eq!(stats.compressions, 100);
    }
}

#[test]
fn masked_frame_from_a_server_fails_the_connection_with_1002() {
    let mut server = FakeServer::dialed_by(Client::new);
    let response = server.response("");
    server.send(response);
    let events = server.send(b"\x81\x81\0\0\0\0x");
    assert_eq!(events, ["error protocol error: frame masked"]);
    server.reactor.kernel_mut().finish(server.peer);
    server.reactor.settle().unwrap();
    assert_eq!(drain(&server.log), ["close 1002 (frame masked), frame masked"]);
}

#[test]
fn close_by_either_peer_is_clean_and_reports_code_and_origin() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            ws.close(CloseCode::new(4000), "enough");
        })
    });
    let mut reactor = reactor_serving(server);
    let log = Log::default();
    let id = reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    reactor.hub().send(id, "go");
    reactor.settle().unwrap();
    assert_eq!(drain(&log)[1..], ["close 4000 (enough), by the peer, clean"]);
    let id = reactor.connect(URL, Client::new(recording(&log))).unwrap();
    reactor.settle().unwrap();
    reactor.hub().close(id, CloseCode::new(3000), "");
    reactor.settle().unwrap();
    assert_eq!(drain(&log)[1..], ["close 3000, by the application, clean"]);
    assert_eq!(reactor.hub().stats().connections, 0);
}
