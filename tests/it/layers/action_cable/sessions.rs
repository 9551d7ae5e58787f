//! Sessions, history and whispers of the extended protocol.

use std::time::Duration;

use serde_json::{Value, json};
use ws_reactor::{
    action_cable::{self, Action, ActionCable, Channel, ChannelTimer, NamedStreams, Subscription},
    net::sim::PeerId,
};

use super::{Elsewhere, IDENTIFIER, Log, World, other_random_numbers};

/// A room with whispers. Writes down its calls.
struct Room(Log);

impl Channel for Room {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        self.0.borrow_mut().push("subscribed".to_owned());
        subscription.stream_from("room");
        if subscription.param("other").is_some() {
            subscription.stream_from("other");
        }
        subscription.allow_whispers("room");
    }

    fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
        match action.name() {
            "tick" => _ = subscription.periodically(Duration::from_secs(1)),
            _ => _ = subscription.transmit_json("\"performed\""),
        }
    }

    fn on_timer(&mut self, subscription: &mut Subscription<'_>, timer: ChannelTimer) {
        subscription.transmit_json("\"tick\"");
        assert!(subscription.cancel_timer(timer) && !subscription.cancel_timer(timer));
        subscription.periodically(Duration::from_secs(1));
    }

    fn resumed(&mut self, subscription: &mut Subscription<'_>) {
        assert!(subscription.hub().current_connection().is_some());
        self.0.borrow_mut().push("resumed".to_owned());
    }

    fn unsubscribed(&mut self, subscription: &mut Subscription<'_>) {
        assert!(subscription.streams().is_empty());
        assert!(subscription.param("panic").is_none(), "deliberate");
        self.0.borrow_mut().push("unsubscribed".to_owned());
    }
}

const AGE: Duration = Duration::from_secs(10);
const KEPT: Duration = Duration::from_secs(30);

fn options(cable: ActionCable) -> ActionCable {
    cable.any_origin().history(100, AGE).keep_sessions(KEPT)
}

fn world() -> (World, Log) {
    world_with(options)
}

fn world_with(change: impl FnOnce(ActionCable) -> ActionCable) -> (World, Log) {
    let log = Log::default();
    let noted = log.clone();
    (World::with(|cable| change(cable).channel("Room", move || Room(noted.clone()))), log)
}

fn room() -> Value {
    json!({"channel": "Room"})
}

/// A client of the extended protocol that follows the room.
fn follower(world: &mut World, user: &str) -> (PeerId, String) {
    let (peer, sid, _) = world.extended(user, "");
    world.tell(peer, "subscribe", &room(), json!({}));
    assert_eq!(kinds(&world.values(peer)), ["confirm_subscription"]);
    (peer, sid)
}

/// The type of each message, or else the message itself.
fn kinds(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .map(|value| value["type"].as_str().map_or_else(|| value["message"].to_string(), str::to_owned))
        .collect()
}

fn offsets(values: &[Value]) -> Vec<u64> {
    values.iter().filter_map(|value| value["offset"].as_u64()).collect()
}

#[test]
fn every_connection_has_a_session_with_a_name_of_its_own() {
    let (mut world, _) = world();
    let (_, one, welcome) = world.extended("ann", "");
    assert_eq!(welcome, json!({"type": "welcome", "sid": one}));
    let (_, other, _) = world.extended("ann", "");
    assert!(one.len() >= 16 && other.len() >= 16 && one != other, "{one} {other}");
    // A client of Rails has none, and no command of the extended protocol.
    let rails = world.client("bob");
    world.command(rails, "subscribe", IDENTIFIER);
    world.received(rails);
    let ignored = world.handle.stats().ignored;
    for command in ["history", "join", "leave", "presence", "ping", "pong"] {
        world.command(rails, command, IDENTIFIER);
    }
    assert_eq!((world.received(rails), world.handle.stats().ignored - ignored), (vec![], 6));
}

