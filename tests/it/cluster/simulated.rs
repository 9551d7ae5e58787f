//! Groups on simulated networks: the test decides which reactor has its turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use ws_reactor::{
    Bind, Callbacks, ConnectionId, HistoryLimits, Published, Reactor, ReactorConfig, ReactorGroup, Server, Turn,
    net::sim::{PeerId, Sim},
};

use crate::support::{REQUEST, frames, played::SERVER};

/// Reactors on whose servers each connection is subscribed to these topics.
struct Group {
    reactors: Vec<Reactor<Sim>>,
}

impl Group {
    fn new(size: usize, config: ReactorConfig, topics: &'static [&'static str]) -> Self {
        let mut reactors = ReactorGroup::simulated(size, config);
        for reactor in &mut reactors {
            let server = Server::new(move |_| {
                Callbacks::new().on_open(move |ws, _| {
                    for topic in topics {
                        ws.subscribe(topic);
                    }
                })
            });
            reactor.listen(SERVER, server).unwrap();
        }
        Group { reactors }
    }

    fn connect(&mut self, index: usize) -> PeerId {
        self.connect_with(index, REQUEST)
    }

    fn connect_with(&mut self, index: usize, request: &[u8]) -> PeerId {
        let kernel = self.reactors[index].kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(peer, request);
        self.settle();
        peer
    }

    fn turn(&mut self, index: usize) -> Turn {
        self.reactors[index].turn(Some(Duration::ZERO)).unwrap()
    }

    /// Gives each reactor turns until none has work.
    fn settle(&mut self) {
        for _ in 0..8 * self.reactors.len() {
            for reactor in &mut self.reactors {
                reactor.settle().unwrap();
            }
        }
    }

    fn publish(&mut self, index: usize, topic: &str, text: &str) -> Published {
        self.reactors[index].hub().publish(topic, text)
    }

    /// The messages that a client has received, all since it has connected.
    fn messages(&mut self, index: usize, peer: PeerId) -> Vec<String> {
        let received = self.reactors[index].kernel_mut().received(peer);
        frames(&received).into_iter().map(|payload| payload.escape_ascii().to_string()).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish { reactor: usize, topic: usize },
    Turn { reactor: usize },
}

const TOPICS: &[&str] = &["plain", "kept"];
const REACTORS: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..REACTORS, 0..TOPICS.len()).prop_map(|(reactor, topic)| Step::Publish { reactor, topic }),
        (0..REACTORS).prop_map(|reactor| Step::Turn { reactor }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]

    /// Whatever the order of the turns, each subscriber gets each message once, those of a publisher and topic in
    /// order, and those of a topic with a history in the same order as all others.
    #[test]
    fn messages_are_neither_lost_nor_doubled_nor_out_of_order(
        steps in steps(),
        command_budget in 1_usize..5,
        delivery_budget in 1_usize..5,
    ) {
        let config = ReactorConfig::new().command_budget(command_budget).delivery_budget(delivery_budget);
        let mut group = Group::new(REACTORS, config, TOPICS);
        let indices = (0..2 * REACTORS).map(|number| number % REACTORS);
        let peers: Vec<(usize, PeerId)> = indices.map(|index| (index, group.connect(index))).collect();
        group.reactors[1].hub().keep_history("kept", HistoryLimits::new().max_events(1000));
        group.settle();
        let mut published = BTreeMap::<(usize, usize), usize>::new();
        for step in steps {
            match step {
                Step::Publish { reactor, topic } => {
                    let count = published.entry((reactor, topic)).or_default();
                    let result = group.publish(reactor, TOPICS[topic], &format!("{reactor} {topic} {count}"));
                    prop_assert_eq!(result.refused, 0);
                    let is_passed_on = topic == 1 && reactor != 0;
                    prop_assert_eq!(result.handed_on, if is_passed_on { 1 } else { REACTORS - 1 });
                    *count += 1;
                }
                Step::Turn { reactor } => {
                    group.turn(reactor);
                }
            }
        }
        group.settle();
        let expected: usize = published.values().sum();
        let mut orders = BTreeSet::new();
        for (index, peer) in peers {
            let messages = group.messages(index, peer);
            prop_assert_eq!(messages.len(), expected);
            let mut received = BTreeMap::<(usize, usize), usize>::new();
            for message in &messages {
                let numbers: Vec<usize> = message.split(' ').map(|number| number.parse().unwrap()).collect();
                let count = received.entry((numbers[0], numbers[1])).or_default();
                prop_assert_eq!(*count, numbers[2]);
                *count += 1;
            }
            let kept: Vec<String> = messages.into_iter().filter(|message| message.contains(" 1 ")).collect();
            orders.insert(kept);
        }
        prop_assert_eq!(orders.len(), 1, "orders of the topic with a history");
        let histories: BTreeSet<Vec<(u64, String)>> = group.reactors.iter_mut().map(|reactor| {
            let replay = reactor.hub().events_after(["kept"], 0).unwrap();
            replay.events.into_iter().map(|event| (event.id, event.data.to_string())).collect()
        }).collect();
        prop_assert_eq!(histories.len(), 1, "copies of the history");
    }
}

