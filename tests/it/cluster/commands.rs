//! Commands of other threads, and of the reactors to each other.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{Callbacks, CloseCode, Hub, OwnedMessage, ReactorConfig, ReactorGroup, RemoteError, Server};

use super::{
    group::Group,
    running::{Running, greeting},
};
use crate::support::played::SERVER;

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
    let mut group = Group::serving(3, ReactorConfig::new(), server, &SERVER.into());
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

#[test]
fn commands_of_a_thread_for_a_connection_and_its_topics_are_executed_in_order() {
    for size in 1..=3 {
        for first in 0..size {
            let mut group = Group::new(size, ReactorConfig::new(), &["all"]);
            let peer = group.connect(size - 1);
            let id = group.reactors[size - 1].hub().connections().next().unwrap();
            let remote = group.reactors[0].remote();
            remote.subscribe(id, "own").unwrap();
            remote.publish("own", "published").unwrap();
            remote.send(id, "sent").unwrap();
            remote.publish_latest("own", "key", "latest").unwrap();
            remote.unsubscribe(id, "own").unwrap();
            remote.publish("own", "lost").unwrap();
            remote.publish("all", "last").unwrap();
            remote.close(id, CloseCode::NORMAL, "").unwrap();
            for turn in 0..size {
                group.turn((first + turn) % size);
            }
            group.settle();
            let expected = ["published", "sent", "latest", "last", r"\x03\xe8"];
            assert_eq!(group.messages(size - 1, peer), expected, "reactor {first} of {size} first");
        }
    }
}

#[test]
fn remote_publishes_on_all_reactors_or_on_none_if_one_command_queue_is_full() {
    let mut group = Group::new(3, ReactorConfig::new().remote_commands(2), &["all"]);
    let peers = [0, 1, 2].map(|index| group.connect(index));
    let (remote, of_last) = (group.reactors[0].remote(), group.reactors[2].remote());
    for _ in 0..2 {
        of_last.run(|_| ()).unwrap();
    }
    assert_eq!(remote.publish("all", "refused"), Err(RemoteError::Full));
    assert_eq!(remote.publish_latest("all", "key", "refused"), Err(RemoteError::Full));
    assert_eq!(remote.notify_topic("all", "refused"), Err(RemoteError::Full));
    group.settle();
    assert_eq!(remote.publish("all", "accepted"), Ok(()));
    group.settle();
    for (index, peer) in peers.into_iter().enumerate() {
        assert_eq!(group.messages(index, peer), ["accepted"], "reactor {index}");
    }
}

#[test]
fn commands_to_a_group_that_is_dropped_before_it_runs_fail() {
    for size in [1, 2] {
        let group = ReactorGroup::new(size).unwrap();
        let remote = group.remote();
        assert_eq!(remote.publish("all", "waits"), Ok(()));
        drop(group);
        assert_eq!(remote.publish("all", "late"), Err(RemoteError::Closed), "group of {size}");
        assert_eq!(remote.notify_topic("all", "late"), Err(RemoteError::Closed), "group of {size}");
        assert_eq!(remote.run(Hub::stop), Err(RemoteError::Closed), "group of {size}");
    }
}

#[cfg(all(target_os = "linux", feature = "affinity"))]
#[test]
fn ask_group_does_not_wait_for_a_reactor_that_is_never_made() {
    let (answered, answers) = mpsc::channel();
    let waits = std::sync::Mutex::new(Some(answers));
    let (report, reported) = mpsc::channel();
    let run = move || {
        ReactorGroup::new(2).unwrap().pin_to_cores([0, 1_000]).run(|reactor| {
            let (answered, report) = (answered.clone(), report.clone());
            reactor.hub().ask_group(|hub| hub.group_index(), move |_, answers| answered.send(answers).unwrap());
            // The shutdown of the group waits for this work. Without an answer it ends before the 5 s of `ask_group`.
            let answers = waits.lock().unwrap().take().unwrap();
            let work = move || answers.recv_timeout(Duration::from_secs(4));
            reactor.hub().defer(work, move |_, answers| report.send(answers.unwrap()).unwrap());
            Ok(())
        })
    };
    // A thread of its own, because the calling thread stays on its core.
    let error = thread::spawn(run).join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the thread of reactor 1 cannot stay on core 1000");
    assert_eq!(reported.recv(), Ok(Ok(vec![0])));
}

