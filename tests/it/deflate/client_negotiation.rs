//! The offer of a client, and the responses that it accepts.

use super::*;
use ws_reactor::Client;

/// A client of a server that is played by the test, and the events of its handler.
struct Connection {
    reactor: Reactor<Sim>,
    peer: PeerId,
    events: Rc<RefCell<Vec<String>>>,
    offer: String,
}

/// Connects, and answers the request with these `extensions`.
fn connect(config: DeflateConfig, extensions: &str) -> Connection {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().play("10.0.0.1:80".parse().unwrap());
    let events = Rc::new(RefCell::new(Vec::new()));
    let (opened, received, failed) = (Rc::clone(&events), Rc::clone(&events), Rc::clone(&events));
    let handler = Callbacks::new()
        .on_open(move |ws, handshake| {
            opened.borrow_mut().push(format!("open {}", handshake.deflate().is_some()));
            ws.send("client ".repeat(100));
        })
        .on_message(move |_, message| received.borrow_mut().push(message.to_string()))
        .on_error(move |_, error| failed.borrow_mut().push(format!("{error:#}")));
    reactor.connect("ws://10.0.0.1/", Client::new(handler).deflate(config)).unwrap();
    reactor.settle().unwrap();
    let (peer, _) = reactor.kernel_mut().dialed().unwrap();
    let request = reactor.kernel_mut().received(peer);
    let text = String::from_utf8_lossy(&request).into_owned();
    let offer = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).unwrap().to_owned();
    let response = String::from_utf8(support::answer(&request)).unwrap();
    let line = format!("Sec-WebSocket-Extensions: {extensions}\r\n\r\n");
    let response = response.replace("\r\n\r\n", &format!("\r\n{line}"));
    reactor.kernel_mut().send(peer, response.as_bytes());
    reactor.settle().unwrap();
    Connection { reactor, peer, events, offer }
}

#[test]
fn client_offers_its_parameters_and_a_fallback_without_parameters() {
    let offer = connect(DeflateConfig::dedicated(), "permessage-deflate").offer;
    assert_eq!(offer, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12, permessage-deflate");
    let offer = connect(DeflateConfig::shared(), "permessage-deflate").offer;
    let parameters =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits";
    assert_eq!(offer, format!("{parameters}, permessage-deflate"));
}

#[test]
fn client_accepts_every_valid_response() {
    for config in [DeflateConfig::dedicated(), DeflateConfig::shared()] {
        for response in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=9",
        ] {
            let mut connection = connect(config, response);
            assert_eq!(connection.events.take(), ["open true"], "{response}");
            // The example of RFC 7692 §7.2.3.1, twice.
            let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00".repeat(2);
            connection.reactor.kernel_mut().send(connection.peer, &hello);
            connection.reactor.settle().unwrap();
            assert_eq!(connection.events.take(), ["Hello", "Hello"], "{response}");
            let sent = connection.reactor.kernel_mut().received(connection.peer);
            let compressed = sent[0] & 0x40 != 0;
            assert_eq!(
                compressed,
                !response.contains("client_max_window_bits=8"),
                "zlib cannot compress with a window of 8 bits"
            );
        }
    }
}

#[test]
fn invalid_response_parameter_is_named_in_the_error() {
    for (parameters, named) in [
        ("server_max_window_bits=16", "server_max_window_bits"),
        ("server_max_window_bits=", "server_max_window_bits"),
        ("client_max_window_bits", "client_max_window_bits"),
        ("client_max_window_bits=9; client_max_window_bits=9", "client_max_window_bits"),
        ("client_no_context_takeover=1", "client_no_context_takeover"),
        ("level=9", "unknown"),
    ] {
        let events = connect(DeflateConfig::shared(), &format!("permessage-deflate; {parameters}")).events.take();
        let expected = "opening handshake failed: the server's permessage-deflate has a bad parameter: ";
        assert_eq!(events, [format!("{expected}{named}")], "{parameters}");
    }
}

// The bare second offer permits any window of the server (RFC 7692 §7.1.2.1). The first offer of each configuration
// contains client_max_window_bits, so that this parameter is never one that was not offered.
#[test]
fn server_window_larger_than_the_first_offer_is_accepted_as_an_answer_to_the_second() {
    let mut connection = connect(DeflateConfig::dedicated(), "permessage-deflate; server_max_window_bits=13");
    assert_eq!(connection.offer.matches("server_max_window_bits=12").count(), 1, "{}", connection.offer);
    assert!(connection.offer.ends_with(", permessage-deflate"));
    assert_eq!(connection.events.take(), ["open true"]);
    connection.reactor.kernel_mut().send(connection.peer, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
    connection.reactor.settle().unwrap();
    assert_eq!(connection.events.take(), ["Hello"]);
}
