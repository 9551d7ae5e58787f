//! Limits over a group, and those of what waits between its reactors.

use std::time::Duration;

use ws_reactor::{Bind, Callbacks, ConnectionId, ReactorConfig, SendStatus, Server, net::sim::PeerId};

use super::group::Group;
use crate::support::{REQUEST, played::SERVER};

const MIB: usize = 1024 * 1024;

#[test]
fn backlog_is_bounded_in_messages_and_bytes_and_a_large_message_fits_an_empty_one() {
    let config = ReactorConfig::new().group_backlog(3).group_backlog_bytes(4096);
    let mut group = Group::new(2, config, &["all"]);
    let peer = group.connect(1);
    let large = "x".repeat(5000);
    let refused = |group: &mut Group, text: &str| group.publish(0, "all", text).refused;
    assert_eq!([&large, "a"].map(|text| refused(&mut group, text)), [0, 1]);
    group.turn(0);
    assert_eq!(refused(&mut group, "b"), 1, "it is under way, and not delivered");
    group.settle();
    assert_eq!(["c", "d", "e", "f"].map(|text| refused(&mut group, text)), [0, 0, 0, 1]);
    group.settle();
    assert_eq!(group.messages(1, peer), [&large, "c", "d", "e"]);
    // Both directions have a backlog of their own.
    assert_eq!(group.publish(1, "all", &large).refused, 0);
}

fn idle_server() -> Server {
    Server::new(|_| Callbacks::new())
}

#[test]
fn backlog_of_a_reactor_that_has_ended_is_empty() {
    let mut group = Group::new(2, ReactorConfig::new().group_backlog(3), &["all"]);
    drop(group.reactors.remove(1));
    for number in 0..6 {
        let published = group.publish(0, "all", &number.to_string());
        group.settle();
        assert_eq!((published.handed_on, published.refused), (1, 0), "message {number}");
    }
    // Also if it has ended with a full one.
    let mut group = Group::new(2, ReactorConfig::new().group_backlog(1), &["all"]);
    assert_eq!(group.publish(0, "all", "under way").refused, 0);
    group.turn(0);
    assert_eq!(group.publish(0, "all", "too much").refused, 1);
    drop(group.reactors.remove(1));
    for number in 0..3 {
        let published = group.publish(0, "all", &number.to_string());
        assert_eq!((published.handed_on, published.refused), (1, 0), "message {number}");
    }
}

#[test]
fn pending_handshakes_are_limited_over_the_group() {
    let server = || idle_server().configure(|config| config.pending_handshakes = Some(3));
    let mut group = Group::serving(2, ReactorConfig::new(), server, &SERVER.into());
    let peers = [0, 1, 0, 1].map(|index| (index, group.connect_with(index, b"")));
    let is_there =
        |group: &mut Group, (index, peer): (usize, PeerId)| !group.reactors[index].kernel_mut().is_ended(peer);
    assert_eq!(peers.map(|peer| is_there(&mut group, peer)), [true, true, true, false]);
    let pending = |group: &mut Group, index: usize| group.reactors[index].hub().stats().pending_handshakes;
    assert_eq!((pending(&mut group, 0), pending(&mut group, 1)), (2, 1));
    // A handshake that has ended on one reactor makes room on the other.
    group.reactors[0].kernel_mut().send(peers[0].1, REQUEST);
    group.settle();
    let last = (1, group.connect_with(1, b""));
    assert!(is_there(&mut group, last));
    // So does a reactor that is gone.
    drop(group.reactors.remove(0));
    let more = [0, 0].map(|index| (index, group.connect_with(index, b"")));
    assert_eq!(more.map(|peer| is_there(&mut group, peer)), [true, false]);
}

#[test]
fn connections_of_an_address_are_limited_over_the_group() {
    let bind = Bind::to(SERVER).connections_per_address(3);
    let mut group = Group::serving(2, ReactorConfig::new(), idle_server, &bind);
    let from = |group: &mut Group, index: usize, host: &str| {
        let kernel = group.reactors[index].kernel_mut();
        let port = 10_000 + kernel.peers().count();
        let peer = kernel.connect_from(format!("{host}:{port}").parse().unwrap(), SERVER.parse().unwrap()).unwrap();
        group.settle();
        !group.reactors[index].kernel_mut().is_ended(peer)
    };
    let results: Vec<bool> = (0..4).map(|number| from(&mut group, number % 2, "192.0.2.1")).collect();
    assert_eq!(results, [true, true, true, false]);
    assert!(from(&mut group, 1, "192.0.2.2"));
    drop(group.reactors.remove(0));
    assert_eq!([from(&mut group, 0, "192.0.2.1"), from(&mut group, 0, "192.0.2.1")], [true, true]);
    assert!(!from(&mut group, 0, "192.0.2.1"));
}