// regression: a batch of another reactor was executed whole, in one turn.
#[test]
fn publications_of_another_reactor_are_delivered_within_the_time_slice() {
    /// Reports the most messages that a turn has sent, when more than `total` are sent.
    fn measure(hub: &mut Hub, total: u64, before: u64, most: u64, report: mpsc::Sender<u64>) {
        let sent = hub.stats().messages_out;
        let most = most.max(sent - before);
        if sent > total {
            return report.send(most).unwrap();
        }
        hub.next_tick(move |hub| measure(hub, total, sent, most, report));
    }

    const MESSAGES: u64 = 1000;
    let config = ReactorConfig::new().time_slice(Duration::from_nanos(1));
    let (report, reported) = mpsc::channel();
    let group = Running::serving(ReactorGroup::with_config(2, config).unwrap(), move |reactor| {
        if reactor.hub().group_index() == 1 {
            let report = report.clone();
            reactor.hub().next_tick(move |hub| measure(hub, MESSAGES, 0, 0, report));
        }
        let greet = greeting(reactor);
        Server::new(move |_| greet())
    });
    let mut client = group.client_of(1);
    let publish = |hub: &mut Hub| {
        for number in 0..MESSAGES {
            assert_eq!(hub.publish("all", number.to_string()).refused, 0);
        }
    };
    group.remote.run(publish).unwrap();
    for number in 0..MESSAGES {
        assert_eq!(client.receive().unwrap(), OwnedMessage::text(number.to_string()));
    }
    // The time is looked at after each four messages, and a slice begins with the first look.
    let most = reported.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(most <= 16, "{most} messages in a turn");
    group.stop();
}

#[test]
fn batch_of_publications_counts_once_in_the_delay_of_commands() {
    let (counts, counted) = mpsc::channel();
    let group = ReactorGroup::with_config(2, ReactorConfig::new().command_budget(10)).unwrap();
    let result = group.run(|reactor| {
        if reactor.hub().group_index() == 0 {
            // The other reactor needs many turns for these, and answers after them.
            for number in 0..1000 {
                assert_eq!(reactor.hub().publish("all", number.to_string()).refused, 0);
            }
            let counts = counts.clone();
            let count = |hub: &mut Hub| hub.latencies().command_delay.count();
            reactor.hub().ask_group(count, move |hub, answers| {
                counts.send(answers).unwrap();
                hub.stop();
            });
        }
        Ok(())
    });
    result.unwrap();
    // The question itself counts.
    assert_eq!(counted.recv(), Ok(vec![1, 2]));
}

// regression: questions that waited for an answer took the place of works.
#[test]
fn works_have_room_while_many_questions_are_unanswered() {
    let mut group = Group::new(2, ReactorConfig::new().defer_threads(1).defer_queue(1), &[]);
    // The other reactor has no turn.
    for _ in 0..100 {
        group.reactors[0].hub().ask_group(|hub| hub.group_index(), |_, _| panic!("an answer"));
    }
    let result = Rc::new(RefCell::new(None));
    let done = Rc::clone(&result);
    group.reactors[0].hub().defer(|| 7, move |_, outcome| *done.borrow_mut() = Some(outcome.unwrap()));
    let until = Instant::now() + Duration::from_secs(30);
    while result.borrow().is_none() {
        assert!(Instant::now() < until, "the work has no result");
        group.turn(0);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*result.borrow(), Some(7));
}
