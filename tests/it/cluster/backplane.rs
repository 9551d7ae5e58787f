//! What a backplane is told, and what it delivers.

use std::{cell::RefCell, mem, rc::Rc, time::Duration};

use ws_reactor::{Backplane, Event, HeldMessage, HistoryLimits, Hub, PublishedMessage, ReactorConfig};

use super::group::Group;

/// Writes down its calls. Topics that begin with `slow` are confirmed by the test.
#[derive(Default, Clone)]
struct Noting(Rc<RefCell<Vec<String>>>);

impl Backplane for Noting {
    fn start(&mut self, _: &mut Hub) {
        self.0.borrow_mut().push("start".to_owned());
    }

    fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
        self.0.borrow_mut().push(format!("+{topic}"));
        if !topic.starts_with("slow") {
            hub.confirm_topic(topic);
        }
    }

    fn unsubscribe(&mut self, _: &mut Hub, topic: &str) {
        self.0.borrow_mut().push(format!("-{topic}"));
    }

    fn publish(&mut self, _: &mut Hub, published: PublishedMessage<'_>) {
        let PublishedMessage { topic, message, event, latest, .. } = published;
        let mut line = format!("{topic}: {message}");
        for (name, value) in [("event", event), ("latest", latest)] {
            line += &value.map(|value| format!(" {name} {value}")).unwrap_or_default();
        }
        self.0.borrow_mut().push(line);
    }
}

impl Noting {
    fn take(&self) -> Vec<String> {
        mem::take(&mut *self.0.borrow_mut())
    }
}

fn group(size: usize, topics: &'static [&'static str]) -> (Group, Noting) {
    let (mut group, noting) = (Group::new(size, ReactorConfig::new(), topics), Noting::default());
    for reactor in &mut group.reactors {
        reactor.hub().set_backplane(noting.clone());
    }
    group.settle();
    assert_eq!(noting.take(), ["start"], "the first reactor has it, and the others have none");
    (group, noting)
}

#[test]
fn topic_is_subscribed_for_its_first_subscriber_of_all_reactors_and_unsubscribed_after_the_last() {
    for size in [1, 3] {
        let (mut group, noting) = group(size, &["one", "two"]);
        let peers: Vec<_> = (0..2 * size).map(|number| (number % size, group.connect(number % size))).collect();
        assert_eq!(noting.take(), ["+one", "+two"], "{size} reactors");
        for (index, peer) in &peers[1..] {
            group.reactors[*index].kernel_mut().reset(*peer);
        }
        group.settle();
        assert!(noting.take().is_empty());
        group.reactors[0].kernel_mut().reset(peers[0].1);
        group.settle();
        let mut calls = noting.take();
        calls.sort();
        assert_eq!(calls, ["-one", "-two"]);
        group.connect(size - 1);
        assert_eq!(noting.take(), ["+one", "+two"]);
    }
}

#[test]
fn each_publication_of_all_reactors_reaches_the_backplane_once_and_what_it_delivers_does_not() {
    for size in [1, 2] {
        let (mut group, noting) = group(size, &["kept", "plain"]);
        let last = size - 1;
        let peers: Vec<_> = (0..size).map(|index| group.connect(index)).collect();
        group.reactors[last].hub().keep_history("kept", HistoryLimits::new());
        group.settle();
        noting.take();
        let hub = group.reactors[last].hub();
        hub.publish("plain", "1");
        hub.publish("kept", "2");
        hub.publish_latest("plain", "key", "3");
        hub.publish_event("plain", Event::new("4").name("name").unwrap());
        hub.publish_local("plain", "local");
        hub.publish("nobody's", "5");
        hub.publish("plain", b"\xff\0");
        group.settle();
        group.reactors[last].remote().publish("plain", "6").unwrap();
        group.reactors[last].remote().publish("kept", "7").unwrap();
        group.settle();
        let mut calls = noting.take();
        let expected =
            ["plain: 1", "kept: 2", "plain: 3 latest key", "plain: 4 event name", "nobody's: 5", "plain: 6", "kept: 7"];
        let binary =
            calls.iter().position(|call| call.starts_with("plain: ") && !call.is_ascii() || call.contains("ff"));
        calls.remove(binary.expect("the binary message"));
        let sorted = |mut calls: Vec<String>| {
            calls.sort();
            calls
        };
        assert_eq!(sorted(calls), sorted(expected.map(str::to_owned).to_vec()), "{size} reactors");
        for reactor in &mut group.reactors {
            reactor.hub().deliver("plain", "from outside");
            reactor.hub().deliver("kept", "for the history");
            reactor.hub().deliver_event("plain", Event::new("an event"));
        }
        group.settle();
        assert!(noting.take().is_empty(), "it would go round");
        assert_eq!(group.history(last, "kept").len(), 2 + size);
        for (index, peer) in peers.into_iter().enumerate() {
            let messages = group.messages(index, peer);
            let count = |text: &str| messages.iter().filter(|message| *message == text).count();
            assert_eq!(count("from outside"), size, "on reactor {index} of {size}");
            assert_eq!((count("for the history"), count("an event"), count("7")), (size, size, 1));
        }
    }
}

