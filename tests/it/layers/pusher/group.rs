//! An app on the reactors of a group: the test decides which one has its turn.

use ws_reactor::{ReactorGroup, net::sim::Random};

use super::*;
use crate::support::played::SERVER;

struct Group {
    reactors: Vec<Reactor<Sim>>,
    nodes: Vec<PusherHandle>,
    reports: Log,
}

impl Group {
    fn new(size: usize) -> Self {
        let (mut reactors, reports) = (ReactorGroup::simulated(size, ReactorConfig::new()), Log::default());
        let mut nodes = Vec::new();
        for (index, reactor) in reactors.iter_mut().enumerate() {
            // Each simulated kernel has the same random numbers.
            reactor.hub().random(&mut vec![0; index]);
            let (pusher, noted) = (Pusher::new().app(app()).build(), Rc::clone(&reports));
            pusher.app("1").unwrap().on_event(move |_, event| noted.borrow_mut().push(format!("{event:?}")));
            pusher.start(reactor.hub());
            reactor.listen(SERVER, Server::routes(pusher.mount(Routes::new())).unwrap().ping_after(None)).unwrap();
            nodes.push(pusher);
        }
        let mut group = Group { reactors, nodes, reports };
        group.settle();
        (0..2).for_each(|_| group.advance(Duration::from_secs(1)));
        group
    }

    fn settle(&mut self) {
        for _ in 0..8 * self.reactors.len() {
            self.reactors.iter_mut().for_each(|reactor| _ = reactor.settle().unwrap());
        }
    }

    fn advance(&mut self, by: Duration) {
        self.reactors.iter_mut().for_each(|reactor| _ = reactor.advance(by).unwrap());
        self.settle();
    }

    fn turn(&mut self, index: usize) {
        self.reactors[index].turn(Some(Duration::ZERO)).unwrap();
    }

    /// A subscriber of the channel `a` on a reactor.
    fn subscriber(&mut self, index: usize) -> PeerId {
        let kernel = self.reactors[index].kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(peer, UPGRADE.as_bytes());
        self.settle();
        let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#;
        let frame = [&[0x81, 0x80 | subscribe.len() as u8, 0, 0, 0, 0], subscribe.as_bytes()].concat();
        self.reactors[index].kernel_mut().send(peer, &frame);
        peer
    }
}

#[test]
fn channel_is_occupied_and_vacated_once_whatever_the_order_of_the_turns() {
    for seed in 0..40 {
        let (mut group, mut random) = (Group::new(3), Random::new(seed));
        let peers = [0, 1, 2].map(|index| group.subscriber(index));
        (0..60).for_each(|_| group.turn(random.below(3)));
        group.settle();
        for node in &group.nodes {
            assert_eq!(node.app("1").unwrap().subscriptions("a"), 3, "seed {seed}");
        }
        for (reactor, peer) in group.reactors.iter_mut().zip(peers) {
            reactor.kernel_mut().reset(peer);
        }
        (0..60).for_each(|_| group.turn(random.below(3)));
        group.settle();
        let expected = [r#"ChannelOccupied { channel: "a" }"#, r#"ChannelVacated { channel: "a" }"#];
        assert_eq!(group.reports.take(), expected, "seed {seed}");
    }
}
