//! The protocol without sockets: handshakes, decoder and encoder of every version and both sides.

use ws_reactor::{
    Client, CloseCode, HandshakeError, HeadError, Message, MessageLimits, OwnedMessage, ProtocolError, Reactor,
    ReactorConfig, Request, ResponseError, Server, UrlError, Version,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
    net::sim::Sim,
    on_message,
    protocol::{
        ClientHandshake, EncodeError, Incoming, MessageDecoder, MessageEncoder, Opened, PendingResponse, RequestError,
        ServerHandshake, ServerStep,
    },
};

const URL: &str = "ws://example.com/chat?room=1";

/// Random bytes that differ from call to call.
fn random() -> impl FnMut(&mut [u8]) {
    let mut state = 1_u32;
    move |bytes| {
        for byte in bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    }
}

/// A server and a client that are joined by buffers. `cut` is the largest piece that either side receives at once.
fn join(server: ServerHandshake, client: ClientHandshake, cut: usize) -> (Opened, Opened) {
    let mut request = Vec::new();
    let mut pending = client.send(random(), &mut request).expect("the request can be sent");
    let (server, response) = serve(server, &request, cut);
    (server, read_response(&mut pending, &response, cut).expect("the server accepts"))
}

/// Passes a request to a server. Returns the connection, and the response.
fn serve(mut server: ServerHandshake, request: &[u8], cut: usize) -> (Opened, Vec<u8>) {
    let (mut at, mut response) = (0, Vec::new());
    loop {
        let end = request.len().min(at + cut);
        let (used, step) = server.receive(&request[at..end], &mut response).expect("the request is valid");
        at += used;
        match step {
            Some(ServerStep::Open(opened)) => {
                assert_eq!(at, request.len());
                assert!(matches!(server.receive(b"data", &mut response), Ok((0, None))));
                return (opened, response);
            }
            Some(ServerStep::Request(complete)) => {
                assert!(matches!(server.receive(b"data", &mut response), Ok((0, None))), "the decision is missing");
                server.accept(complete, &mut response).expect("the request is accepted");
            }
            None => assert_eq!(at, end, "all input was used"),
        }
    }
}

/// The request that `input` is the whole of.
fn requested(server: &mut ServerHandshake, input: &[u8], out: &mut Vec<u8>) -> Request {
    match server.receive(input, out).expect("the request is valid") {
        (used, Some(ServerStep::Request(request))) if used == input.len() => request,
        other => panic!("{other:?}"),
    }
}

fn read_response(pending: &mut PendingResponse, response: &[u8], cut: usize) -> Result<Opened, ResponseError> {
    let mut at = 0;
    while at < response.len() {
        let (used, opened) = pending.receive(&response[at..response.len().min(at + cut)])?;
        at += used;
        if let Some(opened) = opened {
            assert_eq!(at, response.len());
            return Ok(opened);
        }
    }
    panic!("the response is incomplete")
}

