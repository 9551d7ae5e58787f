//! Clients, nodes that start and end, and a backplane that loses messages, in any order.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use ws_reactor::{Backplane, HeldMessage, Hub, PublishedMessage, net::sim::Random};

use super::*;

/// A backplane that delivers the messages of this process later, and loses some.
struct Lossy {
    held: Rc<RefCell<Vec<HeldMessage>>>,
    random: RefCell<Random>,
    loses: Rc<Cell<bool>>,
}

impl Backplane for Lossy {
    fn delivers_own(&self) -> bool {
        true
    }

    fn publish(&mut self, _: &mut Hub, published: PublishedMessage<'_>) {
        if !(self.loses.get() && self.random.borrow_mut().one_in(10)) {
            self.held.borrow_mut().push(published.hold());
        }
    }
}

struct Run {
    world: World,
    held: Rc<RefCell<Vec<HeldMessage>>>,
    clients: Vec<Client>,
    /// The members that each client knows.
    known: BTreeMap<usize, BTreeSet<String>>,
    /// The user of each client that has subscribed.
    users: BTreeMap<usize, String>,
}

impl Run {
    /// Delivers some of the messages that were published.
    fn deliver(&mut self, most: usize) {
        let count = most.min(self.held.borrow().len());
        let messages: Vec<HeldMessage> = self.held.borrow_mut().drain(..count).collect();
        for message in messages {
            self.world.reactor.hub().deliver_held(message, None);
        }
        self.world.settle();
    }

    fn deliver_all(&mut self) {
        while !self.held.borrow().is_empty() {
            self.deliver(usize::MAX);
        }
    }

    /// Reads the messages of a client, and checks that each one is a change.
    fn read(&mut self, index: usize) {
        for message in self.world.received(self.clients[index].peer) {
            let data: Value = message["data"].as_str().map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
            let known = self.known.get_mut(&index);
            match (message["event"].as_str().unwrap(), known) {
                ("pusher_internal:subscription_succeeded", _) => {
                    let ids = data["presence"]["ids"].as_array().unwrap().iter();
                    let ids: BTreeSet<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
                    assert!(ids.contains(&self.users[&index]), "its own user is a member");
                    self.known.insert(index, ids);
                }
                ("pusher_internal:member_added", Some(known)) => {
                    assert!(known.insert(data["user_id"].as_str().unwrap().to_owned()), "added twice: {data}");
                }
                ("pusher_internal:member_removed", Some(known)) => {
                    assert!(known.remove(data["user_id"].as_str().unwrap()), "removed twice: {data}");
                }
                ("pusher:ping", _) => self.world.send_to(index, &self.clients, &json!({"event": "pusher:pong"})),
                (_, known) => panic!("{message} with {known:?}"),
            }
        }
    }
}

impl World {
    fn send_to(&mut self, index: usize, clients: &[Client], message: &Value) {
        self.send(&clients[index], message);
    }
}

const CHANNEL: &str = "presence-a";

fn run(seed: u64) {
    let (held, loses) = (Rc::<RefCell<Vec<HeldMessage>>>::default(), Rc::new(Cell::new(false)));
    let mut random = Random::new(seed);
    let mut world = World::new(0);
    world.reactor.hub().set_backplane(Lossy {
        held: Rc::clone(&held),
        random: RefCell::new(Random::new(seed ^ 0xabcd)),
        loses: Rc::clone(&loses),
    });
    world.settle();
    // Each simulated kernel has the same random numbers: names of nodes depend on the seed.
    world.reactor.hub().random(&mut vec![0; random.below(64)]);
    let (clients, known, users) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut run = Run { world, held, clients, known, users };
    (0..3).for_each(|_| _ = run.world.start(app()));
    run.deliver_all();
    loses.set(seed % 2 == 1);
    let (mut ended, mut cut) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..150 {
        let index = random.below(run.clients.len().max(1));
        match random.below(9) {
            0 | 1 => {
                let node = random.below(run.world.nodes.len());
                if !ended.contains(&node) {
                    let client = run.world.client(node);
                    run.clients.push(client);
                }
            }
            2 | 3 if index < run.clients.len() && !ended.contains(&run.clients[index].node) => {
                if !run.users.contains_key(&index) && !cut.contains(&index) {
                    let user = format!("user {}", random.below(4));
                    run.users.insert(index, user.clone());
                    run.world.subscribe(&run.clients[index], CHANNEL, Some(&user));
                }
            }
            4 if index < run.clients.len() && !ended.contains(&run.clients[index].node) => {
                run.read(index);
                run.world.cut(&run.clients[index]);
                cut.insert(index);
                run.users.remove(&index);
                run.known.remove(&index);
            }
            5 if random.one_in(12) && run.world.nodes.len() < 6 => _ = run.world.start(app()),
            6 if random.one_in(20) && ended.len() + 1 < run.world.nodes.len() => {
                let node = random.below(run.world.nodes.len());
                if ended.insert(node) {
                    let leaving = run.world.nodes[node].clone();
                    leaving.close(run.world.reactor.hub());
                    run.world.settle();
                    let nodes: Vec<usize> = run.clients.iter().map(|client| client.node).collect();
                    run.users.retain(|index, _| nodes[*index] != node);
                    run.known.retain(|index, _| nodes[*index] != node);
                }
            }
            7 => run.world.advance(1),
            _ => run.deliver(1 + random.below(5)),
        }
    }
    loses.set(false);
    for _ in 0..120 {
        run.world.advance(1);
        run.deliver_all();
        // A client without a pong is closed.
        (0..run.clients.len())
            .filter(|index| run.users.contains_key(index))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|index| run.read(index));
    }
    let truth: BTreeSet<String> = run.users.values().cloned().collect();
    for (node, _) in run.world.nodes.iter().enumerate().filter(|(node, _)| !ended.contains(node)) {
        let users: BTreeSet<String> = run.world.users(node, CHANNEL).into_iter().collect();
        assert_eq!(users, truth, "node {node}");
        assert_eq!(run.world.nodes[node].app("1").unwrap().subscriptions(CHANNEL), run.users.len());
    }
    for index in run.users.keys() {
        assert_eq!(run.known.get(index), Some(&truth), "client {index}");
    }
}

#[test]
fn all_nodes_agree_in_the_end_and_clients_see_each_change_once() {
    for seed in 0..60 {
        let result = std::panic::catch_unwind(|| run(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}
