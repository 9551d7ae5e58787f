//! Listeners of a group: those that its reactors share, those of one reactor, and those whose connections the reactors
//! get in turn.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    sync::{Barrier, mpsc},
    time::Duration,
};
#[cfg(unix)]
use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
};

use ws_reactor::{
    Bind, BlockingSocket, Callbacks, Hub, ListenError, ListenerId, OwnedMessage, Reactor, ReactorConfig, ReactorGroup,
    Remote, RemoteError, Server, Stream, StreamHandler,
};

use super::{
    group::Group,
    running::{Running, greeting},
};
use crate::support::played::SERVER;

/// Sends this text to each client, and closes.
#[derive(Clone)]
struct Greets(String);

impl StreamHandler for Greets {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.write(self.0.as_bytes());
        stream.close();
    }
}

/// What a listener sends.
fn greeting_of(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn greeting_at(addr: SocketAddr) -> String {
    greeting_of(TcpStream::connect(addr).unwrap())
}

/// Opens a listener on a running reactor.
fn listen(remote: &Remote, bind: impl Into<Bind>, greets: &str) -> (ListenerId, SocketAddr) {
    let (bind, greets) = (bind.into(), Greets(greets.to_owned()));
    let (opened, results) = mpsc::channel();
    let open = move |hub: &mut Hub| {
        hub.listen_stream(bind, move |_| greets.clone(), move |_, result| opened.send(result).unwrap());
    };
    remote.run(open).unwrap();
    let listening = results.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    (listening.id, listening.addr)
}

/// The path of a Unix socket, which is removed at the end.
#[cfg(unix)]
struct SocketPath(PathBuf);

#[cfg(unix)]
impl SocketPath {
    fn new(name: &str) -> Self {
        SocketPath(std::env::temp_dir().join(format!("ws-reactor-group-{name}-{}", std::process::id())))
    }

    fn bind(&self) -> Bind {
        Bind::to(format!("unix:{}", self.0.display()))
    }

    fn greeting(&self) -> String {
        greeting_of(UnixStream::connect(&self.0).unwrap())
    }

    fn is_refused(&self) -> bool {
        UnixStream::connect(&self.0).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }
}

#[cfg(unix)]
impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(unix)]
#[test]
fn reactors_of_a_group_share_a_unix_socket_and_repeated_addresses() {
    let path = SocketPath::new("shared");
    let bind = path.bind();
    let group = Running::start(ReactorGroup::new(2).unwrap(), move |reactor| {
        let mut listen = |bind: Bind| reactor.listen_stream(bind, |_| Greets("open".to_owned()));
        listen(bind.clone())?;
        Ok([listen("127.0.0.1:0".into())?.addr, listen("127.0.0.1:0".into())?.addr])
    });
    assert_eq!(group.set_up[0], group.set_up[1]);
    assert_ne!(group.set_up[0][0], group.set_up[0][1]);
    for _ in 0..20 {
        assert_eq!(path.greeting(), "open");
    }
    group.stop();
}

// regression: the group held the socket as long as a `Remote` was there.
#[cfg(unix)]
#[test]
fn unix_socket_refuses_connections_when_the_group_has_ended() {
    for size in [1, 2] {
        let path = SocketPath::new("ended");
        let bind = path.bind();
        let group = Running::start(ReactorGroup::new(size).unwrap(), move |reactor| {
            reactor.listen_stream(bind.clone(), |_| Greets("open".to_owned()))?;
            Ok(())
        });
        assert_eq!(path.greeting(), "open");
        let remote = group.remote.clone();
        group.stop();
        assert!(path.is_refused(), "group of {size}");
        assert_eq!(remote.stop(), Err(RemoteError::Closed));
    }
}

