//! Presence in streams, within a process and across processes.

use std::time::Duration;

use serde_json::{Value, json};
use ws_reactor::{
    action_cable::{Action, ActionCable, Channel, Subscription},
    net::sim::PeerId,
};

use super::{Elsewhere, World, other_random_numbers};

struct Room;

impl Channel for Room {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        subscription.stream_from("room");
        subscription.allow_presence("room");
    }

    fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
        let is_done = match action.name() {
            "join" => subscription.join("server", &json!({"by": "server"})).unwrap(),
            _ => subscription.leave(),
        };
        subscription.transmit(&is_done).unwrap();
    }
}

const TTL: Duration = Duration::from_secs(4);

fn world() -> World {
    World::with(|cable| options(cable).keep_sessions(Duration::from_secs(60)).presence_ttl(TTL))
}

fn options(cable: ActionCable) -> ActionCable {
    cable.any_origin().channel("Room", || Room).history(100, Duration::from_secs(60))
}

fn room() -> Value {
    json!({"channel": "Room"})
}

fn follower(world: &mut World, user: &str) -> (PeerId, String) {
    let (peer, sid, _) = world.extended(user, "");
    world.tell(peer, "subscribe", &room(), json!({}));
    assert_eq!(world.values(peer).len(), 1);
    (peer, sid)
}

fn join(world: &mut World, peer: PeerId, id: &str) {
    world.tell(peer, "join", &room(), json!({"presence": {"id": id, "info": {"name": id.to_uppercase()}}}));
}

fn change(kind: &str, id: &str) -> Value {
    let message = json!({"type": kind, "id": id, "info": {"name": id.to_uppercase()}});
    json!({"type": "presence", "identifier": room().to_string(), "message": message})
}

/// The ids of those who are present.
fn present(world: &mut World, peer: PeerId) -> Vec<String> {
    world.tell(peer, "presence", &room(), json!({}));
    let info = world.values(peer).pop().expect("an answer")["message"].take();
    let ids: Vec<String> =
        info["records"].as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((&info["type"], &info["total"]), (&json!("info"), &json!(ids.len())));
    ids
}

#[test]
fn all_are_told_who_comes_and_goes_once_for_each_id() {
    let mut world = world();
    let ((ann, _), (bob, _)) = (follower(&mut world, "ann"), follower(&mut world, "bob"));
    let rails = world.client("eve");
    world.tell(rails, "subscribe", &room(), json!({}));
    world.received(rails);
    join(&mut world, ann, "ann");
    assert_eq!((world.values(ann), world.values(bob)), (vec![change("join", "ann")], vec![change("join", "ann")]));
    // Another session of hers.
    let (second, _) = follower(&mut world, "ann");
    join(&mut world, second, "ann");
    join(&mut world, bob, "bob");
    assert_eq!((world.values(ann), world.values(second)), (vec![change("join", "bob")], vec![change("join", "bob")]));
    assert_eq!(present(&mut world, second), ["ann", "bob"]);
    world.received(bob);
    world.tell(ann, "leave", &room(), json!({"presence": {"id": "ann"}}));
    assert!(world.values(bob).is_empty(), "she has another session");
    world.tell(second, "unsubscribe", &room(), json!({}));
    assert_eq!(world.values(bob), [change("leave", "ann")], "at once");
    assert_eq!((world.values(ann), present(&mut world, ann)), (vec![change("leave", "ann")], vec!["bob".to_owned()]));
    assert!(world.received(rails).is_empty(), "clients of Rails do not know presence");
}

