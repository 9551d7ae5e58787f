//! The whole reactor under seeded faults, in virtual time: what must hold whatever the network, the peers and the
//! handlers do.
//!
//! `SIMULATION_SEEDS=100000` tries more seeds, `SIMULATION_SEED=17` tells one story again; `-- --nocapture` shows how
//! many connections have lived.
#![allow(clippy::unwrap_used)]

mod client;
mod peer;
#[cfg(feature = "tls")]
#[path = "../it/support/secure.rs"]
mod secure;
mod seeds;
#[path = "../it/support/wire/mod.rs"]
mod wire;
mod world;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use peer::Peer;
use seeds::Story;
use wire::Kind;
use world::{Connection, Echo, Mood, World};
use ws_reactor::{
    Overflow, Reactor, ReactorConfig, Server, ServerConfig,
    net::{
        Kernel,
        sim::{Faults, Random, Sim},
    },
};

const TOPICS: [&str; 3] = ["0", "1", "2"];

fn faults(random: &mut Random, mood: Mood) -> Faults {
    match random.below(5) {
        0 => Faults::default(),
        1 => Faults { pieces: 1, busy: 2, spurious: 1, reset: 0, accept: 2, shortage: 0, leap: 0 },
        2 if mood == Mood::Chaos => Faults { reset: 500, ..Faults::ROUGH },
        3 if mood == Mood::Chaos => Faults { shortage: 100, leap: 1000, ..Faults::ROUGH },
        _ => Faults::ROUGH,
    }
}

fn config(random: &mut Random, mood: Mood) -> ReactorConfig {
    // In tiny reads nothing may be overlooked between two of them.
    let read_buffer_bytes = [16, 1000, 64 * 1024, 256 * 1024][random.below(4)];
    let read_budget_bytes = read_buffer_bytes * [1, 4, 100][random.below(3)];
    let turn_budget_bytes = [100, 20_000, 1024 * 1024][random.below(3)];
    let (accept_budget, timer_budget) = (1 + random.below(4), 1 + random.below(10));
    let compression_budget_bytes = [100, 5000, 64 * 1024][random.below(3)];
    let excess_output_bytes = [10_000, 256 * 1024 * 1024][if mood == Mood::Chaos { random.below(2) } else { 1 }];
    ReactorConfig::new()
        .excess_output_bytes(excess_output_bytes)
        .read_buffer_bytes(read_buffer_bytes)
        .read_budget_bytes(read_budget_bytes)
        .turn_budget_bytes(turn_budget_bytes)
        .accept_budget(accept_budget)
        .timer_budget(timer_budget)
        .compression_budget_bytes(compression_budget_bytes)
}

fn settings(random: &mut Random, mood: Mood) -> ServerConfig {
    let mut settings = ServerConfig::default();
    settings.websocket.message_budget = [1, 3, 256][random.below(3)];
    let output = &mut settings.websocket.stream.output;
    output.pause_reading_bytes = [100, 4096, 64 * 1024][random.below(3)];
    // A TLS handshake in pieces of a byte takes its time, too.
    settings.opening_timeout = Duration::from_secs(if mood == Mood::Chaos { 10 } else { 1000 });
    let output = &mut settings.websocket.stream.output;
    if mood == Mood::Chaos {
        output.high_water_bytes = output.pause_reading_bytes * [1, 2, 16][random.below(3)];
        output.limit_bytes = output.high_water_bytes * [1, 4][random.below(2)];
        output.overflow = if random.one_in(2) { Overflow::DropNewest } else { Overflow::Close };
        output.stall_timeout = Duration::from_millis(300);
        settings.websocket.ping_after = [None, Some(Duration::from_millis(700))][random.below(2)];
        settings.websocket.pong_timeout = Duration::from_secs(1);
    }
    settings
}

/// Moves time on, from deadline to deadline, with so many turns at each, though not all may be done then.
fn advance(reactor: &mut Reactor<Sim>, milliseconds: u64, turns: usize) {
    let end = reactor.kernel_mut().now() + Duration::from_millis(milliseconds);
    loop {
        for _ in 0..turns {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            let due = reactor.next_deadline().is_some_and(|deadline| deadline <= reactor.kernel_mut().now());
            if !due && reactor.kernel_mut().is_quiet() {
                break;
            }
        }
        let now = reactor.kernel_mut().now();
        if now >= end {
            return;
        }
        let next = reactor.next_deadline().unwrap_or(end).clamp(now + Duration::from_millis(1), end);
        reactor.kernel_mut().advance(next - now);
    }
}

