//! Processes that share a real Redis: one order, histories, sharded channels of a cluster.
//!
//! `REDIS_SERVER=redis-server cargo test --features redis --test redis_server -- --ignored`, and so with
//! `valkey-server`.
#![allow(clippy::unwrap_used)]
#![cfg(feature = "redis")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{self, Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ws_reactor::{BlockingSocket, Callbacks, HistoryLimits, Hub, Reactor, ReactorGroup, Redis, Remote, Server};

/// A server with a directory of its own, which is ended with the value.
struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<&'static str>,
}

impl RedisServer {
    fn start(arguments: &[&'static str]) -> Self {
        // The bus of a cluster has a port of its own, 10,000 higher.
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let ports = (10_000..30_000).cycle().skip(process::id() as usize * 97 % 20_000);
        let port = ports.step_by(13).find(|port| is_free(*port) && is_free(port + 10_000)).unwrap();
        let mut server = RedisServer { child: spawn(port, arguments), port, arguments: arguments.to_vec() };
        server.wait();
        server
    }

    fn wait(&mut self) {
        wait_until("the server answers", || self.try_command(&["PING"]).is_some_and(|reply| reply == "+PONG"));
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Executes a command. Returns the first line of the reply, or the string that follows.
    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command += &format!("${}\r\n{word}\r\n", word.len()));
        stream.write_all(command.as_bytes()).ok()?;
        let (mut reader, mut line) = (BufReader::new(stream), String::new());
        reader.read_line(&mut line).ok()?;
        if let Some(length) = line.strip_prefix('$') {
            let mut bytes = vec![0; length.trim().parse().ok()?];
            reader.read_exact(&mut bytes).ok()?;
            return String::from_utf8(bytes).ok();
        }
        Some(line.trim_end().to_owned())
    }

    fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("{words:?}"))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.port, &self.arguments);
        self.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(directory(self.port));
    }
}

fn directory(port: u16) -> std::path::PathBuf {
    env::temp_dir().join(format!("ws-reactor-redis-{port}"))
}

