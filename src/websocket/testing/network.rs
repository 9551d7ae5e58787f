//! Servers and clients of a test on a simulated system, and the ends that the test plays.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{
    Received,
    conversation::Conversation,
    peer::{Peer, Reaction},
};
use crate::{
    error::{ConnectError, ListenError, Refusal},
    net::{
        Answer, Kernel, Resolver,
        sim::{Faults, PeerId, Sim},
    },
    protocol::{ClientHandshake, CloseCode, Handshake, ServerHandshake, ServerStep, Version},
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
    reactor: Reactor<Sim>,
    start: Instant,
    addresses: Rc<RefCell<Addresses>>,
    peers: BTreeMap<String, Peer>,
    /// Connections of clients under test that the test has not accepted yet.
    dialed: VecDeque<(PeerId, SocketAddr)>,
    patience: Duration,
    conversation: Conversation,
}

/// The opening handshake of a played client.
#[derive(Debug, Clone)]
#[must_use]
pub struct Opening(ClientHandshake);

impl Opening {
    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If name or value are not those of a header.
    #[track_caller]
    pub fn header(self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("the name of a header");
        Opening(self.0.header(name, HeaderValue::try_from(value).expect("the value of a header")))
    }

    /// Sets the protocol version. Default [`Version::Rfc6455`].
    pub fn version(self, version: Version) -> Self {
        Opening(self.0.version(version))
    }

    /// Sets the subprotocols to offer. Default: none.
    pub fn subprotocols<S: Into<String>>(self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        Opening(self.0.subprotocols(subprotocols))
    }
}

/// The addresses of the names of a test.
#[derive(Debug, Default)]
struct Addresses(Vec<String>);

impl Addresses {
    fn find(&self, host: &str) -> Option<[u8; 4]> {
        let index = self.0.iter().position(|known| known.eq_ignore_ascii_case(host))?;
        Some([10, 0, (index >> 8) as u8, index as u8 + 1])
    }

    fn add(&mut self, host: &str) -> [u8; 4] {
        if self.find(host).is_none() {
            self.0.push(host.to_owned());
        }
        self.find(host).unwrap_or_default()
    }
}

struct Names(Rc<RefCell<Addresses>>);

impl Resolver for Names {
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        let found = self.0.borrow().find(name).map(|ip| vec![SocketAddr::from((ip, port))]);
        answer.give(found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the test has no such host")));
    }
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

    /// Opens a connection to a server under test, as the client `name`. A closed connection of that name is replaced.
    ///
    /// # Panics
    ///
    /// If the connection does not open.
    #[track_caller]
    pub fn open(&mut self, name: &str, url: &str) {
        self.open_with(name, url, |opening| opening);
    }

