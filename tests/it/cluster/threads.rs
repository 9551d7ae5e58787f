//! Groups on threads, with real sockets.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{
    BlockingSocket, Callbacks, Client, CloseCode, ConnectionId, Error, Hub, OwnedMessage, Published, Reactor,
    ReactorConfig, ReactorGroup, Server, SetupError,
};

use super::running::{Running, greeting};
use crate::support::silence_deliberate_panics;

#[test]
fn each_subscriber_of_a_path_gets_each_message_once_and_those_of_a_sender_in_order() {
    const CLIENTS: usize = 200;
    const PATHS: usize = 10;
    const EACH: usize = 100;
    let group = Running::serving(ReactorGroup::new(4).unwrap(), |_| {
        Server::new(|upgraded| {
            let topic = upgraded.request().path().to_owned();
            let published = topic.clone();
            Callbacks::new()
                .on_open(move |ws, _| {
                    ws.subscribe(&topic);
                    ws.send("subscribed");
                })
                .on_message(move |ws, message| {
                    let Published { refused, .. } = ws.hub().publish(&published, message);
                    assert_eq!(refused, 0);
                })
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let clients = Rc::new(RefCell::new(Vec::<ConnectionId>::new()));
    // For each receiver, the number of messages of each sender so far.
    let received = Rc::new(RefCell::new(vec![HashMap::<usize, usize>::new(); CLIENTS]));
    let left = Rc::new(Cell::new(CLIENTS * EACH * CLIENTS / PATHS));
    for number in 0..CLIENTS {
        let (clients, received, left) = (Rc::clone(&clients), Rc::clone(&received), Rc::clone(&left));
        let handler = Callbacks::new().on_message(move |ws, message| {
            let text = message.as_text().unwrap();
            let Some((sender, count)) = text.split_once(' ') else {
                clients.borrow_mut().push(ws.id());
                return;
            };
            let (sender, count): (usize, usize) = (sender.parse().unwrap(), count.parse().unwrap());
            assert_eq!(sender % PATHS, number % PATHS, "a message of another path");
            let mut received = received.borrow_mut();
            let before = received[number].entry(sender).or_default();
            assert_eq!(*before, count, "from {sender} to {number}");
            *before += 1;
            left.set(left.get() - 1);
        });
        reactor.connect(&group.url(&(number % PATHS).to_string()), Client::new(handler)).unwrap();
    }
    let until = Instant::now() + Duration::from_secs(120);
    let turn = |reactor: &mut Reactor| {
        assert!(Instant::now() < until, "{} messages are missing", left.get());
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    };
    while clients.borrow().len() < CLIENTS {
        turn(&mut reactor);
    }
    let ids: Vec<ConnectionId> = reactor.hub().connections().collect();
    assert_eq!(ids.len(), CLIENTS);
    for count in 0..EACH {
        for (sender, id) in ids.iter().enumerate() {
            assert!(reactor.hub().send(*id, format!("{sender} {count}")).is_queued());
        }
        turn(&mut reactor);
    }
    while left.get() > 0 {
        turn(&mut reactor);
    }
    // What came twice would come now.
    for _ in 0..10 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert!(received.borrow().iter().all(|from| from.len() == CLIENTS / PATHS && from.values().all(|n| *n == EACH)));
    group.stop();
}

#[test]
fn remote_of_a_group_reaches_the_connections_of_each_reactor() {
    let (opened, ids) = mpsc::channel();
    let group = Running::serving(ReactorGroup::new(3).unwrap(), move |reactor| {
        let (index, opened) = (reactor.hub().group_index(), opened.clone());
        Server::new(move |_| {
            let opened = opened.clone();
            Callbacks::new()
                .on_open(move |ws, _| {
                    ws.send(index.to_string());
                    opened.send(ws.id()).unwrap();
                })
                .on_event(|ws, event| {
                    let text = *event.downcast_ref::<&str>().unwrap();
                    ws.send(text);
                })
        })
    });
    for index in 0..3 {
        let mut socket = group.client_of(index);
        let id = ids.try_iter().last().unwrap();
        group.remote.send(id, "sent").unwrap();
        group.remote.notify(id, "notified").unwrap();
        group.remote.subscribe(id, "own").unwrap();
        assert_eq!(socket.receive().unwrap(), OwnedMessage::text("sent"));
        assert_eq!(socket.receive().unwrap(), OwnedMessage::text("notified"));
        group.remote.close(id, CloseCode::GOING_AWAY, "closed").unwrap();
        let Err(Error::Closed(reason)) = socket.receive() else { panic!("the connection is open") };
        assert_eq!((reason.code, &*reason.reason), (CloseCode::GOING_AWAY, "closed"));
        let mut socket = group.client_of(index);
        group.remote.terminate(ids.try_iter().last().unwrap()).unwrap();
        assert!(socket.receive().is_err());
    }
    group.stop();
}

#[test]
fn local_publish_stays_on_its_reactor_and_the_others_get_all_other_kinds() {
    let group = Running::serving(ReactorGroup::new(2).unwrap(), |reactor| {
        let greet = greeting(reactor);
        Server::new(move |_| {
            greet().on_message(|ws, message| {
                let id = ws.id();
                let published = match message.as_text().unwrap() {
                    "local" => ws.hub().publish_local("all", "local"),
                    "others" => ws.hub().publish_to_others(id, "all", "others"),
                    "latest" => ws.hub().publish_latest("all", "key", "latest"),
                    "plain" => ws.hub().publish_uncompressed("all", "plain"),
                    text => ws.hub().publish("all", text),
                };
                assert_eq!(published.handed_on, usize::from(message.as_text() != Some("local")));
            })
        })
    });
    let (mut here, mut there) = (group.client_of(0), group.client_of(1));
    for text in ["local", "others", "latest", "plain", "end"] {
        here.send(text).unwrap();
    }
    let texts = |socket: &mut BlockingSocket| {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|last| last != "end") {
            texts.push(socket.receive().unwrap().as_text().unwrap().to_owned());
        }
        texts
    };
    assert_eq!(texts(&mut here), ["local", "latest", "plain", "end"]);
    assert_eq!(texts(&mut there), ["others", "latest", "plain", "end"]);
    group.stop();
}

#[test]
fn publisher_is_told_of_a_reactor_for_which_too_much_waits() {
    let config = ReactorConfig::new().group_backlog(4);
    let (results, published) = mpsc::channel();
    let group = Running::serving(ReactorGroup::with_config(3, config).unwrap(), move |reactor| {
        let (greet, results) = (greeting(reactor), results.clone());
        Server::new(move |_| {
            let results = results.clone();
            greet().on_message(move |ws, _| {
                for count in 0..6 {
                    let Published { queued, handed_on, refused, .. } = ws.hub().publish("all", count.to_string());
                    results.send((queued, handed_on, refused)).unwrap();
                }
            })
        })
    });
    let (mut here, mut there) = (group.client_of(0), group.client_of(1));
    here.send("publish").unwrap();
    let told: Vec<_> = published.iter().take(6).collect();
    assert_eq!(told, [(1, 2, 0), (1, 2, 0), (1, 2, 0), (1, 2, 0), (1, 0, 2), (1, 0, 2)]);
    for count in 0..6 {
        assert_eq!(here.receive().unwrap(), OwnedMessage::text(count.to_string()));
    }
    for count in 0..4 {
        assert_eq!(there.receive().unwrap(), OwnedMessage::text(count.to_string()));
    }
    // What was delivered waits no longer.
    group.settle();
    here.send("publish").unwrap();
    assert_eq!(published.iter().take(6).next(), Some((1, 2, 0)));
    assert_eq!(there.receive().unwrap(), OwnedMessage::text("0"));
    group.stop();
}

#[test]
fn answers_of_all_reactors_arrive_in_their_order_and_those_that_panic_are_missing() {
    silence_deliberate_panics();
    let group = Running::serving(ReactorGroup::new(3).unwrap(), |reactor| {
        let greet = greeting(reactor);
        Server::new(move |_| {
            greet().on_message(|ws, topic| {
                ws.subscribe(topic.as_text().unwrap());
                ws.send("subscribed");
            })
        })
    });
    let mut clients = [0, 1, 1, 2].map(|index| group.client_of(index));
    for client in &mut clients {
        client.send("counted").unwrap();
        assert_eq!(client.receive().unwrap(), OwnedMessage::text("subscribed"));
    }
    let (answers, arrived) = mpsc::channel();
    let ask = move |hub: &mut Hub| {
        let (indices, counts) = (answers.clone(), answers.clone());
        hub.ask_group(
            |hub| match hub.group_index() {
                1 => panic!("deliberate: no answer"),
                index => index,
            },
            move |_, answers| indices.send(answers).unwrap(),
        );
        hub.count_subscribers("counted", move |hub, count| counts.send(vec![count, hub.group_index()]).unwrap());
    };
    group.remote.run(ask).unwrap();
    let answers: Vec<Vec<usize>> = arrived.iter().take(2).collect();
    assert!(answers.contains(&vec![0, 2]), "{answers:?}");
    assert!(answers.contains(&vec![4, 0]), "{answers:?}");
    group.stop();
}

#[test]
fn shutdown_of_one_reactor_closes_the_clients_of_all_with_1001() {
    let group = Running::serving(ReactorGroup::new(4).unwrap(), |reactor| {
        let greet = greeting(reactor);
        Server::new(move |_| greet().on_message(|ws, _| ws.hub().shutdown(Duration::from_secs(5))))
    });
    let mut clients: Vec<BlockingSocket> = (0..4).map(|index| group.client_of(index)).collect();
    clients[2].send("end").unwrap();
    for client in &mut clients {
        let Err(Error::Closed(reason)) = client.receive() else { panic!("the connection is open") };
        assert_eq!(reason.code, CloseCode::GOING_AWAY);
    }
    group.thread.join().unwrap().unwrap();
    assert!(group.remote.send(group_id(), "late").is_err());
}

/// An id of no group.
fn group_id() -> ConnectionId {
    crate::support::idle_socket().1
}

#[test]
fn first_error_of_a_reactor_ends_all() {
    silence_deliberate_panics();
    let fails = |index: usize, how: fn() -> Result<(), SetupError>| {
        let ended = AtomicUsize::new(0);
        let result = ReactorGroup::new(3).unwrap().run(|reactor| {
            reactor.listen("127.0.0.1:0", Server::new(|_| Callbacks::new()))?;
            if reactor.hub().group_index() == index {
                how()?;
            }
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(ended.into_inner(), 2);
        result.unwrap_err()
    };
    let error = fails(1, || Err("no luck".into()));
    assert_eq!(error.reactor(), 1);
    assert_eq!(error.to_string(), "the set-up of reactor 1 failed");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no luck");
    let error = fails(2, || panic!("deliberate: a set-up panics"));
    assert_eq!(error.to_string(), "reactor 2 panicked: deliberate: a set-up panics");
}

// It takes the 5 s that a group has to end after an error.
#[test]
fn error_of_a_reactor_shortens_a_shutdown_in_progress() {
    let (begin, begun) = mpsc::channel();
    let begun = Mutex::new(begun);
    // The first reactor waits for a work that does not end.
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(Some(ended));
    let (result, results) = mpsc::channel();
    let run = move || {
        let outcome = ReactorGroup::new(2).unwrap().run(|reactor| {
            if reactor.hub().group_index() == 1 {
                begun.lock().unwrap().recv()?;
                return Err("no luck".into());
            }
            let (ended, begin) = (ended.lock().unwrap().take().unwrap(), begin.clone());
            reactor.hub().defer(move || ended.recv(), |_, _| ());
            reactor.hub().shutdown(Duration::from_secs(60));
            reactor.hub().add_timer(Duration::from_millis(1), move |_| begin.send(()).unwrap());
            Ok(())
        });
        result.send(outcome).unwrap();
    };
    let thread = thread::spawn(run);
    let error = results.recv_timeout(Duration::from_secs(30)).expect("the group ends").unwrap_err();
    assert_eq!(error.to_string(), "the set-up of reactor 1 failed");
    drop(end);
    thread.join().unwrap();
}

#[cfg(all(unix, feature = "signals"))]
#[test]
fn sigterm_closes_the_clients_of_all_reactors_with_1001() {
    use std::process::{self, Command};
    use ws_reactor::signals::SIGTERM;
    let group = Running::serving(ReactorGroup::new(4).unwrap(), |reactor| {
        reactor.on_signal(SIGTERM, |hub| hub.shutdown(Duration::from_secs(5))).unwrap();
        Server::new(|_| Callbacks::new())
    });
    let mut clients: Vec<BlockingSocket> = (0..40).map(|_| BlockingSocket::connect(&group.url("")).unwrap()).collect();
    // `serving` returns when all reactors are set up, and so have registered the signal.
    assert!(Command::new("kill").args(["-TERM", &process::id().to_string()]).status().unwrap().success());
    for client in &mut clients {
        let Err(Error::Closed(reason)) = client.receive() else { panic!("the connection is open") };
        assert_eq!(reason.code, CloseCode::GOING_AWAY);
    }
    group.thread.join().unwrap().unwrap();
}

#[cfg(all(target_os = "linux", feature = "affinity"))]
mod cores {
    use super::*;

    /// The cores that the calling thread may use, such as `0-3`.
    fn allowed() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        line.trim().to_owned()
    }

    /// Runs a group of two on these cores. The thread is one of its own, because it stays on its core.
    fn run(cores: [usize; 2], set_up: impl Fn(&mut Reactor) + Sync + Send) -> Result<(), String> {
        let run = || {
            ReactorGroup::new(2).unwrap().pin_to_cores(cores).run(|reactor| {
                set_up(reactor);
                Ok(())
            })
        };
        thread::scope(|scope| scope.spawn(run).join().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn threads_stay_on_their_cores_and_a_core_that_is_not_there_is_an_error() {
        let cores = Mutex::new(Vec::new());
        let set_up = |reactor: &mut Reactor| {
            cores.lock().unwrap().push((reactor.hub().group_index(), allowed()));
            reactor.hub().stop();
        };
        assert_eq!(run([0, 0], set_up), Ok(()));
        let mut cores = cores.into_inner().unwrap();
        cores.sort();
        assert_eq!(cores, [0, 1].map(|index| (index, "0".to_owned())));
        let error = run([0, 1_000], |reactor| reactor.hub().stop()).unwrap_err();
        assert_eq!(error, "the thread of reactor 1 cannot stay on core 1000");
    }

    #[test]
    fn works_of_a_reactor_that_stays_on_a_core_run_on_all_cores() {
        let (report, cores) = mpsc::channel();
        let set_up = move |reactor: &mut Reactor| {
            if reactor.hub().group_index() == 1 {
                let report = report.clone();
                reactor.hub().defer(allowed, move |hub, cores| {
                    report.send(cores.unwrap()).unwrap();
                    hub.stop();
                });
            }
        };
        assert_eq!(run([0, 0], set_up), Ok(()));
        assert_eq!(cores.recv().unwrap(), allowed());
    }
}
