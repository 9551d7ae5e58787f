//! The opening handshake of a client: its request, the responses that open it, and refusals.

use super::*;
use crate::support::played::accept_key;

#[test]
fn request_carries_the_configured_subprotocols_origin_and_headers() {
    let client = |handler| {
        Client::new(handler)
            .subprotocols(["a", "b"])
            .origin("https://example.com".parse().unwrap())
            .header("x-token".parse().unwrap(), "secret".parse().unwrap())
            .header("host".parse().unwrap(), "virtual.example".parse().unwrap())
    };
    let server = FakeServer::dialed_by(client);
    assert!(server.request.starts_with("GET /chat?room=1 HTTP/1.1\r\n") && server.request.ends_with("\r\n\r\n"));
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
        assert_eq!(server.header(name), value, "{name}");
    }
    assert_eq!(server.header("Sec-WebSocket-Key").len(), 24);
}

#[test]
fn subprotocol_offer_that_is_not_a_token_or_repeats_is_an_error() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    for bad in [&["a\r\nX: y"][..], &["a, b"], &[""], &["a", "b", "a"]] {
        let client = Client::new(Callbacks::new()).subprotocols(bad.iter().copied());
        let error = reactor.connect(URL, client).unwrap_err();
        assert!(matches!(error, ConnectError::Subprotocol(_)), "{bad:?}");
    }
}

#[test]
fn send_before_the_response_is_unsupported_and_writes_nothing() {
    let mut server = FakeServer::dialed_by(Client::new);
    assert!(server.request.ends_with("\r\n\r\n"), "{}", server.request);
    let (hub, id) = (server.reactor.hub(), server.id);
    assert_eq!([hub.send(id, "early"), hub.ping(id, b""), hub.write(id, b"early")], [SendStatus::Unsupported; 3]);
    server.reactor.settle().unwrap();
    assert_eq!(server.reactor.kernel_mut().received(server.peer), b"");
    let response = server.response("");
    server.send(response);
    assert_eq!(server.reactor.hub().send(id, "now"), SendStatus::Queued);
}

#[test]
fn valid_response_opens_and_the_frame_behind_it_in_the_same_read_is_delivered() {
    let mut server = FakeServer::dialed_by(|handler| Client::new(handler).subprotocols(["a", "b"]));
    let response = [server.response("Sec-WebSocket-Protocol: b\r\n").as_bytes(), b"\x81\x05Hello"].concat();
    let events = server.send(response);
    assert_eq!(events, ["open RFC 6455 Some(\"b\") via 10.0.0.1:80", "message Hello"]);
    // The client masks each frame with a fresh key.
    for _ in 0..2 {
        server.reactor.hub().send(server.id, "Hello");
    }
    server.reactor.settle().unwrap();
    let frames = server.reactor.kernel_mut().received(server.peer);
    let [first, second] = [&frames[..11], &frames[11..]];
    for frame in [first, second] {
        assert_eq!(frame[..2], [0x81, 0x85]);
        let payload: Vec<u8> =
            frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(payload, b"Hello");
    }
    assert_ne!(first[2..6], second[2..6]);
}

#[test]
fn response_in_single_bytes_behind_an_interim_response_opens_the_connection() {
    let mut server = FakeServer::dialed_by(Client::new);
    let response = format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{}", server.response(""));
    let mut events = Vec::new();
    for byte in response.bytes() {
        events.extend(server.send([byte]));
    }
    assert_eq!(events, ["open RFC 6455 None via 10.0.0.1:80"]);
}

