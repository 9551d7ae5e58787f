//! Clients and servers of this crate on one reactor over a faulty network: the order of the callbacks of clients, the
//! arrival of every message that was accepted before a clean close, and the law that no live peer is ended.
//!
//! `SIMULATION_SEEDS=100000` runs more seeds, `SIMULATION_SEED=17` runs one; `-- --nocapture` shows the number of
//! connections.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use ws_reactor::{
    Attempt, Callbacks, Client, ClientConfig, CloseCode, CloseReason, ClosedBy, ConnectionId, Error, Handler,
    Handshake, Message, Reactor, ReactorConfig, Reconnect, Retry, Server, Version, WebSocket, WebSocketConfig,
    net::{
        Answer, Resolver,
        sim::{Faults, Random, Sim},
    },
};

#[cfg(feature = "tls")]
use crate::secure;
use crate::{
    link::{self, Link, is_reported, may_end_live_peer},
    seeds::{self, Count, Scenario},
};

/// State of all clients. The reactor would catch an assertion in a handler, so violations are recorded here.
#[derive(Debug)]
struct World {
    random: Random,
    /// The network loses nothing, so all messages must arrive.
    lossless: bool,
    /// Connections, of clients and of servers, that the law about live peers covers.
    live: usize,
    clients: Vec<State>,
    trace: Vec<String>,
    violations: Vec<String>,
}

/// One client, over all its connections.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The connection that is connecting or open.
    current: Option<ConnectionId>,
    opened: bool,
    closed: u32,
    /// Calls of `on_error` for the current connection.
    errors: u32,
    attempts: u32,
    sent: u32,
    received: u32,
    /// Messages accepted in the current connection, and those of them that the server received.
    accepted: u32,
    delivered: u32,
    /// The client has closed, or has declined to reconnect.
    done: bool,
    /// The client has closed with messages in flight.
    closed_early: bool,
}

type Shared = Rc<RefCell<World>>;

impl World {
    /// Counts a message that a server received. A server may read messages of an earlier connection late.
    fn count_received(&mut self, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        let mut numbers = text.split(' ').map_while(|word| word.parse::<usize>().ok());
        let [Some(number), Some(epoch)] = [numbers.next(), numbers.next()] else {
            return self.violations.push(format!("a server received {text:.40}"));
        };
        let state = &mut self.clients[number];
        state.delivered += u32::from(state.attempts as usize == epoch);
    }

    /// Counts the end of an open connection. Both ends read, answer pings, and close when asked.
    fn count_end(&mut self, whose: &str, reason: &CloseReason) {
        if self.lossless {
            self.live += 1;
            if !may_end_live_peer(&reason.by) {
                self.violations.push(format!("live peer of {whose} was ended: {reason}"));
            }
        }
    }
}

/// Sends numbered messages in bursts, each after all echoes of the previous one, and then closes.
struct NumberedSender {
    world: Shared,
    number: usize,
}

const MESSAGES: u32 = 6;

impl NumberedSender {
    /// Records a callback and checks the state of the client.
    fn record(&self, what: &str, ws: &WebSocket<'_>, holds: impl FnOnce(&State) -> bool) {
        let mut world = self.world.borrow_mut();
        let (number, id) = (self.number, ws.id());
        world.trace.push(format!("{number} {id} {what}"));
        let state = &world.clients[number];
        if state.current != Some(id) || !holds(state) {
            let violation = format!("{number} {id} {what}: {state:?}");
            world.violations.push(violation);
        }
    }

    /// Sends a burst of messages, or closes after the last one.
    fn send_burst(&self, ws: &mut WebSocket<'_>) {
        let mut world = self.world.borrow_mut();
        let state = &world.clients[self.number];
        if state.sent > state.received {
            return;
        }
        let burst = (1 + world.random.below(3) as u32).min(MESSAGES - world.clients[self.number].sent);
        for _ in 0..burst {
            let length = if world.random.one_in(5) { world.random.below(60_000) } else { world.random.below(300) };
            let state = &mut world.clients[self.number];
            let (epoch, sent) = (state.attempts, state.sent);
            let text = format!("{} {epoch} {sent} {}", self.number, "Zwölf Boxkämpfer ".repeat(length / 18));
            state.sent += 1;
            match ws.send(&text) {
                status if status.is_queued() => state.accepted += 1,
                status => world.violations.push(format!("{}: {status:?}", self.number)),
            }
        }
        let closes_early = burst > 0 && world.random.one_in(15);
        if burst == 0 || closes_early {
            let state = &mut world.clients[self.number];
            (state.done, state.closed_early) = (true, closes_early);
            ws.close(CloseCode::NORMAL, "counted");
        }
    }
}