    /// Opens a connection with headers, subprotocols or another version.
    ///
    /// ```
    /// # use ws_reactor::{Server, Version, on_message, testing::Network};
    /// # let mut network = Network::new();
    /// # network.listen("chat.example", Server::new(|_| on_message(|ws, message| { ws.send(message); })));
    /// network.open_with("ann", "ws://chat.example/", |opening| {
    ///     opening.header("cookie", "session=1").version(Version::Hixie76)
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`open`](Self::open).
    #[track_caller]
    pub fn open_with(&mut self, name: &str, url: &str, change: impl FnOnce(Opening) -> Opening) {
        if let Err(refusal) = self.try_open(name, url, change) {
            self.fail(&format!("{url} refuses {name:?} with {}", refusal.status));
        }
    }

    /// Opens a connection that the server may refuse.
    ///
    /// # Errors
    ///
    /// The response of the server, if its status is not 101. The name remains free.
    ///
    /// # Panics
    ///
    /// If the URL is invalid, or its scheme is `wss`; if nobody listens; if the server does not answer.
    #[track_caller]
    pub fn try_open(
        &mut self,
        name: &str,
        url: &str,
        change: impl FnOnce(Opening) -> Opening,
    ) -> Result<(), Box<Refusal>> {
        let handshake = ClientHandshake::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(!handshake.is_secure(), "{url}: played clients have no TLS; `TestSocket` has");
        let addr = self.address(&format!("{}:{}", handshake.host(), handshake.port()));
        let id = self.reactor.kernel_mut().connect(addr).unwrap_or_else(|_| panic!("nobody listens on {url}"));
        let mut request = Vec::new();
        let pending = change(Opening(handshake)).0.send(repeatable(), &mut request);
        let pending = pending.unwrap_or_else(|error| panic!("{url}: {error}"));
        self.note(name, &format!("→ {}", String::from_utf8_lossy(&request).lines().next().unwrap_or_default()));
        self.reactor.kernel_mut().send(id, &request);
        self.add(name, Peer::client(id, pending));
        self.wait_for(|network| network.peers[name].is_settled());
        match self.peers[name].refusal() {
            None if self.peers[name].handshake().is_some() => Ok(()),
            None => self.fail(&format!("{url} does not open for {name:?}")),
            Some(refusal) => {
                let refusal = Box::new(refusal.clone());
                self.peers.remove(name);
                Err(refusal)
            }
        }
    }

    /// Accepts the next connection of a client under test to a [played](Self::play) address. The played end is called
    /// `name`.
    ///
    /// # Panics
    ///
    /// If no client connects, or its request is invalid.
    #[track_caller]
    pub fn accept(&mut self, name: &str, address: &str) {
        let (id, mut handshake, mut input, request) = self.next_request(address);
        self.note(name, &format!("← {} {}", request.method(), request.path()));
        let mut output = Vec::new();
        if let Err(error) = handshake.accept(*request, &mut output) {
            self.fail(&format!("the request of a client is invalid: {error}"));
        }
        self.reactor.kernel_mut().send(id, &output);
        self.add(name, Peer::server(id, handshake, std::mem::take(&mut input)));
        self.wait_for(|network| network.peers[name].is_settled());
        if self.peers[name].handshake().is_none() {
            self.fail(&format!("{name:?} does not open"));
        }
    }

    /// Refuses the next connection of a client under test to a [played](Self::play) address, with a status and headers.
    ///
    /// # Panics
    ///
    /// If no client connects, or the status or a header is invalid.
    #[track_caller]
    pub fn refuse(&mut self, address: &str, status: u16, headers: &[(&str, &str)]) {
        let (id, mut handshake, _, request) = self.next_request(address);
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("the name of a header");
            response.headers_mut().append(name, HeaderValue::try_from(*value).expect("the value of a header"));
        }
        let mut output = Vec::new();
        handshake.refuse(&request, &response, &mut output);
        self.note(address, &format!("refuses {} with {status}", request.path()));
        self.reactor.kernel_mut().send(id, &output);
        self.reactor.kernel_mut().finish(id);
        self.settle();
    }

    /// The next connection to an address, with its request and the input behind it.
    #[track_caller]
    fn next_request(&mut self, address: &str) -> (PeerId, ServerHandshake, Vec<u8>, Box<crate::http::Request>) {
        let addr = self.address(address);
        self.wait_for(|network| network.dialed.iter().any(|(_, to)| *to == addr));
        let Some(index) = self.dialed.iter().position(|(_, to)| *to == addr) else {
            self.fail(&format!("no client connects to {address}"));
        };
        let (id, _) = self.dialed.remove(index).expect("the index was found");
        let (mut handshake, mut output) = (ServerHandshake::new(), Vec::new());
        let deadline = self.now() + self.patience;
        loop {
            let input = self.reactor.kernel_mut().received(id);
            match handshake.receive(&input, &mut output) {
                Ok((used, Some(ServerStep::Request(request)))) => {
                    return (id, handshake, input[used..].to_vec(), Box::new(request));
                }
                Ok(_) if self.now() < deadline => self.step(deadline),
                Ok(_) => self.fail(&format!("the client that connects to {address} sends no request")),
                Err(error) => self.fail(&format!("the request of a client is invalid: {error}")),
            }
        }
    }

    /// The handshake of a played end: the request, the version, the subprotocol.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn handshake(&self, name: &str) -> &Handshake {
        self.peer(name).handshake().expect("played ends are open")
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
    fn step(&mut self, end: Instant) {
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

    fn add(&mut self, name: &str, peer: Peer) {
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
    fn address(&self, text: &str) -> SocketAddr {
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

    /// The code of the close frame that a played end has received last.
    pub(super) fn is_close(received: &Received, code: CloseCode) -> bool {
        matches!(received, Received::Close(Some((found, _))) if *found == code)
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

/// Masking keys and nonces that are the same in every run.
fn repeatable() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(17);
            *byte = next;
        }
    }
}
