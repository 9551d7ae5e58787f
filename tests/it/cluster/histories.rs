//! Histories of a group: the same on all reactors.

use std::time::Duration;

use ws_reactor::{HistoryLimits, ReactorConfig, net::sim::PeerId};

use super::group::Group;

/// A group that keeps the history of the first of these topics, with a client of each reactor that is subscribed to all
/// of them.
fn keeping(size: usize, config: ReactorConfig, topics: &'static [&'static str]) -> (Group, Vec<PeerId>) {
    let mut group = Group::new(size, config, topics);
    let peers = (0..size).map(|index| group.connect(index)).collect();
    group.reactors[1].hub().keep_history(topics[0], HistoryLimits::new());
    group.settle();
    (group, peers)
}

/// The messages that each client has received.
fn messages(group: &mut Group, peers: &[PeerId]) -> Vec<Vec<String>> {
    peers.iter().enumerate().map(|(index, peer)| group.messages(index, *peer)).collect()
}

/// The events of a history, which is the same on all reactors.
fn history(group: &mut Group, topic: &str) -> Vec<(u64, String)> {
    let first = group.history(0, topic);
    for index in 1..group.reactors.len() {
        assert_eq!(group.history(index, topic), first, "reactor {index}");
    }
    first
}

fn texts(events: &[(u64, String)]) -> Vec<&str> {
    events.iter().map(|(_, text)| text.as_str()).collect()
}

#[test]
fn local_publish_is_in_no_history_of_a_group() {
    let (mut group, peers) = keeping(2, ReactorConfig::new(), &["kept"]);
    let local = group.reactors[1].hub().publish_local("kept", "local");
    assert_eq!((local.queued, local.handed_on, local.event_id), (1, 0, None));
    let id = group.publish(0, "kept", "to all").event_id.unwrap();
    group.settle();
    assert_eq!(history(&mut group, "kept"), [(id, "to all".to_owned())]);
    assert_eq!(messages(&mut group, &peers), [vec!["to all"], vec!["local", "to all"]]);
}

#[test]
fn remote_publication_has_one_id_on_all_reactors_and_is_delivered_once() {
    let (mut group, peers) = keeping(3, ReactorConfig::new(), &["kept", "plain"]);
    for index in 0..3 {
        let remote = group.reactors[index].remote();
        for topic in ["kept", "plain"] {
            remote.publish(topic, format!("{topic} {index}")).unwrap();
        }
    }
    group.settle();
    let events = history(&mut group, "kept");
    assert_eq!(texts(&events), ["kept 0", "kept 1", "kept 2"]);
    assert!(events.is_sorted_by(|(before, _), (id, _)| before < id), "{events:?}");
    assert!(group.reactors.iter_mut().all(|reactor| reactor.hub().histories() == 1));
    for messages in messages(&mut group, &peers) {
        let (kept, plain): (Vec<String>, Vec<String>) = messages.into_iter().partition(|text| text.starts_with("kept"));
        assert_eq!(kept, ["kept 0", "kept 1", "kept 2"]);
        assert_eq!(plain, ["plain 0", "plain 1", "plain 2"]);
    }
}

#[test]
fn event_right_after_keep_history_is_no_gap_on_another_reactor() {
    let mut group = Group::new(2, ReactorConfig::new(), &[]);
    group.reactors[0].hub().keep_history("kept", HistoryLimits::new());
    let first = group.publish(0, "kept", "first").event_id.unwrap();
    group.settle();
    let second = group.publish(0, "kept", "second").event_id.unwrap();
    group.settle();
    for (index, reactor) in group.reactors.iter_mut().enumerate() {
        let replay = reactor.hub().events_after(["kept"], first).unwrap();
        let ids: Vec<u64> = replay.events.iter().map(|event| event.id).collect();
        assert_eq!((ids, replay.gap_to), (vec![second], None), "reactor {index}");
    }
}