#[test]
fn client_can_be_present_from_the_subscription_on_or_by_its_channel() {
    let mut world = world();
    let (ann, _, _) = world.extended("ann", "");
    world.tell(ann, "subscribe", &room(), json!({"presence": {"id": 7}, "history": {"since": 1}}));
    let got = world.values(ann);
    let kinds: Vec<_> = got.iter().map(|value| value["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["confirm_subscription", "confirm_history", "presence"]);
    assert_eq!(got[2]["message"], json!({"type": "join", "id": 7, "info": null}));
    let (bob, _) = follower(&mut world, "bob");
    for (action, results) in [("join", [json!(true), json!("server")]), ("leave", [json!(true), json!("server")])] {
        let data = json!({"action": action}).to_string();
        world.tell(bob, "message", &room(), json!({"data": data}));
        let found = world.values(bob);
        let changed = found.iter().find(|value| value["type"] == "presence").unwrap();
        assert_eq!((&changed["message"]["type"], &changed["message"]["id"]), (&json!(action), &results[1]));
        assert!(found.iter().any(|value| value["message"] == results[0]));
    }
    world.tell(bob, "presence", &room(), json!({"data": {"return_records": false}}));
    assert_eq!(world.values(bob)[0]["message"], json!({"type": "info", "total": 1}));
}

#[test]
fn presence_is_an_error_where_there_is_none() {
    let mut world = world();
    let (ann, _, _) = world.extended("ann", "");
    let chat = json!({"channel": "Chat", "room": "a"});
    world.tell(ann, "subscribe", &chat, json!({"presence": {"id": "ann"}}));
    assert_eq!(world.values(ann).len(), 1);
    world.tell(ann, "presence", &chat, json!({}));
    assert_eq!(world.values(ann)[0]["message"], json!({"type": "error"}));
    let ignored = world.handle.stats().ignored;
    world.tell(ann, "join", &chat, json!({"presence": {"id": "ann"}}));
    world.tell(ann, "join", &room(), json!({"presence": {"id": "ann"}}));
    world.tell(ann, "subscribe", &room(), json!({}));
    for wrong in [json!({}), json!({"presence": {}}), json!({"presence": {"id": [1]}})] {
        world.tell(ann, "join", &room(), wrong);
    }
    assert_eq!((world.handle.stats().ignored - ignored, world.values(ann).len()), (5, 1));
}

#[test]
fn client_whose_line_was_cut_is_present_for_a_while() {
    for is_kept in [true, false] {
        let mut world = if is_kept { world() } else { World::with(options) };
        let ((ann, _), (bob, _)) = (follower(&mut world, "ann"), follower(&mut world, "bob"));
        join(&mut world, ann, "ann");
        world.received(bob);
        world.cut(ann);
        let ttl = if is_kept { TTL } else { Duration::from_secs(15) };
        world.reactor.advance(ttl - Duration::from_secs(1)).unwrap();
        assert_eq!(present(&mut world, bob), ["ann"], "{is_kept}");
        world.reactor.advance(Duration::from_secs(2)).unwrap();
        assert_eq!(world.values(bob), [change("leave", "ann")], "{is_kept}");
        assert!(present(&mut world, bob).is_empty());
        world.cut(bob);
        world.reactor.advance(Duration::from_secs(200)).unwrap();
        assert_eq!((world.handle.stats().streams, world.reactor.next_deadline()), (0, None), "nothing is left");
    }
}

#[test]
fn client_that_comes_back_in_time_was_never_away() {
    let mut world = world();
    let ((ann, sid), (bob, _)) = (follower(&mut world, "ann"), follower(&mut world, "bob"));
    join(&mut world, ann, "ann");
    world.received(bob);
    world.cut(ann);
    let (again, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome["restored"], true);
    world.tell(again, "history", &room(), json!({"history": {}}));
    join(&mut world, again, "ann");
    world.reactor.advance(TTL * 2).unwrap();
    assert!(world.values(bob).is_empty());
    // One that has no session of before, but joins anew.
    let (new, _) = follower(&mut world, "ann");
    world.cut(again);
    join(&mut world, new, "ann");
    world.reactor.advance(TTL * 2).unwrap();
    assert_eq!((world.values(bob), present(&mut world, bob)), (vec![], vec!["ann".to_owned()]));
}

#[test]
fn client_asks_again_where_others_have_come_or_gone_meanwhile() {
    let mut world = world();
    let ((ann, sid), (bob, _)) = (follower(&mut world, "ann"), follower(&mut world, "bob"));
    world.cut(ann);
    join(&mut world, bob, "bob");
    let (again, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!((&welcome["restored"], &welcome["restored_ids"]), (&json!(true), &json!([])));
    world.tell(again, "subscribe", &room(), json!({"presence": {"id": "ann"}}));
    let kinds: Vec<_> = world.values(again).iter().map(|value| value["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["confirm_subscription", "confirm_history", "presence"]);
    assert_eq!(present(&mut world, again), ["ann", "bob"]);
}

#[test]
fn what_is_said_of_someone_is_bounded() {
    let mut world = world();
    let (ann, _) = follower(&mut world, "ann");
    let ignored = world.handle.stats().ignored;
    world.tell(ann, "join", &room(), json!({"presence": {"id": "ann", "info": "x".repeat(5000)}}));
    assert_eq!((world.handle.stats().ignored - ignored, world.values(ann).len()), (1, 0));
}

/// Two processes: what each has published is given to the other.
struct Processes([World; 2], [Elsewhere; 2]);

impl Processes {
    fn new() -> Self {
        let (mut worlds, links) = ([world(), world()], [Elsewhere::default(), Elsewhere::default()]);
        other_random_numbers(&mut worlds[1]);
        for (world, link) in worlds.iter_mut().zip(&links) {
            world.reactor.hub().set_backplane(link.clone());
        }
        Processes(worlds, links)
    }

    /// A client of a process that is in the room, as `id`.
    fn client(&mut self, process: usize, id: &str) -> PeerId {
        let world = &mut self.0[process];
        let (peer, _, _) = world.extended(id, "");
        world.tell(peer, "subscribe", &room(), json!({}));
        self.exchange();
        join(&mut self.0[process], peer, id);
        self.exchange();
        peer
    }

    fn exchange(&mut self) {
        loop {
            let notes: Vec<(usize, String)> = (0..2)
                .flat_map(|process| self.1[process].0.take().into_iter().map(move |note| (process, note)))
                .collect();
            if notes.is_empty() {
                return;
            }
            for (process, note) in notes {
                if let Some(topic) = note.strip_prefix('+') {
                    self.0[process].reactor.hub().confirm_topic(topic);
                } else if !note.starts_with('-') {
                    // No topic here has a blank.
                    let (topic, message) = note.split_once(' ').unwrap();
                    self.0[1 - process].reactor.hub().deliver(topic, message);
                }
                self.0.iter_mut().for_each(|world| _ = world.reactor.settle().unwrap());
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        for _ in 0..by.as_secs() {
            self.0.iter_mut().for_each(|world| _ = world.reactor.advance(Duration::from_secs(1)).unwrap());
            self.exchange();
        }
    }
}

#[test]
fn presence_is_that_of_all_processes() {
    let mut processes = Processes::new();
    let ann = processes.client(0, "ann");
    let bob = processes.client(1, "bob");
    assert_eq!(present(&mut processes.0[1], bob), ["ann", "bob"], "it has asked who is there");
    assert_eq!(present(&mut processes.0[0], ann), ["ann", "bob"]);
    let [here, there] = &mut processes.0;
    here.received(ann);
    there.received(bob);
    // Another session of hers, in the other process.
    let second = processes.client(1, "ann");
    assert!(processes.0[0].values(ann).is_empty());
    processes.0[0].tell(ann, "leave", &room(), json!({}));
    processes.exchange();
    assert!(processes.0[1].values(bob).is_empty());
    processes.0[1].tell(second, "leave", &room(), json!({}));
    processes.exchange();
    assert_eq!(processes.0[1].values(bob), [change("leave", "ann")]);
    assert_eq!(processes.0[0].values(ann), [change("leave", "ann")]);
}

#[test]
fn people_of_a_process_that_has_died_are_gone_and_back_when_it_is_heard_again() {
    let mut processes = Processes::new();
    let ann = processes.client(0, "ann");
    processes.client(1, "bob");
    processes.0[0].received(ann);
    processes.advance(Duration::from_secs(30));
    assert!(processes.0[0].values(ann).is_empty(), "both are alive");
    // The other process is silent.
    for _ in 0..25 {
        processes.0[0].reactor.advance(Duration::from_secs(1)).unwrap();
        processes.1[0].0.take();
    }
    assert_eq!(processes.0[0].values(ann), [change("leave", "bob")]);
    processes.advance(Duration::from_secs(6));
    assert_eq!(processes.0[0].values(ann), [change("join", "bob")]);
    // Whatever else comes is ignored.
    for odd in ["", "[]", r#"{"node":"x","what":{"join":[1,{"id":"}","info":"1"}]}}"#, r#"{"node":"x","what":"fly"}"#] {
        processes.0[0].reactor.hub().deliver("action_cable/presence/room", odd);
        processes.0[0].reactor.settle().unwrap();
    }
    assert!(processes.0[0].values(ann).is_empty());
}

#[test]
fn last_one_of_a_process_whose_leave_was_lost_is_gone_in_the_end() {
    let mut processes = Processes::new();
    let ann = processes.client(0, "ann");
    let bob = processes.client(1, "bob");
    processes.0[0].received(ann);
    processes.0[1].tell(bob, "unsubscribe", &room(), json!({}));
    processes.1[1].0.take();
    // Its process is alive: it has presence in another stream.
    processes.0[1].tell(bob, "subscribe", &json!({"channel": "Room", "x": 1}), json!({}));
    processes.0[1].tell(bob, "unsubscribe", &json!({"channel": "Room", "x": 1}), json!({}));
    processes.1[1].0.take();
    processes.advance(Duration::from_secs(150));
    assert_eq!(processes.0[0].values(ann), [change("leave", "bob")]);
}

#[test]
fn change_that_was_lost_on_the_way_is_mended() {
    let mut processes = Processes::new();
    let ann = processes.client(0, "ann");
    let (bob, cid) = (processes.client(1, "bob"), processes.client(1, "cid"));
    processes.0[0].received(ann);
    processes.0[1].tell(bob, "leave", &room(), json!({}));
    processes.1[1].0.take();
    processes.advance(Duration::from_secs(61));
    assert_eq!(processes.0[0].values(ann), [change("leave", "bob")]);
    assert_eq!(present(&mut processes.0[1], cid), ["ann", "cid"]);
}
