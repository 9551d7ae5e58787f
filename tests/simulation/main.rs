//! Simulations of a whole reactor in virtual time: invariants for any behaviour of network, peers and handlers. Among
//! them is the law that no live peer is ended.
//!
//! `SIMULATION_SEEDS=100000` runs more seeds, `SIMULATION_SEED=17` replays one; `-- --nocapture` shows the number of
//! connections.
#![allow(clippy::unwrap_used)]

mod client;
mod frames;
mod link;
mod peer;
#[cfg(feature = "tls")]
#[path = "../it/support/secure.rs"]
mod secure;
mod seeds;
#[path = "../it/support/wire/mod.rs"]
mod wire;
mod world;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, time::Duration};

use link::{Link, advance};
use peer::Peer;
use seeds::{Count, Scenario};
use wire::Kind;
use world::{Connection, Echo, Mood, World};
use ws_reactor::{
    Overflow, Reactor, ReactorConfig, Server, ServerConfig,
    net::sim::{Faults, Random, Sim},
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
    // Tiny buffers split every frame over many reads.
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

fn settings(random: &mut Random, mood: Mood, scenario: &Scenario) -> ServerConfig {
    let mut settings = ServerConfig::default();
    settings.websocket.message_budget = [1, 3, 256][random.below(3)];
    let output = &mut settings.websocket.stream.output;
    output.pause_reading_bytes = [100, 4096, 64 * 1024][random.below(3)];
    // A TLS handshake in pieces of one byte takes long.
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
    if mood == Mood::Slow {
        link::timeouts(random, &mut settings.websocket);
    }
    if let Some(pong_timeout) = scenario.pong_timeout {
        settings.websocket.pong_timeout = pong_timeout;
    }
    settings
}

/// Whether two runs of a seed must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Different,
    /// Excludes TLS, whose keys do not come from the seed.
    Equal,
}

/// Result of one simulation.
struct Outcome {
    /// All callbacks, and the statistics.
    trace: Vec<String>,
    count: Count,
}

