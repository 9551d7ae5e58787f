//! What clients of Rails see.

use std::time::Duration;

use ws_reactor::{
    Reactor, ReactorConfig, Routes, Server,
    action_cable::{self, ActionCable, Channel, StreamVerifier, Subscription},
    net::sim::Sim,
};

use super::{Elsewhere, IDENTIFIER, Log, World, confirmed, message, rejected};
use crate::support::{further_frames, played::SERVER};

#[test]
fn broadcast_reaches_the_subscriptions_of_its_stream_with_their_identifiers() {
    let mut world = World::new();
    let (ann, bob, eve) = (world.subscriber("ann"), world.subscriber("bob"), world.client("eve"));
    // The same channel by another text is another subscription.
    let other = r#"{\"room\":\"a\", \"channel\":\"Chat\"}"#;
    world.command(bob, "subscribe", other);
    assert_eq!(world.received(bob), [confirmed(other)]);
    world.publish("chat:a", r#"{ "text": "<b>" }"#);
    world.publish("chat:a", "null");
    world.publish("chat:other", "1");
    assert_eq!(world.received(ann), [message(r#"{ "text": "<b>" }"#), message("null")], "the JSON is as it was");
    let texts = world.received(bob);
    assert_eq!(texts.iter().filter(|text| text.contains(other)).count(), 2);
    assert_eq!((texts.len(), world.received(eve)), (4, vec![]));
    world.perform(ann, r#"{"action":"speak","body":"hi"}"#);
    assert_eq!(world.received(ann), [message(r#"{"action":"speak","body":"hi"}"#)]);
    world.perform(ann, r#"{"action":"transmit"}"#);
    assert_eq!((world.received(ann), world.received(bob).len()), (vec![message(r#""\u003conly you\u003e""#)], 2));
    action_cable::broadcast(world.reactor.hub(), "chat:a", &("typed", 1)).unwrap();
    world.reactor.settle().unwrap();
    assert_eq!(world.received(ann), [message(r#"["typed",1]"#)]);
}

#[test]
fn publication_that_is_no_json_is_dropped_and_counted() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    for text in ["", "text", "{", "1 2", "[1"] {
        world.publish("chat:a", text);
    }
    world.reactor.hub().publish("chat:a", b"1");
    world.publish("chat:a", "[1]");
    assert_eq!(world.received(ann), [message("[1]")]);
    let stats = world.handle.stats();
    assert_eq!((stats.malformed, stats.broadcasts, stats.subscriptions, stats.streams), (6, 1, 1, 2));
    // Depth costs no stack.
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    world.publish("chat:a", &deep);
    assert_eq!(world.received(ann), [message(&deep)]);
}

#[test]
fn rejected_subscription_may_be_asked_for_again_and_a_second_subscribe_is_not_answered() {
    let mut world = World::new();
    let ann = world.client("ann");
    let none = r#"{\"channel\":\"Chat\",\"room\":\"none\"}"#;
    for _ in 0..2 {
        world.command(ann, "subscribe", none);
        assert_eq!(world.received(ann), [rejected(none)]);
    }
    world.command(ann, "subscribe", IDENTIFIER);
    world.command(ann, "subscribe", IDENTIFIER);
    assert_eq!(world.received(ann), [confirmed(IDENTIFIER)]);
    world.command(ann, "unsubscribe", IDENTIFIER);
    world.command(ann, "unsubscribe", IDENTIFIER);
    world.publish("chat:a", "1");
    assert!(world.received(ann).is_empty(), "there is no answer");
    let log = world.log.take();
    assert_eq!(log.iter().filter(|line| *line == "ann subscribed").count(), 3);
    assert_eq!(log.iter().filter(|line| *line == "ann unsubscribed").count(), 3, "a rejected one ends, too");
    world.command(ann, "subscribe", IDENTIFIER);
    assert_eq!(world.received(ann), [confirmed(IDENTIFIER)]);
}

#[test]
fn wrong_input_is_ignored_and_counted() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    world.log.take();
    let deep = "[".repeat(5000);
    let unknown = r#"{"command":"subscribe","identifier":"{\"channel\":\"Unknown\"}"}"#;
    let other = r#"{"command":"message","identifier":"other","data":"{}"}"#;
    let no_data = format!(r#"{{"command":"message","identifier":"{IDENTIFIER}","data":"speak"}}"#);
    let texts = ["", "text", "[]", "{}", r#"{"command":"fly","identifier":"i"}"#, unknown, other, &no_data, &deep];
    texts.into_iter().for_each(|text| world.send(ann, text));
    world.reactor.kernel_mut().send(ann, b"\x82\x81\0\0\0\0x");
    world.reactor.settle().unwrap();
    assert_eq!((world.received(ann), world.log.take()), (vec![], vec![]));
    assert_eq!(world.handle.stats().ignored, texts.len() as u64 + 1);
    world.perform(ann, r#"{"body":1}"#);
    assert_eq!(world.log.take(), [r#"ann receive {"body":1}"#]);
}

#[test]
fn limits_reject_subscriptions_and_end_connections_with_too_long_messages() {
    let mut world =
        World::with(|cable| cable.any_origin().max_subscriptions(2).max_identifier_bytes(75).max_message_bytes(2000));
    let ann = world.client("ann");
    for room in ["silent", "two"] {
        let identifier = format!(r#"{{\"channel\":\"Chat\",\"room\":\"{room}\"}}"#);
        world.command(ann, "subscribe", &identifier);
        assert_eq!(world.received(ann), [confirmed(&identifier)]);
    }
    world.command(ann, "subscribe", IDENTIFIER);
    assert_eq!(world.received(ann), [rejected(IDENTIFIER)]);
    let bob = world.client("bob");
    let long = format!(r#"{{\"channel\":\"Chat\",\"room\":\"{}\"}}"#, "x".repeat(60));
    world.command(bob, "subscribe", &long);
    assert_eq!(world.received(bob), [rejected(&long)]);
    world.send(bob, &"x".repeat(2001));
    let received = world.reactor.kernel_mut().received(bob);
    assert_eq!(further_frames(&received)[0][..2], 1009_u16.to_be_bytes());
}

#[test]
fn streams_end_one_by_one_or_together() {
    let mut world = World::new();
    let ann = world.client("ann");
    let two = r#"{\"channel\":\"Chat\",\"room\":\"two\"}"#;
    world.command(ann, "subscribe", two);
    assert_eq!(world.received(ann), [confirmed(two)]);
    let perform = |world: &mut World, action: &str| {
        let data = format!(r#"{{\"action\":\"{action}\"}}"#);
        world.send(ann, &format!(r#"{{"command":"message","identifier":"{two}","data":"{data}"}}"#));
        ["chat:a", "chat:b"].into_iter().for_each(|stream| world.publish(stream, "1"));
        world.received(ann).len()
    };
    assert_eq!(["none", "stop", "stop_all"].map(|action| perform(&mut world, action)), [2, 1, 0]);
    assert_eq!(world.handle.stats().streams, 1, "that of the user");
}

#[test]
fn timer_of_a_subscription_ends_with_it() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    world.perform(ann, r#"{"action":"tick"}"#);
    world.reactor.advance(Duration::from_millis(1500)).unwrap();
    assert_eq!(world.received(ann), [message("1")]);
    world.reactor.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(world.received(ann).len(), 2, "it was cancelled");
    let bob = world.subscriber("bob");
    world.perform(bob, r#"{"action":"tick"}"#);
    world.command(bob, "unsubscribe", IDENTIFIER);
    world.log.take();
    world.reactor.advance(Duration::from_secs(5)).unwrap();
    assert!(world.log.take().is_empty());
}

#[test]
fn every_connection_is_pinged_every_three_seconds() {
    let mut world = World::new();
    let peers: Vec<_> = (0..40).map(|_| world.client("ann")).collect();
    world.reactor.advance(Duration::from_secs(30)).unwrap();
    for peer in peers {
        let received = world.reactor.kernel_mut().received(peer);
        let pings =
            further_frames(&received).into_iter().filter(|text| text.starts_with(br#"{"type":"ping","message":1"#));
        assert!((9..=10).contains(&pings.count()));
        world.reactor.kernel_mut().reset(peer);
    }
    world.reactor.settle().unwrap();
    world.reactor.advance(Duration::from_secs(4)).unwrap();
    assert_eq!((world.reactor.next_deadline(), world.handle.stats().connections), (None, 0), "the pings have ended");
}

#[test]
fn connection_that_is_turned_away_is_told_so_and_may_do_nothing() {
    let mut world = World::new();
    let peer = world.connect("denied", "");
    assert_eq!(world.goodbye(peer), r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#);
    assert!(world.log.take().is_empty());
}

#[test]
fn token_comes_by_the_query_a_header_or_a_subprotocol() {
    // Signed with `secret`: `{"ext":"{\"user\":\"ann\"}","exp":2000}`, and `{"sub":"ann"}`.
    let expired = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHQiOiJ7XCJ1c2VyXCI6XCJhbm5cIn0iLCJleHAiOjIwMDB9\
                   .5FRg6-afL53znV8Q1QyUw32GeES_-iiksRwynkAwoNQ";
    let valid = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4ifQ.PjR3fgnevdXvvFDIexpV052PaeBybdsfUE102L3fkg4";
    let cases = [(valid, r#"{"type":"welcome"}"#), (expired, TOKEN_EXPIRED), ("x.y.z", UNAUTHORIZED)];
    for (token, expected) in cases {
        let mut world = World::new();
        let peers = [
            world.connect(&format!("ann&jid={token}"), ""),
            world.connect("ann", &format!("X-JID: {token}\n")),
            world.connect("ann", &format!("Sec-WebSocket-Protocol: actioncable-v1-json, anycable-token.{token}\n")),
        ];
        for peer in peers {
            assert_eq!(world.received(peer)[0], expected);
        }
    }
}

const TOKEN_EXPIRED: &str = r#"{"type":"disconnect","reason":"token_expired","reconnect":false}"#;
const UNAUTHORIZED: &str = r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#;

#[test]
fn user_is_disconnected_from_elsewhere_and_all_at_a_restart() {
    let mut world = World::new();
    let (ann, again, bob) = (world.subscriber("ann"), world.client("ann"), world.client("bob"));
    for odd in ["{}", "[]", "1", r#"{"type":"other"}"#] {
        world.publish("action_cable/ann", odd);
    }
    world.publish("action_cable/ann", r#"{"type":"disconnect"}"#);
    for peer in [ann, again] {
        assert_eq!(world.goodbye(peer), r#"{"type":"disconnect","reason":"remote","reconnect":true}"#);
    }
    assert!(world.received(bob).is_empty());
    action_cable::disconnect_user(world.reactor.hub(), ["bob"], false);
    world.reactor.settle().unwrap();
    assert_eq!(world.goodbye(bob), r#"{"type":"disconnect","reason":"remote","reconnect":false}"#);
    let eve = world.client("eve");
    world.handle.clone().restart(world.reactor.hub(), Duration::from_secs(2));
    world.reactor.advance(Duration::from_secs(3)).unwrap();
    let told = world.received(eve);
    assert_eq!(told[0], r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#);
}

#[test]
fn end_of_a_connection_ends_its_subscriptions_first() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    world.log.take();
    world.reactor.kernel_mut().reset(ann);
    world.reactor.settle().unwrap();
    assert_eq!(world.log.take(), ["ann unsubscribed", "ann disconnected"]);
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.streams), (0, 0, 0));
}

#[test]
fn channel_that_panics_leaves_nothing_behind() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    world.perform(ann, r#"{"action":"panic"}"#);
    world.reactor.kernel_mut().reset(ann);
    world.reactor.settle().unwrap();
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.streams), (0, 0, 0));
    assert_eq!(world.log.take().last().unwrap(), "ann disconnected");
}

#[test]
fn broadcast_costs_no_more_for_long_identifiers() {
    let mut world = World::new();
    let ann = world.client("ann");
    for number in 0..4 {
        let identifier = format!(r#"{{\"channel\":\"Chat\",\"room\":\"a\",\"x\":\"{number}{}\"}}"#, "<".repeat(10_000));
        world.send(ann, &format!(r#"{{"command":"subscribe","identifier":"{identifier}"}}"#));
        assert_eq!(world.received(ann).len(), 1);
    }
    world.publish("chat:a", "1");
    let texts = world.received(ann);
    assert!(texts.len() == 4 && texts.iter().all(|text| text.len() > 60_000 && !text.contains('<')));
    // All identifiers together are bounded.
    for number in 4..8 {
        let identifier = format!(r#"{{\"channel\":\"Chat\",\"room\":\"a\",\"x\":\"{number}{}\"}}"#, "x".repeat(10_000));
        world.send(ann, &format!(r#"{{"command":"subscribe","identifier":"{identifier}"}}"#));
    }
    assert_eq!(world.received(ann).iter().filter(|text| text.contains("reject_subscription")).count(), 2);
}

#[test]
fn new_connection_of_a_user_may_end_the_older_ones() {
    let cable = ActionCable::new().any_origin().connect(|connect| {
        action_cable::disconnect_user(connect.hub(), ["ann"], false);
        connect.identify("ann");
        connect.identify("");
        Ok(())
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new());
    let handle = cable.handle();
    reactor.listen(SERVER, Server::routes(cable.mount(Routes::new(), "/cable")).unwrap()).unwrap();
    let mut world = World { reactor, handle, log: Log::default(), last_sid: String::new() };
    let first = world.client("ann");
    let second = world.client("ann");
    assert_eq!(world.goodbye(first), r#"{"type":"disconnect","reason":"remote","reconnect":false}"#);
    assert!(world.received(second).is_empty());
    action_cable::disconnect_user(world.reactor.hub(), Vec::<String>::new(), false);
    action_cable::disconnect_user(world.reactor.hub(), [" "], false);
    world.reactor.settle().unwrap();
    assert!(world.received(second).is_empty());
}

#[test]
fn origins_are_those_of_the_host_and_of_the_list() {
    let status = |world: &mut World, headers: &str| {
        let peer = world.connect("ann", headers);
        let received = world.reactor.kernel_mut().received(peer);
        String::from_utf8_lossy(&received[9..12]).into_owned()
    };
    let list = |cable: ActionCable| cable.origins(["https://a.example", "http://*.b.example"]).unwrap();
    let cases: [(&str, [&str; 3]); 8] = [
        ("Origin: http://example.com\n", ["101", "101", "101"]),
        ("Origin: https://example.com\n", ["404", "404", "101"]),
        ("Origin: http://example.com:81\n", ["404", "404", "101"]),
        ("Origin: https://a.example\n", ["404", "101", "101"]),
        ("Origin: https://a.example.com\n", ["404", "404", "101"]),
        ("Origin: http://x.b.example\n", ["404", "101", "101"]),
        ("Origin: null\n", ["404", "404", "101"]),
        ("", ["404", "404", "101"]),
    ];
    for (headers, expected) in cases {
        let found = [
            status(&mut World::with(|cable| cable), headers),
            status(&mut World::with(list), headers),
            status(&mut World::new(), headers),
        ];
        assert_eq!(found, expected, "{headers}");
    }
    let mut world = World::with(|cable| list(cable).same_origin(false));
    assert_eq!(status(&mut world, "Origin: http://example.com\n"), "404");
    let peer = world.request("GET /cable HTTP/1.1\nHost: example.com\nOrigin: http://example.com\n\n");
    let received = String::from_utf8(world.reactor.kernel_mut().received(peer)).unwrap();
    assert!(received.starts_with("HTTP/1.1 404") && received.ends_with("Page not found"), "{received}");
}

#[test]
fn subprotocol_is_the_first_of_the_clients_list_that_is_known() {
    let cases = [
        ("actioncable-v1-json, actioncable-unsupported", Some("actioncable-v1-json")),
        ("x, actioncable-unsupported,actioncable-v1-json", Some("actioncable-unsupported")),
        ("x", None),
    ];
    for (offered, chosen) in cases {
        let mut world = World::new();
        let peer = world.connect("ann", &format!("Sec-WebSocket-Protocol: {offered}\n"));
        let received = String::from_utf8_lossy(&world.reactor.kernel_mut().received(peer)).to_lowercase();
        let found = received.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: ").map(str::to_owned));
        assert_eq!(found.as_deref(), chosen);
        assert!(received.contains("welcome"));
    }
}

#[test]
fn channel_follows_the_stream_for_a_model() {
    struct Rooms;

    impl Channel for Rooms {
        fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
            let room = subscription.param("room").unwrap_or_default();
            subscription.stream_for([room]);
        }
    }

    let mut world = World::with(|cable| cable.any_origin().channel("Chats::RoomsChannel", || Rooms));
    let ann = world.client("ann");
    let identifier = r#"{\"channel\":\"Chats::RoomsChannel\",\"room\":7}"#;
    world.command(ann, "subscribe", identifier);
    action_cable::broadcast_to(world.reactor.hub(), "Chats::RoomsChannel", ["7"], "hi").unwrap();
    world.publish("chats:rooms:7", "1");
    let got = |json: &str| format!(r#"{{"identifier":"{identifier}","message":{json}}}"#);
    assert_eq!(world.received(ann), [confirmed(identifier), got("\"hi\""), got("1")]);
}

#[test]
fn health_check_is_answered_whatever_the_origin() {
    let mut world = World::with(|cable| cable.health_check("/up"));
    let peer = world.request("GET /up HTTP/1.1\nHost: example.com\nOrigin: https://evil.example\n\n");
    assert!(world.reactor.kernel_mut().received(peer).starts_with(b"HTTP/1.1 200"));
}

#[test]
fn signed_stream_is_followed_and_an_unsigned_one_rejected() {
    let mut world = World::new();
    let ann = world.client("ann");
    let signed = StreamVerifier::new("secret").sign("chat:a");
    let identifier = |name: &str| format!(r#"{{\"channel\":\"Turbo::StreamsChannel\",\"signed_stream_name\":{name}}}"#);
    let right = identifier(&format!(r#"\"{signed}\""#));
    world.command(ann, "subscribe", &right);
    assert_eq!(world.received(ann), [confirmed(&right)]);
    for name in [r#"\"chat:a\""#, "7", "null", &format!(r#"\"{signed}0\""#)] {
        let wrong = identifier(name);
        world.command(ann, "subscribe", &wrong);
        assert_eq!(world.received(ann), [rejected(&wrong)], "{name}");
    }
    world.publish("chat:a", r#""<turbo-stream>""#);
    assert_eq!(world.received(ann), [format!(r#"{{"identifier":"{right}","message":"<turbo-stream>"}}"#)]);
}

#[test]
fn programs_post_broadcasts_with_the_key() {
    let mut world = World::new();
    let ann = world.subscriber("ann");
    let post = |world: &mut World, key: &str, body: &str| {
        let peer = world.request(&format!(
            "POST /_broadcast HTTP/1.1\nHost: example.com\nAuthorization: Bearer {key}\nContent-Length: {}\n\n{body}",
            body.len()
        ));
        let received = world.reactor.kernel_mut().received(peer);
        String::from_utf8_lossy(&received[9..12]).into_owned()
    };
    let one = r#"{"stream":"chat:a","data":"{\"x\":1}"}"#;
    let many = format!(r#"[{one},{{"stream":"chat:a","data":"2","meta":{{}}}}]"#);
    assert_eq!(post(&mut world, "key", one), "201");
    assert_eq!(post(&mut world, "key", &many), "201");
    assert_eq!(["", "kez", "key2"].map(|key| post(&mut world, key, one)), ["401"; 3]);
    let bad = ["", "{}", r#"{"stream":"chat:a","data":"text"}"#, r#"{"stream":"chat:a","data":{"x":1}}"#];
    assert_eq!(bad.map(|body| post(&mut world, "key", body)), ["422"; 4]);
    assert_eq!(world.received(ann), [message(r#"{"x":1}"#), message(r#"{"x":1}"#), message("2")]);
}

#[test]
fn subscription_is_confirmed_when_all_its_streams_are_live() {
    let (mut world, slow) = (World::new(), Elsewhere::default());
    world.reactor.hub().set_backplane(slow.clone());
    let ann = world.client("ann");
    let two = r#"{\"channel\":\"Chat\",\"room\":\"two\"}"#;
    world.command(ann, "subscribe", two);
    assert_eq!(slow.0.take(), ["+action_cable/ann", "+chat:a", "+chat:b"]);
    world.reactor.hub().confirm_topic("chat:b");
    world.reactor.settle().unwrap();
    assert!(world.received(ann).is_empty(), "one stream is not live");
    world.reactor.hub().confirm_topic("chat:a");
    world.reactor.settle().unwrap();
    assert_eq!(world.received(ann), [confirmed(two)]);
    let bob = world.subscriber("bob");
    world.reactor.hub().deliver("chat:a", "1");
    world.reactor.settle().unwrap();
    assert_eq!((world.received(ann).len(), world.received(bob).len()), (1, 1));
    world.perform(bob, r#"{"action":"speak"}"#);
    assert_eq!(slow.0.take(), ["+action_cable/bob", r#"chat:a {"action":"speak"}"#]);
    [ann, bob].into_iter().for_each(|peer| world.reactor.kernel_mut().reset(peer));
    world.reactor.settle().unwrap();
    let mut ended = slow.0.take();
    ended.sort();
    assert_eq!(ended, ["-action_cable/ann", "-action_cable/bob", "-chat:a", "-chat:b"]);
    // A subscription that ends before it is confirmed is not confirmed.
    let eve = world.client("eve");
    world.command(eve, "subscribe", IDENTIFIER);
    world.command(eve, "unsubscribe", IDENTIFIER);
    world.reactor.hub().confirm_topic("chat:a");
    world.publish("chat:a", "1");
    assert!(world.received(eve).is_empty());
}