#[test]
fn publication_follows_the_subscription_of_the_same_callback() {
    let (mut group, noting) = group(2, &[]);
    group.connect(1);
    let hub = group.reactors[1].hub();
    let id = hub.connections().next().unwrap();
    assert!(hub.subscribe(id, "new"));
    hub.publish("new", "first");
    hub.unsubscribe(id, "new");
    group.settle();
    assert_eq!(noting.take(), ["+new", "new: first", "-new"]);
}

#[test]
fn waiter_is_called_when_its_topic_is_live_on_any_reactor() {
    for size in [1, 2] {
        let (mut group, _) = group(size, &["slow", "fast"]);
        let (last, calls) = (size - 1, Rc::<RefCell<Vec<&str>>>::default());
        let wait = |group: &mut Group, topic: &'static str| {
            let calls = Rc::clone(&calls);
            group.reactors[last].hub().when_live(topic, move |_| calls.borrow_mut().push(topic));
            group.settle();
        };
        let peer = group.connect(last);
        ["slow", "fast", "nobody's"].into_iter().for_each(|topic| wait(&mut group, topic));
        assert_eq!(*calls.borrow(), ["fast", "nobody's"]);
        group.reactors[0].hub().confirm_topic("slow");
        group.settle();
        wait(&mut group, "slow");
        assert_eq!(*calls.borrow(), ["fast", "nobody's", "slow", "slow"]);
        // A connection that is lost has to confirm again.
        group.reactors[0].hub().revoke_topics(["slow"]);
        wait(&mut group, "slow");
        assert_eq!(calls.borrow().len(), 4);
        // Nobody waits for a topic without subscribers.
        group.reactors[last].kernel_mut().reset(peer);
        group.settle();
        assert_eq!(calls.borrow().len(), 5);
    }
    // Without a backplane every topic is live.
    let (mut group, called) = (Group::new(2, ReactorConfig::new(), &["all"]), Rc::new(RefCell::new(0)));
    for reactor in &mut group.reactors {
        let called = Rc::clone(&called);
        reactor.hub().when_live("all", move |_| *called.borrow_mut() += 1);
    }
    group.settle();
    assert_eq!(*called.borrow(), 2);
}

#[test]
fn interruption_of_a_topic_is_told_on_any_reactor() {
    for size in [1, 2] {
        let (mut group, _) = group(size, &["topic"]);
        let (last, calls) = (size - 1, Rc::new(RefCell::new(0)));
        let wait = |group: &mut Group| {
            let calls = Rc::clone(&calls);
            group.reactors[last].hub().when_interrupted("topic", move |_| *calls.borrow_mut() += 1);
            group.settle();
        };
        let peer = group.connect(last);
        group.reactors[0].hub().confirm_topic("topic");
        wait(&mut group);
        assert_eq!(*calls.borrow(), 0);
        group.reactors[0].hub().revoke_topics(["topic"]);
        group.settle();
        assert_eq!(*calls.borrow(), 1);
        // It is interrupted already.
        wait(&mut group);
        assert_eq!(*calls.borrow(), 2);
        // Another backplane confirms it again.
        group.reactors[0].hub().confirm_topic("topic");
        wait(&mut group);
        group.reactors[0].hub().set_backplane(Noting::default());
        group.settle();
        assert_eq!(*calls.borrow(), 3);
        // The last subscriber leaves.
        group.reactors[0].hub().confirm_topic("topic");
        wait(&mut group);
        group.reactors[last].kernel_mut().reset(peer);
        group.settle();
        assert_eq!(*calls.borrow(), 4);
    }
}

#[test]
fn backplane_that_is_attached_later_or_replaces_another_subscribes_all_topics() {
    let mut group = Group::new(2, ReactorConfig::new(), &["one"]);
    let _peers = [0, 1].map(|index| group.connect(index));
    let (first, second) = (Noting::default(), Noting::default());
    group.reactors[0].hub().set_backplane(first.clone());
    group.settle();
    assert_eq!(first.take(), ["start", "+one"]);
    group.reactors[0].hub().set_backplane(second.clone());
    group.publish(1, "one", "hello");
    group.settle();
    assert_eq!((first.take(), second.take()), (vec![], vec!["start".into(), "+one".into(), "one: hello".into()]));
}

#[test]
fn backplane_that_panics_is_called_no_more() {
    struct Panics(bool);

    impl Backplane for Panics {
        fn publish(&mut self, _: &mut Hub, _: PublishedMessage<'_>) {
            panic!("deliberate");
        }

        fn delivers_own(&self) -> bool {
            self.0
        }
    }

    for (delivers_own, expected) in [(false, &["one", "two", "three"][..]), (true, &["two", "three"])] {
        let mut group = Group::new(2, ReactorConfig::new(), &["all"]);
        let peer = group.connect(1);
        group.reactors[0].hub().set_backplane(Panics(delivers_own));
        group.settle();
        // The first turn has two of them.
        for texts in [&["one", "two"][..], &["three"]] {
            texts.iter().for_each(|text| _ = group.publish(1, "all", text));
            group.advance(Duration::from_millis(1));
        }
        assert_eq!(group.messages(1, peer), expected, "the one that it held when it panicked is lost");
        assert_eq!(group.reactors[0].hub().stats().panics, 1);
    }
}