#[test]
fn response_that_breaks_any_rule_of_the_handshake_fails_the_connection() {
    fn valid(server: &FakeServer) -> String {
        server.response("")
    }
    type Response = dyn Fn(&FakeServer) -> String;
    let cases: &[(&str, &Response)] = &[
        ("HTTP/1.1", &|server| valid(server).replace("HTTP/1.1", "HTTP/1.0")),
        ("Accept", &|server| valid(server).replace("Accept: ", "Accept: x")),
        ("Accept", &|server| valid(server).replace("Sec-WebSocket-Accept", "X")),
        ("Accept", &|server| server.response(&format!("Sec-WebSocket-Accept: {}\r\n", accept_key("x")))),
        ("upgrade", &|server| valid(server).replace("Upgrade: websocket", "Upgrade: h2c")),
        ("upgrade", &|server| valid(server).replace("Upgrade: websocket\r\n", "")),
        ("Connection", &|server| valid(server).replace("Connection: Upgrade", "Connection: close")),
        ("subprotocol", &|server| server.response("Sec-WebSocket-Protocol: c\r\n")),
        ("subprotocol", &|server| server.response("Sec-WebSocket-Protocol: a, b\r\n")),
        ("subprotocol", &|server| server.response("Sec-WebSocket-Protocol:\r\n")),
        ("subprotocol", &|server| server.response("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n")),
        ("extension", &|server| server.response("Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("extension", &|server| server.response("Sec-WebSocket-Extensions: \r\n")),
        ("responded with 200", &|_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("head too large", &|_| format!("HTTP/1.1 101 Yes\r\nX: {}", "x".repeat(20_000))),
        ("too many headers", &|_| format!("HTTP/1.1 101 Yes\r\n{}\r\n", "X: y\r\n".repeat(200))),
        ("not HTTP/1", &|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()),
        ("bare CR or LF", &|_| "HTTP/1.1 101 Yes\n\n".to_owned()),
        ("responded with 100", &|_| "HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
    ];
    for (error, response) in cases {
        let mut server = FakeServer::dialed_by(|handler| Client::new(handler).subprotocols(["a", "b"]));
        let response = response(&server);
        let events = server.send(&response);
        let reported_once = events.len() == 2 && events[0].starts_with("error ") && events[0].contains(error);
        assert!(reported_once && events[1].starts_with("close 1006"), "{error}: {events:?}");
        assert!(server.reactor.kernel_mut().is_closed(server.peer));
    }
}

#[test]
fn empty_subprotocol_header_of_a_response_counts_as_none_if_the_client_is_lenient() {
    type Configure = fn(Client) -> Client;
    let lenient: [Configure; 2] = [
        |client| client.lenient_subprotocol(true),
        |client| client.configure(|config| *config = ClientConfig::new().lenient_subprotocol(true)),
    ];
    for (configure, line) in lenient.into_iter().zip(["Sec-WebSocket-Protocol:\r\n", "Sec-WebSocket-Protocol: \t\r\n"])
    {
        for offered in [&[][..], &["a", "b"]] {
            let dial = |handler| configure(Client::new(handler).subprotocols(offered.iter().copied()));
            let mut server = FakeServer::dialed_by(dial);
            let response = server.response(line);
            assert_eq!(server.send(response), ["open RFC 6455 None via 10.0.0.1:80"], "{line:?}");
        }
        let mut server = FakeServer::dialed_by(|handler| configure(Client::new(handler).subprotocols(["a"])));
        let response = server.response("Sec-WebSocket-Protocol: c\r\n");
        let failed = "error opening handshake failed: the server chose a subprotocol that was not offered";
        assert_eq!(server.send(response)[0], failed);
    }
}

// regression: the error for a bad response was that for a bad request.
#[test]
fn unreadable_response_is_reported_as_a_response() {
    let mut server = FakeServer::dialed_by(Client::new);
    let events = server.send("SSH-2.0-x\r\n\r\n");
    assert_eq!(events[0], "error opening handshake failed: the response cannot be read: not HTTP/1");
}

#[test]
fn refusal_reports_its_status_headers_and_the_received_part_of_its_body() {
    let refusals: Rc<RefCell<Vec<(u16, String, usize)>>> = Rc::default();
    let endings = ["Content-Length: 9\r\n\r\nforbidden", "\r\nforbidden", "Content-Length: 9\r\n\r\nforb"];
    for (index, ending) in endings.into_iter().enumerate() {
        let recorded = Rc::clone(&refusals);
        let mut server = FakeServer::dialed_by(move |_| {
            Client::new(Callbacks::new().on_error(move |_, error| {
                let Error::Refused(refusal) = error else { panic!("{error}") };
                let reason = refusal.headers["x-why"].to_str().unwrap().to_owned();
                recorded.borrow_mut().push((refusal.status.as_u16(), reason, refusal.body.len()));
            }))
        });
        server.send(format!("HTTP/1.1 403 Forbidden\r\nX-Why: no\r\n{ending}"));
        server.reactor.kernel_mut().finish(server.peer);
        server.reactor.settle().unwrap();
        assert_eq!(refusals.take(), [(403, "no".to_owned(), if index == 2 { 4 } else { 9 })]);
    }
}

#[test]
fn refusal_is_reported_whether_the_connection_breaks_or_stays_open() {
    for reset in [false, true] {
        let mut server = FakeServer::dialed_by(Client::new);
        server.send("HTTP/1.1 503 Busy\r\n\r\nlater");
        if reset {
            server.reactor.kernel_mut().reset(server.peer);
        }
        server.reactor.advance(Duration::from_secs(1)).unwrap();
        assert_eq!(drain(&server.log)[0], "error the server responded with 503 Service Unavailable");
    }
}

// regression: a refusal whose body was still arriving was not reported if the application ended the connection.
#[test]
fn refusal_is_reported_even_if_the_application_ends_the_connection_before_the_end_of_its_body() {
    let ends: [fn(&mut Hub, ConnectionId); 4] = [
        |hub, _| hub.shutdown(Duration::from_secs(5)),
        |hub, _| hub.stop(),
        |hub, id| _ = hub.terminate(id),
        |hub, id| _ = hub.close(id, CloseCode::NORMAL, ""),
    ];
    for (index, end) in ends.into_iter().enumerate() {
        let mut server = FakeServer::dialed_by(Client::new);
        assert!(server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforb").is_empty());
        end(server.reactor.hub(), server.id);
        server.reactor.settle().unwrap();
        server.reactor.kernel_mut().finish(server.peer);
        server.reactor.settle().unwrap();
        let events = drain(&server.log);
        assert_eq!(events[0], "error the server responded with 403 Forbidden", "{index}");
        assert!(events.len() == 2 && events[1].starts_with("close 1006"), "{index}: {events:?}");
    }
}

#[test]
fn handshake_that_the_application_ends_reports_no_error() {
    let ends: [fn(&mut Hub, ConnectionId); 3] =
        [|hub, _| hub.shutdown(Duration::from_secs(5)), |hub, id| _ = hub.terminate(id), |hub, _| hub.stop()];
    for end in ends {
        let mut server = FakeServer::dialed_by(Client::new);
        end(server.reactor.hub(), server.id);
        server.reactor.settle().unwrap();
        let events = drain(&server.log);
        assert!(events.len() == 1 && events[0].starts_with("close 1006"), "{events:?}");
    }
}