#[test]
fn last_messages_before_a_shutdown_arrive_on_all_reactors() {
    let mut group = Group::new(3, ReactorConfig::new(), &["all"]);
    let peers: Vec<PeerId> = (0..3).map(|index| group.connect(index)).collect();
    group.publish(1, "all", "last words");
    group.reactors[1].hub().shutdown(Duration::from_secs(5));
    // The others have their turns first.
    for index in [0, 2, 1] {
        group.turn(index);
    }
    group.settle();
    for (index, peer) in peers.into_iter().enumerate() {
        // The close frame holds 1001, as two bytes.
        assert_eq!(group.messages(index, peer), ["last words", r"\x03\xe9"], "reactor {index}");
    }
}

#[test]
fn stop_ends_all_reactors_and_a_reactor_that_is_gone_is_not_waited_for() {
    let mut group = Group::new(3, ReactorConfig::new(), &["all"]);
    let peer = group.connect(0);
    drop(group.reactors.remove(2));
    assert_eq!(group.publish(0, "all", "still here").queued, 1);
    group.settle();
    assert_eq!(group.messages(0, peer), ["still here"]);
    group.reactors[0].hub().stop();
    assert_eq!((group.turn(0), group.turn(1)), (Turn::Stopped, Turn::Stopped));
}

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

#[test]
fn remote_notifies_the_subscribers_on_all_reactors_and_a_hub_those_on_its_own() {
    let server = || {
        Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.subscribe("all");
                })
                .on_event(|ws, event| {
                    let text = *event.downcast_ref::<&str>().unwrap();
                    ws.send(text);
                })
        })
    };
    let mut group = serving(3, ReactorConfig::new(), server, &SERVER.into());
    let peers = [0, 1, 2].map(|index| group.connect(index));
    group.reactors[1].remote().notify_topic("all", "from a thread").unwrap();
    group.reactors[1].hub().notify_topic("all", "from the hub");
    group.settle();
    for (index, peer) in peers.into_iter().enumerate() {
        let mut messages = group.messages(index, peer);
        messages.sort();
        let expected: &[&str] = if index == 1 { &["from a thread", "from the hub"] } else { &["from a thread"] };
        assert_eq!(messages, expected, "reactor {index}");
    }
}

/// A group whose reactors have this server each.
fn serving(size: usize, config: ReactorConfig, server: impl Fn() -> Server, bind: &Bind) -> Group {
    let mut reactors = ReactorGroup::simulated(size, config);
    for reactor in &mut reactors {
        reactor.listen(bind.clone(), server()).unwrap();
    }
    Group { reactors }
}

fn idle_server() -> Server {
    Server::new(|_| Callbacks::new())
}