#[test]
fn broadcasts_carry_their_place_for_clients_of_the_extended_protocol() {
    let (mut world, _) = world();
    let (ann, _) = follower(&mut world, "ann");
    let rails = world.client("bob");
    world.tell(rails, "subscribe", &room(), json!({}));
    world.received(rails);
    world.publish("room", "1");
    world.publish("room", "{}");
    let got = world.values(ann);
    let epoch = got[0]["epoch"].clone();
    assert!(epoch.as_str().is_some_and(|epoch| !epoch.is_empty()));
    let place = |message: Value, offset: u64| {
        json!({"identifier": room().to_string(), "message": message, "stream_id": "room", "epoch": epoch,
            "offset": offset})
    };
    assert_eq!(got, [place(json!(1), 1), place(json!({}), 2)]);
    let plain = |message: Value| json!({"identifier": room().to_string(), "message": message});
    assert_eq!(world.values(rails), [plain(json!(1)), plain(json!({}))]);
}

#[test]
fn missed_messages_come_between_the_confirmation_and_that_of_the_history() {
    let (mut world, _) = world();
    let (ann, _) = follower(&mut world, "ann");
    for number in 1..=150 {
        world.publish("room", &number.to_string());
    }
    world.reactor.advance(Duration::from_secs(2)).unwrap();
    let got = world.values(ann);
    let epoch = got[0]["epoch"].as_str().unwrap().to_owned();
    assert_eq!(offsets(&got), (1..=150).collect::<Vec<_>>());
    let mut ask = |history: Value| {
        let (peer, _, _) = world.extended("bob", "");
        world.tell(peer, "subscribe", &room(), json!({"history": history}));
        let got = world.values(peer);
        assert_eq!(got[0]["type"], "confirm_subscription");
        (offsets(&got), got.last().unwrap()["type"].as_str().unwrap().to_owned())
    };
    let at = |epoch: &str, offset: u64| json!({"streams": {"room": {"epoch": epoch, "offset": offset}}});
    let (confirmed, rejected) = ("confirm_history".to_owned(), "reject_history".to_owned());
    assert_eq!(ask(json!({"since": 1})), ((51..=150).collect(), confirmed.clone()), "the newest 100 are kept");
    assert_eq!(ask(at(&epoch, 148)), (vec![149, 150], confirmed.clone()));
    assert_eq!(ask(at(&epoch, 150)), (vec![], confirmed.clone()));
    assert_eq!(ask(json!({"since": 9e9})), (vec![], confirmed.clone()));
    assert_eq!(ask(json!({})), (vec![], confirmed.clone()));
    let mut both = at(&epoch, 149);
    both["since"] = json!(1);
    assert_eq!(ask(both), (vec![150], confirmed.clone()), "a place beats a time");
    let streams = json!({"streams": {"elsewhere": {"epoch": "x", "offset": 7}}});
    assert_eq!(ask(streams), (vec![], confirmed), "not a stream of this subscription");
    for unknown in [at("x", 149), at(&epoch, 151), at(&epoch, 49), json!("now"), json!(null)] {
        let expected = if unknown.is_null() { "confirm_subscription".to_owned() } else { rejected.clone() };
        assert_eq!(ask(unknown.clone()), (vec![], expected), "{unknown}");
    }
}

#[test]
fn history_can_be_asked_for_at_any_time() {
    let (mut world, _) = world();
    let (ann, _) = follower(&mut world, "ann");
    for number in 1..=3 {
        world.publish("room", &number.to_string());
    }
    let epoch = world.values(ann)[0]["epoch"].clone();
    let history = json!({"streams": {"room": {"epoch": epoch, "offset": 1}}});
    world.tell(ann, "history", &room(), json!({"history": history}));
    assert_eq!(kinds(&world.values(ann)), ["2", "3", "confirm_history"]);
    world.tell(ann, "history", &room(), json!({}));
    assert_eq!(kinds(&world.values(ann)), ["reject_history"]);
    // For a subscription that there is not, there is no answer.
    world.tell(ann, "history", &json!({"channel": "Room", "x": 1}), json!({"history": history}));
    assert!(world.values(ann).is_empty());
}