#[test]
fn publications_before_and_after_forget_history_arrive_in_order() {
    let (mut group, peers) = keeping(3, ReactorConfig::new(), &["kept"]);
    group.publish(1, "kept", "before");
    assert!(group.reactors[1].hub().forget_history("kept"));
    group.publish(1, "kept", "after");
    group.settle();
    assert_eq!(messages(&mut group, &peers), [["before", "after"]; 3]);
    assert_eq!(group.keeps_history("kept"), [false; 3]);
}

#[test]
fn last_message_before_a_shutdown_arrives_on_all_reactors_also_if_it_has_a_history() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let (mut group, peers) = keeping(3, ReactorConfig::new(), &["kept"]);
        group.publish(1, "kept", "last words");
        group.reactors[1].hub().shutdown(Duration::from_secs(5));
        for index in order {
            group.turn(index);
        }
        group.settle();
        // The close frame holds 1001, as two bytes.
        assert_eq!(messages(&mut group, &peers), [["last words", r"\x03\xe9"]; 3], "turns {order:?}");
    }
}

#[test]
fn events_that_the_first_reactor_cannot_hand_on_are_a_gap_on_the_reactor_without_them() {
    let (mut group, peers) = keeping(3, ReactorConfig::new().group_backlog(3), &["kept"]);
    for round in 0..3 {
        for number in 0..3 {
            // The reactor that publishes is not told: only the first one has refused.
            assert_eq!(group.publish(1, "kept", &format!("{round} {number}")).refused, 0);
        }
        // The last reactor has no turn.
        for index in [1, 0, 1] {
            group.turn(index);
        }
    }
    group.settle();
    let events = group.history(0, "kept");
    assert_eq!((events.len(), group.history(1, "kept")), (9, events.clone()));
    assert_eq!(group.history(2, "kept"), events[..3]);
    assert_eq!(group.reactors[0].hub().stats().group_refused, 6);
    let after_third = |group: &mut Group| {
        let replay = group.reactors[2].hub().events_after(["kept"], events[2].0).unwrap();
        (replay.events.iter().map(|event| event.data.to_string()).collect::<Vec<_>>(), replay.gap_to)
    };
    assert_eq!(after_third(&mut group), (vec![], Some(events[8].0)));
    group.publish(0, "kept", "later");
    group.settle();
    assert_eq!(after_third(&mut group), (vec!["later".to_owned()], Some(events[8].0)));
    assert_eq!(group.messages(2, peers[2]), ["0 0", "0 1", "0 2", "later"]);
}

#[test]
fn event_refused_while_a_gap_is_reported_is_a_gap_too_without_another_publication() {
    let (mut group, peers) = keeping(2, ReactorConfig::new().group_backlog(1), &["kept"]);
    let publish = |group: &mut Group, text: &str| {
        let published = group.publish(0, "kept", text);
        (published.event_id.unwrap(), published.refused)
    };
    let (first, refused) = publish(&mut group, "first");
    assert_eq!(refused, 0);
    let (second, refused) = publish(&mut group, "second");
    assert_eq!(refused, 1);
    // The report of the second is under way when the third is refused.
    group.turn(0);
    let (third, refused) = publish(&mut group, "third");
    assert_eq!((refused, group.reactors[0].hub().stats().group_refused), (1, 2));
    group.settle();
    let replay = group.reactors[1].hub().events_after(["kept"], first).unwrap();
    assert_eq!((replay.events.len(), replay.gap_to), (0, Some(third)));
    let ids: Vec<u64> = group.history(0, "kept").into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [first, second, third]);
    assert_eq!(messages(&mut group, &peers), [vec!["first", "second", "third"], vec!["first"]]);
    assert_eq!(publish(&mut group, "fourth").1, 0, "there is room again");
}