#[cfg(unix)]
#[test]
fn unix_socket_that_all_reactors_have_closed_can_be_opened_again() {
    for size in [1, 2] {
        let path = SocketPath::new("again");
        let bind = path.bind();
        let group = Running::start(ReactorGroup::new(size).unwrap(), move |reactor| {
            let id = reactor.listen_stream(bind.clone(), |_| Greets("first".to_owned()))?.id;
            Ok((id, reactor.remote()))
        });
        for (id, remote) in group.set_up.clone() {
            assert_eq!(path.greeting(), "first");
            remote.run(move |hub| hub.close_listener(id)).unwrap();
            group.settle();
        }
        assert!(path.is_refused(), "group of {size}");
        listen(&group.remote, path.bind(), "second");
        assert_eq!(path.greeting(), "second");
        group.stop();
    }
}

#[cfg(unix)]
#[test]
fn unix_socket_that_one_reactor_has_opened_and_closed_refuses_connections() {
    for in_turn in [false, true] {
        let path = SocketPath::new("one");
        let group = Running::start(ReactorGroup::new(2).unwrap(), |_| Ok(()));
        let (id, _) = listen(&group.remote, path.bind().in_turn(in_turn), "open");
        assert_eq!(path.greeting(), "open");
        group.remote.run(move |hub| hub.close_listener(id)).unwrap();
        group.settle();
        assert!(path.is_refused(), "in turn: {in_turn}");
        group.stop();
    }
}

// regression: the second of two adopted sockets was taken for the first one.
#[cfg(unix)]
#[test]
fn each_adopted_unix_socket_is_shared_on_its_own() {
    let (admin_path, public_path) = (SocketPath::new("admin"), SocketPath::new("public"));
    let [admin, public] = [&admin_path, &public_path].map(|path| Bind::from(UnixListener::bind(&path.0).unwrap()));
    let first_is_set_up = Barrier::new(2);
    let group = Running::start(ReactorGroup::new(2).unwrap(), move |reactor| {
        let is_first = reactor.hub().group_index() == 0;
        if is_first {
            reactor.listen_stream(admin.clone(), |_| Greets("admin".to_owned()))?;
        } else {
            first_is_set_up.wait();
        }
        reactor.listen_stream(public.clone(), |_| Greets("public".to_owned()))?;
        if is_first {
            first_is_set_up.wait();
        }
        Ok(())
    });
    for _ in 0..20 {
        assert_eq!((admin_path.greeting(), public_path.greeting()), ("admin".to_owned(), "public".to_owned()));
    }
    group.stop();
}

// regression: handlers that asked for port 0 got the same one, and connections of each other.
#[test]
fn port_0_that_a_handler_asks_for_belongs_to_its_reactor_alone() {
    let group = Running::start(ReactorGroup::new(2).unwrap(), |reactor| Ok(reactor.remote()));
    let addrs = [0, 1].map(|index| listen(&group.set_up[index], "127.0.0.1:0", &index.to_string()).1);
    assert_ne!(addrs[0], addrs[1]);
    for _ in 0..20 {
        assert_eq!(addrs.map(greeting_at), ["0", "1"]);
    }
    group.stop();
}

// regression: a second group shared the port of the first one without an error.
#[test]
fn port_of_another_group_is_in_use() {
    for size in [1, 2] {
        let first = Running::serving(ReactorGroup::new(size).unwrap(), |_| Server::new(|_| Callbacks::new()));
        for in_turn in [false, true] {
            let bind = Bind::to(first.addr()).in_turn(in_turn);
            let second = ReactorGroup::new(size).unwrap().run(|reactor| {
                reactor.listen(bind.clone(), Server::new(|_| Callbacks::new()))?;
                reactor.hub().stop();
                Ok(())
            });
            let error = second.unwrap_err();
            let source = std::error::Error::source(&error).unwrap();
            let Some(ListenError::Bind { source, .. }) = source.downcast_ref() else { panic!("{source}") };
            assert_eq!(source.kind(), ErrorKind::AddrInUse, "group of {size}, in turn: {in_turn}");
        }
        first.stop();
    }
}

