//! Ids: each identifies one connection, timer or listener of one reactor of this process.

use std::time::Duration;

use ws_reactor::{CloseCode, Reactor, ReactorConfig, SendStatus, Server, net::sim::Sim, on_message};

use crate::support::idle_socket;

#[test]
fn id_of_another_reactor_returns_closed_and_reaches_no_connection() {
    let ((mut one, id_of_one), (mut other, id_of_other)) = (idle_socket(), idle_socket());
    assert_ne!(id_of_one, id_of_other);
    assert_eq!(other.hub().send(id_of_one, "for the first only"), SendStatus::Closed);
    assert_eq!(other.hub().ping(id_of_one, b""), SendStatus::Closed);
    assert_eq!(other.hub().close(id_of_one, CloseCode::NORMAL, ""), SendStatus::Closed);
    assert!(!other.hub().pause(id_of_one) && !other.hub().subscribe(id_of_one, "topic"));
    assert!(!other.hub().is_open(id_of_one) && !other.hub().terminate(id_of_one));
    let remote = other.hub().remote();
    assert_eq!(remote.send(id_of_one, "for the first only"), Ok(()));
    assert_eq!(remote.close(id_of_one, CloseCode::NORMAL, ""), Ok(()));
    other.settle();
    assert!(other.received().is_empty() && !other.is_closed());
    assert_eq!(one.hub().send(id_of_one, "for the first only"), SendStatus::Queued);
    one.settle();
    assert_eq!(one.received(), ["for the first only".into()]);
}

#[test]
fn timer_of_another_reactor_is_not_cancelled() {
    let ((mut one, _), (mut other, _)) = (idle_socket(), idle_socket());
    let timer = one.hub().add_timer(Duration::from_secs(3600), |_| {});
    let twin = other.hub().add_timer(Duration::from_secs(3600), |_| {});
    assert_ne!(timer, twin);
    assert!(!other.hub().cancel_timer(timer));
    assert!(one.hub().cancel_timer(timer) && other.hub().cancel_timer(twin));
}

#[test]
fn listener_of_another_reactor_is_not_closed() {
    let listening = || {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let listening = reactor.listen("10.0.0.1:80", Server::new(|_| on_message(|_, _| {}))).unwrap();
        (reactor, listening)
    };
    let ((_one, of_one), (mut other, of_other)) = (listening(), listening());
    assert_ne!(of_one.id, of_other.id);
    other.hub().close_listener(of_one.id);
    other.settle().unwrap();
    assert!(other.kernel_mut().connect(of_other.addr).is_ok());
    other.hub().close_listener(of_other.id);
    other.settle().unwrap();
    assert!(other.kernel_mut().connect(of_other.addr).is_err());
}
