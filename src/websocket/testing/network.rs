//! Servers and clients of a test on a simulated system, and the ends that the test plays.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    conversation::Conversation,
    names::{Addresses, Names},
    peer::{Peer, Reaction},
};
use crate::{
    error::{ConnectError, ListenError},
    net::{
        Kernel,
        sim::{Faults, PeerId, Sim},
    },
    reactor::{ConnectionId, Hub, Listening, Reactor, ReactorConfig},
    websocket::{Client, Server},
};

/// Servers and clients under test on one reactor, and the other ends of their connections, which the test plays. No
/// real socket, no real time.
///
/// ```
/// use ws_reactor::{Callbacks, Server, testing::Network};
///
/// let chat = || Server::new(|_| {
///     Callbacks::new()
///         .on_open(|ws, _| { ws.subscribe("room"); })
///         .on_message(|ws, message| { ws.publish("room", message); })
/// });
///
/// let mut network = Network::new();
/// network.listen("chat.example", chat());
/// network.open("ann", "ws://chat.example/");
/// network.open("bob", "ws://chat.example/");
/// network.send("bob", "hello");
/// network.expect("ann", "hello");
/// ```
///
/// Each end has a name, and an `expect` that fails prints the whole conversation. Played ends answer pings and close
/// frames, as browsers do, unless they are [muted](Self::mute).
///
/// Hosts are names or addresses. A name gets an address when the test listens on it or plays it, and other names are
/// not found.
///
/// # Time
///
/// Time moves by [`advance`](Self::advance), and while a method waits: [`open`](Self::open), [`accept`](Self::accept),
/// [`next`](Self::next) and the methods `expect…` wait for at most 5 s of virtual time, which
/// [`patience`](Self::patience) changes. They wait only if nothing has arrived yet.
///
/// # Clients
///
/// A client under test meets a server of the same network, or a server that the test plays:
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::{Callbacks, Client, Reconnect, testing::Network};
///
/// let feed = Callbacks::new().on_open(|ws, _| { ws.send("subscribe EURUSD"); });
/// let mut network = Network::new();
/// network.play("feed.example");
/// network.connect("ws://feed.example/quotes", Client::new(feed).reconnect(Reconnect::new()));
/// network.accept("first", "feed.example");
/// assert_eq!(network.handshake("first").path(), "/quotes");
/// network.expect("first", "subscribe EURUSD");
///
/// network.reset("first");
/// network.advance(Duration::from_secs(1));
/// network.accept("second", "feed.example");
/// network.expect("second", "subscribe EURUSD");
/// ```
pub struct Network {
    pub(super) reactor: Reactor<Sim>,
    start: Instant,
    addresses: Rc<RefCell<Addresses>>,
    pub(super) peers: BTreeMap<String, Peer>,
    /// Connections of clients under test that the test has not accepted yet.
    pub(super) dialed: VecDeque<(PeerId, SocketAddr)>,
    pub(super) patience: Duration,
    conversation: Conversation,
}

impl Network {
    /// Makes a network without faults, for a reactor with default configuration.
    pub fn new() -> Self {
        Network::on(Sim::new(), ReactorConfig::default())
    }

    /// Makes a network for a reactor with another configuration.
    pub fn with_config(config: ReactorConfig) -> Self {
        Network::on(Sim::new(), config)
    }