/// Runs one seed and checks the invariants.
fn simulate(scenario: &Scenario, mood: Mood, repeat: Repeat) -> Outcome {
    let seed = scenario.seed;
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9) ^ mood as u64);
    let faults = scenario.faults(faults(&mut random, mood));
    let mut reactor = Reactor::on(Sim::with_faults(seed, faults), config(&mut random, mood));
    let secure = cfg!(feature = "tls") && repeat == Repeat::Different && random.one_in(4);
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
        sequence: 0,
        subscribed: BTreeSet::new(),
        messages: 0,
        queued: 0,
        dropped: 0,
        overflow: Overflow::Close,
        panics: 0,
        protocol_errors: 0,
        timeouts: 0,
        trace: Vec::new(),
        violations: Vec::new(),
    }));
    let shared = Rc::clone(&world);
    let server = Server::new(move |handshake| Echo {
        world: Rc::clone(&shared),
        peer: handshake.path().trim_start_matches('/').parse().unwrap(),
    });
    let settings = settings(&mut random, mood, scenario);
    let websocket = settings.websocket.clone();
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
    let (mut peers, count) = (Vec::<Peer>::new(), (2 + random.below(11)).min(scenario.peers));
    let (mut received, mut sent) = (0, 0);
    let stops = random.one_in(3) && scenario.has("stops");
    // In the first steps peers act at random. In the rest every peer only reads.
    let steps = (40 + random.below(60)).min(scenario.steps);
    for step in 0..steps + 1000 {
        // With tiny reads the echoes need more steps.
        let served = |peer: &Peer| {
            let Connection { sent, closed, accepted, .. } = world.borrow().connections[peer.number];
            closed > 0 || peer.has_last_pong() && peer.echoed == sent && peer.delivered == accepted
        };
        if step > steps + 60 && (mood == Mood::Chaos || peers.iter().all(served)) {
            break;
        }
        if peers.len() < count && (random.one_in(3) || step >= steps) {
            let id = reactor.kernel_mut().connect(address).unwrap();
            let link = Link::random(&mut random, if mood == Mood::Slow { 2 } else { 4 }, &websocket, scenario);
            link.apply(reactor.kernel_mut(), id);
            peers.push(Peer::new(id, link, &mut world.borrow_mut(), &mut random));
        }
        for peer in &mut peers {
            let (world, sim) = (&mut *world.borrow_mut(), reactor.kernel_mut());
            if mood == Mood::Slow && sim.is_ended(peer.id) {
                sim.finish(peer.id);
                peer.done = true;
            }
            if step >= steps {
                peer.link.release(sim, peer.id);
            } else if !peer.done && random.one_in(3) {
                peer.act(world, &mut random, sim);
            }
            sent += peer.send_a_piece(&mut random, sim);
            received += peer.read(world, sim);
        }
        let by = match random.below(8) {
            _ if step >= steps => 500,
            0..4 if mood == Mood::Slow => random.below(1000),
            0..4 => 0,
            4 => random.below(2000),
            _ => random.below(50),
        };
        advance(&mut reactor, by as u64, if step >= steps { 400 } else { 1 + random.below(20) }, |_| {});
        if stops && random.one_in(20) {
            if mood != Mood::Chaos {
                // A peer that does not read for the whole stop is a slow reader.
                peers.iter().for_each(|peer| peer.link.release(reactor.kernel_mut(), peer.id));
            }
            let duration = Duration::from_millis(random.below(60_000) as u64);
            let moved = link::stop(&mut reactor, duration, &mut peers, &mut world.borrow_mut(), &mut random);
            (sent, received) = (sent + moved.0, received + moved.1);
            // The reactor goes on before a peer stops reading again.
            advance(&mut reactor, 0, 400, |_| {});
        }
    }
    assert_eq!(world.borrow().violations, Vec::<String>::new(), "violations seen by handlers");
    for peer in &mut peers {
        let world = world.borrow();
        let connection = &world.connections[peer.number];
        if mood != Mood::Chaos && !connection.closing {
            let (number, expected) = (peer.number, connection.sent);
            assert_eq!((peer.echoed, connection.received), (expected, expected), "echoes of peer {number}");
            // Pongs may be skipped while the peer does not read, but not the last pong (RFC 6455 §5.5.3).
            assert!(peer.has_last_pong(), "last pong of peer {number}");
            assert!(peer.incoming.is_empty(), "partial frame at peer {number}");
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
        assert!(reactor.kernel_mut().is_closed(peer.id), "connection of peer {} is not closed", peer.number);
        received += peer.read(&mut world.borrow_mut(), reactor.kernel_mut());
        peer.check_partial_frame(&world.borrow());
        // An accepted message is lost only if the connection ends without a closing handshake or a reset destroys data
        // in flight.
        let Connection { accepted, clean, garbled, .. } = world.borrow().connections[peer.number];
        let reset = peer.reset || faults.reset > 0 && !peer.was_closed;
        let delivered = peer.delivered;
        let complete = !clean || garbled || reset || delivered == accepted;
        assert!(complete, "peer {} received {delivered} of {accepted} messages", peer.number);
    }
    let world = world.borrow();
    assert_eq!(world.violations, Vec::<String>::new(), "violations seen by handlers");
    for (peer, Connection { opened, closed, garbled, .. }) in world.connections.iter().enumerate() {
        assert_eq!(opened, closed, "on_open and on_close of peer {peer}");
        assert!(mood == Mood::Chaos || *opened == 1 && !garbled, "peer {peer} was not served");
    }
    let stats = reactor.hub().stats();
    assert_eq!((stats.connections, stats.buffered_bytes), (0, 0), "connections and buffered bytes left");
    assert!(TOPICS.iter().all(|topic| reactor.hub().subscribers(topic) == 0), "subscriptions left");
    let unaccepted = peers.len() as u64 - stats.accepted;
    assert!(unaccepted == 0 || faults.shortage > 0, "{unaccepted} connections were not accepted");
    assert_eq!(stats.opened, world.ids.len() as u64, "opened");
    assert_eq!((stats.messages_in, stats.messages_out), (world.messages, world.queued), "messages in and out");
    assert_eq!((stats.dropped, stats.panics), (world.dropped, world.panics), "dropped messages and panics");
    assert_eq!(stats.protocol_errors, world.protocol_errors, "protocol errors");
    assert!(stats.timed_out >= world.timeouts, "{} of {} timeouts", stats.timed_out, world.timeouts);
    // TLS adds bytes.
    let counted = stats.bytes_in <= sent as u64 && (secure || stats.bytes_out >= received as u64);
    assert!(counted, "{stats:?}, {sent}, {received}");
    let lossless = (stats.bytes_in, stats.bytes_out) == (sent as u64, received as u64);
    assert!(lossless || secure || mood != Mood::Echo, "{stats:?}, {sent}, {received}");
    let mut trace = world.trace.clone();
    trace.extend([format!("{stats:?}"), format!("{sent} {received} {}", random.number())]);
    let live = if mood == Mood::Chaos { 0 } else { stats.opened as usize };
    Outcome { trace, count: Count { connections: peers.len(), live } }
}

#[test]
fn echo_server_returns_every_message_once_and_in_order() {
    seeds::for_each(150, |scenario| simulate(scenario, Mood::Echo, Repeat::Different).count);
}

#[test]
fn live_peer_is_never_ended_by_a_timeout_or_as_a_slow_reader() {
    let (seeds, live) = seeds::for_each(40, |scenario| simulate(scenario, Mood::Slow, Repeat::Different).count);
    assert!(live >= seeds, "the law covers {live} connections of {seeds} seeds");
}

#[test]
fn pong_timeout_that_slow_lines_cannot_meet_breaks_the_law() {
    let broken = (0..20).any(|seed| {
        let mut scenario = Scenario::new(seed);
        scenario.pong_timeout = Some(Duration::from_millis(50));
        let failure = seeds::failure(&scenario, |scenario| simulate(scenario, Mood::Slow, Repeat::Different).count);
        failure.is_some_and(|message| message.contains("live peer"))
    });
    assert!(broken, "no seed shows that a live peer was ended");
}

#[test]
fn every_opened_connection_closes_once_with_random_handlers_and_peers() {
    seeds::for_each(250, |scenario| simulate(scenario, Mood::Chaos, Repeat::Different).count);
}

#[test]
fn two_runs_of_one_seed_have_the_same_trace() {
    let run = |scenario: &Scenario| simulate(scenario, Mood::Chaos, Repeat::Equal);
    seeds::for_each(20, |scenario| {
        let first = run(scenario);
        assert_eq!(first.trace, run(scenario).trace);
        Count { connections: 2 * first.count.connections, live: 0 }
    });
}