/// Two reactors whose connections may hold so many bytes above their marks of 1 MiB. Each connection is subscribed to
/// `all`.
fn with_excess(bytes: usize) -> Group {
    let server = || {
        let handler = || {
            Callbacks::new().on_open(|ws, _| {
                ws.subscribe("all");
            })
        };
        Server::new(move |_| handler()).configure(|config| {
            config.websocket.stream.output.high_water_bytes = MIB;
            config.websocket.stream.output.limit_bytes = 64 * MIB;
        })
    };
    Group::serving(2, ReactorConfig::new().excess_output_bytes(bytes), server, &SERVER.into())
}

/// Connects a client that reads nothing. Its socket takes so many bytes at a time.
fn hold(group: &mut Group, index: usize, send_bytes: usize) -> (PeerId, ConnectionId) {
    let peer = group.connect(index);
    group.reactors[index].kernel_mut().hold(peer, send_bytes);
    (peer, group.reactors[index].hub().connections().last().unwrap())
}

#[test]
fn excess_output_is_limited_over_the_group_and_the_reactor_that_holds_most_closes() {
    let mut group = with_excess(4 * MIB + 1024);
    for index in [0, 1, 1] {
        let peer = group.connect(index);
        group.reactors[index].kernel_mut().hold(peer, 0);
    }
    let ids: Vec<Vec<ConnectionId>> =
        group.reactors.iter_mut().map(|reactor| reactor.hub().connections().collect()).collect();
    let send = |group: &mut Group, index: usize, id: ConnectionId, mib: usize| {
        let sent = group.reactors[index].hub().send(id, vec![0; mib * MIB]);
        group.settle();
        sent
    };
    assert!(send(&mut group, 1, ids[1][0], 4).is_queued());
    assert!(send(&mut group, 1, ids[1][0], 1).is_queued(), "4 MiB above the mark, which is the limit");
    // Together above the limit, but this reactor holds less than half of it.
    assert!(send(&mut group, 0, ids[0][0], 2).is_queued());
    assert!(send(&mut group, 0, ids[0][0], 1).is_queued());
    assert!(group.reactors[0].hub().is_open(ids[0][0]));
    // The other one holds more than half.
    assert!(send(&mut group, 1, ids[1][1], 2).is_queued());
    assert_eq!([ids[1][0], ids[1][1]].map(|id| group.reactors[1].hub().is_open(id)), [false, true]);
}

// regression: a payload of a publish was charged until the next message, and cost the other reactor its connections.
#[test]
fn published_output_that_has_left_on_one_reactor_leaves_room_on_the_other_after_a_second() {
    let mut group = with_excess(16 * MIB);
    let (slow, _) = hold(&mut group, 0, 100_000);
    for _ in 0..15 {
        assert_eq!(group.reactors[0].hub().publish_local("all", vec![7; MIB]).queued, 1);
    }
    group.settle();
    group.reactors[0].kernel_mut().release(slow);
    group.settle();
    assert_eq!(group.reactors[0].hub().stats().buffered_bytes, 0);
    group.advance(Duration::from_secs(1));
    let (_, id) = hold(&mut group, 1, 0);
    // 9 MiB above the mark: more than the half of this reactor, and less than the limit.
    let statuses: Vec<SendStatus> = (0..10).map(|_| group.reactors[1].hub().send(id, vec![7; MIB])).collect();
    assert_eq!(statuses[0], SendStatus::Queued);
    assert_eq!(statuses[1..], [SendStatus::Congested; 9]);
    group.advance(Duration::from_secs(2));
    assert!(group.reactors[1].hub().is_open(id));
}

#[test]
fn reactor_that_holds_most_closes_within_a_second_also_if_it_sends_nothing() {
    let mut group = with_excess(16 * MIB);
    let mut ids = Vec::new();
    for (index, mib) in [(0, 16), (1, 8)] {
        let (_, id) = hold(&mut group, index, 0);
        for _ in 0..mib {
            assert!(group.reactors[index].hub().send(id, vec![7; MIB]).is_queued());
        }
        group.settle();
        ids.push(id);
    }
    let open = |group: &mut Group| [0, 1].map(|index| group.reactors[index].hub().is_open(ids[index]));
    assert_eq!(open(&mut group), [true, true]);
    group.advance(Duration::from_secs(1));
    assert_eq!(open(&mut group), [false, true]);
}
