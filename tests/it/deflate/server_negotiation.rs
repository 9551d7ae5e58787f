//! The response of a server to the offers of clients.

use super::*;

/// The extensions in the response to `offer`; empty if there are none.
fn agreed_extensions(server: Server, offer: &str) -> String {
    let request = String::from_utf8_lossy(support::REQUEST)
        .replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"));
    let response = TestSocket::request(server, request).received_bytes();
    let response = String::from_utf8_lossy(&response).into_owned();
    response.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).unwrap_or_default().to_owned()
}

#[test]
fn extension_is_agreed_only_if_configured_and_offered_in_rfc_6455() {
    let mut world = World::new(echo());
    let mut client = world.connect();
    assert!(!client.response.contains("Extensions"), "{}", client.response);
    world.send_bytes(client.peer, &wire::raw(FIN | RSV1 | TEXT, &[0]));
    assert_eq!(world.close_code(&mut client), 1002);

    let mut world = World::new(echo().deflate(DeflateConfig::dedicated()));
    for lines in ["", "Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n"] {
        let client = world.connect_with(lines);
        assert!(!client.response.contains("Extensions"), "{}", client.response);
    }
    for version in [Version::Hybi07, Version::Hybi08] {
        let server = echo().deflate(DeflateConfig::dedicated());
        let mut socket = TestSocket::request(server, wire::request(version, "/", OFFER));
        let response = String::from_utf8(socket.received_bytes()).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 ") && !response.contains("Extensions"), "{response}");
    }
}

#[test]
fn response_and_handshake_contain_the_agreed_parameters() {
    let handshakes = Rc::new(RefCell::new(Vec::new()));
    let shared = Rc::clone(&handshakes);
    let server = Server::new(move |handshake: &Handshake| {
        shared.borrow_mut().push(handshake.deflate().map(|agreed| agreed.to_string()));
        Callbacks::new()
    });
    let mut world =
        World::new(server.deflate(DeflateConfig::dedicated()).on_request(|request, _| match request.path() {
            "/plain" => Upgrade::new().uncompressed(),
            _ => Upgrade::new(),
        }));
    let offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_no_context_takeover";
    let client = world.connect_with(&format!("Sec-WebSocket-Extensions: {offers}\r\n"));
    let agreed = "permessage-deflate; server_no_context_takeover";
    assert!(client.response.contains(&format!("\r\nSec-WebSocket-Extensions: {agreed}\r\n")), "{}", client.response);
    assert_eq!(handshakes.take(), [Some(agreed.to_owned())]);

    let peer = world.reactor.kernel_mut().connect(ADDRESS.parse().unwrap()).unwrap();
    world.send_bytes(peer, &wire::request(Version::Rfc6455, "/plain", OFFER));
    world.reactor.settle().unwrap();
    let response = String::from_utf8(world.reactor.kernel_mut().received(peer)).unwrap();
    assert!(response.starts_with("HTTP/1.1 101 ") && !response.contains("Extensions"), "{response}");
    assert_eq!(handshakes.take(), [None]);
}

#[test]
fn response_has_window_parameters_only_if_the_client_offered_them() {
    let server = || echo().deflate(DeflateConfig::dedicated());
    assert_eq!(agreed_extensions(server(), "permessage-deflate"), "permessage-deflate");
    let client_window = agreed_extensions(server(), "permessage-deflate; client_max_window_bits");
    assert_eq!(client_window, "permessage-deflate; client_max_window_bits=12");
    let server_window = agreed_extensions(server(), "permessage-deflate; server_max_window_bits=15");
    assert_eq!(server_window, "permessage-deflate; server_max_window_bits=12");
}

#[test]
fn malformed_extensions_header_gets_400_only_if_the_server_has_deflate() {
    let malformed = wire::request(Version::Rfc6455, "/", "Sec-WebSocket-Extensions: permessage-deflate; =\r\n");
    let server = echo().deflate(DeflateConfig::shared());
    let refused = String::from_utf8(TestSocket::request(server, &malformed).received_bytes()).unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("Sec-WebSocket-Extensions"), "{refused}");
    let ignored = TestSocket::request(echo(), &malformed).received_bytes();
    assert!(ignored.starts_with(b"HTTP/1.1 101 "));
}