fn spawn(port: u16, arguments: &[&str]) -> Child {
    let program = env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let directory = directory(port);
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(arguments);
    command.current_dir(directory).stdout(Stdio::null()).spawn().expect("REDIS_SERVER is a program")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "after 30 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process, as far as Redis can say. Its clients are subscribed to the topic that is their path.
struct Process {
    remote: Remote,
    url: String,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// `set_up` is called on each of its reactors.
    fn start(threads: usize, redis: impl Fn() -> Redis + Send + Sync + 'static, set_up: fn(&mut Hub)) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let run = |reactor: &mut Reactor| {
                reactor.hub().set_backplane(redis());
                set_up(reactor.hub());
                let server = Server::new(|request| {
                    let topic = request.path().to_owned();
                    Callbacks::new().on_open(move |ws, _| _ = ws.subscribe(&topic[1..])).on_message(|ws, message| {
                        // The client has opened, and nothing is in its way.
                        ws.send(message);
                    })
                });
                let address = reactor.listen("127.0.0.1:0", server)?.addr;
                sender.send((reactor.remote(), address.to_string())).unwrap();
                Ok(())
            };
            ReactorGroup::new(threads).unwrap().run(run).unwrap();
        });
        let mut reactors: Vec<(Remote, String)> = (0..threads).map(|_| receiver.recv().unwrap()).collect();
        let (remote, address) = reactors.swap_remove(0);
        Process { remote, url: format!("ws://{address}"), thread: Some(thread) }
    }

    fn client(&self, path: &str) -> BlockingSocket {
        let mut socket = BlockingSocket::connect(&format!("{}/{path}", self.url)).unwrap();
        socket.send("open").unwrap();
        assert_eq!(receive(&mut socket), "open");
        socket
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut Hub) -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        self.remote.run(move |hub| _ = sender.send(call(hub))).unwrap();
        receiver.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn history(&self, topic: &'static str) -> Vec<(u64, String)> {
        self.call(move |hub| {
            let replay = hub.events_after([topic], 0).expect("it is kept");
            replay.events.iter().map(|event| (event.id, event.data.to_string())).collect()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.remote.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn receive(socket: &mut BlockingSocket) -> String {
    socket.receive().unwrap().as_message().as_text().unwrap().to_owned()
}

/// The first message after those by which a test finds out who is subscribed.
fn after_begin(socket: &mut BlockingSocket) -> String {
    loop {
        let message = receive(socket);
        if message != "begin" {
            return message;
        }
    }
}

fn receive_many(socket: &mut BlockingSocket, count: usize) -> Vec<String> {
    (0..count).map(|_| receive(socket)).collect()
}

#[test]
#[ignore = "needs a redis-server"]
fn all_processes_have_the_messages_of_several_publishers_in_one_order() {
    let server = RedisServer::start(&[]);
    let url = server.url();
    let processes: Vec<_> = (0..2)
        .map(|index| {
            let url = url.clone();
            Process::start(1 + index, move || Redis::new(&url).unwrap().one_order(true), |_| {})
        })
        .collect();
    let mut clients: Vec<_> =
        processes.iter().flat_map(|process| [process.client("room"), process.client("room")]).collect();
    wait_until("both are subscribed", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
    thread::scope(|scope| {
        for (index, process) in processes.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..2000 {
                    process.remote.publish("room", format!("{index} {number}")).unwrap();
                    if number % 50 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    let orders: Vec<_> =
        clients.iter_mut().map(|client| [vec![after_begin(client)], receive_many(client, 3999)].concat()).collect();
    assert!(orders.iter().all(|order| *order == orders[0]));
    let switches = orders[0].windows(2).filter(|pair| pair[0][..1] != pair[1][..1]).count();
    assert!(switches > 10, "the publishers were concurrent: {switches} changes");
}

#[test]
#[ignore = "needs a redis-server"]
fn histories_are_the_same_in_all_processes_and_outlive_them_and_outages() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = server.url();
    let start = || {
        let url = url.clone();
        let redis = move || Redis::new(&url).unwrap().history_stream("events", 10_000).resp3(true);
        Process::start(2, redis, |hub| hub.keep_history("room", HistoryLimits::new().max_events(5000)))
    };
    let processes = [start(), start()];
    let mut clients: Vec<_> = processes.iter().map(|process| process.client("room")).collect();
    wait_until("both are connected", || server.command(&["CLIENT", "LIST"]).matches("ws-reactor").count() == 6);
    for number in 0..1000 {
        processes[number % 2].remote.publish("room", number.to_string()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(receive_many(client, 1000).len(), 1000);
    }
    let history = processes[0].history("room");
    assert_eq!((history.len(), &history), (1000, &processes[1].history("room")));

    server.kill();
    thread::sleep(Duration::from_millis(200));
    processes[0].remote.publish("room", "without Redis").unwrap();
    assert_eq!(receive(&mut clients[0]), "without Redis");
    server.start_again();
    // Another program publishes before they are back, perhaps.
    server.command(&["XADD", "events", "*", "topic", "room", "data", "of another program"]);
    clients.iter_mut().for_each(|client| assert_eq!(receive(client), "of another program"));

    let third = start();
    wait_until("the third one has the past", || third.history("room").len() == 1001);
    assert_eq!(third.history("room"), processes[1].history("room"));
}

#[test]
#[ignore = "needs a redis-server"]
fn redis_that_is_killed_under_load_costs_no_process_its_own_messages_and_none_arrives_twice() {
    let mut server = RedisServer::start(&[]);
    let url = server.url();
    let processes: Vec<_> = (0..2)
        .map(|index| {
            let url = url.clone();
            Process::start(1 + index, move || Redis::new(&url).unwrap(), |_| {})
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let received: Vec<Vec<String>> = thread::scope(|scope| {
        let publish = |index: usize| {
            let (processes, is_over) = (&processes, &is_over);
            move || {
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    processes[index].remote.publish("room", format!("{index} {number}")).unwrap();
                    number += 1;
                    thread::sleep(Duration::from_micros(100));
                }
                number
            }
        };
        let read = |process: &Process| {
            let (mut client, mut messages) = (process.client("room"), Vec::new());
            while messages.last().is_none_or(|last| last != "end") {
                messages.push(receive(&mut client));
            }
            messages
        };
        let readers: Vec<_> = processes.iter().map(|process| scope.spawn(move || read(process))).collect();
        wait_until("both are subscribed", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
        let publishers = [0, 1].map(|index| scope.spawn(publish(index)));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            server.kill();
            thread::sleep(Duration::from_millis(300));
            server.start_again();
            wait_until("both are back", || server.command(&["PUBLISH", "room", "begin"]) == ":2");
        }
        is_over.store(true, Ordering::Relaxed);
        let published = publishers.map(|publisher| publisher.join().unwrap());
        thread::sleep(Duration::from_millis(500));
        server.command(&["PUBLISH", "room", "end"]);
        let received: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        for (index, messages) in received.iter().enumerate() {
            let of = |publisher: usize| {
                let begin = format!("{publisher} ");
                let numbers = messages.iter().filter_map(|message| message.strip_prefix(&begin)?.parse().ok());
                numbers.collect::<Vec<usize>>()
            };
            assert!(of(index).into_iter().eq(0..published[index]), "the own messages of process {index}");
            let of_other = of(1 - index);
            assert!(of_other.is_sorted_by(|one, two| one < two), "each at most once, in order");
            let lost = published[1 - index] - of_other.len();
            assert!(lost > 0 && of_other.len() > published[1 - index] / 8, "{lost} of {}", published[1 - index]);
        }
        received
    });
    assert!(received.iter().all(|messages| messages.len() > 1000));
}

/// Three nodes with a third of the slots each.
fn cluster() -> Vec<RedisServer> {
    let servers: Vec<_> =
        (0..3).map(|_| RedisServer::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])).collect();
    for (server, slots) in servers.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        assert_eq!(server.command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]), "+OK");
        assert_eq!(server.command(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port.to_string()]), "+OK");
    }
    wait_until("the cluster is complete", || {
        servers.iter().all(|server| {
            let info = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    });
    servers
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
