//! Histories that topics have, streams that nothing follows, and what is between a message and its delivery.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ws_reactor::{
    Backplane, Event, Hub, PublishedMessage,
    action_cable::{self, ActionCable, Channel, NamedStreams, Subscription},
    net::sim::PeerId,
};

use super::World;

/// Follows the stream `room`, and `other` with a parameter of this name.
struct Room;

impl Channel for Room {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        if subscription.param("silent").is_none() {
            subscription.stream_from("room");
            subscription.allow_presence("room");
        }
        if subscription.param("other").is_some() {
            subscription.stream_from("other");
        }
        if subscription.param("hello").is_some() {
            subscription.transmit("hello").unwrap();
        }
    }
}

fn world(change: impl FnOnce(ActionCable) -> ActionCable) -> World {
    World::with(|cable| {
        let public = NamedStreams::public("stream_name");
        change(cable.any_origin().channel("Room", || Room).event_streams("/events").streams("$pubsub", public))
    })
}

fn room() -> Value {
    json!({"channel": "Room"})
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    /// A client that has subscribed to the room.
    fn guest(&mut self, user: &str, fields: Value) -> PeerId {
        let (peer, ..) = self.extended(user, "");
        self.tell(peer, "subscribe", &room(), fields);
        peer
    }

    /// What a client gets that has subscribed with a request for history.
    fn asked(&mut self, history: Value) -> Vec<String> {
        let peer = self.guest("eve", json!({ "history": history }));
        kinds(&self.values(peer))[1..].to_vec()
    }

    fn text(&mut self, peer: PeerId) -> String {
        String::from_utf8(self.reactor.kernel_mut().received(peer)).unwrap()
    }

    fn stream(&mut self, query: &str, headers: &str) -> PeerId {
        self.request(&format!("GET /events?user=ann{query} HTTP/1.1\nHost: example.com\n{headers}\n"))
    }
}

/// Types of messages, and the messages of streams.
fn kinds(values: &[Value]) -> Vec<String> {
    let kind = |value: &Value| match value["type"].as_str() {
        Some("presence") => format!("{} {}", value["message"]["type"], value["message"]["id"]),
        Some(kind) => kind.to_owned(),
        None => value["message"].to_string(),
    };
    values.iter().map(kind).collect()
}

/// A request for what came after a message.
fn after(message: &Value) -> Value {
    json!({"streams": {"room": {"epoch": message["epoch"], "offset": message["offset"]}}})
}

/// Publishes a message that a client gets, with its place.
fn published(world: &mut World, peer: PeerId, text: &str) -> Value {
    world.values(peer);
    world.publish("room", text);
    world.values(peer).remove(0)
}

#[test]
fn shared_history_of_a_stream_that_is_followed_in_silence_is_kept() {
    let mut world = world(|cable| cable.shared_history(100, seconds(60)));
    let ann = world.guest("ann", json!({}));
    let first = published(&mut world, ann, "1");
    world.reactor.advance(seconds(200)).unwrap();
    assert!(world.reactor.hub().keeps_history("room"));
    let second = published(&mut world, ann, "2");
    published(&mut world, ann, "3");
    assert_eq!(world.asked(after(&second)), ["3", "confirm_history"]);
    assert_eq!(world.asked(after(&first)), ["2", "3", "confirm_history"]);
}

#[test]
fn message_that_is_published_and_asked_for_in_one_turn_comes_once() {
    for is_shared in [false, true] {
        let mut world = world(|cable| match is_shared {
            true => cable.shared_history(100, seconds(600)),
            false => cable.history(100, seconds(600)),
        });
        let ann = world.guest("ann", json!({}));
        world.values(ann);
        world.reactor.hub().publish("room", "1");
        world.tell(ann, "history", &room(), json!({"history": {"since": 1}}));
        let got = kinds(&world.values(ann));
        assert_eq!(got.iter().filter(|kind| *kind == "1").count(), 1, "{is_shared} {got:?}");
        assert_eq!(world.asked(json!({"since": 1})), ["1", "confirm_history"]);
    }
}

/// A backplane that numbers messages itself.
struct Numbers;

impl Backplane for Numbers {
    fn keeps_histories(&self) -> bool {
        true
    }

