//! Groups on simulated networks: the test decides which reactor has its turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use ws_reactor::{HistoryLimits, ReactorConfig, Turn, net::sim::PeerId};

use super::group::Group;

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
        let histories: BTreeSet<Vec<(u64, String)>> =
            (0..REACTORS).map(|index| group.history(index, "kept")).collect();
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
fn second_shutdown_with_a_shorter_timeout_shortens_the_first_on_all_reactors() {
    let mut group = Group::new(3, ReactorConfig::new(), &["all"]);
    // The clients do not answer the close frame.
    (0..3).for_each(|index| _ = group.connect(index));
    group.reactors[2].hub().shutdown(Duration::from_secs(5));
    group.settle();
    group.reactors[1].hub().shutdown(Duration::from_secs(1));
    group.advance(Duration::from_millis(999));
    let turns = |group: &mut Group| [0, 1, 2].map(|index| group.turn(index));
    assert_eq!(turns(&mut group), [Turn::Running; 3]);
    group.advance(Duration::from_millis(1));
    assert_eq!(turns(&mut group), [Turn::Stopped; 3]);
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

#[cfg(feature = "server")]
mod streams {
    use ws_reactor::Hub;

    use super::{super::group::get, *};

    fn group() -> Group {
        let mut group = Group::of_streams(3, ReactorConfig::new());
        for topic in ["one", "two"] {
            group.reactors[2].hub().keep_history(topic, HistoryLimits::new());
        }
        group.settle();
        group
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
        assert_eq!(group.data(0, first), ["1", "2"]);
        let last = last_id(&mut group, 0);
        let second = group.request(1, &get("/events", Some(last)));
        for _ in 0..3 {
            group.turn(1);
        }
        group.publish(2, "two", "3");
        group.settle();
        group.reactors[1].advance(Duration::from_millis(10)).unwrap();
        group.publish(1, "one", "4");
        group.settle();
        assert_eq!(group.data(1, second), ["3", "4"]);
    }

    #[test]
    fn metrics_are_those_of_all_reactors() {
        let mut group = group();
        for index in [0, 1, 1, 2] {
            group.connect_with(index, &get("/events", None));
        }
        let peer = group.connect_with(2, &get("/metrics", None));
        let text = group.text(2, peer);
        assert!(text.contains("\nws_reactor_connections 5\n"), "{text}");
        assert!(text.contains("\nws_reactor_requests_total 5\n"), "{text}");
        let peer = group.connect_with(1, &get("/metrics?format=json", None));
        let text = group.text(1, peer);
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
            let received = group.text(index, peer);
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
            group.advance(Duration::from_secs(30));
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