#[test]
fn all_or_nothing_of_several_streams_is_sent() {
    let (mut world, _) = world();
    let both = json!({"channel": "Room", "other": true});
    let (ann, _, _) = world.extended("ann", "");
    world.tell(ann, "subscribe", &both, json!({}));
    for (stream, text) in [("room", "1"), ("other", "2"), ("room", "3")] {
        world.publish(stream, text);
    }
    let got = world.values(ann);
    assert_eq!(kinds(&got), ["confirm_subscription", "1", "2", "3"]);
    let place = |index: usize, offset: u64| json!({"epoch": got[index]["epoch"], "offset": offset});
    assert_ne!(got[1]["epoch"], got[2]["epoch"], "each stream has its numbers");
    let history = json!({"since": 1, "streams": {"room": place(1, 1), "other": place(2, 7)}});
    world.tell(ann, "history", &both, json!({"history": history}));
    assert_eq!(kinds(&world.values(ann)), ["reject_history"]);
    let history = json!({"since": 1, "streams": {"room": place(1, 1)}});
    world.tell(ann, "history", &both, json!({"history": history}));
    assert_eq!(kinds(&world.values(ann)), ["3", "2", "confirm_history"]);
}

#[test]
fn history_outlives_the_followers_of_a_stream_and_then_ends() {
    let (mut world, _) = world();
    let (ann, _) = follower(&mut world, "ann");
    world.publish("room", "1");
    let epoch = world.values(ann)[0]["epoch"].clone();
    world.tell(ann, "unsubscribe", &room(), json!({}));
    world.publish("room", "2");
    let after = json!({"history": {"streams": {"room": {"epoch": epoch, "offset": 1}}}});
    world.tell(ann, "subscribe", &room(), after.clone());
    assert_eq!(kinds(&world.values(ann)), ["confirm_subscription", "2", "confirm_history"]);
    world.tell(ann, "unsubscribe", &room(), json!({}));
    world.reactor.advance(AGE + Duration::from_secs(1)).unwrap();
    world.publish("room", "3");
    assert_eq!(world.handle.stats().streams, 1, "that of the user");
    world.received(ann);
    world.tell(ann, "subscribe", &room(), after);
    assert_eq!(kinds(&world.values(ann)), ["confirm_subscription", "reject_history"]);
    // A stream that had no message, or only followers who cannot ask, is not kept.
    let rails = world.client("ann");
    world.tell(rails, "subscribe", &json!({"channel": "Chat", "room": "a"}), json!({}));
    world.publish("chat:a", "1");
    world.tell(rails, "unsubscribe", &json!({"channel": "Chat", "room": "a"}), json!({}));
    world.tell(ann, "unsubscribe", &room(), json!({}));
    assert_eq!(world.handle.stats().streams, 1);
}

#[test]
fn broadcasts_of_programs_are_kept_also_before_anybody_follows() {
    let (mut world, _) = world();
    let handle = world.handle.clone();
    handle.broadcast_json(world.reactor.hub(), "room", "1");
    handle.broadcast(world.reactor.hub(), "room", &2).unwrap();
    world.reactor.settle().unwrap();
    world.publish("room", "3");
    let (ann, _, _) = world.extended("ann", "");
    world.tell(ann, "subscribe", &room(), json!({"history": {"since": 1}}));
    assert_eq!(kinds(&world.values(ann)), ["confirm_subscription", "1", "2", "3", "confirm_history"]);
}

