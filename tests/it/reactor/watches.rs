//! Functions that watch topics, and one message to a list of connections.

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{Backplane, Hub, PublishedMessage, ReactorConfig, TopicWatch};

use crate::support::{Crowd, further_frames};

type Heard = Rc<RefCell<Vec<String>>>;

fn watch(hub: &mut Hub, topic: &'static str, heard: &Heard) -> TopicWatch {
    let heard = Rc::clone(heard);
    hub.watch_topic(topic, move |_, message| heard.borrow_mut().push(format!("{topic}: {message}")))
}

fn crowd(members: usize) -> (Crowd, Heard) {
    (Crowd::new(ReactorConfig::new(), members, |server| server), Heard::default())
}

#[test]
fn watch_is_called_with_what_is_published_in_order_until_it_ends() {
    let (mut crowd, heard) = crowd(1);
    let hub = crowd.reactor.hub();
    let first = watch(hub, "all", &heard);
    let second = watch(hub, "all", &heard);
    watch(hub, "other", &heard);
    hub.publish("all", "1");
    hub.publish_local("all", b"2");
    hub.publish_latest("all", "key", "3");
    hub.publish("other", "4");
    hub.publish("nobody's", "5");
    assert!(heard.borrow().is_empty(), "the Hub calls no user code");
    crowd.reactor.settle().unwrap();
    assert_eq!(heard.take(), ["all: 1", "all: 1", "all: 2", "all: 2", "all: 3", "all: 3", "other: 4"]);
    let hub = crowd.reactor.hub();
    assert!(hub.unwatch_topic(first) && !hub.unwatch_topic(first));
    hub.publish("all", "6");
    crowd.reactor.settle().unwrap();
    assert_eq!(heard.take(), ["all: 6"]);
    let hub = crowd.reactor.hub();
    hub.publish("all", "7");
    assert!(hub.unwatch_topic(second));
    let third = watch(hub, "all", &heard);
    assert!(third != first && third != second);
    crowd.reactor.settle().unwrap();
    assert_eq!(crowd.reactor.hub().stats().panics, 0);
}

#[test]
fn watch_may_publish_and_end_itself_and_others() {
    let (mut crowd, heard) = crowd(1);
    let hub = crowd.reactor.hub();
    let other = watch(hub, "replies", &heard);
    let own = Rc::new(RefCell::new(None));
    let to_end = Rc::clone(&own);
    let id = hub.watch_topic("all", move |hub, message| {
        hub.publish("replies", format!("reply to {message}"));
        assert!(hub.unwatch_topic(to_end.borrow().unwrap()));
    });
    *own.borrow_mut() = Some(id);
    hub.publish("all", "one");
    hub.publish("all", "two");
    crowd.reactor.settle().unwrap();
    assert_eq!(heard.take(), ["replies: reply to one"]);
    let hub = crowd.reactor.hub();
    assert!(!hub.unwatch_topic(id) && hub.unwatch_topic(other));
}

#[test]
fn watch_is_a_subscriber_for_a_backplane() {
    struct Noting(Heard);

    impl Backplane for Noting {
        fn subscribe(&mut self, hub: &mut Hub, topic: &str) {
            self.0.borrow_mut().push(format!("+{topic}"));
            hub.confirm_topic(topic);
        }

        fn unsubscribe(&mut self, _: &mut Hub, topic: &str) {
            self.0.borrow_mut().push(format!("-{topic}"));
        }

        fn publish(&mut self, _: &mut Hub, _: PublishedMessage<'_>) {}
    }

    let (mut crowd, heard) = crowd(0);
    let hub = crowd.reactor.hub();
    let noted = Heard::default();
    hub.set_backplane(Noting(Rc::clone(&noted)));
    let watches = [watch(hub, "all", &heard), watch(hub, "all", &heard)];
    crowd.join();
    assert_eq!(noted.take(), ["+all"]);
    crowd.reactor.hub().deliver("all", "from outside");
    crowd.reactor.settle().unwrap();
    assert_eq!(heard.take().len(), 2);
    watches.into_iter().for_each(|watch| assert!(crowd.reactor.hub().unwatch_topic(watch)));
    crowd.reactor.settle().unwrap();
    assert!(noted.borrow().is_empty(), "a connection is subscribed");
    crowd.reactor.kernel_mut().reset(crowd.peers[0]);
    crowd.reactor.settle().unwrap();
    assert_eq!(noted.take(), ["-all"]);
}

#[test]
fn message_to_many_reaches_the_open_connections_of_the_list() {
    let (mut crowd, _) = crowd(4);
    let ids = crowd.ids.borrow().clone();
    crowd.reactor.kernel_mut().reset(crowd.peers[1]);
    crowd.reactor.settle().unwrap();
    let published = crowd.reactor.hub().send_many(ids[..3].iter().copied(), "hello".to_owned());
    assert_eq!((published.queued, published.event_id), (2, None));
    crowd.reactor.settle().unwrap();
    let received: Vec<_> =
        crowd.peers.iter().map(|peer| further_frames(&crowd.reactor.kernel_mut().received(*peer))).collect();
    let hello = vec![b"hello".to_vec()];
    assert_eq!(received, [hello.clone(), vec![], hello, vec![]]);
}

#[test]
fn watch_that_is_added_later_or_panics_changes_nothing_for_others() {
    let (mut crowd, heard) = crowd(0);
    let hub = crowd.reactor.hub();
    watch(hub, "all", &heard);
    hub.publish("all", "1");
    let late = watch(hub, "all", &heard);
    let panics = hub.watch_topic("all", |_, _| panic!("deliberate"));
    crowd.reactor.settle().unwrap();
    assert_eq!(heard.take(), ["all: 1"]);
    for text in ["2", "3"] {
        crowd.reactor.hub().publish("all", text);
        crowd.reactor.settle().unwrap();
    }
    assert_eq!(heard.take(), ["all: 2", "all: 2", "all: 3", "all: 3"]);
    let hub = crowd.reactor.hub();
    assert!(!hub.unwatch_topic(panics) && hub.unwatch_topic(late));
    assert_eq!(hub.stats().panics, 1);
}