    fn publish(&mut self, _: &mut Hub, _: PublishedMessage<'_>) {}
}

fn soon() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64 + 1_000_000
}

#[test]
fn shared_history_has_the_gaps_and_the_past_that_a_backplane_tells_later() {
    let mut world = world(|cable| cable.shared_history(100, seconds(600)));
    world.reactor.hub().set_backplane(Numbers);
    let ann = world.guest("ann", json!({}));
    let now = soon();
    world.reactor.hub().restore_history("room", [(now - 5, Event::new("\"past\""))], Some(now - 10));
    world.reactor.hub().deliver_event_with_id("room", Event::new("1"), now);
    world.reactor.settle().unwrap();
    assert_eq!(kinds(&world.values(ann)), ["confirm_subscription", "1"]);
    let place = |offset| json!({"streams": {"room": {"epoch": "shared", "offset": offset}}});
    assert_eq!(world.asked(place(now - 8)), ["\"past\"", "1", "confirm_history"]);
    world.reactor.hub().restore_history("room", [(now + 50, Event::new("\"restored\""))], None);
    assert_eq!(world.asked(place(now)), ["\"restored\"", "confirm_history"]);
    world.reactor.hub().restore_history("room", [], Some(now + 40));
    assert_eq!(world.asked(place(now)), ["reject_history"], "what the backplane has lost");
    assert_eq!(world.asked(place(now + 40)), ["\"restored\"", "confirm_history"]);
}

#[test]
fn shared_history_is_not_complete_after_a_message_without_a_number() {
    let mut world = world(|cable| cable.shared_history(100, seconds(600)));
    world.reactor.hub().set_backplane(Numbers);
    let ann = world.guest("ann", json!({}));
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    world.reactor.hub().restore_history("room", [], Some(first - 10));
    world.reactor.hub().deliver_event_with_id("room", Event::new("1"), first);
    world.reactor.settle().unwrap();
    // As another program publishes it.
    world.reactor.hub().deliver("room", "2");
    world.reactor.settle().unwrap();
    let later = soon() + 1_000_000;
    world.reactor.hub().deliver_event_with_id("room", Event::new("3"), later);
    world.reactor.settle().unwrap();
    assert_eq!(kinds(&world.values(ann)), ["confirm_subscription", "1", "2", "3"]);
    let place = |offset| json!({"streams": {"room": {"epoch": "shared", "offset": offset}}});
    assert_eq!(world.asked(place(first)), ["reject_history"]);
    assert_eq!(world.asked(json!({"since": 1})), ["reject_history"]);
    assert_eq!(world.asked(place(later)), ["confirm_history"]);
}

#[test]
fn topics_with_invented_names_and_without_messages_are_forgotten() {
    let mut world = world(|cable| cable.shared_history(100, seconds(86_400)).max_idle_streams(10));
    let (peer, ..) = world.extended("ann", "");
    for number in 0..100 {
        let identifier = json!({"channel": "$pubsub", "stream_name": format!("s{number}")});
        world.tell(peer, "subscribe", &identifier, json!({}));
        if number % 2 == 0 {
            world.publish(&format!("s{number}"), "1");
        }
        world.tell(peer, "unsubscribe", &identifier, json!({}));
        world.received(peer);
    }
    world.reactor.advance(seconds(200)).unwrap();
    assert_eq!(world.reactor.hub().histories(), 10, "the newest ones with messages");
    // Followed again, and left again.
    let identifier = json!({"channel": "$pubsub", "stream_name": "s98"});
    world.tell(peer, "subscribe", &identifier, json!({}));
    world.reactor.advance(seconds(200)).unwrap();
    world.tell(peer, "unsubscribe", &identifier, json!({}));
    world.reactor.advance(seconds(200)).unwrap();
    assert_eq!(world.reactor.hub().histories(), 10);
    assert!(!world.reactor.hub().keeps_history("action_cable/ann"), "topics of users have no history");
    world.reactor.advance(seconds(2 * 86_400)).unwrap();
    assert_eq!(world.reactor.hub().histories(), 0);
}

