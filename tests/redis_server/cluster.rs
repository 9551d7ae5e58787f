//! A Redis Cluster: channels on the nodes of their slots.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ws_reactor::Redis;

use super::{
    process::{Process, after_begin, receive},
    server::{RedisServer, wait_until},
};

const NODE: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Three nodes without slots.
fn nodes(arguments: &[&'static str]) -> Vec<RedisServer> {
    (0..3).map(|_| RedisServer::start(&[&NODE, arguments].concat())).collect()
}

/// Gives each node a third of the slots.
fn distribute_slots(servers: &[RedisServer]) {
    for (server, slots) in servers.iter().zip(SLOTS) {
        assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]), "+OK");
        assert_eq!(server.command(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port.to_string()]), "+OK");
    }
    wait_until_complete(servers, 3);
}

fn wait_until_complete(servers: &[RedisServer], nodes: usize) {
    wait_until("the cluster is complete", || {
        servers.iter().all(|server| {
            let info = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{nodes}"))
        })
    });
}

fn cluster() -> Vec<RedisServer> {
    let servers = nodes(&[]);
    distribute_slots(&servers);
    servers
}

/// Each node with a replica, which come behind them.
fn cluster_with_replicas() -> Vec<RedisServer> {
    let mut servers = cluster();
    servers.extend(nodes(&[]));
    for index in 3..6 {
        servers[index].command(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port.to_string()]);
    }
    wait_until_complete(&servers, 6);
    for index in 0..3 {
        let id = servers[index].command(&["CLUSTER", "MYID"]);
        wait_until("a replica", || servers[index + 3].command(&["CLUSTER", "REPLICATE", &id]) == "+OK");
    }
    let has_replica = |server: &RedisServer| server.command(&["INFO", "replication"]).contains("connected_slaves:1");
    wait_until("the replicas are connected", || servers[..3].iter().all(has_replica));
    servers
}

/// Number of subscribed channels.
fn channels(server: &RedisServer) -> usize {
    let reply = server.try_command(&["PUBSUB", "SHARDCHANNELS"]).unwrap_or_default();
    reply.trim_start_matches('*').parse().unwrap_or(0)
}

fn wait_until_subscribed(servers: &[RedisServer], count: usize) {
    wait_until("all channels are subscribed", || servers.iter().map(channels).sum::<usize>() == count);
}

/// Gives a slot to another node.
fn move_slot(servers: &[RedisServer], slot: &str, target: usize) {
    let id = servers[target].command(&["CLUSTER", "MYID"]);
    for index in [target, (target + 1) % 3, (target + 2) % 3] {
        servers[index].command(&["CLUSTER", "SETSLOT", slot, "NODE", &id]);
    }
}

fn slot(server: &RedisServer, channel: &str) -> String {
    server.command(&["CLUSTER", "KEYSLOT", channel]).trim_start_matches(':').to_owned()
}