#[test]
fn pending_handshakes_are_limited_over_the_group() {
    let server = || idle_server().configure(|config| config.pending_handshakes = Some(3));
    let mut group = serving(2, ReactorConfig::new(), server, &SERVER.into());
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
    let mut group = serving(2, ReactorConfig::new(), idle_server, &bind);
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

#[test]
fn excess_output_is_limited_over_the_group_and_the_reactor_that_holds_most_closes() {
    const MIB: usize = 1024 * 1024;
    let config = ReactorConfig::new().excess_output_bytes(4 * MIB + 1024);
    let server = || {
        idle_server().configure(|config| {
            config.websocket.stream.output.high_water_bytes = MIB;
            config.websocket.stream.output.limit_bytes = 64 * MIB;
        })
    };
    let mut group = serving(2, config, server, &SERVER.into());
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

#[cfg(feature = "server")]
mod streams {
    use ws_reactor::{EventStream, Hub, LongPoll, Routes};

    use super::*;

    fn group() -> Group {
        let mut reactors = ReactorGroup::simulated(3, ReactorConfig::new());
        for reactor in &mut reactors {
            let routes = Routes::new()
                .metrics("/metrics")
                .event_stream("/events", |_, _| EventStream::topics(["one", "two"]))
                .get("/poll/{after}", |request, _| {
                    LongPoll::topic("one").after(request.param("after").parse().unwrap())
                });
            reactor.listen(SERVER, Server::routes(routes).unwrap()).unwrap();
        }
        let mut group = Group { reactors };
        for topic in ["one", "two"] {
            group.reactors[2].hub().keep_history(topic, HistoryLimits::new());
        }
        group.settle();
        group
    }

    fn get(path: &str, last_event_id: Option<u64>) -> Vec<u8> {
        let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        format!("GET {path} HTTP/1.1\r\nHost: test\r\n{last}\r\n").into_bytes()
    }

    /// The data of the events that a client has received.
    fn data(group: &mut Group, index: usize, peer: PeerId) -> Vec<String> {
        let received = String::from_utf8(group.reactors[index].kernel_mut().received(peer)).unwrap();
        received.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    fn last_id(group: &mut Group, index: usize) -> u64 {
        group.reactors[index].hub().events_after(["one", "two"], 0).unwrap().events.last().unwrap().id
    }

    #[test]
    fn stream_goes_on_at_another_reactor_without_a_loss_and_without_a_repetition() {
        let mut group = group();
        let first = group.connect_with(0, &get("/events", None));
        for text in ["1", "2"] {
            group.publish(2, "one", text);
        }
        // The sequencer has both; the reactor 1 has none yet.
        for index in [2, 0, 0] {
            group.turn(index);
        }
        assert_eq!(data(&mut group, 0, first), ["1", "2"]);
        let last = last_id(&mut group, 0);
        let kernel = group.reactors[1].kernel_mut();
        let second = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(second, &get("/events", Some(last)));
        for _ in 0..3 {
            group.turn(1);
        }
        group.publish(2, "two", "3");
        group.settle();
        group.reactors[1].advance(Duration::from_millis(10)).unwrap();
        group.publish(1, "one", "4");
        group.settle();
        assert_eq!(data(&mut group, 1, second), ["3", "4"]);
    }

    #[test]
    fn metrics_are_those_of_all_reactors() {
        let mut group = group();
        for index in [0, 1, 1, 2] {
            group.connect_with(index, &get("/events", None));
        }
        let peer = group.connect_with(2, &get("/metrics", None));
        let text = String::from_utf8(group.reactors[2].kernel_mut().received(peer)).unwrap();
        assert!(text.contains("\nws_reactor_connections 5\n"), "{text}");
        assert!(text.contains("\nws_reactor_requests_total 5\n"), "{text}");
        let peer = group.connect_with(1, &get("/metrics?format=json", None));
        let text = String::from_utf8(group.reactors[1].kernel_mut().received(peer)).unwrap();
        assert!(text.contains("{\"connections\":6,"), "{text}");
    }

    #[test]
    fn polls_of_all_reactors_are_answered_with_the_same_event() {
        let mut group = group();
        group.publish(0, "one", "old");
        group.settle();
        let after = last_id(&mut group, 0);
        let peers: Vec<PeerId> =
            (0..3).map(|index| group.connect_with(index, &get(&format!("/poll/{after}"), None))).collect();
        group.publish(1, "one", "new");
        group.settle();
        let id = last_id(&mut group, 2);
        for (index, peer) in peers.into_iter().enumerate() {
            let received = String::from_utf8(group.reactors[index].kernel_mut().received(peer)).unwrap();
            assert!(received.ends_with(&format!("{{\"id\":{id},\"data\":\"new\"}}")), "{received}");
        }
    }

    #[test]
    fn history_that_nobody_uses_is_forgotten_on_all_reactors_and_one_that_any_uses_on_none() {
        let mut group = group();
        let limits = HistoryLimits::new().forget_after(Some(Duration::from_secs(200)));
        for topic in ["one", "unused"] {
            group.reactors[1].hub().keep_history(topic, limits);
        }
        group.connect_with(2, &get("/events", None));
        let kept = |group: &mut Group| -> Vec<[bool; 2]> {
            let kept = |hub: &mut Hub| ["one", "unused"].map(|topic| hub.keeps_history(topic));
            group.reactors.iter_mut().map(|reactor| kept(reactor.hub())).collect()
        };
        assert_eq!(kept(&mut group), [[true, true]; 3]);
        for _ in 0..20 {
            for reactor in &mut group.reactors {
                reactor.advance(Duration::from_secs(30)).unwrap();
            }
            group.settle();
        }
        assert_eq!(kept(&mut group), [[true, false]; 3]);
    }

    #[test]
    fn history_is_forgotten_on_all_reactors() {
        let mut group = group();
        assert!(group.reactors[1].hub().forget_history("one"));
        group.settle();
        let kept: Vec<usize> = group.reactors.iter_mut().map(|reactor| reactor.hub().histories()).collect();
        assert_eq!(kept, [1, 1, 1]);
    }
}