#[test]
fn shared_history_is_that_of_the_topic() {
    let (mut world, _) = world_with(|cable| cable.any_origin().shared_history(3, AGE));
    let (ann, _) = follower(&mut world, "ann");
    let first = world.reactor.hub().publish("room", "1").event_id.expect("the history is kept");
    world.reactor.settle().unwrap();
    let got = world.values(ann).remove(0);
    assert_eq!((&got["offset"], &got["epoch"]), (&json!(first), &json!("shared")));
    // Nothing follows the stream, and the topic keeps its history.
    world.cut(ann);
    assert_eq!(world.handle.stats().streams, 0);
    world.publish("room", "2");
    let ask = |world: &mut World, history: Value| {
        let (peer, _, _) = world.extended("bob", "");
        world.tell(peer, "subscribe", &room(), json!({"history": history}));
        kinds(&world.values(peer)).split_off(1)
    };
    let after = |offset: u64, epoch: &str| json!({"streams": {"room": {"epoch": epoch, "offset": offset}}});
    assert_eq!(ask(&mut world, after(first, "shared")), ["2", "confirm_history"]);
    assert_eq!(ask(&mut world, json!({"since": 1})), ["1", "2", "confirm_history"]);
    assert_eq!(ask(&mut world, after(first, "x")), ["reject_history"]);
    assert_eq!(ask(&mut world, after(first + 1_000_000_000_000, "shared")), ["reject_history"]);
    ["3", "4", "5"].into_iter().for_each(|text| world.publish("room", text));
    assert_eq!(ask(&mut world, after(first, "shared")), ["reject_history"], "the second one is gone");
    assert_eq!(ask(&mut world, json!({"since": 1})), ["3", "4", "5", "confirm_history"]);
}

#[test]
fn without_history_every_request_is_rejected_and_broadcasts_have_no_place() {
    let (mut world, _) = world_with(ActionCable::any_origin);
    let (ann, _) = follower(&mut world, "ann");
    world.publish("room", "1");
    assert_eq!(world.values(ann), [json!({"identifier": room().to_string(), "message": 1})]);
    world.tell(ann, "history", &room(), json!({"history": {"since": 1}}));
    assert_eq!(kinds(&world.values(ann)), ["reject_history"]);
    let handle = world.handle.clone();
    handle.broadcast_json(world.reactor.hub(), "empty", "1");
    world.reactor.settle().unwrap();
    assert_eq!(world.handle.stats().streams, 2);
}