#[test]
#[ignore = "needs a redis-server"]
fn channels_of_a_cluster_are_on_the_nodes_of_their_slots() {
    let servers = cluster();
    let url = servers[1].url();
    let processes: Vec<_> = (0..2)
        .map(|_| {
            let url = url.clone();
            Process::start(1, move || Redis::new(&url).unwrap().sharded(true).prefix("p:"), |_| {})
        })
        .collect();
    let mut clients: Vec<Vec<_>> = processes
        .iter()
        .map(|process| (0..30).map(|number| process.client(&format!("room{number}"))).collect())
        .collect();
    let channels = |server: &RedisServer| {
        let reply = server.command(&["PUBSUB", "SHARDCHANNELS", "p:*"]);
        reply.trim_start_matches('*').parse::<usize>().unwrap()
    };
    wait_until("all channels are subscribed", || servers.iter().map(channels).sum::<usize>() == 30);
    assert!(servers.iter().all(|server| channels(server) > 0));
    let both = |server: &RedisServer, channel: &str| server.command(&["SPUBLISH", channel, "begin"]) == ":2";
    for number in 0..30 {
        let channel = format!("p:room{number}");
        wait_until("both processes are subscribed", || servers.iter().any(|server| both(server, &channel)));
    }
    for number in 0..30 {
        processes[number % 2].remote.publish(format!("room{number}"), format!("message {number}")).unwrap();
    }
    for of_process in &mut clients {
        for (number, client) in of_process.iter_mut().enumerate() {
            assert_eq!(after_begin(client), format!("message {number}"));
        }
    }
    // A slot moves: the node unsubscribes its channel, and the process subscribes it elsewhere.
    let slot = servers[0].command(&["CLUSTER", "KEYSLOT", "p:room0"]).trim_start_matches(':').to_owned();
    let owner = servers.iter().position(|server| server.command(&["PUBSUB", "SHARDCHANNELS", "p:room0"]) == "*1");
    let owner = owner.unwrap();
    let target = (owner + 1) % 3;
    let id = servers[target].command(&["CLUSTER", "MYID"]);
    for server in [target, owner, (owner + 2) % 3] {
        assert_eq!(servers[server].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]), "+OK");
    }
    wait_until("the channel has moved", || {
        servers[target].command(&["PUBSUB", "SHARDNUMSUB", "p:room0"]) == "*2"
            && servers[target].command(&["PUBSUB", "SHARDCHANNELS", "p:room0"]) == "*1"
    });
    wait_until("both processes get messages by the other node", || {
        let receivers = servers[target].command(&["SPUBLISH", "p:room0", "moved"]);
        receivers == ":2"
    });
    for of_process in &mut clients {
        assert_eq!(receive(&mut of_process[0]), "moved");
    }
}

#[test]
#[ignore = "needs a redis-server"]
fn slot_that_moves_under_load_costs_no_own_message_and_no_order() {
    for has_one_order in [false, true] {
        let servers = cluster();
        let url = servers[1].url();
        let redis = move || Redis::new(&url).unwrap().sharded(true).one_order(has_one_order);
        let processes = [Process::start(1, redis.clone(), |_| {}), Process::start(1, redis, |_| {})];
        let mut clients: Vec<_> = processes.iter().map(|process| process.client("room")).collect();
        wait_until("both are subscribed", || {
            servers.iter().any(|server| server.command(&["SPUBLISH", "room", "begin"]) == ":2")
        });
        let slot = slot(&servers[0], "room");
        let is_over = AtomicBool::new(false);
        let published = thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    processes[0].remote.publish("room", number.to_string()).unwrap();
                    number += 1;
                    thread::sleep(Duration::from_micros(200));
                }
                number
            });
            for round in 0..6 {
                thread::sleep(Duration::from_millis(400));
                move_slot(&servers, &slot, round % 3);
            }
            thread::sleep(Duration::from_millis(500));
            is_over.store(true, Ordering::Relaxed);
            publisher.join().unwrap()
        });
        wait_until("both are subscribed", || {
            servers.iter().any(|server| server.try_command(&["SPUBLISH", "room", "begin"]).is_some_and(|n| n == ":2"))
        });
        processes[0].remote.publish("room", "end").unwrap();
        for (index, client) in clients.iter_mut().enumerate() {
            let mut numbers = Vec::<usize>::new();
            while let Ok(number) = after_begin(client).parse() {
                numbers.push(number);
            }
            assert!(numbers.is_sorted_by(|one, two| one < two), "process {index}: once each, in order");
            assert!(index == 1 || numbers.len() == published, "{} of {published}", numbers.len());
            assert!(numbers.len() > published / 2);
        }
        assert!(processes.iter().all(|process| process.stats().outages == 0));
    }
}