/// Holds what is published until the test releases it.
#[derive(Default, Clone)]
struct Holding {
    held: Rc<RefCell<Vec<HeldMessage>>>,
    keeps_histories: bool,
    kept: Rc<RefCell<Vec<String>>>,
}

impl Backplane for Holding {
    fn delivers_own(&self) -> bool {
        !self.keeps_histories
    }

    fn keeps_histories(&self) -> bool {
        self.keeps_histories
    }

    fn keep_history(&mut self, _: &mut Hub, topic: &str, limits: HistoryLimits) {
        self.kept.borrow_mut().push(format!("+{topic} {}", limits.max_events));
    }

    fn forget_history(&mut self, _: &mut Hub, topic: &str) {
        self.kept.borrow_mut().push(format!("-{topic}"));
    }

    fn publish(&mut self, _: &mut Hub, published: PublishedMessage<'_>) {
        self.held.borrow_mut().push(published.hold());
    }
}

#[test]
fn backplane_that_delivers_own_publications_decides_on_one_order_for_all_reactors() {
    for size in [1, 3] {
        let (mut group, holding) = (Group::new(size, ReactorConfig::new(), &["all"]), Holding::default());
        group.reactors[0].hub().set_backplane(holding.clone());
        let peers: Vec<_> = (0..size).map(|index| group.connect(index)).collect();
        for index in 0..size {
            let published = group.publish(index, "all", &index.to_string());
            assert_eq!(published.queued, 0);
            group.reactors[index].hub().publish_local("all", "local");
            group.settle();
        }
        let last = size - 1;
        let except = group.reactors[last].hub().connections().next();
        group.reactors[last].hub().publish_to_others(except.unwrap(), "all", "to others");
        group.settle();
        group.reactors[last].remote().publish("all", "by a thread").unwrap();
        group.settle();
        for (index, peer) in peers.iter().enumerate() {
            assert_eq!(group.messages(index, *peer), ["local"], "reactor {index} of {size}");
        }
        assert_eq!(holding.held.borrow().len(), size + 2);
        for held in holding.held.take().into_iter().rev() {
            group.reactors[0].hub().deliver_held(held, None);
        }
        group.settle();
        assert!(holding.held.borrow().is_empty(), "it would go round");
        for (index, peer) in peers.into_iter().enumerate() {
            let own = (0..size).rev().map(|index| index.to_string());
            let to_others = (index != last).then(|| "to others".to_owned());
            let expected: Vec<_> = ["by a thread".to_owned()].into_iter().chain(to_others).chain(own).collect();
            assert_eq!(group.messages(index, peer), expected, "reactor {index} of {size}");
        }
    }
}

#[test]
fn backplane_that_keeps_histories_gives_the_ids_on_all_reactors() {
    for size in [1, 3] {
        let holding = Holding { keeps_histories: true, ..Holding::default() };
        let mut group = Group::new(size, ReactorConfig::new(), &["kept", "plain"]);
        let (last, peer) = (size - 1, group.connect(size - 1));
        group.reactors[last].hub().keep_history("kept", HistoryLimits::new().max_events(7));
        group.settle();
        group.reactors[0].hub().set_backplane(holding.clone());
        group.settle();
        assert_eq!(holding.kept.take(), ["+kept 7"]);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        let past = [(now - 2000, Event::new("past")), (now - 1000, Event::new("named").name("name").unwrap())];
        group.reactors[0].hub().restore_history("kept", past, Some(now - 3000));
        group.publish(last, "plain", "plain");
        group.publish(last, "kept", "first");
        group.publish(last, "kept", "second");
        group.settle();
        assert_eq!(group.messages(last, peer), ["plain"], "it is not held");
        let mut held = holding.held.take();
        assert_eq!(held.len(), 3, "the backplane has the plain one, too");
        let hub = group.reactors[0].hub();
        hub.deliver_held(held.pop().unwrap(), Some(now + 10));
        hub.deliver_held(held.pop().unwrap(), None);
        hub.deliver_event_with_id("kept", Event::new("of another"), now + 20);
        hub.deliver("kept", "by another way");
        group.settle();
        assert_eq!(group.messages(last, peer), ["second", "first", "of another", "by another way"]);
        let expected = [(now - 2000, "past"), (now - 1000, "named"), (now + 10, "second"), (now + 20, "of another")];
        for index in 0..size {
            assert_eq!(group.history(index, "kept"), expected.map(|(id, text)| (id, text.to_owned())));
            let hub = group.reactors[index].hub();
            assert_eq!(hub.events_after(["kept"], now - 3000).unwrap().gap_to, None);
            assert_eq!(hub.events_after(["kept"], now - 3001).unwrap().gap_to, Some(now - 3000));
        }
        group.reactors[last].hub().forget_history("kept");
        group.settle();
        assert_eq!(holding.kept.take(), ["-kept"]);
    }
}