    /// Makes a network with faults, drawn from `seed`: the same seed gives the same run.
    ///
    /// ```
    /// use ws_reactor::{Server, net::sim::Faults, on_message, testing::Network};
    ///
    /// for seed in 0..20 {
    ///     let mut network = Network::with_faults(seed, Faults::ROUGH);
    ///     network.listen("echo.example", Server::new(|_| on_message(|ws, message| { ws.send(message); })));
    ///     network.open("ann", "ws://echo.example/");
    ///     network.send("ann", "hello");
    ///     network.expect("ann", "hello");
    /// }
    /// ```
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        Network::on(Sim::with_faults(seed, faults), ReactorConfig::default())
    }

    fn on(sim: Sim, config: ReactorConfig) -> Self {
        let mut reactor = Reactor::on(sim, config);
        let addresses = Rc::<RefCell<Addresses>>::default();
        reactor.set_resolver(Names(Rc::clone(&addresses)));
        Network {
            start: reactor.kernel_mut().now(),
            reactor,
            addresses,
            peers: BTreeMap::new(),
            dialed: VecDeque::new(),
            patience: Duration::from_secs(5),
            conversation: Conversation::default(),
        }
    }

    /// Sets how long methods wait for what has not arrived yet, in virtual time. Default 5 s.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Listens with a server under test on `host` or `host:port`. Default port 80.
    ///
    /// # Panics
    ///
    /// If the address is in use, or the server's configuration is refused.
    #[track_caller]
    pub fn listen(&mut self, address: &str, server: Server) -> Listening {
        let addr = self.address(address);
        let listening: Result<_, ListenError> = self.reactor.listen(addr, server);
        listening.unwrap_or_else(|error| panic!("{address}: {error:?}"))
    }

    /// Connects a client under test.
    ///
    /// # Panics
    ///
    /// If the URL or an option of the client is invalid.
    #[track_caller]
    pub fn connect(&mut self, url: &str, client: Client) -> ConnectionId {
        let id: Result<_, ConnectError> = self.reactor.connect(url, client);
        let id = id.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        self.settle();
        id
    }

    /// Lets clients under test connect to `host` or `host:port`, where the test plays the server, by
    /// [`accept`](Self::accept) and [`refuse`](Self::refuse).
    pub fn play(&mut self, address: &str) {
        let addr = self.address(address);
        self.reactor.kernel_mut().play(addr);
    }

    /// Runs the reactor until nothing is left to do at the present time.
    pub fn settle(&mut self) {
        loop {
            self.reactor.settle().expect("a simulated poll does not fail");
            if !self.exchange() {
                return;
            }
        }
    }

    /// Moves time by `by`. Each timer is handled at its own time, and the played ends answer meanwhile.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now() + by;
        self.settle();
        while self.now() < end {
            self.step(end);
        }
    }

    /// The [`Hub`] of the reactor under test. Requests take effect in the next call that runs the reactor, such as
    /// [`settle`](Self::settle).
    pub fn hub(&mut self) -> &mut Hub {
        self.reactor.hub()
    }

    /// The reactor under test, for what this type has no method for. Its kernel is the simulated system.
    pub fn reactor(&mut self) -> &mut Reactor<Sim> {
        &mut self.reactor
    }

    /// The record of what the played ends have sent and received, with times: for messages of a test's own assertions.
    pub fn conversation(&self) -> String {
        self.conversation.to_string()
    }

    /// Time of the simulated system.
    pub(super) fn now(&mut self) -> Instant {
        self.reactor.kernel_mut().now()
    }

    /// Waits until `is_ready`, at most for the patience of the test.
    pub(super) fn wait_for(&mut self, is_ready: impl Fn(&Self) -> bool) -> bool {
        self.settle();
        let end = self.now() + self.patience;
        while !is_ready(self) {
            if self.now() >= end {
                return false;
            }
            self.step(end);
        }
        true
    }

    /// Moves time to the next timer or arrival, at most to `end` and at most by a tenth of a second: faults keep bytes
    /// back for some time.
    pub(super) fn step(&mut self, end: Instant) {
        const STEP: Duration = Duration::from_millis(100);
        let now = self.now();
        let next = self.reactor.next_deadline().into_iter().chain(self.reactor.kernel_mut().next_arrival());
        let next = next.filter(|next| *next > now).min().unwrap_or(end).min(end).min(now + STEP);
        self.reactor.advance(next.saturating_duration_since(now)).expect("a simulated poll does not fail");
        // A reactor that has stopped does not move time.
        let now = self.now();
        self.reactor.kernel_mut().advance(next.saturating_duration_since(now));
        self.settle();
    }

    /// Takes what has arrived at the played ends, and sends their answers. Returns `true` if there were any.
    fn exchange(&mut self) -> bool {
        let mut any = false;
        let time = self.now() - self.start;
        let kernel = self.reactor.kernel_mut();
        while let Some(dialed) = kernel.dialed() {
            self.dialed.push_back(dialed);
        }
        for (name, peer) in &mut self.peers {
            let Reaction { output, ends, entries } = peer.receive(&kernel.received(peer.id));
            for entry in entries {
                self.conversation.note(time, name, &entry);
            }
            if !output.is_empty() {
                kernel.send(peer.id, &output);
                any = true;
            }
            if ends {
                kernel.finish(peer.id);
                any = true;
            }
            if kernel.is_ended(peer.id) && !std::mem::replace(&mut peer.has_ended, true) {
                self.conversation.note(time, name, &"⨯ the stream has ended");
                // As other systems do: a client ends its side when the server has.
                kernel.finish(peer.id);
                any = true;
            }
        }
        any
    }

    pub(super) fn add(&mut self, name: &str, peer: Peer) {
        let replaced = self.peers.insert(name.to_owned(), peer);
        assert!(replaced.is_none_or(|old| old.has_ended), "{name:?} has a connection already");
    }

    #[track_caller]
    pub(super) fn peer(&self, name: &str) -> &Peer {
        match self.peers.get(name) {
            Some(peer) => peer,
            None => self.fail(&format!("nobody is called {name:?}: {:?}", self.peers.keys())),
        }
    }

    #[track_caller]
    pub(super) fn peer_mut(&mut self, name: &str) -> &mut Peer {
        self.peer(name);
        self.peers.get_mut(name).expect("the peer was found")
    }

    pub(super) fn note(&mut self, name: &str, what: &str) {
        let time = self.now() - self.start;
        self.conversation.note(time, name, &what);
    }

    /// Fails the test with the conversation.
    #[track_caller]
    pub(super) fn fail(&self, why: &str) -> ! {
        panic!("{why}\nthe conversation:\n{}", self.conversation);
    }

    /// The address of `host`, `host:port` or an IP address with or without a port.
    #[track_caller]
    pub(super) fn address(&self, text: &str) -> SocketAddr {
        if let Ok(address) = text.parse() {
            return address;
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
        let port = port.parse().unwrap_or_else(|_| panic!("{text:?} is not `host` or `host:port`"));
        match host.parse::<std::net::IpAddr>() {
            Ok(ip) => (ip, port).into(),
            Err(_) => (self.addresses.borrow_mut().add(host), port).into(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").field("peers", &self.peers.keys()).finish_non_exhaustive()
    }
}