#[cfg(unix)]
#[test]
fn listener_in_turn_shares_the_port_of_another_process_if_asked() {
    for size in [1, 2] {
        let mut older = Reactor::new().unwrap();
        let shared = |bind: Bind| bind.reuse_port(true);
        let addr = older.listen_stream(shared("127.0.0.1:0".into()), |_| Greets("older".to_owned())).unwrap().addr;
        let bind = shared(addr.into()).in_turn(true);
        let group = Running::serving_at(bind, ReactorGroup::new(size).unwrap(), |_| Server::new(|_| Callbacks::new()));
        assert_eq!(group.addr(), addr);
        group.stop();
    }
}

#[test]
fn connections_are_passed_on_in_turn_with_the_rules_of_the_listener() {
    let bind = Bind::to("127.0.0.1:0").in_turn(true).connections_per_address(8);
    let group = Running::serving_at(bind, ReactorGroup::new(4).unwrap(), |reactor| {
        let greet = greeting(reactor);
        Server::new(move |_| greet().on_message(|ws, message| _ = ws.hub().publish("all", message)))
    });
    let mut clients: Vec<BlockingSocket> = (0..8).map(|_| BlockingSocket::connect(&group.url("")).unwrap()).collect();
    let index = |socket: &mut BlockingSocket| socket.receive().unwrap().as_text().unwrap().parse::<usize>().unwrap();
    let indices: Vec<usize> = clients.iter_mut().map(index).collect();
    // The order is that in which the reactors were set up.
    assert_eq!(indices[..4], indices[4..]);
    assert_eq!(indices[..4].iter().copied().collect::<BTreeSet<_>>().len(), 4);
    assert!(BlockingSocket::connect(&group.url("")).is_err(), "the ninth connection of the address");
    clients[0].send("to all").unwrap();
    for client in &mut clients {
        assert_eq!(client.receive().unwrap(), OwnedMessage::text("to all"));
    }
    group.stop();
}

#[test]
fn listener_in_turn_that_one_reactor_closes_and_opens_again_has_its_port_and_its_turns() {
    // The reactor that accepts is the first one that has opened the listener.
    for closing in [0, 1] {
        let bind = || Bind::to("127.0.0.1:0").in_turn(true);
        let first_is_set_up = Barrier::new(2);
        let group = Running::start(ReactorGroup::new(2).unwrap(), move |reactor| {
            let index = reactor.hub().group_index();
            if index == 1 {
                first_is_set_up.wait();
            }
            let listening = reactor.listen_stream(bind(), move |_| Greets(index.to_string()))?;
            if index == 0 {
                first_is_set_up.wait();
            }
            Ok((listening, reactor.remote()))
        });
        let (listening, remote) = group.set_up[closing].clone();
        let turns = |addr: SocketAddr| -> Vec<String> {
            let mut greetings: Vec<String> = (0..4).map(|_| greeting_at(addr)).collect();
            greetings.sort();
            greetings
        };
        assert_eq!(turns(listening.addr), ["0", "0", "1", "1"]);
        remote.run(move |hub| hub.close_listener(listening.id)).unwrap();
        group.settle();
        let (_, addr) = listen(&remote, bind(), &closing.to_string());
        assert_eq!(addr, listening.addr);
        assert_eq!(turns(addr), ["0", "0", "1", "1"], "reactor {closing} has opened it again");
        group.stop();
    }
}

// regression: only the first reactor listened, on a network of its own.
#[test]
fn listener_in_turn_of_a_simulated_group_is_open_on_each_network() {
    let bind = Bind::to(SERVER).in_turn(true);
    let mut group = Group::serving(2, ReactorConfig::new(), || Server::new(|_| Callbacks::new()), &bind);
    for index in 0..2 {
        group.connect(index);
        assert_eq!(group.reactors[index].hub().stats().connections, 1, "reactor {index}");
    }
}