impl Handler for NumberedSender {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.record("open", ws, |state| !state.opened);
        {
            let mut world = self.world.borrow_mut();
            let state = &mut world.clients[self.number];
            state.opened = true;
            // Messages in flight were lost with the last connection.
            state.sent = state.received;
            (state.accepted, state.delivered) = (0, 0);
        }
        self.send_burst(ws);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let State { received, attempts, .. } = self.world.borrow().clients[self.number];
        let prefix = format!("{} {attempts} {received} ", self.number);
        let expected = message.as_text().is_some_and(|text| text.starts_with(&prefix));
        self.record("message", ws, |state| state.opened && expected);
        self.world.borrow_mut().clients[self.number].received += 1;
        self.send_burst(ws);
        let terminates = !self.world.borrow().lossless && self.world.borrow_mut().random.one_in(40);
        if terminates {
            self.world.borrow_mut().clients[self.number].done = true;
            ws.terminate();
        }
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        self.record(&format!("error {error}"), ws, |_| true);
        let mut world = self.world.borrow_mut();
        world.clients[self.number].errors += 1;
        let allowed = match error {
            Error::Connect(_) | Error::Timeout(_) | Error::SlowReader => true,
            Error::Io(_) => !world.lossless,
            _ => false,
        };
        if !allowed {
            let violation = format!("{}: {error}", self.number);
            world.violations.push(violation);
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        self.record(&format!("close {reason}"), ws, |_| true);
        let mut world = self.world.borrow_mut();
        let (lossless, State { opened, done, .. }) = (world.lossless, world.clients[self.number]);
        if opened {
            world.count_end(&format!("client {}", self.number), reason);
        }
        let state = &mut world.clients[self.number];
        state.closed += 1;
        let unreported = !is_reported(&reason.by, std::mem::take(&mut state.errors));
        (state.current, state.opened) = (None, false);
        let unclean = lossless && done && !reason.clean && reason.by != ClosedBy::Application;
        let lost = reason.clean && reason.by == ClosedBy::Application && state.delivered < state.accepted;
        if unclean || lost || unreported {
            let violation = format!("{}: {reason} {state:?}", self.number);
            world.violations.push(violation);
        }
    }

    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
        let mut world = self.world.borrow_mut();
        let reconnects = !world.random.one_in(30) || world.lossless;
        let Attempt { number: attempt, wait, .. } = attempt;
        let trace = format!("{} {} attempt {attempt} after {wait:?}: {reconnects}", self.number, ws.id());
        world.trace.push(trace);
        let state = &mut world.clients[self.number];
        state.attempts += 1;
        let violation = state.current.is_some() || state.done;
        state.current = reconnects.then_some(ws.id());
        state.done |= !reconnects;
        if violation {
            let violation = format!("{}: reconnects from {state:?}", self.number);
            world.violations.push(violation);
        }
        if reconnects { Retry::Yes } else { Retry::No }
    }
}

/// Resolves every name at once to three addresses, one of which accepts connections.
struct RandomResolver(RefCell<Random>);

impl Resolver for RandomResolver {
    fn resolve(&self, _: &str, port: u16, answer: Answer) {
        let mut random = self.0.borrow_mut();
        let hosts = ["10.0.0.1", "10.0.0.7", "10.0.0.8"];
        let first = random.below(hosts.len());
        let addresses = (0..3).map(|index| SocketAddr::new(hosts[(first + index) % 3].parse().unwrap(), port));
        match random.one_in(10) {
            true => answer.give(Err(std::io::Error::other("no such name"))),
            false => answer.give(Ok(addresses.collect())),
        }
    }
}

/// An echo server that counts what it receives.
fn server(shared: &Shared, websocket: &WebSocketConfig, random: &mut Random) -> Server {
    let shared = Rc::clone(shared);
    let server = Server::new(move |_| {
        let (world, ended) = (Rc::clone(&shared), Rc::clone(&shared));
        Callbacks::new()
            .on_message(move |ws, message| {
                world.borrow_mut().count_received(message);
                ws.send(message);
            })
            .on_close(move |_, reason| ended.borrow_mut().count_end("a server", reason))
    });
    let server = server.configure(|config| config.websocket = websocket.clone());
    #[cfg(feature = "deflate")]
    if random.one_in(2) {
        return server.deflate(ws_reactor::DeflateConfig::dedicated().threshold_bytes(8));
    }
    let _ = random;
    server
}

fn client(shared: &Shared, websocket: &WebSocketConfig, number: usize, random: &mut Random) -> Client {
    let handler = NumberedSender { world: Rc::clone(shared), number };
    let version = if random.one_in(2) { Version::Rfc6455 } else { Version::ALL[random.below(Version::ALL.len())] };
    let policy = Reconnect::new().max_backoff(Duration::from_secs(5));
    // Faults slow the network down.
    let config = ClientConfig::new().opening_timeout(Duration::from_secs(10)).websocket(websocket.clone());
    let client = Client::with_config(config, handler).version(version).reconnect(policy);
    #[cfg(feature = "deflate")]
    let client = match random.one_in(2) {
        true => client.deflate(ws_reactor::DeflateConfig::dedicated().threshold_bytes(8)),
        false => client,
    };
    #[cfg(feature = "tls")]
    let client =
        client.tls(ws_reactor::TlsClientConfig::trusting_pem(secure::LOCALHOST.certificate.as_bytes()).unwrap());
    client
}