/// What a simulation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    Anything,
    /// The same thing each time. TLS does not: it draws its keys elsewhere.
    TheSame,
}

/// What has happened.
struct Told {
    /// All that handlers were told, and what the peers got.
    trace: Vec<String>,
    /// How many connections there were.
    lives: usize,
}

/// Lives through one seed.
fn simulate(story: &Story, mood: Mood, telling: Telling) -> Told {
    let seed = story.seed;
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9) ^ mood as u64);
    let faults = story.faults(faults(&mut random, mood));
    let mut reactor = Reactor::on(Sim::with_faults(seed, faults), config(&mut random, mood));
    let secure = cfg!(feature = "tls") && telling == Telling::Anything && random.one_in(4);
    let compressed = cfg!(feature = "deflate") && random.one_in(2);
    let compressed = compressed.then(|| (random.one_in(2), random.one_in(2)));
    let world = Rc::new(RefCell::new(World {
        seed,
        secure,
        compressed,
        mood,
        random: random.clone(),
        connections: Vec::new(),
        ids: Vec::new(),
        told: 0,
        subscribed: BTreeSet::new(),
        messages: 0,
        queued: 0,
        dropped: 0,
        overflow: Overflow::Close,
        panics: 0,
        protocol_errors: 0,
        timeouts: 0,
        trace: Vec::new(),
        wrong: Vec::new(),
    }));
    let shared = Rc::clone(&world);
    let server = Server::new(move |handshake| Echo {
        world: Rc::clone(&shared),
        peer: handshake.path().trim_start_matches('/').parse().unwrap(),
    });
    let settings = settings(&mut random, mood);
    world.borrow_mut().overflow = settings.websocket.stream.output.overflow;
    let server = server.configure(|config| *config = settings);
    #[cfg(feature = "deflate")]
    let server = match compressed {
        Some((client_context_takeover, server_context_takeover)) => server.deflate(
            ws_reactor::DeflateConfig::shared()
                .client_context_takeover(client_context_takeover)
                .server_context_takeover(server_context_takeover)
                .threshold_bytes([0, 20, 1000][random.below(3)])
                .server_max_window_bits(9 + random.below(7) as u8)
                .unwrap(),
        ),
        None => server,
    };
    #[cfg(feature = "tls")]
    let server = if secure { secure::server(server) } else { server };
    let address = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let (mut peers, count) = (Vec::<Peer>::new(), (2 + random.below(11)).min(story.peers));
    let (mut received, mut sent) = (0, 0);
    // At first anything may happen; then everybody listens.
    let steps = (40 + random.below(60)).min(story.steps);
    for step in 0..steps + 1000 {
        // Tiny reads take their time.
        let served = |peer: &Peer| peer.has_last_pong() && peer.echoed == world.borrow().connections[peer.number].sent;
        if step > steps + 60 && (mood == Mood::Chaos || peers.iter().all(served)) {
            break;
        }
        if peers.len() < count && (random.one_in(3) || step >= steps) {
            let id = reactor.kernel_mut().connect(address).unwrap();
            peers.push(Peer::new(id, &mut world.borrow_mut(), &mut random));
        }
        for peer in &mut peers {
            let (world, sim) = (&mut *world.borrow_mut(), reactor.kernel_mut());
            if step >= steps {
                sim.release(peer.id);
            } else if !peer.done && random.one_in(3) {
                peer.act(world, &mut random, sim);
            }
            sent += peer.send_a_piece(&mut random, sim);
            received += peer.read(world, sim);
        }
        let by = match random.below(8) {
            _ if step >= steps => 500,
            0..4 => 0,
            4 => random.below(2000),
            _ => random.below(50),
        };
        advance(&mut reactor, by as u64, if step >= steps { 400 } else { 1 + random.below(20) });
    }
    for peer in &mut peers {
        let world = world.borrow();
        let connection = &world.connections[peer.number];
        if mood == Mood::Echo {
            let said = (peer.number, connection.sent);
            assert_eq!((peer.echoed, connection.received), (said.1, said.1), "peer {} got its echoes", said.0);
            // Pongs may be left out while nothing can leave, but not the last (RFC 6455 §5.5.3).
            assert!(peer.has_last_pong(), "peer {} got its last pong", said.0);
            assert!(peer.incoming.is_empty(), "peer {} got half a frame", said.0);
            if random.one_in(2) {
                peer.frame(Kind::Close, true, &[]);
            }
            let last = std::mem::take(peer.wire());
            reactor.kernel_mut().send(peer.id, &last);
            sent += last.len();
        }
        peer.done = true;
        reactor.kernel_mut().finish(peer.id);
    }
    reactor.advance(Duration::from_secs(120)).unwrap();
    for peer in &mut peers {
        assert!(reactor.kernel_mut().is_closed(peer.id), "peer {} was let go", peer.number);
        received += peer.read(&mut world.borrow_mut(), reactor.kernel_mut());
        peer.check_torso(&world.borrow());
        // A message that a send has accepted is lost only if the connection ends without a closing handshake, or with
        // what a reset has destroyed on its way.
        let Connection { accepted, clean, garbled, .. } = world.borrow().connections[peer.number];
        let reset = peer.reset || faults.reset > 0 && !peer.was_closed;
        let taken = peer.taken;
        assert!(!clean || garbled || reset || taken == accepted, "peer {} got {taken} of {accepted}", peer.number);
    }
    let world = world.borrow();
    assert_eq!(world.wrong, Vec::<String>::new(), "what handlers found wrong");
    for (peer, Connection { opened, closed, garbled, .. }) in world.connections.iter().enumerate() {
        assert_eq!(opened, closed, "peer {peer} opened and closed as often");
        assert!(mood == Mood::Chaos || *opened == 1 && !garbled, "peer {peer} was served");
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.connections, stats.buffered_bytes), (0, 0), "nobody and nothing is left");
    assert!(TOPICS.iter().all(|topic| reactor.hub().subscribers(topic) == 0), "subscriptions end with connections");
    let refused = peers.len() as u64 - stats.accepted;
    assert!(refused == 0 || faults.shortage > 0, "{refused} were not accepted");
    assert_eq!(stats.opened, world.ids.len() as u64, "opened");
    assert_eq!((stats.messages_in, stats.messages_out), (world.messages, world.queued), "messages in and out");
    assert_eq!((stats.dropped, stats.panics), (world.dropped, world.panics), "dropped messages and panics");
    assert_eq!(stats.protocol_errors, world.protocol_errors, "protocol errors");
    assert!(stats.timed_out >= world.timeouts, "{} of {} timeouts", stats.timed_out, world.timeouts);
    // What is encrypted is more.
    let counted = stats.bytes_in <= sent as u64 && (secure || stats.bytes_out >= received as u64);
    assert!(counted, "{stats:?}, {sent}, {received}");
    let lossless = (stats.bytes_in, stats.bytes_out) == (sent as u64, received as u64);
    assert!(lossless || secure || mood == Mood::Chaos, "{stats:?}, {sent}, {received}");
    let mut trace = world.trace.clone();
    trace.extend([format!("{stats:?}"), format!("{sent} {received} {}", random.number())]);
    Told { trace, lives: peers.len() }
}

#[test]
fn every_byte_of_an_echo_comes_back_once_and_in_order() {
    seeds::for_each(150, |story| simulate(story, Mood::Echo, Telling::Anything).lives);
}

#[test]
fn every_connection_ends_once_whatever_handlers_and_peers_do() {
    seeds::for_each(250, |story| simulate(story, Mood::Chaos, Telling::Anything).lives);
}

#[test]
fn a_seed_always_tells_the_same_story() {
    let told = |story: &Story| simulate(story, Mood::Chaos, Telling::TheSame);
    seeds::for_each(20, |story| {
        let first = told(story);
        assert_eq!(first.trace, told(story).trace);
        2 * first.lives
    });
}