#[test]
fn gap_is_there_before_the_events_after_it() {
    let config = ReactorConfig::new().group_backlog(2).command_budget(1);
    let (mut group, _) = keeping(2, config, &["kept"]);
    let publish = |group: &mut Group| group.publish(0, "kept", "event").event_id.unwrap();
    let first = publish(&mut group);
    let (mut ids, mut gaps) = (Vec::new(), 0);
    for step in 0..60 {
        // More is published than the other reactor takes: one command in a turn.
        ids.extend((0..1 + step % 2).map(|_| publish(&mut group)));
        group.turn(0);
        group.turn(1);
        let replay = group.reactors[1].hub().events_after(["kept"], first).unwrap();
        let last = replay.events.last().map_or(0, |event| event.id);
        for id in ids.iter().filter(|id| **id < last) {
            let is_there = replay.events.iter().any(|event| event.id == *id);
            assert!(
                is_there || replay.gap_to.is_some_and(|to| to >= *id),
                "step {step}: {id} is missing in {replay:?}"
            );
            gaps += usize::from(!is_there);
        }
    }
    assert!(gaps > 0, "nothing was refused");
}

#[test]
fn keep_and_forget_of_two_reactors_leave_all_reactors_in_the_same_state() {
    let limits = HistoryLimits::new();
    let keep = |group: &mut Group, index: usize, limits: HistoryLimits| {
        group.reactors[index].hub().keep_history("kept", limits);
    };
    // A reactor that does not know the history yet has none to forget.
    let mut group = Group::new(3, ReactorConfig::new(), &[]);
    keep(&mut group, 1, limits);
    assert!(!group.reactors[2].hub().forget_history("kept"));
    group.settle();
    assert_eq!(group.keeps_history("kept"), [true; 3]);
    // Of a change and a forget, the one that the first reactor gets last counts.
    for is_kept in [true, false] {
        let mut group = Group::new(3, ReactorConfig::new(), &[]);
        keep(&mut group, 1, limits);
        group.settle();
        if is_kept {
            assert!(group.reactors[1].hub().forget_history("kept"));
        }
        keep(&mut group, 2, limits.max_events(7));
        if !is_kept {
            assert!(group.reactors[1].hub().forget_history("kept"));
        }
        group.settle();
        assert_eq!(group.keeps_history("kept"), [is_kept; 3]);
        keep(&mut group, 2, limits);
        group.settle();
        assert_eq!(group.keeps_history("kept"), [true; 3]);
        assert_eq!(group.publish(2, "kept", "event").handed_on, 1);
        group.settle();
        assert_eq!(texts(&history(&mut group, "kept")), ["event"]);
    }
}

#[test]
fn history_that_is_asked_for_while_it_is_forgotten_begins_again_without_a_break() {
    let (mut group, _) = keeping(3, ReactorConfig::new(), &["kept"]);
    assert_eq!(group.publish(2, "kept", "forgotten").handed_on, 1);
    group.settle();
    assert!(group.reactors[0].hub().forget_history("kept"));
    group.turn(0);
    // The other reactor learns that only after its request.
    group.reactors[2].hub().keep_history("kept", HistoryLimits::new().max_events(7));
    group.turn(2);
    assert_eq!(group.history(2, "kept"), []);
    assert_eq!(group.publish(2, "kept", "event").handed_on, 1, "it is for the first reactor, which records it");
    group.settle();
    assert_eq!(texts(&history(&mut group, "kept")), ["event"]);
}

/// Limits of a history that is forgotten after 200 s without use. The first reactor looks each minute, and waits two
/// more for what the others have used.
fn forgotten_soon() -> HistoryLimits {
    HistoryLimits::new().max_age(Duration::MAX).forget_after(Some(Duration::from_secs(200)))
}

const STEP: Duration = Duration::from_secs(5);

#[test]
fn history_that_another_reactor_asks_for_often_enough_is_not_forgotten() {
    let mut group = Group::new(2, ReactorConfig::new(), &[]);
    group.reactors[1].hub().keep_history("kept", forgotten_soon());
    group.settle();
    for step in 0..200 {
        group.advance(STEP);
        // It would be forgotten at 360 s.
        if STEP * step >= Duration::from_secs(290) {
            group.reactors[1].hub().keep_history("kept", forgotten_soon());
            assert_eq!(group.keeps_history("kept"), [true; 2], "after {:?}", STEP * (step + 1));
        }
    }
}