/// An owned [`Incoming`].
#[derive(Debug, PartialEq)]
enum Event {
    Message(OwnedMessage),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

/// Everything that `input` decodes to.
fn decode(decoder: &mut MessageDecoder, mut input: Vec<u8>, cut: usize) -> Result<Vec<Event>, ProtocolError> {
    let (mut at, mut events) = (0, Vec::new());
    while at < input.len() {
        let end = input.len().min(at + cut);
        let (used, incoming) = decoder.decode(&mut input[at..end])?;
        at += used;
        events.extend(incoming.map(|incoming| match incoming {
            Incoming::Message(message) => Event::Message(message.to_owned()),
            Incoming::Ping(data) => Event::Ping(data.to_vec()),
            Incoming::Pong(data) => Event::Pong(data.to_vec()),
            Incoming::Close(frame) => Event::Close(frame.code(), frame.reason().to_owned()),
        }));
    }
    Ok(events)
}

/// What `sender` encodes, as `receiver` decodes it.
fn pass(
    sender: &mut MessageEncoder,
    receiver: &mut MessageDecoder,
    cut: usize,
    write: impl FnOnce(&mut MessageEncoder, &mut Vec<u8>) -> Result<(), EncodeError>,
) -> Vec<Event> {
    let mut out = Vec::new();
    write(sender, &mut out).expect("the version has this");
    decode(receiver, out, cut).expect("the sender keeps to the protocol")
}

#[test]
fn every_version_carries_messages_both_ways_however_the_bytes_are_cut() {
    for version in Version::ALL.iter().copied() {
        for cut in [1, 2, 7, usize::MAX / 2] {
            let client = ClientHandshake::new(URL).unwrap().version(version).subprotocols(["b", "a"]);
            let server = ServerHandshake::new().subprotocols(["a", "b"]);
            let (mut server, mut client) = join(server, client, cut);
            for handshake in [&server.handshake, &client.handshake] {
                assert_eq!(
                    (handshake.version(), handshake.subprotocol(), handshake.path()),
                    (version, Some("a"), "/chat"),
                    "{version}, cut at {cut}"
                );
            }
            let long = "word ".repeat(50_000);
            for message in [OwnedMessage::text("naïve"), OwnedMessage::text(""), OwnedMessage::text(long.as_str())] {
                let sent = [Event::Message(message.clone())];
                let write = |encoder: &mut MessageEncoder, out: &mut Vec<u8>| encoder.message(&message, out);
                assert_eq!(pass(&mut client.encoder, &mut server.decoder, cut, write), sent, "{version} {cut}");
                assert_eq!(pass(&mut server.encoder, &mut client.decoder, cut, write), sent, "{version} {cut}");
            }
            for (sender, receiver) in
                [(&mut client.encoder, &mut server.decoder), (&mut server.encoder, &mut client.decoder)]
            {
                let mut out = Vec::new();
                if version.supports_binary() {
                    let binary = Event::Message(OwnedMessage::binary(vec![0, 0xff]));
                    assert_eq!(pass(sender, receiver, cut, |encoder, out| encoder.message(&[0, 0xff], out)), [binary]);
                    let pings = pass(sender, receiver, cut, |encoder, out| encoder.ping(b"p", out));
                    assert_eq!(pings, [Event::Ping(b"p".to_vec())]);
                    let pongs = pass(sender, receiver, cut, |encoder, out| encoder.pong(b"q", out));
                    assert_eq!(pongs, [Event::Pong(b"q".to_vec())]);
                } else {
                    assert_eq!(sender.message(&[0, 0xff], &mut out), Err(EncodeError::NoBinary(version)));
                    assert_eq!(sender.ping(b"p", &mut out), Err(EncodeError::NoPing(version)));
                    assert_eq!(sender.pong(b"p", &mut out), Err(EncodeError::NoPing(version)));
                    assert!(out.is_empty());
                }
            }
        }
    }
}

#[test]
fn every_version_closes_from_either_side() {
    for version in Version::ALL.iter().copied() {
        for by_server in [false, true] {
            let client = ClientHandshake::new(URL).unwrap().version(version);
            let (server, client) = join(ServerHandshake::new(), client, usize::MAX / 2);
            let (mut first, mut second) = if by_server { (server, client) } else { (client, server) };
            let mut out = Vec::new();
            first.encoder.close(CloseCode::new(4001), "why", &mut out).unwrap();
            assert!(first.encoder.is_closed());
            assert_eq!(first.encoder.message("late", &mut out), Err(EncodeError::Closed));
            assert_eq!(first.encoder.close(CloseCode::NORMAL, "", &mut out), Err(EncodeError::Closed));
            if version.supports_ping() {
                // Until the peer's close frame has arrived, its pings are answered.
                let mut pong = Vec::new();
                first.encoder.answer(&Incoming::Ping(b"p"), &mut pong);
                assert!(!pong.is_empty(), "{version}");
            }
            assert_eq!(out.is_empty(), version == Version::Hixie75, "{version}");
            let (mut at, mut answer) = (0, Vec::new());
            while let (used, Some(incoming)) = second.decoder.decode(&mut out[at..]).unwrap() {
                at += used;
                let Incoming::Close(frame) = &incoming else { panic!("{version}: {incoming:?}") };
                let code = version.supports_close_codes().then_some(CloseCode::new(4001));
                let reason = if version.supports_close_codes() { "why" } else { "" };
                assert_eq!((frame.code(), frame.reason()), (code, reason), "{version}");
                second.encoder.answer(&incoming, &mut answer);
                // A second answer, and an error after it, append nothing.
                let length = answer.len();
                second.encoder.answer(&incoming, &mut answer);
                second.encoder.answer(&Incoming::Ping(b"late"), &mut answer);
                second.encoder.fail(ProtocolError::InvalidUtf8, &mut answer);
                assert_eq!(answer.len(), length, "{version}");
            }
            assert_eq!(second.encoder.is_closed(), version != Version::Hixie75, "{version}");
            let answered = decode(&mut first.decoder, answer, 1).unwrap();
            if !answered.is_empty() {
                let (mut late, close) = (Vec::new(), Incoming::Close(Default::default()));
                first.encoder.answer(&close, &mut late);
                first.encoder.answer(&Incoming::Ping(b"p"), &mut late);
                assert!(late.is_empty(), "nothing follows both close frames");
            }
            assert_eq!(answered.len(), usize::from(version != Version::Hixie75), "{version}: {answered:?}");
        }
    }
}

#[test]
fn hixie_76_responds_before_the_challenge_has_arrived() {
    let mut request = Vec::new();
    let client = ClientHandshake::new(URL).unwrap().version(Version::Hixie76);
    let mut pending = client.send(random(), &mut request).unwrap();
    let (mut server, mut response) = (ServerHandshake::new(), Vec::new());
    let challenge = request.split_off(request.len() - 8);
    let head = requested(&mut server, &request, &mut response);
    server.accept(head, &mut response).unwrap();
    assert!(matches!(server.receive(&[], &mut response), Ok((0, None))));
    let head = response.len();
    assert!(response.ends_with(b"\r\n\r\n"), "the head is written, the proof is not");
    assert!(matches!(server.receive(&challenge, &mut response), Ok((8, Some(ServerStep::Open(_))))));
    assert_eq!(response.len(), head + 16);
    *response.last_mut().unwrap() ^= 1;
    assert_eq!(read_response(&mut pending, &response, 5).unwrap_err(), ResponseError::Proof);
    assert_eq!(pending.receive(b"more").unwrap_err(), ResponseError::Proof);
}

#[test]
fn request_that_opens_no_websocket_is_answered_in_the_output() {
    let refused = |request: &str| {
        let (mut server, mut out) = (ServerHandshake::new().versions([Version::Rfc6455]), Vec::new());
        let outcome = match server.receive(request.as_bytes(), &mut out) {
            Ok((_, Some(ServerStep::Request(head)))) => {
                server.accept(head, &mut out).map_err(|error| error.to_string())
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        outcome.expect_err("the request is refused");
        String::from_utf8(out).unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 426 Upgrade Required");
    assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(refused("no request\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let mut server = ServerHandshake::new();
    let error = server.receive(b"no request\r\n\r\n", &mut Vec::new()).unwrap_err();
    assert_eq!(server.receive(b"GET", &mut Vec::new()).unwrap_err(), error, "the error is repeated");
    assert_eq!(refused(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000))), "HTTP/1.1 414 URI Too Long");
    // A version that the server does not accept.
    let (mut request, mut out) = (Vec::new(), Vec::new());
    let _ = ClientHandshake::new(URL).unwrap().version(Version::Hybi08).send(random(), &mut request).unwrap();
    let mut server = ServerHandshake::new().versions([Version::Rfc6455]);
    let head = requested(&mut server, &request, &mut out);
    assert_eq!(server.accept(head, &mut out).unwrap_err(), HandshakeError::Version);
    assert!(String::from_utf8_lossy(&out).contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

#[test]
fn application_refuses_by_any_response_and_the_client_can_read_it() {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    let mut pending = ClientHandshake::new(URL).unwrap().send(random(), &mut request).unwrap();
    let mut server = ServerHandshake::new();
    let head = requested(&mut server, &request, &mut out);
    let response = Response::builder().status(401).header("www-authenticate", "Basic").body(b"no".to_vec()).unwrap();
    server.refuse(&head, &response, &mut out);
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert_eq!(pending.receive(interim).unwrap().0, interim.len());
    assert!(pending.response().is_none());
    assert_eq!(pending.receive(&out).unwrap_err(), ResponseError::Status(StatusCode::UNAUTHORIZED));
    assert_eq!(pending.response().unwrap().headers()[header::WWW_AUTHENTICATE], "Basic");
}

#[test]
fn application_chooses_subprotocol_and_headers() {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    let client = ClientHandshake::new(URL).unwrap().subprotocols(["a", "b"]);
    let mut pending = client.send(random(), &mut request).unwrap();
    let mut server = ServerHandshake::new();
    let head = requested(&mut server, &request, &mut out);
    let mut headers = HeaderMap::new();
    headers.insert("x-node", HeaderValue::from_static("7"));
    // Headers of the handshake are left out.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
    headers.insert("sec-websocket-accept", HeaderValue::from_static("bad"));
    server.accept_with(head, Some("b"), &headers, &mut out).unwrap();
    let Ok((0, Some(ServerStep::Open(opened)))) = server.receive(&[], &mut out) else { panic!("open") };
    assert_eq!(opened.handshake.subprotocol(), Some("b"));
    let opened = read_response(&mut pending, &out, 1).unwrap();
    assert_eq!(opened.handshake.subprotocol(), Some("b"));
    assert_eq!(opened.handshake.response().unwrap().headers()["x-node"], "7");
}

#[test]
fn empty_subprotocol_of_a_response_is_refused_unless_the_client_is_lenient() {
    for (lenient, value, expected) in [
        (false, "", Err(ResponseError::EmptySubprotocol)),
        (true, "", Ok(None)),
        (true, "chat", Ok(Some("chat".to_owned()))),
        (true, "other", Err(ResponseError::Subprotocol)),
    ] {
        let client = ClientHandshake::new(URL).unwrap().subprotocols(["chat"]).lenient_subprotocol(lenient);
        let mut request = Vec::new();
        let mut pending = client.send(random(), &mut request).unwrap();
        let (_, response) = serve(ServerHandshake::new(), &request, 1 << 20);
        let response = String::from_utf8(response).unwrap();
        assert!(!response.contains("Sec-WebSocket-Protocol"), "{response}");
        let line = format!("\r\nSec-WebSocket-Protocol: {value}\r\n\r\n");
        let opened = read_response(&mut pending, response.replace("\r\n\r\n", &line).as_bytes(), 1 << 20);
        assert_eq!(opened.map(|opened| opened.handshake.subprotocol().map(str::to_owned)), expected, "{value:?}");
    }
}

#[test]
fn client_request_has_what_the_application_set() {
    let mut request = Vec::new();
    let client = ClientHandshake::new("ws://joe:secret@example.com:81/a").unwrap();
    assert_eq!((client.host(), client.port(), client.is_secure()), ("example.com", 81, false));
    let client = client
        .header(header::ORIGIN, HeaderValue::from_static("https://example.org"))
        .header(header::COOKIE, HeaderValue::from_static("id=1"));
    let _ = client.clone().send(random(), &mut request).unwrap();
    let request = String::from_utf8(request).unwrap();
    for line in
        ["Host: example.com:81", "Origin: https://example.org", "Cookie: id=1", "Authorization: Basic am9lOnNlY3JldA=="]
    {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} in {request}");
    }
    let mut out = Vec::new();
    let twice = client.clone().subprotocols(["a", "a"]).send(random(), &mut out);
    assert_eq!(twice.unwrap_err(), RequestError::Subprotocol("a".to_owned()));
    let name = HeaderName::from_static("sec-websocket-key");
    let reserved = client.header(name.clone(), HeaderValue::from_static("x")).send(random(), &mut out);
    assert_eq!(reserved.unwrap_err(), RequestError::Header(name));
    assert!(out.is_empty());
}

#[test]
fn request_without_host_is_refused_for_good() {
    let (mut handshake, mut out) = (ServerHandshake::new(), Vec::new());
    let error = handshake.receive(b"GET / HTTP/1.1\r\n\r\n", &mut out).unwrap_err();
    assert_eq!(error, HeadError::Host);
    assert!(out.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(handshake.receive(b"x", &mut out).unwrap_err(), error);
}

#[test]
fn broken_input_fails_the_decoder_for_good() {
    let limits = MessageLimits::new().max_message_bytes(10);
    let mut decoder = MessageDecoder::server(Version::Rfc6455, limits);
    let mut encoder = MessageEncoder::client(Version::Rfc6455, random());
    let mut bytes = Vec::new();
    encoder.message("eleven bytes", &mut bytes).unwrap();
    let error = decoder.decode(&mut bytes).unwrap_err();
    assert_eq!(error, ProtocolError::TooBig { limit: 10, length: 12 });
    assert_eq!(decoder.decode(&mut [0x81, 0x80, 0, 0, 0, 0]).unwrap_err(), error);
    let (mut server, mut out) = (MessageEncoder::server(Version::Rfc6455), Vec::new());
    server.fail(error, &mut out);
    assert_eq!(out[2..4], 1009_u16.to_be_bytes());
    assert!(server.is_closed());
}

#[test]
fn close_codes_that_may_not_be_sent_are_refused() {
    let mut encoder = MessageEncoder::server(Version::Rfc6455);
    let mut out = Vec::new();
    for code in [1002, 1004, 1006, 1015, 2999, 5000].map(CloseCode::new) {
        assert_eq!(encoder.close(code, "", &mut out), Err(EncodeError::CloseCode(code)));
    }
    assert!(out.is_empty() && !encoder.is_closed());
    encoder.close(CloseCode::NO_STATUS, "left out", &mut out).unwrap();
    assert_eq!(out, [0x88, 0]);
}

#[test]
#[should_panic(expected = "no request waits for a decision")]
fn request_is_decided_once() {
    let (mut request, mut out) = (Vec::new(), Vec::new());
    let _ = ClientHandshake::new(URL).unwrap().send(random(), &mut request).unwrap();
    let mut server = ServerHandshake::new();
    let head = requested(&mut server, &request, &mut out);
    server.accept(head.clone(), &mut out).unwrap();
    let _ = server.accept(head, &mut out);
}

#[test]
fn url_names_a_tcp_server_and_its_password_is_not_shown() {
    assert_eq!(ClientHandshake::new("ws+unix:/tmp/a").unwrap_err(), UrlError::Scheme);
    let local = ClientHandshake::new("ws://[fe80::1%25eth0]/").unwrap();
    assert_eq!((local.host(), local.zone()), ("fe80::1", Some("eth0")));
    let (mut request, client) = (Vec::new(), ClientHandshake::new("ws://joe:secret@a/").unwrap());
    let pending = client.send(random(), &mut request).unwrap();
    assert!(String::from_utf8(request).unwrap().contains("am9lOnNlY3JldA=="));
    assert!(!format!("{pending:?}").contains("am9lOnNlY3JldA=="));
}

#[test]
fn masking_keys_are_the_random_bytes() {
    // The masked `Hello` of RFC 6455 §5.7.
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let draw = move |bytes: &mut [u8]| bytes.chunks_mut(4).for_each(|chunk| chunk.copy_from_slice(&key));
    let (mut encoder, mut out) = (MessageEncoder::client(Version::Rfc6455, draw), Vec::new());
    encoder.message("Hello", &mut out).unwrap();
    assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
}

#[cfg(feature = "deflate")]
#[test]
fn compression_is_negotiated_and_used_both_ways() {
    use ws_reactor::DeflateConfig;
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let client = ClientHandshake::new(URL).unwrap().deflate(config);
        let (mut server, mut client) = join(ServerHandshake::new().deflate(config), client, usize::MAX / 2);
        assert!(server.handshake.deflate().is_some() && client.handshake.deflate().is_some());
        let text = "compress me ".repeat(100);
        // From each side in turn.
        let (sender, receiver) = (&mut client, &mut server);
        for _ in 0..6 {
            let mut out = Vec::new();
            sender.encoder.message(&text, &mut out).unwrap();
            assert!(out.len() < 100, "{} bytes", out.len());
            assert_eq!(decode(&mut receiver.decoder, out, 3).unwrap(), [Event::Message(text.as_str().into())]);
            let mut out = Vec::new();
            sender.encoder.message_uncompressed(&text, &mut out).unwrap();
            assert!(out.len() > text.len());
            assert_eq!(decode(&mut receiver.decoder, out, 3).unwrap(), [Event::Message(text.as_str().into())]);
            std::mem::swap(sender, receiver);
        }
    }
}

#[cfg(feature = "deflate")]
#[test]
fn inflated_message_is_limited() {
    use ws_reactor::DeflateConfig;
    let config = DeflateConfig::shared();
    let server = ServerHandshake::new().deflate(config).limits(MessageLimits::new().max_message_bytes(1000));
    let client = ClientHandshake::new(URL).unwrap().deflate(config);
    let (mut server, mut client) = join(server, client, usize::MAX / 2);
    let mut out = Vec::new();
    client.encoder.message("x".repeat(100_000).as_str(), &mut out).unwrap();
    let error = server.decoder.decode(&mut out).unwrap_err();
    assert!(matches!(error, ProtocolError::TooBig { limit: 1000, .. }), "{error}");
}

#[test]
fn codec_works_with_a_reactor_at_the_other_end() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let echo = Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message);
            })
        });
        let addr = reactor.listen("10.0.0.1:80", echo).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        let mut request = Vec::new();
        let client = ClientHandshake::new("ws://10.0.0.1/").unwrap().version(version);
        let mut pending = client.send(random(), &mut request).unwrap();
        reactor.kernel_mut().send(peer, &request);
        reactor.settle().unwrap();
        let response = reactor.kernel_mut().received(peer);
        let mut opened = read_response(&mut pending, &response, 1).unwrap();
        let mut out = Vec::new();
        opened.encoder.message("hello", &mut out).unwrap();
        reactor.kernel_mut().send(peer, &out);
        reactor.settle().unwrap();
        let echoed = reactor.kernel_mut().received(peer);
        assert_eq!(decode(&mut opened.decoder, echoed, 1).unwrap(), [Event::Message("hello".into())], "{version}");
    }
}

#[test]
fn codec_serves_a_client_of_the_reactor() {
    for version in Version::ALL.iter().copied() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        reactor.kernel_mut().play("10.0.0.1:80".parse().unwrap());
        let echo = on_message(|ws, message| {
            ws.send(message);
        });
        reactor.connect("ws://10.0.0.1/", Client::new(echo).version(version)).unwrap();
        reactor.settle().unwrap();
        let (peer, _) = reactor.kernel_mut().dialed().unwrap();
        let request = reactor.kernel_mut().received(peer);
        let (mut opened, mut out) = serve(ServerHandshake::new(), &request, usize::MAX / 2);
        opened.encoder.message(Message::Text("hello"), &mut out).unwrap();
        reactor.kernel_mut().send(peer, &out);
        reactor.settle().unwrap();
        let echoed = reactor.kernel_mut().received(peer);
        assert_eq!(decode(&mut opened.decoder, echoed, 1).unwrap(), [Event::Message("hello".into())], "{version}");
    }
}
