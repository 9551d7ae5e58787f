//! Block lists, and limits of the connections of an address.

use std::net::IpAddr;

use ws_reactor::{
    Bind, BlockList, Network, Reactor,
    net::sim::{PeerId, Sim},
};

use crate::support::played::{SERVER, echo, reactor};

/// Connects from an address. Returns the peer and whether it was accepted.
fn connect(reactor: &mut Reactor<Sim>, from: &str) -> (PeerId, bool) {
    let to = SERVER.parse().unwrap();
    let peer = reactor.kernel_mut().connect_from(from.parse().unwrap(), to).unwrap();
    reactor.settle().unwrap();
    (peer, !reactor.kernel_mut().is_closed(peer))
}

#[test]
fn block_list_is_changed_at_run_time_from_any_thread() {
    let (list, mut reactor) = (BlockList::new(), reactor());
    reactor.listen(Bind::to(SERVER).block_list(&list), echo()).unwrap();
    let (open, accepted) = connect(&mut reactor, "192.0.2.7:5");
    assert!(accepted);
    let network: Network = "192.0.2.0/24".parse().unwrap();
    let other = list.clone();
    std::thread::spawn(move || other.block(network)).join().unwrap();
    assert!(!connect(&mut reactor, "192.0.2.7:6").1 && connect(&mut reactor, "198.51.100.1:5").1);
    assert!(!reactor.kernel_mut().is_closed(open), "open connections stay");
    list.unblock(network);
    list.block("192.0.2.8".parse::<IpAddr>().unwrap());
    assert!(connect(&mut reactor, "192.0.2.7:6").1 && !connect(&mut reactor, "192.0.2.8:6").1);
    assert_eq!(reactor.hub().stats().turned_away, 2);
}

#[test]
fn address_has_a_number_of_connections() {
    let mut reactor = reactor();
    reactor.listen(Bind::to(SERVER).connections_per_address(3), echo()).unwrap();
    let mut peers: Vec<PeerId> = (1..4).map(|port| connect(&mut reactor, &format!("192.0.2.7:{port}")).0).collect();
    for _ in 0..5 {
        assert!(!connect(&mut reactor, "192.0.2.7:9").1);
        assert!(connect(&mut reactor, "198.51.100.1:5").1 || reactor.hub().stats().connections > 5);
        reactor.kernel_mut().reset(peers.remove(0));
        reactor.settle().unwrap();
        let (peer, accepted) = connect(&mut reactor, "192.0.2.7:9");
        assert!(accepted);
        peers.push(peer);
    }
}