#[test]
#[ignore = "needs a redis-server"]
fn replica_that_takes_over_is_followed_and_what_was_kept_is_published_there() {
    let mut servers = cluster_with_replicas();
    let (url, gaps) = (servers[1].url(), Arc::new(Mutex::new(Vec::<String>::new())));
    let start = |kept: usize| {
        let (url, gaps) = (url.clone(), Arc::clone(&gaps));
        let redis = move || {
            let gaps = Arc::clone(&gaps);
            Redis::new(&url).unwrap().sharded(true).keep_while_away(kept).on_gap(move |_, topics, _| {
                gaps.lock().unwrap().extend(topics.iter().map(ToString::to_string));
            })
        };
        Process::start(1, redis, |_| {})
    };
    let processes = [start(1 << 20), start(0)];
    let topics: Vec<String> = (0..12).map(|number| format!("room{number}")).collect();
    let mut clients: Vec<Vec<_>> =
        processes.iter().map(|process| topics.iter().map(|topic| process.client(topic)).collect()).collect();
    wait_until_subscribed(&servers[..3], 12);
    for topic in &topics {
        wait_until("both are subscribed", || {
            servers[..3].iter().any(|server| server.command(&["SPUBLISH", topic, "begin"]) == ":2")
        });
    }
    let of_node = |index: usize| {
        let has = |topic: &&String| servers[index].command(&["PUBSUB", "SHARDCHANNELS", topic]) == "*1";
        topics.iter().filter(has).cloned().collect::<Vec<_>>()
    };
    let (lost, healthy) = (of_node(0), of_node(2)[0].clone());
    gaps.lock().unwrap().clear();
    servers[0].kill();
    wait_until("both have noticed", || processes.iter().all(|process| process.stats().outages == 1));
    let (sender, receiver) = mpsc::channel();
    let live = healthy.clone();
    processes[0].remote.run(move |hub| hub.when_live(&live, move |_| sender.send(()).unwrap())).unwrap();
    receiver.recv_timeout(Duration::from_secs(5)).expect("the topics of other nodes are live");
    processes[0].remote.publish(lost[0].clone(), "kept").unwrap();
    processes[0].remote.publish(healthy.clone(), "at once").unwrap();
    let position = |topic: &String| topics.iter().position(|other| other == topic).unwrap();
    assert_eq!(after_begin(&mut clients[1][position(&healthy)]), "at once");
    assert_eq!(servers[3].command(&["CLUSTER", "FAILOVER", "TAKEOVER"]), "+OK");
    wait_until_subscribed(&servers[1..], 12);
    assert_eq!(after_begin(&mut clients[0][position(&lost[0])]), "kept");
    wait_until("messages flow", || servers[3].command(&["SPUBLISH", &lost[0], "begin"]) == ":2");
    let told = gaps.lock().unwrap().clone();
    assert!(lost.iter().all(|topic| told.contains(topic)) && !told.contains(&healthy), "{told:?}");
    let stats = processes[0].stats();
    assert!(stats.is_connected && stats.published + stats.lost >= 2, "{stats:?}");
}

#[test]
#[ignore = "needs a redis-server"]
fn cluster_that_is_not_ready_or_was_down_is_joined() {
    let mut servers = nodes(&["--cluster-allow-pubsubshard-when-down", "no"]);
    let (url, calls) = (servers[1].url(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let redis = move || {
        let calls = Arc::clone(&counted);
        Redis::new(&url).unwrap().sharded(true).on_pattern("news.*", move |_, _, _| {
            calls.fetch_add(1, Ordering::SeqCst);
        })
    };
    let process = Process::start(1, redis, |_| {});
    let clients: Vec<_> = (0..10).map(|number| process.client(&format!("room{number}"))).collect();
    thread::sleep(Duration::from_millis(500));
    distribute_slots(&servers);
    wait_until_subscribed(&servers, 10);
    wait_until("the pattern is subscribed", || {
        servers.iter().any(|server| server.command(&["PUBSUB", "NUMPAT"]) == ":1")
    });
    assert_eq!(servers.iter().filter(|server| server.command(&["PUBSUB", "NUMPAT"]) == ":1").count(), 1);
    servers[0].command(&["PUBLISH", "news.x", "hi"]);
    wait_until("the message has arrived", || calls.load(Ordering::SeqCst) > 0);
    servers.iter_mut().for_each(RedisServer::kill);
    servers.iter_mut().for_each(RedisServer::start_again);
    wait_until_complete(&servers, 3);
    wait_until_subscribed(&servers, 10);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "one node has the pattern");
    drop(clients);
    let began = Instant::now();
    process.shut_down(Duration::from_secs(30));
    assert!(began.elapsed() < Duration::from_secs(10), "its own connections do not count");
}
