//! Seeded histories of the connections to Redis: commands and replies of each connection move by themselves, replies
//! arrive in pieces, and connections are lost at any time.

use std::{cell::RefCell, time::Duration};

use ws_reactor::net::sim::{PeerId, Random};

use super::played::World;

const SEEDS: u64 = if cfg!(miri) { 2 } else { 100 };
const STEPS: usize = 400;

/// Foreign messages that Redis has passed on in the time of one pair of connections.
#[derive(Default)]
struct Epoch(Vec<String>);

struct Run {
    world: World,
    client: PeerId,
    random: Random,
    own: Vec<String>,
    epochs: Vec<Epoch>,
    received: Vec<String>,
    published: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = World::with(|redis| redis.one_order(seed % 2 == 1));
        let client = world.client();
        world.redis.under_way = Some(RefCell::default());
        let epochs = vec![Epoch::default()];
        Run { world, client, random: Random::new(seed), own: vec![], epochs, received: vec![], published: 0 }
    }

    fn step(&mut self) {
        self.published += 1;
        let number = self.published;
        match self.random.below(16) {
            0..=2 => self.publish(&format!("own {number}")),
            3..=4 => self.publish_foreign(&format!("foreign {number}")),
            5..=8 => {
                if let Some(peer) = self.any_session() {
                    self.world.redis.serve_one(self.world.reactor.kernel_mut(), peer);
                }
            }
            9..=13 => {
                let count = 1 + self.random.below(120);
                if let Some(peer) = self.any_session() {
                    self.world.redis.arrive(self.world.reactor.kernel_mut(), peer, count);
                }
            }
            14 if self.random.one_in(8) => self.lose(),
            // New connections arrive, and timers are due.
            _ => {
                self.world.reactor.advance(Duration::from_millis(40)).unwrap();
                self.world.redis.serve(self.world.reactor.kernel_mut());
            }
        }
        self.world.reactor.settle().unwrap();
        let received = self.world.messages(self.client);
        self.received.extend(received);
    }

    fn any_session(&mut self) -> Option<PeerId> {
        let peers: Vec<PeerId> = self.world.redis.sessions.keys().copied().collect();
        (!peers.is_empty()).then(|| peers[self.random.below(peers.len())])
    }

    fn publish(&mut self, text: &str) {
        self.own.push(text.to_owned());
        self.world.reactor.hub().publish("room", text);
    }

    fn publish_foreign(&mut self, text: &str) {
        if self.world.redis.sessions.values().any(|session| session.channels.contains("p:room")) {
            self.epochs.last_mut().unwrap().0.push(text.to_owned());
        }
        self.world.redis.publish(self.world.reactor.kernel_mut(), "p:room", text.as_bytes());
    }

    fn lose(&mut self) {
        self.world.reset();
        self.epochs.push(Epoch::default());
    }

    /// Everything arrives, and whatever was lost comes back.
    fn drain(&mut self) {
        for _ in 0..400 {
            let peers: Vec<PeerId> = self.world.redis.sessions.keys().copied().collect();
            for peer in peers {
                self.world.redis.arrive(self.world.reactor.kernel_mut(), peer, usize::MAX);
            }
            self.world.reactor.advance(Duration::from_millis(20)).unwrap();
            self.world.redis.serve(self.world.reactor.kernel_mut());
        }
        let received = self.world.messages(self.client);
        self.received.extend(received);
    }
}

#[test]
fn messages_arrive_exactly_once_while_connected_and_each_outage_is_a_gap() {
    let (mut lost, mut delivered, mut outages) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut run = Run::new(seed);
        (0..STEPS).for_each(|_| run.step());
        run.drain();
        run.publish("own last");
        run.publish_foreign("foreign last");
        run.drain();
        assert!(run.world.handle.stats().is_connected, "seed {seed}");
        let of = |begin: &str| run.received.iter().filter(|text| text.starts_with(begin)).cloned().collect::<Vec<_>>();
        assert_eq!(of("own "), run.own, "seed {seed}: own messages arrive once, in order, whatever happens");
        let mut foreign = of("foreign ").into_iter().peekable();
        let last = run.epochs.len() - 1;
        for (index, Epoch(published)) in run.epochs.iter().enumerate() {
            let count = published.iter().take_while(|text| foreign.next_if_eq(*text).is_some()).count();
            assert!(index < last || count == published.len(), "seed {seed}: all of the pair that was not lost");
            (lost, delivered) = (lost + published.len() - count, delivered + count);
        }
        assert_eq!(foreign.next(), None, "seed {seed}: each once, in order, and none after the loss of its pair");
        let stats = run.world.handle.stats();
        assert_eq!(run.world.gaps.borrow().len() as u64, stats.outages, "seed {seed}: the topic of each outage");
        outages += stats.outages;
    }
    assert!(
        lost > 0 && delivered > lost && outages > SEEDS / 2,
        "{lost} lost, {delivered} delivered, {outages} outages"
    );
}
