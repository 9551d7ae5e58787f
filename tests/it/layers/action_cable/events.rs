//! Subscriptions as event streams.

use std::time::Duration;

use serde_json::{Value, json};
use ws_reactor::{
    action_cable::{Channel, NamedStreams, Subscription},
    net::sim::PeerId,
};

use super::{World, message};

fn world() -> World {
    World::with(|cable| {
        cable
            .origins(["https://a.example"])
            .unwrap()
            .event_streams("/events")
            .history(100, Duration::from_secs(60))
            .streams("$pubsub", NamedStreams::public("stream_name"))
    })
}

impl World {
    fn events(&mut self, query: &str, headers: &str) -> PeerId {
        self.request(&format!("GET /events?user=ann{query} HTTP/1.1\nHost: example.com\n{headers}\n"))
    }

    /// The head of the response, and the fields of each event.
    fn streamed(&mut self, peer: PeerId) -> (String, Vec<Vec<(String, String)>>) {
        let text = String::from_utf8(self.reactor.kernel_mut().received(peer)).unwrap();
        let (head, body) = match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1") => (head.to_owned(), body),
            _ => (String::new(), &*text),
        };
        // Lengths of chunks, and what is around them, are no fields.
        let lines: Vec<&str> = body.split(['\r', '\n']).collect();
        let fields =
            |lines: &[&str]| lines.iter().filter_map(|line| line.split_once(": ")).map(owned).collect::<Vec<_>>();
        let events = lines.split(|line| line.is_empty()).map(fields).filter(|fields| !fields.is_empty()).collect();
        (head, events)
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn field<'f>(event: &'f [(String, String)], name: &str) -> Option<&'f str> {
    event.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

const CHAT: &str = "&channel=Chat&room=a";

#[test]
fn subscription_is_an_event_stream_of_what_a_websocket_would_get() {
    let mut world = world();
    let peer = world.events(CHAT, "");
    let (head, events) = world.streamed(peer);
    assert!(
        head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-type: text/event-stream"),
        "{head}"
    );
    let names: Vec<_> = events.iter().map(|event| field(event, "event").unwrap()).collect();
    assert_eq!(names, ["welcome", "confirm_subscription"]);
    let identifier = json!({"channel": "Chat", "room": "a", "user": "ann"}).to_string();
    let answer: Value = serde_json::from_str(field(&events[1], "data").unwrap()).unwrap();
    assert_eq!(answer["identifier"], identifier);
    world.publish("chat:a", r#"{"body":"hi"}"#);
    let (_, events) = world.streamed(peer);
    let got: Value = serde_json::from_str(field(&events[0], "data").unwrap()).unwrap();
    assert_eq!(
        (field(&events[0], "event"), &got["message"], &got["offset"]),
        (None, &json!({"body": "hi"}), &json!(1))
    );
    let id = format!("1/{}/chat:a", got["epoch"].as_str().unwrap());
    assert_eq!(field(&events[0], "id"), Some(&*id));
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions), (1, 1));
    // It goes on after the last event.
    world.cut(peer);
    world.publish("chat:a", "2");
    let again = world.events(CHAT, &format!("Last-Event-ID: {id}\n"));
    let (_, events) = world.streamed(again);
    let kinds: Vec<_> = events.iter().map(|event| field(event, "event").unwrap_or("message")).collect();
    assert_eq!(kinds, ["welcome", "confirm_subscription", "message", "confirm_history"]);
    world.cut(again);
    world.reactor.advance(Duration::from_secs(70)).unwrap();
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.streams), (0, 0, 0));
    assert_eq!(world.reactor.next_deadline(), None);
    let ended = world.log.take().into_iter().filter(|line| line.ends_with("ed") && !line.ends_with(" subscribed"));
    assert_eq!(
        ended.collect::<Vec<_>>(),
        ["ann unsubscribed", "ann disconnected", "ann unsubscribed", "ann disconnected"]
    );
}