#[test]
fn history_that_another_reactor_has_used_since_its_last_report_is_not_forgotten() {
    let mut group = Group::new(2, ReactorConfig::new(), &[]);
    group.reactors[1].hub().keep_history("kept", forgotten_soon());
    group.settle();
    let advance_to = |group: &mut Group, from: u64, to: u64| {
        (from..to).step_by(5).for_each(|_| group.advance(STEP));
    };
    // The first reactor heard of a use at 60 s, and looks at 300 s, before the other one reports.
    advance_to(&mut group, 0, 245);
    assert!(group.reactors[1].hub().events_after(["kept"], 0).is_some());
    advance_to(&mut group, 245, 660);
    assert_eq!(group.keeps_history("kept"), [true; 2]);
    advance_to(&mut group, 660, 720);
    assert_eq!(group.keeps_history("kept"), [false; 2]);
}

#[test]
fn history_asked_for_when_it_is_about_to_be_forgotten_is_kept_for_its_subscribers() {
    for steps in 50..100 {
        let mut group = Group::new(2, ReactorConfig::new(), &["kept"]);
        group.reactors[1].hub().keep_history("kept", forgotten_soon());
        group.settle();
        group.publish(0, "kept", "event");
        (0..steps).for_each(|_| group.advance(STEP));
        group.reactors[1].hub().keep_history("kept", forgotten_soon());
        group.connect(1);
        (0..12).for_each(|_| group.advance(STEP));
        assert_eq!(group.keeps_history("kept"), [true; 2], "asked for after {:?}", STEP * steps);
        history(&mut group, "kept");
    }
}

#[cfg(feature = "server")]
mod streams {
    use ws_reactor::Event;

    use super::{super::group::get, *};

    // regression: a group of several lost the id.
    #[test]
    fn id_that_the_application_gives_an_event_arrives_on_all_reactors() {
        for size in [1, 2] {
            let mut group = Group::of_streams(size, ReactorConfig::new());
            let peers: Vec<PeerId> = (0..size).map(|index| group.connect_with(index, &get("/events", None))).collect();
            let event = Event::new("1.17").name("price").unwrap().id("own-7").unwrap();
            group.reactors[0].hub().publish_event("one", event);
            group.settle();
            for (index, peer) in peers.into_iter().enumerate() {
                let text = group.text(index, peer);
                assert!(
                    text.ends_with("event: price\nid: own-7\ndata: 1.17\n\n\r\n"),
                    "reactor {index} of {size}: {text}"
                );
            }
        }
    }

    // regression: the id that a reactor made for another history stood for events that had not arrived there.
    #[test]
    fn stream_that_goes_on_at_a_reactor_that_is_behind_gets_no_event_twice() {
        for keeps_another in [false, true] {
            let mut group = Group::of_streams(3, ReactorConfig::new().command_budget(1));
            for topic in ["one", "two"] {
                group.reactors[2].hub().keep_history(topic, HistoryLimits::new());
            }
            group.settle();
            let first = group.connect_with(0, &get("/events", None));
            // The reactor 1 gets the event after these.
            for _ in 0..30 {
                group.reactors[1].remote().run(|_| ()).unwrap();
            }
            let id = group.publish(0, "one", "1").event_id.unwrap();
            group.turn(0);
            group.turn(0);
            assert_eq!(group.data(0, first), ["1"]);
            if keeps_another {
                group.reactors[1].hub().keep_history("three", HistoryLimits::new());
            }
            let second = group.request(1, &get("/events", Some(id)));
            for _ in 0..5 {
                group.turn(1);
            }
            group.settle();
            group.reactors[1].advance(Duration::from_millis(20)).unwrap();
            group.publish(0, "one", "2");
            group.settle();
            assert_eq!(group.data(1, second), ["2"], "keeps another history: {keeps_another}");
        }
    }
}