/// Advances time. All connections get the same line and buffers, at both ends, as soon as they exist.
fn advance(reactor: &mut Reactor<Sim>, milliseconds: u64, link: Option<Link>, linked: &mut usize) {
    let Some(link) = link else {
        reactor.advance(Duration::from_millis(milliseconds)).unwrap();
        return;
    };
    link::advance(reactor, milliseconds, MOST_TURNS, |sim| {
        for peer in sim.peers().skip(*linked) {
            link.apply(sim, peer);
            *linked += 1;
        }
    });
}

/// More turns at one moment mean that the loop spins.
const MOST_TURNS: usize = 100_000;

/// Runs one seed. Returns the number of connections.
fn simulate(scenario: &Scenario) -> Count {
    let seed = scenario.seed;
    let mut random = Random::new(seed);
    let lossless = random.one_in(2);
    let faults = match random.below(3) {
        _ if lossless => Faults::ROUGH,
        0 => Faults { shortage: 100, leap: 1000, ..Faults::ROUGH },
        _ => Faults { reset: 400, ..Faults::ROUGH },
    };
    let mut sim = Sim::with_faults(seed, scenario.faults(faults));
    // One address of the name never answers, another refuses connections.
    sim.silence("10.0.0.7:80".parse().unwrap());
    sim.silence("10.0.0.7:443".parse().unwrap());
    let mut reactor = Reactor::on(sim, ReactorConfig::default());
    reactor.set_resolver(RandomResolver(RefCell::new(Random::new(seed ^ 1))));
    let world = World {
        random: Random::new(seed ^ 2),
        lossless,
        live: 0,
        clients: Vec::new(),
        trace: Vec::new(),
        violations: Vec::new(),
    };
    let shared = Rc::new(RefCell::new(world));
    let mut websocket = WebSocketConfig::new();
    let link = random.one_in(2).then(|| {
        link::timeouts(&mut random, &mut websocket);
        Link::random(&mut random, 2, &websocket, scenario)
    });
    let mut linked = 0;
    let plain = server(&shared, &websocket, &mut random);
    reactor.listen("10.0.0.1:80", plain).unwrap();
    #[cfg(feature = "tls")]
    {
        let within = server(&shared, &websocket, &mut random);
        reactor.listen("10.0.0.1:443", secure::server(within)).unwrap();
    }
    let schemes: &[&str] = if cfg!(feature = "tls") { &["ws", "wss"] } else { &["ws"] };
    for number in 0..(1 + random.below(6)).min(scenario.peers) {
        let client = client(&shared, &websocket, number, &mut random);
        shared.borrow_mut().clients.push(State::default());
        let scheme = schemes[random.below(schemes.len())];
        let id = reactor.connect(&format!("{scheme}://localhost/{number}"), client).unwrap();
        shared.borrow_mut().clients[number].current = Some(id);
        if random.one_in(2) {
            advance(&mut reactor, random.below(500) as u64, link, &mut linked);
        }
    }
    for _ in 0..20 {
        advance(&mut reactor, random.below(2000) as u64, link, &mut linked);
        if link.is_some() && scenario.has("stops") && random.one_in(2) {
            // Clients and servers are in the same process. While it is stopped, no end answers the other.
            let most = websocket.pong_timeout.as_millis() as usize / 4;
            reactor.kernel_mut().advance(Duration::from_millis(random.below(most) as u64));
        }
        advance(&mut reactor, 28_000, link, &mut linked);
    }
    reactor.hub().shutdown(Duration::from_secs(10));
    reactor.advance(Duration::from_secs(60)).unwrap();
    let world = shared.borrow();
    let report = || format!("seed {seed}: {:#?}\n{}", world.violations, world.trace.join("\n"));
    assert!(world.violations.is_empty(), "{}", report());
    assert_eq!(reactor.hub().stats().connections, 0, "{}", report());
    for state in &world.clients {
        assert!(state.current.is_none() && state.closed > 0, "{state:?} {}", report());
        assert!(
            !lossless || state.done && (state.closed_early || state.received == MESSAGES),
            "{state:?} {}",
            report()
        );
    }
    let connections = world.clients.iter().map(|state| 1 + state.attempts as usize).sum();
    Count { connections, live: world.live }
}

#[test]
fn clients_get_callbacks_in_order_and_lose_no_message_before_a_clean_close() {
    let (seeds, live) = seeds::for_each(300, simulate);
    assert!(live >= seeds / 2, "the law covers {live} connections of {seeds} seeds");
}
