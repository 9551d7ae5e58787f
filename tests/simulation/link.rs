//! Lines and buffers of connections, stops of the process, and the law about live peers.

use std::time::Duration;

use ws_reactor::{
    ClosedBy, Reactor, WebSocketConfig,
    net::{
        Kernel,
        sim::{Buffers, PeerId, Random, Sim},
    },
};

use crate::{peer::Peer, seeds::Scenario, world::World};

const KIB: u64 = 1024;
/// Bytes that a live peer takes per stall time-out, and sends per pong time-out.
const PROGRESS_BYTES: u64 = 16 * KIB;
const PONG_BYTES: u64 = 4 * KIB;
/// Time in which a peer of the simulation reads and answers.
const ANSWER: Duration = Duration::from_secs(2);

/// The law: **no live peer is ended** by a time-out or as a slow reader, once its connection is open.
///
/// A peer is live if it reads what arrives, answers pings and the close frame, and has a line of the speed that
/// [`Link::random`] chooses.
pub(crate) fn may_end_live_peer(by: &ClosedBy) -> bool {
    !matches!(by, ClosedBy::Timeout(_) | ClosedBy::SlowReader)
}

/// Another law: `on_error` precedes each end that is neither the application's own nor the peer's.
pub(crate) fn is_reported(by: &ClosedBy, errors: u32) -> bool {
    errors > 0 || matches!(by, ClosedBy::Application | ClosedBy::Shutdown | ClosedBy::Peer)
}

/// Time-outs under which slow peers live. Shorter ones require faster lines.
pub(crate) fn timeouts(random: &mut Random, config: &mut WebSocketConfig) {
    let seconds = |random: &mut Random, choices: [u64; 3]| Duration::from_secs(choices[random.below(3)]);
    config.ping_after = Some(seconds(random, [1, 5, 20]));
    config.pong_timeout = seconds(random, [5, 10, 20]);
    config.stream.output.stall_timeout = seconds(random, [5, 10, 30]);
    // The slowest line carries what is queued when a connection begins to close.
    config.stream.closing_timeout = Duration::from_secs(1000);
}

/// Line and buffers of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    bytes_per_second: Option<u64>,
    buffers: Buffers,
}

impl Link {
    /// A line of 5 to 400 KB/s and buffers of realistic sizes, each for one of `one_in` connections.
    ///
    /// The line carries more than the time-outs need: 16 KiB per stall time-out, and per pong time-out 4 KiB after all
    /// bytes of the send buffer, behind which the ping waits.
    pub(crate) fn random(random: &mut Random, one_in: u32, config: &WebSocketConfig, scenario: &Scenario) -> Link {
        let (slow, sized) = (random.one_in(one_in), random.one_in(one_in));
        let range = [5000, 50_000, 395_000][random.below(3)];
        let speed = 5000 + random.below(range) as u64;
        let within = |bytes: u64, time: Duration| bytes * 1000 / time.as_millis() as u64;
        let pong = config.pong_timeout.saturating_sub(ANSWER).max(ANSWER);
        let least = within(2 * PROGRESS_BYTES, config.stream.output.stall_timeout)
            .max(within(Buffers::default().send_bytes as u64 + 2 * PONG_BYTES, pong));
        let speed = speed.max(least);
        let sizes = [16, 64, 256, 1024].map(|kib| kib * KIB).into_iter();
        let sizes = sizes.filter(|size| !slow || within(size + 2 * PONG_BYTES, pong) <= speed);
        let sizes: Vec<usize> = sizes.map(|size| size as usize).collect();
        let mut size = || sizes[random.below(sizes.len())];
        let buffers = Buffers { send_bytes: size(), receive_bytes: size(), peer_bytes: size() };
        Link {
            bytes_per_second: Some(speed).filter(|_| slow && scenario.has("lines")),
            buffers: if sized && scenario.has("buffers") { buffers } else { Buffers::default() },
        }
    }

    /// Sets line and buffers of a new connection.
    pub(crate) fn apply(&self, sim: &mut Sim, peer: PeerId) {
        sim.set_buffers(peer, self.buffers);
        if let Some(speed) = self.bytes_per_second {
            sim.slow_line(peer, speed);
        }
    }

    /// Lets a peer read again that was held.
    pub(crate) fn release(&self, sim: &mut Sim, peer: PeerId) {
        sim.set_buffers(peer, self.buffers);
        sim.release(peer);
    }
}

/// Advances time from deadline to deadline and from arrival to arrival, with at most `turns` turns at each, which may
/// leave work undone. Calls `after_turn` after each turn.
pub(crate) fn advance(
    reactor: &mut Reactor<Sim>,
    milliseconds: u64,
    turns: usize,
    mut after_turn: impl FnMut(&mut Sim),
) {
    let end = reactor.kernel_mut().now() + Duration::from_millis(milliseconds);
    loop {
        for _ in 0..turns {
            reactor.turn(Some(Duration::ZERO)).unwrap();
            after_turn(reactor.kernel_mut());
            let due = reactor.next_deadline().is_some_and(|deadline| deadline <= reactor.kernel_mut().now());
            if !due && reactor.kernel_mut().is_quiet() {
                break;
            }
        }
        let now = reactor.kernel_mut().now();
        if now >= end {
            return;
        }
        let next = reactor.next_deadline().into_iter().chain(reactor.kernel_mut().next_arrival()).min();
        let next = next.unwrap_or(end).max(now + Duration::from_millis(1)).min(end);
        reactor.kernel_mut().advance(next - now);
    }
}

/// Stops the process for `duration`, while the peers read, answer and send what they have begun. Returns the bytes sent
/// and received.
pub(crate) fn stop(
    reactor: &mut Reactor<Sim>,
    mut duration: Duration,
    peers: &mut [Peer],
    world: &mut World,
    random: &mut Random,
) -> (usize, usize) {
    let (mut sent, mut received) = (0, 0);
    while duration > Duration::ZERO {
        let part = Duration::from_millis(50 + random.below(1000) as u64).min(duration);
        duration -= part;
        reactor.kernel_mut().advance(part);
        for peer in &mut *peers {
            received += peer.read(world, reactor.kernel_mut());
            sent += peer.send_all(reactor.kernel_mut());
        }
    }
    (sent, received)
}
