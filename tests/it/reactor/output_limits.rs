//! Output at its limit.

use std::time::Duration;

use ws_reactor::{Callbacks, OutputLimits, Overflow, SendStatus, Server, TestSocket, Version, WebSocket, on_message};

// regression: a limit below the low-water mark made `on_drain` fill the output forever.
#[test]
fn limit_below_the_low_water_mark_closes_a_slow_reader_without_endless_drains() {
    let output = OutputLimits::new().limit_bytes(16 * 1024);
    let filling = Server::new(|_| {
        let fill = |ws: &mut WebSocket<'_>| while ws.send("x".repeat(10_000)).is_queued() {};
        Callbacks::new().on_message(move |ws, _| fill(ws)).on_drain(fill)
    });
    let mut socket = TestSocket::connect(filling.configure(|config| config.websocket.stream.output = output), "/");
    socket.hold(100);
    socket.send("go");
    socket.advance(Duration::from_secs(6));
    assert!(socket.is_closed());
}

// regression: `ping` returned `Dropped` in a version without pings.
#[test]
fn frame_that_the_version_lacks_is_unsupported_even_when_the_output_is_full() {
    let server = Server::new(|_| {
        on_message(|ws, _| {
            while ws.send("x".repeat(100_000)) != SendStatus::Dropped {}
            assert_eq!([ws.ping(b""), ws.pong(b""), ws.send(b"")], [SendStatus::Unsupported; 3]);
            ws.subscribe("seen");
        })
    });
    let server = server.configure(|config| config.websocket.stream.output.overflow = Overflow::DropNewest);
    let mut socket = TestSocket::connect_as(Version::Hixie76, server, "/");
    socket.hold(10);
    socket.send("go");
    assert_eq!(socket.hub().subscribers("seen"), 1);
}
