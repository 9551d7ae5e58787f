//! Clients of the extended protocol whose lines are cut and come back, in any order.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use ws_reactor::{
    action_cable::{ActionCable, Channel, Subscription},
    net::sim::{PeerId, Random},
};

use super::World;

struct Room;

impl Channel for Room {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        subscription.stream_from("room");
        subscription.allow_whispers("room");
        subscription.allow_presence("room");
    }
}

const KEPT: Duration = Duration::from_millis(800);
const CLIENTS: usize = 4;

fn options(cable: ActionCable) -> ActionCable {
    let cable = cable.any_origin().channel("Room", || Room).history(20, Duration::from_millis(600));
    cable.keep_sessions(KEPT).presence_ttl(Duration::from_millis(200))
}

fn room() -> Value {
    json!({"channel": "Room"})
}

/// A client, with what it remembers.
#[derive(Default)]
struct Client {
    peer: Option<PeerId>,
    sid: Option<String>,
    is_subscribed: bool,
    /// The epoch and the offset of its last message.
    place: Option<(String, u64)>,
    /// It has asked for what is missing, and was not answered.
    is_asking: bool,
    /// Broadcasts that it has got, in its order.
    got: Vec<u64>,
    /// Who is there, as it was told.
    present: HashMap<String, bool>,
    gaps: usize,
}

impl Client {
    fn history(&self) -> Value {
        match &self.place {
            Some((epoch, offset)) => json!({"streams": {"room": {"epoch": epoch, "offset": offset}}}),
            None => json!({}),
        }
    }

    /// Takes up what has arrived, and checks it.
    fn take(&mut self, world: &mut World, name: &str) {
        let Some(peer) = self.peer else { return };
        for value in world.values(peer) {
            match value["type"].as_str() {
                Some("confirm_subscription") => self.is_subscribed = true,
                Some("confirm_history") => self.is_asking = false,
                Some("reject_history") => (self.is_asking, self.place, self.gaps) = (false, None, self.gaps + 1),
                Some("presence") => {
                    let (id, is_here) = (value["message"]["id"].to_string(), value["message"]["type"] == "join");
                    let before = self.present.insert(id, is_here);
                    assert_ne!(before, Some(is_here), "{name}: {value} for the second time");
                }
                Some(other) => panic!("{name}: {other}"),
                None if value["offset"].is_null() => assert_ne!(value["message"], *name, "the own whisper"),
                None => self.take_message(&value, name),
            }
        }
    }

    fn take_message(&mut self, value: &Value, name: &str) {
        let (epoch, offset) = (value["epoch"].as_str().unwrap(), value["offset"].as_u64().unwrap());
        if let Some((known, last)) = &self.place {
            assert_eq!((known.as_str(), last + 1), (epoch, offset), "{name}: {value} after {last}");
        }
        self.place = Some((epoch.to_owned(), offset));
        self.got.push(value["message"].as_u64().unwrap());
    }

    fn connect(&mut self, world: &mut World, name: &str) {
        let query = self.sid.take().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let (peer, sid, welcome) = world.extended(name, &query);
        let is_restored = welcome["restored_ids"].as_array().is_some_and(|ids| !ids.is_empty());
        assert!(!is_restored || self.is_subscribed);
        (self.peer, self.sid, self.is_subscribed, self.is_asking) = (Some(peer), Some(sid), is_restored, true);
        // The changes in between are not told again.
        self.present.clear();
        let command = if is_restored { "history" } else { "subscribe" };
        world.tell(peer, command, &room(), json!({"history": self.history()}));
    }
}

fn play(seed: u64) -> (usize, usize) {
    let (mut world, mut random) = (World::with(options), Random::new(seed));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::default()).collect();
    let mut number = 0;
    for _ in 0..400 {
        let index = random.below(CLIENTS);
        let (name, client) = (format!("client {index}").replace(' ', ""), &mut clients[index]);
        match (random.below(14), client.peer) {
            (0..=4, _) => {
                number += 1;
                world.publish("room", &number.to_string());
            }
            (5, Some(peer)) => {
                client.take(&mut world, &name);
                client.peer = None;
                world.cut(peer);
            }
            (5..=8, None) => client.connect(&mut world, &name),
            // The old line is still open.
            (6, Some(_)) if random.one_in(2) => {
                client.take(&mut world, &name);
                client.connect(&mut world, &name);
            }
            (7, Some(peer)) => world.tell(peer, "join", &room(), json!({"presence": {"id": name}})),
            (8, Some(peer)) => world.tell(peer, "leave", &room(), json!({})),
            (9, Some(peer)) => world.tell(peer, "whisper", &room(), json!({"data": name})),
            (10, Some(peer)) if random.one_in(4) => {
                client.take(&mut world, &name);
                world.tell(peer, "unsubscribe", &room(), json!({}));
                // What is published until the next subscription is asked for then.
                client.present.clear();
                client.is_asking = true;
                world.tell(peer, "subscribe", &room(), json!({"history": client.history()}));
            }
            (11, _) => _ = world.reactor.advance(Duration::from_millis(random.below(400) as u64)).unwrap(),
            _ => {}
        }
        for (index, client) in clients.iter_mut().enumerate() {
            client.take(&mut world, &format!("client{index}"));
        }
    }
    for client in &mut clients {
        assert!(client.peer.is_none() || client.is_subscribed && !client.is_asking, "all is answered");
        assert!(client.got.is_sorted_by(|one, next| one < next), "once, and in their order");
        if let Some(peer) = client.peer {
            world.cut(peer);
        }
    }
    world.reactor.advance(Duration::from_secs(20)).unwrap();
    let stats = world.handle.stats();
    let left = (stats.connections, stats.sessions, stats.subscriptions, stats.streams);
    assert_eq!((left, world.reactor.next_deadline()), ((0, 0, 0, 0), None), "nothing is left");
    let got = clients.iter().map(|client| client.got.len()).sum();
    (got, clients.iter().map(|client| client.gaps).sum())
}

#[test]
fn clients_get_each_broadcast_once_and_in_order_however_their_lines_are_cut() {
    let (mut got, mut gaps) = (0, 0);
    for seed in 0..200 {
        let (more, refused) = std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|cause| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(cause)
        });
        (got, gaps) = (got + more, gaps + refused);
    }
    // The cases are those that the test is for.
    assert!(got > 20_000 && gaps > 20 && gaps < got / 20, "{got} messages, {gaps} gaps");
}
