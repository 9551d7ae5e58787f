//! Clients and servers of this crate on one reactor, over a faulty network, by seeds: the promises to clients. Every
//! message that was accepted before a clean end has arrived.
//!
//! `SIMULATION_SEEDS=100000` runs more seeds, `SIMULATION_SEED=17` runs one; `-- --nocapture` shows the number of
//! connections.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use ws_reactor::{
    Client, ClientConfig, CloseCode, CloseReason, ClosedBy, ConnectionId, Error, Handler, Handshake, Message, Reactor,
    ReactorConfig, Reconnect, Server, Version, WebSocket,
    net::{
        Answer, Resolver,
        sim::{Faults, Random, Sim},
    },
    on_message,
};

#[cfg(feature = "tls")]
use crate::secure;
use crate::seeds::{self, Story};

/// State of all clients. The reactor would catch an assertion in a handler, so violations are noted here.
#[derive(Debug)]
struct World {
    random: Random,
    /// The network loses nothing, so all messages must arrive.
    faithful: bool,
    clients: Vec<State>,
    trace: Vec<String>,
    wrong: Vec<String>,
}

/// One client, over all its connections.
#[derive(Debug, Default)]
struct State {
    /// The connection that is connecting or open.
    current: Option<ConnectionId>,
    opened: bool,
    closed: u32,
    attempts: u32,
    sent: u32,
    received: u32,
    /// Messages accepted in the current connection, and those of them that the server received.
    accepted: u32,
    heard: u32,
    /// The client has closed, or was told not to come back.
    done: bool,
    /// The client has closed with messages in flight.
    early: bool,
}

type Shared = Rc<RefCell<World>>;

impl World {
    /// Notes a message that a server received. A server may read the rest of an earlier connection late.
    fn heard(&mut self, message: Message<'_>) {
        let text = message.as_text().unwrap_or_default();
        let mut numbers = text.split(' ').map_while(|word| word.parse::<usize>().ok());
        let [Some(number), Some(epoch)] = [numbers.next(), numbers.next()] else {
            return self.wrong.push(format!("a server received {text:.40}"));
        };
        let state = &mut self.clients[number];
        state.heard += u32::from(state.attempts as usize == epoch);
    }
}

/// Sends numbered messages in bursts, each burst when the last one is back, and then closes.
struct Counting {
    world: Shared,
    number: usize,
}

const MOST: u32 = 6;

impl Counting {
    fn note(&self, what: &str, ws: &WebSocket<'_>, holds: impl FnOnce(&State) -> bool) {
        let mut world = self.world.borrow_mut();
        let (number, id) = (self.number, ws.id());
        world.trace.push(format!("{number} {id} {what}"));
        let state = &world.clients[number];
        if state.current != Some(id) || !holds(state) {
            let wrong = format!("{number} {id} {what}: {state:?}");
            world.wrong.push(wrong);
        }
    }

    /// Sends a burst of messages, or closes after the last one.
    fn say(&self, ws: &mut WebSocket<'_>) {
        let mut world = self.world.borrow_mut();
        let state = &world.clients[self.number];
        if state.sent > state.received {
            return;
        }
        let burst = (1 + world.random.below(3) as u32).min(MOST - world.clients[self.number].sent);
        for _ in 0..burst {
            let length = if world.random.one_in(5) { world.random.below(60_000) } else { world.random.below(300) };
            let state = &mut world.clients[self.number];
            let (epoch, sent) = (state.attempts, state.sent);
            let text = format!("{} {epoch} {sent} {}", self.number, "Zwölf Boxkämpfer ".repeat(length / 18));
            state.sent += 1;
            match ws.send(&text) {
                status if status.is_queued() => state.accepted += 1,
                status => world.wrong.push(format!("{}: {status:?}", self.number)),
            }
        }
        let early = burst > 0 && world.random.one_in(15);
        if burst == 0 || early {
            let state = &mut world.clients[self.number];
            (state.done, state.early) = (true, early);
            ws.close(CloseCode::NORMAL, "counted");
        }
    }
}

