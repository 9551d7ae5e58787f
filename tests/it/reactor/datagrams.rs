//! UDP sockets on the operating system.

use std::{
    any::Any,
    cell::RefCell,
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{Datagram, DatagramConfig, DatagramHandler, Reactor, ReactorConfig, SendStatus, net::sim::Sim};

/// What a socket has received, with the addresses.
type Received = Rc<RefCell<Vec<(Vec<u8>, SocketAddr)>>>;

/// Echoes, and sends on what it is given by events.
#[derive(Default, Clone)]
struct Echo {
    received: Received,
    errors: Rc<RefCell<Vec<ErrorKind>>>,
}

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, socket: &mut Datagram<'_>, data: &[u8], from: SocketAddr) {
        self.received.borrow_mut().push((data.to_vec(), from));
        match data {
            b"close" => socket.close(),
            data => assert_eq!(socket.send_to(data, from), SendStatus::Queued),
        }
    }

    fn on_event(&mut self, socket: &mut Datagram<'_>, event: &dyn Any) {
        let text = event.downcast_ref::<String>().expect("the test sends strings");
        socket.send(text.as_bytes());
    }

    fn on_error(&mut self, _: &mut Datagram<'_>, error: &io::Error) {
        self.errors.borrow_mut().push(error.kind());
    }
}

fn here() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A socket of the standard library.
fn peer() -> UdpSocket {
    let socket = UdpSocket::bind(here()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Turns the loop until something holds.
fn turn_until(reactor: &mut Reactor, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "it does not come to hold");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn datagrams_of_several_peers_are_echoed_whole_from_empty_to_the_longest() {
    let mut reactor = Reactor::new().unwrap();
    let echo = Echo::default();
    let (_, address) = reactor.open_datagram(here(), DatagramConfig::new(), echo.clone()).unwrap();
    let longest = vec![7; 65_507];
    for data in [&b""[..], b"hello", &longest] {
        let peer = peer();
        peer.send_to(data, address).unwrap();
        let before = echo.received.borrow().len();
        turn_until(&mut reactor, || echo.received.borrow().len() > before);
        let mut buffer = vec![0; 70_000];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert!(buffer[..length] == *data && from == address);
        assert_eq!(echo.received.borrow().last().unwrap().1, peer.local_addr().unwrap());
    }
}

#[test]
fn burst_is_received_in_order_a_budget_for_each_turn() {
    let mut reactor = Reactor::new().unwrap();
    let echo = Echo::default();
    let config = DatagramConfig::new().receive_budget(10).max_datagram_bytes(100);
    let (_, address) = reactor.open_datagram(here(), config, echo.clone()).unwrap();
    let peer = peer();
    for number in 0_u32..95 {
        peer.send_to(&number.to_be_bytes(), address).unwrap();
    }
    reactor.turn(Some(Duration::from_secs(1))).unwrap();
    assert_eq!(echo.received.borrow().len(), 10);
    turn_until(&mut reactor, || echo.received.borrow().len() == 95);
    let numbers: Vec<Vec<u8>> = echo.received.borrow().iter().map(|(data, _)| data.clone()).collect();
    assert_eq!(numbers, (0_u32..95).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn socket_with_a_peer_hears_no_one_else_and_sends_what_other_handlers_give_it() {
    let mut reactor = Reactor::new().unwrap();
    let (friend, stranger) = (peer(), peer());
    let echo = Echo::default();
    let config = DatagramConfig::new().peer(friend.local_addr().ok());
    let (id, address) = reactor.open_datagram(here(), config, echo.clone()).unwrap();
    stranger.send_to(b"stranger", address).unwrap();
    friend.send_to(b"friend", address).unwrap();
    assert!(reactor.hub().notify_source(id, "a metric".to_owned()));
    turn_until(&mut reactor, || !echo.received.borrow().is_empty());
    assert_eq!(&*echo.received.borrow(), &[(b"friend".to_vec(), friend.local_addr().unwrap())]);
    let mut received: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let mut buffer = [0; 100];
            let length = friend.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
        .collect();
    received.sort();
    assert_eq!(received, [b"a metric".to_vec(), b"friend".to_vec()]);
}

#[cfg(target_os = "linux")]
#[test]
fn error_of_the_system_is_reported_and_the_socket_stays_open() {
    let mut reactor = Reactor::new().unwrap();
    let gone = peer().local_addr().ok();
    let echo = Echo::default();
    let (id, _) = reactor.open_datagram(here(), DatagramConfig::new().peer(gone), echo.clone()).unwrap();
    assert!(reactor.hub().notify_source(id, "nobody is there".to_owned()));
    turn_until(&mut reactor, || !echo.errors.borrow().is_empty());
    assert_eq!(&*echo.errors.borrow(), &[ErrorKind::ConnectionRefused]);
    assert!(reactor.hub().is_registered(id));
}

#[test]
fn socket_closed_by_its_handler_receives_nothing_more() {
    let mut reactor = Reactor::new().unwrap();
    let echo = Echo::default();
    let (id, address) = reactor.hub().open_datagram(here(), DatagramConfig::new(), echo.clone()).unwrap();
    let peer = peer();
    for data in [b"close", b"after"] {
        peer.send_to(data, address).unwrap();
    }
    turn_until(&mut reactor, || Rc::strong_count(&echo.received) == 1);
    assert_eq!(echo.received.borrow().len(), 1);
    assert!(!reactor.hub().is_registered(id));
}

#[test]
fn simulated_reactor_has_no_datagrams() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    let refused = reactor.open_datagram(here(), DatagramConfig::new(), Echo::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}