#[test]
fn history_of_a_stream_that_is_left_has_the_age_of_its_messages() {
    let mut world = world(|cable| cable.history(100, seconds(60)));
    let ann = world.guest("ann", json!({}));
    let first = published(&mut world, ann, "1");
    world.cut(ann);
    world.reactor.advance(seconds(58)).unwrap();
    let handle = world.handle.clone();
    handle.broadcast_json(world.reactor.hub(), "room", "2");
    world.reactor.advance(seconds(4)).unwrap();
    assert_eq!(world.asked(json!({"since": 1})), ["2", "confirm_history"]);
    assert_eq!(world.asked(after(&first)), ["2", "confirm_history"]);
    world.reactor.advance(seconds(200)).unwrap();
    assert_eq!(world.asked(after(&first)), ["reject_history"]);
}

#[test]
fn histories_of_streams_that_nothing_follows_are_bounded_while_they_grow() {
    let mut world = world(|cable| cable.history(100, seconds(600)));
    let handle = world.handle.clone();
    for number in 0..100 {
        handle.broadcast_json(world.reactor.hub(), &format!("s{number}"), "1");
    }
    world.reactor.advance(seconds(6)).unwrap();
    assert_eq!(handle.stats().streams, 100);
    let long = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..9 {
        for number in 0..100 {
            world.reactor.hub().publish(&format!("s{number}"), &*long);
        }
        world.reactor.settle().unwrap();
    }
    let kept = handle.stats().streams;
    assert!((60..=75).contains(&kept), "900 kB each, 64 MiB in all: {kept}");
}

#[test]
fn client_that_resumes_learns_who_has_come_before_it_has_asked() {
    let mut world = world(|cable| cable.history(100, seconds(600)).keep_sessions(seconds(60)));
    let (ann, bob) = (world.guest("ann", json!({})), world.guest("bob", json!({})));
    let sid = {
        world.cut(ann);
        let (ann, sid, _) = world.extended("ann", "");
        world.tell(ann, "subscribe", &room(), json!({}));
        world.cut(ann);
        sid
    };
    let (again, _, welcome) = world.extended("ann", &format!("&sid={sid}"));
    assert_eq!(welcome["restored_ids"], json!([room().to_string()]));
    world.tell(bob, "join", &room(), json!({"presence": {"id": "bob"}}));
    world.tell(again, "history", &room(), json!({"history": {"since": 1}}));
    assert_eq!(kinds(&world.values(again)), ["confirm_history", "\"info\" null"]);
}

#[test]
fn client_that_resumes_and_names_no_place_gets_what_came_since_it_was_cut() {
    let mut world = world(|cable| cable.history(100, seconds(600)).keep_sessions(seconds(60)));
    let ann = world.guest("ann", json!({}));
    published(&mut world, ann, "1");
    let sid = world.last_sid.clone();
    world.cut(ann);
    world.publish("room", "2");
    let (again, ..) = world.extended("ann", &format!("&sid={sid}"));
    world.tell(again, "history", &room(), json!({"history": {"streams": {}}}));
    assert_eq!(kinds(&world.values(again)), ["2", "confirm_history"]);
}

#[test]
fn request_for_the_history_of_many_streams_is_read() {
    let place = json!({"epoch": "0123456789ab1", "offset": 1_234_567});
    let streams: serde_json::Map<String, Value> = (0..100)
        .map(|number| (format!("Z2lkOi8vbXlhcHAvQ29udmVyc2F0aW9uLzEyMzQ1Ng:{number}"), place.clone()))
        .collect();
    let mut world = world(|cable| cable.history(100, seconds(600)));
    assert_eq!(world.asked(json!({"since": 1, "streams": streams})), ["confirm_history"]);
}

#[test]
fn event_stream_gets_what_its_channel_transmits_at_the_beginning() {
    let mut world = world(|cable| cable);
    let peer = world.stream("&channel=Room&hello=1", "");
    let text = world.text(peer);
    let places = ["welcome", "hello", "confirm_subscription"].map(|part| text.find(part).expect("part"));
    assert!(places.is_sorted(), "{text}");
    let (silent, raw) = (world.stream("&channel=Room&silent=1", ""), world.stream("&channel=Room&hello=1&raw=1", ""));
    assert!(world.text(silent).contains("confirm_subscription"));
    assert!(world.text(raw).contains("data: \"hello\"\n\n"));
}