#[test]
fn session_goes_on_with_another_connection_and_what_was_missed_comes_first() {
    let (mut world, log) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.send(ann, r#"{"command":"message","identifier":"{\"channel\":\"Room\"}","data":"{\"action\":\"tick\"}"}"#);
    world.publish("room", "1");
    let epoch = world.values(ann)[0]["epoch"].clone();
    world.cut(ann);
    world.publish("room", "2");
    assert_eq!(world.handle.stats().sessions, 1);
    let (again, new, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_ne!(new, sid);
    let expected = json!({"type": "welcome", "sid": new, "restored": true, "restored_ids": [room().to_string()]});
    assert_eq!(welcome, expected);
    world.publish("room", "3");
    assert!(world.values(again).is_empty(), "nothing overtakes what was missed");
    let history = json!({"streams": {"room": {"epoch": epoch, "offset": 1}}});
    world.tell(again, "history", &room(), json!({"history": history}));
    world.publish("room", "4");
    let got = world.values(again);
    assert_eq!(kinds(&got), ["2", "3", "confirm_history", "4"]);
    assert_eq!(offsets(&got), [2, 3, 4]);
    world.reactor.advance(Duration::from_millis(1500)).unwrap();
    assert_eq!(kinds(&world.values(again)), ["\"tick\""], "its timers go on");
    assert_eq!(log.take(), ["subscribed", "resumed"]);
    let stats = world.handle.stats();
    assert_eq!((stats.sessions, stats.connections, stats.subscriptions), (0, 1, 1));
    // A name is good for once.
    let (_, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome.get("restored"), None);
}

#[test]
fn header_names_a_session_too() {
    let (mut world, _) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.cut(ann);
    let headers = format!("Sec-WebSocket-Protocol: actioncable-v1-ext-json\nX-ANYCABLE-RESTORE-SID: {sid}\n");
    let again = world.connect("ann", &headers);
    assert_eq!(world.values(again)[0]["restored"], true);
}

#[test]
fn session_is_only_for_the_same_user_and_protocol() {
    let (mut world, log) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.cut(ann);
    let query = format!("&sid={sid}");
    let (_, _, welcome) = world.extended("bob", &query);
    assert_eq!(welcome.get("restored"), None);
    let rails = world.connect(&format!("ann{query}"), "");
    assert_eq!(world.received(rails), [r#"{"type":"welcome"}"#]);
    let denied = world.connect(&format!("denied{query}"), "Sec-WebSocket-Protocol: actioncable-v1-ext-json\n");
    assert_eq!(world.goodbye(denied), r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#);
    for wrong in ["", "x", &sid[1..]] {
        let (_, _, welcome) = world.extended("ann", &format!("&sid={wrong}"));
        assert_eq!(welcome.get("restored"), None);
    }
    let (_, _, welcome) = world.extended("ann", &query);
    assert_eq!((&welcome["restored"], log.take().len()), (&json!(true), 2));
}

#[test]
fn client_that_does_not_ask_gets_what_was_missed_after_a_while() {
    let (mut world, _) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.publish("room", "1");
    world.received(ann);
    world.cut(ann);
    world.publish("room", "2");
    let (again, ..) = world.extended("ann", &format!("&sid={sid}"));
    world.publish("room", "3");
    world.reactor.advance(Duration::from_secs(6)).unwrap();
    world.publish("room", "4");
    assert_eq!(kinds(&world.values(again)), ["2", "3", "4"]);
}

#[test]
fn new_connection_takes_a_session_from_an_old_one_that_is_still_open() {
    let (mut world, log) = world();
    let (old, sid) = follower(&mut world, "ann");
    let (new, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome["restored"], true);
    world.tell(new, "history", &room(), json!({"history": {}}));
    world.tell(old, "unsubscribe", &room(), json!({}));
    world.publish("room", "1");
    assert_eq!(kinds(&world.values(new)), ["confirm_history", "1"]);
    assert!(!world.received(old).iter().any(|text| text.contains("message")), "it is closing");
    world.cut(old);
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.sessions, stats.subscriptions), (1, 0, 1));
    assert_eq!(
        (log.take(), world.log.take()),
        (vec!["subscribed".to_owned(), "resumed".to_owned()], vec!["ann disconnected".to_owned()])
    );
}

#[test]
fn session_that_nobody_wants_ends_after_its_time() {
    let (mut world, log) = world();
    let (ann, sid) = follower(&mut world, "ann");
    let (bob, _) = follower(&mut world, "bob");
    world.cut(ann);
    world.reactor.advance(KEPT / 2).unwrap();
    world.cut(bob);
    let told = ["ann disconnected".to_owned(), "bob disconnected".to_owned()].to_vec();
    assert_eq!((world.handle.stats().sessions, world.log.take()), (2, told), "once for each connection");
    log.take();
    world.reactor.advance(KEPT / 2 + Duration::from_secs(1)).unwrap();
    assert_eq!((log.take(), world.handle.stats().sessions), (vec!["unsubscribed".to_owned()], 1));
    world.reactor.advance(KEPT).unwrap();
    assert_eq!((log.take(), world.log.take()), (vec!["unsubscribed".to_owned()], vec![]));
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.sessions, stats.subscriptions, stats.streams), (0, 0, 0, 0));
    let (_, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome.get("restored"), None);
}

#[test]
fn session_ends_with_a_connection_that_the_server_ends() {
    let (mut world, log) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.publish("action_cable/ann", r#"{"type":"disconnect"}"#);
    assert_eq!(world.goodbye(ann), r#"{"type":"disconnect","reason":"remote","reconnect":true}"#);
    world.cut(ann);
    assert_eq!((log.take(), world.handle.stats().sessions), (vec!["subscribed".into(), "unsubscribed".into()], 0));
    let (_, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome.get("restored"), None);
}

#[test]
fn subscription_that_was_not_confirmed_is_not_part_of_the_session() {
    let (mut world, log) = world();
    world.reactor.hub().set_backplane(Elsewhere::default());
    let (ann, sid, _) = world.extended("ann", "");
    world.tell(ann, "subscribe", &room(), json!({"history": {"since": 1}}));
    world.publish("room", "1");
    assert!(world.received(ann).is_empty(), "nothing comes before the confirmation");
    world.cut(ann);
    let (again, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(
        (&welcome["restored_ids"], log.take()),
        (&json!([]), vec!["subscribed".to_owned(), "resumed".to_owned()])
    );
    world.tell(again, "subscribe", &room(), json!({"history": {"since": 1}}));
    world.publish("room", "2");
    world.reactor.hub().confirm_topic("room");
    world.reactor.settle().unwrap();
    assert_eq!(kinds(&world.values(again)), ["confirm_subscription", "1", "2", "confirm_history"]);
}

#[test]
fn user_who_is_disconnected_has_no_session_any_more() {
    // Without a connection, and with one whose client does not answer the close frame.
    for is_cut in [true, false] {
        let (mut world, log) = world();
        let (ann, sid) = follower(&mut world, "ann");
        if is_cut {
            world.cut(ann);
        }
        action_cable::disconnect_user(world.reactor.hub(), ["ann"], true);
        world.reactor.settle().unwrap();
        let (_, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
        assert_eq!(welcome.get("restored"), None, "{is_cut}");
        world.cut(ann);
        world.reactor.advance(KEPT + AGE).unwrap();
        let stats = world.handle.stats();
        assert_eq!((stats.sessions, stats.subscriptions, log.take().len()), (0, 0, 2), "{is_cut}");
    }
}

#[test]
fn subscription_that_goes_on_is_confirmed_if_its_client_asks_for_it() {
    let (mut world, log) = world();
    let (ann, sid) = follower(&mut world, "ann");
    world.publish("room", "1");
    let epoch = world.values(ann)[0]["epoch"].clone();
    world.cut(ann);
    world.publish("room", "2");
    let (again, ..) = world.extended("ann", &format!("&sid={sid}"));
    world.publish("room", "3");
    let history = json!({"streams": {"room": {"epoch": epoch, "offset": 1}}});
    world.tell(again, "subscribe", &room(), json!({"history": history}));
    world.tell(again, "subscribe", &room(), json!({"history": history}));
    world.publish("room", "4");
    let expected = ["confirm_subscription", "2", "3", "confirm_history", "4"];
    assert_eq!(kinds(&world.values(again)), expected, "once");
    // Without a place it gets what came since the cut, also if it is cut again before it asks.
    world.cut(again);
    world.publish("room", "5");
    let sid = std::mem::take(&mut world.last_sid);
    let (third, sid, _) = world.extended("ann", &format!("&sid={sid}"));
    world.cut(third);
    world.publish("room", "6");
    let (fourth, ..) = world.extended("ann", &format!("&sid={sid}"));
    world.tell(fourth, "history", &room(), json!({}));
    assert_eq!(kinds(&world.values(fourth)), ["5", "6", "confirm_history"]);
    assert_eq!(log.take(), ["subscribed", "resumed", "resumed", "resumed"]);
}

#[test]
fn panic_of_a_channel_does_not_keep_other_sessions() {
    let (mut world, log) = world();
    let bad = json!({"channel": "Room", "panic": true});
    let (ann, _, _) = world.extended("ann", "");
    world.tell(ann, "subscribe", &bad, json!({}));
    let (bob, _) = follower(&mut world, "bob");
    [ann, bob].into_iter().for_each(|peer| world.cut(peer));
    world.reactor.advance(KEPT + AGE).unwrap();
    let stats = world.handle.stats();
    assert_eq!((stats.sessions, stats.subscriptions, stats.streams), (0, 0, 0));
    assert_eq!(log.take().last().map(String::as_str), Some("unsubscribed"));
}

#[test]
fn streams_that_are_left_and_followed_again_do_not_count_as_idle_ones() {
    let (mut world, _) = world_with(|cable| options(cable).max_idle_streams(2).max_sessions(2));
    let handle = world.handle.clone();
    handle.broadcast_json(world.reactor.hub(), "other", "1");
    world.reactor.advance(Duration::from_secs(6)).unwrap();
    let (mut ann, mut sid) = follower(&mut world, "ann");
    let (kept, kept_sid) = follower(&mut world, "kept");
    world.cut(kept);
    for _ in 0..10 {
        world.publish("room", "1");
        world.cut(ann);
        (ann, sid, _) = world.extended("ann", &format!("&sid={sid}"));
    }
    assert_eq!(world.handle.stats().sessions, 1);
    world.tell(ann, "subscribe", &json!({"channel": "Room", "other": 1}), json!({"history": {"since": 1}}));
    assert!(kinds(&world.values(ann)).iter().filter(|kind| *kind == "1").count() > 10, "the other stream is there");
    let (_, _, welcome) = world.extended("kept", &format!("&sid={kept_sid}"));
    assert_eq!(welcome["restored"], true);
}

#[test]
fn silent_client_may_have_its_session_again() {
    let (mut world, log) = world_with(|cable| options(cable).pong_timeout(Duration::from_secs(2)));
    let (ann, sid) = follower(&mut world, "ann");
    world.reactor.advance(Duration::from_secs(7)).unwrap();
    assert!(world.goodbye(ann).contains("no_pong"));
    world.cut(ann);
    let (_, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!((&welcome["restored"], log.take()), (&json!(true), vec!["subscribed".to_owned(), "resumed".to_owned()]));
}

#[test]
fn ping_of_a_client_is_answered_and_silent_ones_are_ended() {
    let (mut world, _) = world_with(|cable| options(cable).pong_timeout(Duration::from_secs(2)));
    let (ann, _, _) = world.extended("ann", "");
    world.send(ann, r#"{"command":"ping"}"#);
    assert_eq!(world.received(ann), [r#"{"type":"pong"}"#]);
    let (bob, rails) = (world.extended("bob", "").0, world.client("eve"));
    for _ in 0..10 {
        world.reactor.advance(Duration::from_secs(1)).unwrap();
        world.send(ann, r#"{"command":"pong"}"#);
    }
    assert_eq!(world.goodbye(bob), r#"{"type":"disconnect","reason":"no_pong","reconnect":true}"#);
    assert_eq!((world.received(ann), world.received(rails)), (vec![], vec![]));
    assert_eq!(world.handle.stats().connections, 2);
    world.send(ann, r#"{"command":"ping"}"#);
    assert_eq!(world.received(ann), [r#"{"type":"pong"}"#], "it is still open");
}

#[test]
fn whisper_reaches_the_others_and_is_not_kept() {
    let (mut world, log) = world();
    let ((ann, _), (bob, _)) = (follower(&mut world, "ann"), follower(&mut world, "bob"));
    let rails = world.client("eve");
    world.tell(rails, "subscribe", &room(), json!({}));
    world.received(rails);
    world.tell(ann, "whisper", &room(), json!({"data": {"is": "typing"}}));
    let expected = json!({"identifier": room().to_string(), "message": {"is": "typing"}});
    assert_eq!((world.values(ann), world.values(bob)), (vec![], vec![expected.clone()]));
    assert_eq!(world.values(rails), [expected]);
    world.tell(rails, "whisper", &room(), json!({"data": 7}));
    assert_eq!((kinds(&world.values(ann)), kinds(&world.values(bob))), (vec!["7".into()], vec!["7".into()]));
    world.tell(bob, "history", &room(), json!({"history": {"since": 1}}));
    assert_eq!((kinds(&world.values(bob)), log.take().len()), (vec!["confirm_history".into()], 3));
    // Not where the channel does not allow it, and not without a subscription.
    let chat = json!({"channel": "Chat", "room": "a"});
    world.tell(ann, "subscribe", &chat, json!({}));
    world.received(ann);
    let ignored = world.handle.stats().ignored;
    world.tell(ann, "whisper", &chat, json!({"data": 1}));
    world.tell(ann, "whisper", &json!({"channel": "Room", "x": 1}), json!({"data": 1}));
    assert_eq!((world.handle.stats().ignored - ignored, world.values(bob)), (2, vec![]));
}

#[test]
fn whisper_reaches_other_processes() {
    let (mut here, _) = world();
    let (mut there, _) = world();
    other_random_numbers(&mut there);
    let passed = Elsewhere::default();
    here.reactor.hub().set_backplane(passed.clone());
    let (ann, _, _) = here.extended("ann", "");
    here.tell(ann, "subscribe", &room(), json!({}));
    assert!(passed.0.take().contains(&"+action_cable/whisper/room".to_owned()));
    ["room", "action_cable/ann"].into_iter().for_each(|topic| here.reactor.hub().confirm_topic(topic));
    here.reactor.settle().unwrap();
    let (bob, _) = follower(&mut there, "bob");
    here.received(ann);
    here.tell(ann, "whisper", &room(), json!({"data": "<hi>"}));
    let published = passed.0.take();
    let whisper = published[0].strip_prefix("action_cable/whisper/room ").unwrap();
    there.publish("action_cable/whisper/room", whisper);
    assert_eq!(there.values(bob), [json!({"identifier": room().to_string(), "message": "<hi>"})]);
    for odd in ["", "{}", "[]", r#"{"node":"x"}"#, r#"{"data":}"#] {
        there.publish("action_cable/whisper/room", odd);
    }
    assert!(there.values(bob).is_empty());
    // The own ones have been delivered.
    here.publish("action_cable/whisper/room", whisper);
    assert!(here.values(ann).is_empty());
    here.cut(ann);
    here.reactor.advance(KEPT + AGE).unwrap();
    assert!(passed.0.take().contains(&"-action_cable/whisper/room".to_owned()));
}

#[test]
fn streams_are_public_where_that_is_wanted() {
    let (mut world, _) = world_with(|cable| {
        let public = NamedStreams::public("stream_name").whispers();
        options(cable).streams("$pubsub", public)
    });
    let follow = |world: &mut World, identifier: &Value| {
        let (peer, _, _) = world.extended("ann", "");
        world.tell(peer, "subscribe", identifier, json!({}));
        let answer = world.values(peer).remove(0);
        (peer, answer["type"] == "confirm_subscription")
    };
    let named = json!({"channel": "$pubsub", "stream_name": "news"});
    let ((ann, is_in), (bob, _)) = (follow(&mut world, &named), follow(&mut world, &named));
    assert!(is_in);
    world.publish("news", "1");
    world.tell(ann, "whisper", &named, json!({"data": 2}));
    assert_eq!(
        (kinds(&world.values(ann)), kinds(&world.values(bob))),
        (vec!["1".into()], vec!["1".into(), "2".into()])
    );
    for wrong in [
        json!({"channel": "$pubsub"}),
        json!({"channel": "$pubsub", "stream_name": ""}),
        json!({"channel": "$pubsub", "stream_name": "action_cable/ann"}),
    ] {
        assert!(!follow(&mut world, &wrong).1);
    }
}

#[test]
fn sessions_and_histories_are_bounded() {
    let (mut world, log) = world_with(|cable| options(cable).max_sessions(100).max_idle_streams(50));
    for number in 0..120 {
        let (peer, _, _) = world.extended(&format!("client{number}"), "");
        world.cut(peer);
    }
    assert_eq!((world.handle.stats().sessions, world.log.take().len()), (100, 120));
    let handle = world.handle.clone();
    for number in 0..70 {
        handle.broadcast_json(world.reactor.hub(), &format!("stream {number}"), "1");
        world.reactor.settle().unwrap();
    }
    world.reactor.advance(Duration::from_secs(6)).unwrap();
    assert_eq!((world.handle.stats().streams, log.take()), (50 + 100, vec![]), "and those of the users");
}
