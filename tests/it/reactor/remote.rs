//! Commands of other threads.

use std::time::Duration;

use ws_reactor::{CloseCode, Received, RemoteError};

use crate::support::idle_socket;

#[test]
fn remote_offers_the_commands_of_the_hub_for_a_connection() {
    let (mut socket, id) = idle_socket();
    let remote = socket.hub().remote();
    remote.subscribe(id, "news").unwrap();
    remote.publish("news", "one").unwrap();
    remote.unsubscribe(id, "news").unwrap();
    remote.publish("news", "lost").unwrap();
    remote.send(id, "two").unwrap();
    socket.settle();
    assert_eq!(socket.received(), ["one".into(), "two".into()]);

    // Of messages with one key, the last one is sent.
    remote.subscribe(id, "quotes").unwrap();
    for price in ["1", "2", "3"] {
        remote.publish_latest("quotes", "ACME", price).unwrap();
        remote.send_latest(id, "GLOBEX", price).unwrap();
    }
    socket.settle();
    assert_eq!(socket.received(), ["3".into(), "3".into()]);

    // A paused connection is not read.
    remote.pause(id).unwrap();
    socket.settle();
    socket.ping(b"p");
    assert_eq!(socket.received(), []);
    remote.resume(id).unwrap();
    socket.settle();
    assert_eq!(socket.received(), [Received::Pong(b"p".to_vec())]);

    remote.terminate(id).unwrap();
    socket.settle();
    assert!(socket.is_closed());
    assert_eq!(socket.received(), [], "no close frame");
    // A command for a connection that has ended does nothing.
    remote.close(id, CloseCode::NORMAL, "").unwrap();
    socket.advance(Duration::from_secs(1));
    drop(socket);
    assert_eq!(remote.resume(id), Err(RemoteError::Closed));
}