#[test]
fn head_of_an_event_stream_begins_none() {
    let mut world = world(|cable| cable);
    let target = "/events?user=ann&channel=Room&hello=1 HTTP/1.1\nHost: example.com\n\n";
    let peer = world.request(&format!("HEAD {target}GET {target}"));
    let text = world.text(peer);
    for part in ["welcome", "hello", "confirm_subscription"] {
        assert_eq!(text.matches(&format!("{part}\"")).count(), 1, "{text}");
    }
    world.handle.clone().restart(world.reactor.hub(), Duration::ZERO);
    world.reactor.settle().unwrap();
    assert!(world.text(peer).contains("server_restart"));
}

fn last_id(text: &str) -> String {
    text.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned()
}

#[test]
fn event_stream_that_comes_back_gets_what_it_has_missed_on_all_its_streams() {
    for is_shared in [false, true] {
        let mut world = world(|cable| match is_shared {
            true => cable.shared_history(100, seconds(600)),
            false => cable.history(100, seconds(600)),
        });
        let peer = world.stream("&channel=Room&other=1", "");
        world.publish("other", "1");
        world.reactor.advance(seconds(1)).unwrap();
        world.publish("room", "2");
        let id = last_id(&world.text(peer));
        world.cut(peer);
        world.reactor.advance(seconds(1)).unwrap();
        world.publish("other", "3");
        world.publish("room", "4");
        let again = world.stream("&channel=Room&other=1", &format!("Last-Event-ID: {id}\n"));
        let text = world.text(again);
        let got: Vec<_> = (1..=4).filter(|number| text.contains(&format!(r#""message":{number},"#))).collect();
        assert_eq!(got, [3, 4], "{is_shared} {text}");
        assert!(text.contains("confirm_history"));
    }
}

#[test]
fn event_stream_that_was_cut_before_its_first_message_or_has_a_name_of_any_letters_goes_on() {
    let mut world = world(|cable| cable.history(100, seconds(600)));
    let (other, ..) = world.extended("bob", "");
    // A stream without messages is forgotten with its last follower.
    for stream in ["room", "r\u{e4}um"] {
        world.tell(other, "subscribe", &json!({"channel": "$pubsub", "stream_name": stream}), json!({}));
    }
    for (stream, in_url) in [("room", "room"), ("räum", "r%C3%A4um")] {
        let peer = world.stream(&format!("&stream={in_url}"), "");
        let mut id = last_id(&world.text(peer));
        world.cut(peer);
        for text in ["1", "2"] {
            world.publish(stream, text);
            let again = world.stream(&format!("&stream={in_url}"), &format!("Last-Event-ID: {id}\n"));
            let got = world.text(again);
            assert!(got.contains(&format!(r#""message":{text},"#)), "{id} {got}");
            id = last_id(&got);
            world.cut(again);
        }
    }
}

#[test]
fn posted_broadcasts_are_objects() {
    let mut world = world(|cable| cable);
    let mut post = |body: &str| {
        let length = body.len();
        let peer = world.request(&format!(
            "POST /_broadcast HTTP/1.1\nHost: example.com\nAuthorization: Bearer key\nContent-Length: {length}\n\n{body}"
        ));
        world.text(peer)[9..12].to_owned()
    };
    for (body, status) in [
        (r#"{"stream":"room","data":"1"}"#, "201"),
        (r#"[{"stream":"room","data":"1","meta":{}}]"#, "201"),
        (r#"["room","1"]"#, "422"),
        (r#"[["room","1"]]"#, "422"),
        (r#"{"command":"disconnect","payload":{}}"#, "422"),
        (r#"{"stream":"room","data":"{"}"#, "422"),
        ("{", "422"),
    ] {
        assert_eq!(post(body), status, "{body}");
    }
}

#[test]
fn subscription_of_an_event_stream_ends_with_the_loop() {
    let mut world = world(|cable| cable);
    world.stream("&channel=Chat&room=a", "");
    world.log.take();
    world.reactor.hub().shutdown(seconds(2));
    for _ in 0..5 {
        world.reactor.advance(seconds(1)).unwrap();
    }
    assert_eq!(world.log.take(), ["ann unsubscribed", "ann disconnected"]);
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions), (0, 0));
    action_cable::disconnect_user(world.reactor.hub(), ["ann"], true);
}