#[test]
fn raw_stream_has_the_messages_alone() {
    let mut world = world();
    let (raw, named) = (world.events("&stream=news&raw=1", ""), world.events("&stream=news&raw=1", ""));
    world.publish("news", r#""<p>""#);
    world.publish("news", "7");
    let (_, events) = world.streamed(raw);
    let data: Vec<_> = events.iter().map(|event| field(event, "data").unwrap().to_owned()).collect();
    assert_eq!(data, [r#""<p>""#, "7"]);
    assert!(events.iter().all(|event| field(event, "event").is_none() && field(event, "id").is_some()));
    assert_eq!(world.streamed(named).1.len(), 2);
    let since = world.events("&stream=news&raw=1&history_since=1", "");
    assert_eq!(world.streamed(since).1.len(), 2);
}

#[test]
fn refused_stream_has_a_status() {
    let mut world = world();
    let mut status = |query: &str, headers: &str| {
        let peer = world.events(query, headers);
        world.streamed(peer).0[9..12].to_owned()
    };
    assert_eq!(status("", ""), "400");
    for refused in ["&channel=Unknown", "&channel=Chat&room=none", "&identifier=text", "&signed_stream=x", "&stream="] {
        assert_eq!(status(refused, ""), "401", "{refused}");
    }
    assert_eq!(status(CHAT, "Origin: https://evil.example\n"), "403");
    assert_eq!(status(CHAT, "Origin: http://example.com\n"), "200");
    let peer = world.events(CHAT, "Origin: https://a.example\n");
    let head = world.streamed(peer).0.to_lowercase();
    assert!(head.contains("access-control-allow-origin: https://a.example"), "{head}");
    let denied = world.request("GET /events?user=denied&channel=Chat&room=a HTTP/1.1\nHost: example.com\n\n");
    let text = String::from_utf8(world.reactor.kernel_mut().received(denied)).unwrap();
    assert!(text.ends_with(r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#), "{text}");
    let head = world.request("HEAD /events?user=ann&channel=Chat&room=a HTTP/1.1\nHost: example.com\n\n");
    assert!(world.streamed(head).0.starts_with("HTTP/1.1 200"));
    assert_eq!(world.handle.stats().connections, 2);
}

#[test]
fn channel_that_panics_leaves_no_stream_behind() {
    struct Broken;

    impl Channel for Broken {
        fn subscribed(&mut self, _: &mut Subscription<'_>) {
            panic!("deliberate");
        }
    }

    let mut world = World::with(|cable| cable.any_origin().event_streams("/events").channel("Broken", || Broken));
    let peer = world.events("&channel=Broken", "");
    assert!(world.streamed(peer).0.starts_with("HTTP/1.1 500"));
    let (good, refused) = (world.events(CHAT, ""), world.events("&channel=Chat&room=none", ""));
    [peer, refused].into_iter().for_each(|peer| world.cut(peer));
    world.reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(world.handle.stats().connections, 1);
    world.cut(good);
    world.reactor.advance(Duration::from_secs(2)).unwrap();
    let stats = world.handle.stats();
    assert_eq!((stats.connections, stats.subscriptions, stats.streams), (0, 0, 0));
}

#[test]
fn stream_is_ended_from_elsewhere_and_shares_broadcasts_with_websockets() {
    let mut world = World::with(|cable| cable.any_origin().event_streams("/events"));
    let (stream, socket) = (world.events(CHAT, ""), world.subscriber("bob"));
    world.publish("chat:a", "1");
    let (_, events) = world.streamed(stream);
    assert_eq!((events.len(), field(&events[2], "id"), world.received(socket)), (3, None, vec![message("1")]));
    world.publish("action_cable/ann", r#"{"type":"disconnect","reconnect":false}"#);
    let (_, events) = world.streamed(stream);
    assert_eq!(field(&events[0], "retry"), Some("31536000000"), "its client does not come back");
    assert_eq!(field(&events[1], "event"), Some("disconnect"));
    world.reactor.kernel_mut().finish(stream);
    world.reactor.settle().unwrap();
    assert_eq!(world.handle.stats().connections, 1);
    let stream = world.events(CHAT, "");
    world.streamed(stream);
    world.handle.clone().restart(world.reactor.hub(), Duration::ZERO);
    world.reactor.settle().unwrap();
    assert_eq!(field(&world.streamed(stream).1[0], "event"), Some("disconnect"));
}