impl Handler for Counting {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.note("open", ws, |state| !state.opened);
        {
            let mut world = self.world.borrow_mut();
            let state = &mut world.clients[self.number];
            state.opened = true;
            // Messages in flight were lost with the last connection.
            state.sent = state.received;
            (state.accepted, state.heard) = (0, 0);
        }
        self.say(ws);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let State { received, attempts, .. } = self.world.borrow().clients[self.number];
        let prefix = format!("{} {attempts} {received} ", self.number);
        let right = message.as_text().is_some_and(|text| text.starts_with(&prefix));
        self.note("message", ws, |state| state.opened && right);
        self.world.borrow_mut().clients[self.number].received += 1;
        self.say(ws);
        let cut = !self.world.borrow().faithful && self.world.borrow_mut().random.one_in(40);
        if cut {
            self.world.borrow_mut().clients[self.number].done = true;
            ws.terminate();
        }
    }

    fn on_error(&mut self, ws: &mut WebSocket<'_>, error: &Error) {
        self.note(&format!("error {error}"), ws, |_| true);
        let mut world = self.world.borrow_mut();
        let allowed = match error {
            Error::Connect(_) | Error::Timeout(_) | Error::SlowReader => true,
            Error::Io(_) => !world.faithful,
            _ => false,
        };
        if !allowed {
            let wrong = format!("{}: {error}", self.number);
            world.wrong.push(wrong);
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        self.note(&format!("close {reason}"), ws, |_| true);
        let mut world = self.world.borrow_mut();
        let faithful = world.faithful;
        let state = &mut world.clients[self.number];
        state.closed += 1;
        (state.current, state.opened) = (None, false);
        let unclean = faithful && state.done && !reason.clean && reason.by != ClosedBy::Application;
        let lost = reason.clean && reason.by == ClosedBy::Application && state.heard < state.accepted;
        if unclean || lost {
            let wrong = format!("{}: {reason} {state:?}", self.number);
            world.wrong.push(wrong);
        }
    }

    fn on_reconnect(&mut self, ws: &mut WebSocket<'_>, attempt: u32, wait: Duration) -> bool {
        let mut world = self.world.borrow_mut();
        let wanted = !world.random.one_in(30) || world.faithful;
        let trace = format!("{} {} attempt {attempt} after {wait:?}: {wanted}", self.number, ws.id());
        world.trace.push(trace);
        let state = &mut world.clients[self.number];
        state.attempts += 1;
        let wrong = state.current.is_some() || state.done;
        state.current = wanted.then_some(ws.id());
        state.done |= !wanted;
        if wrong {
            let wrong = format!("{}: comes back from {state:?}", self.number);
            world.wrong.push(wrong);
        }
        wanted
    }
}

/// Answers at once with addresses, some of which accept connections.
struct Names(RefCell<Random>);

impl Resolver for Names {
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

/// An echo server that notes what it received.
fn server(shared: &Shared, random: &mut Random) -> Server {
    let shared = Rc::clone(shared);
    let server = Server::new(move |_| {
        let world = Rc::clone(&shared);
        on_message(move |ws, message| {
            world.borrow_mut().heard(message);
            ws.send(message);
        })
    });
    #[cfg(feature = "deflate")]
    if random.one_in(2) {
        return server.deflate(ws_reactor::DeflateConfig::dedicated().threshold_bytes(8));
    }
    let _ = random;
    server
}

fn client(shared: &Shared, number: usize, random: &mut Random) -> Client {
    let handler = Counting { world: Rc::clone(shared), number };
    let version = if random.one_in(2) { Version::Rfc6455 } else { Version::ALL[random.below(Version::ALL.len())] };
    let policy = Reconnect::new().max_backoff(Duration::from_secs(5));
    // A rough network may be slow.
    let config = ClientConfig::new().opening_timeout(Duration::from_secs(10));
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

/// Runs one seed. Returns the number of connections.
fn simulate(story: &Story) -> usize {
    let seed = story.seed;
    let mut random = Random::new(seed);
    let faithful = random.one_in(2);
    let faults = match random.below(3) {
        _ if faithful => Faults::ROUGH,
        0 => Faults { shortage: 100, leap: 1000, ..Faults::ROUGH },
        _ => Faults { reset: 400, ..Faults::ROUGH },
    };
    let mut sim = Sim::with_faults(seed, story.faults(faults));
    // One address of the name is silent, another refuses.
    sim.silence("10.0.0.7:80".parse().unwrap());
    sim.silence("10.0.0.7:443".parse().unwrap());
    let mut reactor = Reactor::on(sim, ReactorConfig::default());
    reactor.set_resolver(Names(RefCell::new(Random::new(seed ^ 1))));
    let world =
        World { random: Random::new(seed ^ 2), faithful, clients: Vec::new(), trace: Vec::new(), wrong: Vec::new() };
    let shared = Rc::new(RefCell::new(world));
    let plain = server(&shared, &mut random);
    reactor.listen("10.0.0.1:80", plain).unwrap();
    #[cfg(feature = "tls")]
    {
        let within = server(&shared, &mut random);
        reactor.listen("10.0.0.1:443", secure::server(within)).unwrap();
    }
    let schemes: &[&str] = if cfg!(feature = "tls") { &["ws", "wss"] } else { &["ws"] };
    for number in 0..(1 + random.below(6)).min(story.peers) {
        let client = client(&shared, number, &mut random);
        shared.borrow_mut().clients.push(State::default());
        let scheme = schemes[random.below(schemes.len())];
        let id = reactor.connect(&format!("{scheme}://localhost/{number}"), client).unwrap();
        shared.borrow_mut().clients[number].current = Some(id);
        if random.one_in(2) {
            reactor.advance(Duration::from_millis(random.below(500) as u64)).unwrap();
        }
    }
    for _ in 0..20 {
        reactor.advance(Duration::from_secs(30)).unwrap();
    }
    reactor.hub().shutdown(Duration::from_secs(10));
    reactor.advance(Duration::from_secs(60)).unwrap();
    let world = shared.borrow();
    let report = || format!("seed {seed}: {:#?}\n{}", world.wrong, world.trace.join("\n"));
    assert!(world.wrong.is_empty(), "{}", report());
    assert_eq!(reactor.hub().stats().connections, 0, "{}", report());
    for state in &world.clients {
        assert!(state.current.is_none() && state.closed > 0, "{state:?} {}", report());
        assert!(!faithful || state.done && (state.early || state.received == MOST), "{state:?} {}", report());
    }
    world.clients.iter().map(|state| 1 + state.attempts as usize).sum()
}

#[test]
fn clients_keep_their_promises_whatever_happens() {
    seeds::for_each(300, simulate);
}
