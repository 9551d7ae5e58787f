//! Long-polling: requests that wait for a message of a topic.

use std::time::Duration;

use ws_reactor::{
    HistoryLimits, LongPoll, Reply, Routes, Server,
    http::{HeaderValue, StatusCode, header},
    net::sim::PeerId,
};

use super::{events::Played, get};

const SECOND: Duration = Duration::from_secs(1);

const NOTHING: &str = "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n";

fn polls() -> Routes {
    Routes::new()
        .get("/{topic}", |request, _| {
            let poll = LongPoll::topic(request.param("topic"));
            match request.query_value("after").and_then(|after| after.parse().ok()) {
                Some(after) => poll.after(after),
                None => poll,
            }
        })
        .get("/{topic}/now", |request, _| LongPoll::topic(request.param("topic")).after(0).timeout(Duration::ZERO))
}

fn server() -> Played {
    let mut server = Played::new(polls());
    server.0.hub().keep_history("a", HistoryLimits::new());
    server
}

/// The response with an event.
fn json(id: u64, data: &str) -> String {
    let body = format!("{{\"id\":{id},\"data\":\"{data}\"}}");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn one_publication_answers_all_polls() {
    let mut server = server();
    let peers: Vec<PeerId> = (0..50).map(|_| server.connect(get("/a"))).collect();
    for peer in &peers {
        assert_eq!(server.received(*peer), "");
    }
    assert_eq!(server.0.hub().subscribers("a"), 50);
    let published = server.publish("a", "news");
    assert_eq!((published.queued, server.0.hub().subscribers("a")), (50, 0));
    for peer in peers {
        assert_eq!(server.received(peer), json(published.event_id.unwrap(), "news"));
    }
}

#[test]
fn no_message_is_missed_between_two_polls() {
    let mut server = server();
    let peer = server.connect(get("/a"));
    let ids: Vec<u64> = (0..3).map(|number| server.publish("a", &number.to_string()).event_id.unwrap()).collect();
    assert_eq!(server.received(peer), json(ids[0], "0"));
    for index in 0..2 {
        server.send(peer, get(&format!("/a?after={}", ids[index])));
        assert_eq!(server.received(peer), json(ids[index + 1], &(index + 1).to_string()));
    }
    // The next request waits, and what is behind it, too.
    server.send(peer, [get(&format!("/a?after={}", ids[2])), get("/a/now")].concat());
    assert_eq!(server.received(peer), "");
    let last = server.publish("a", "last").event_id.unwrap();
    assert_eq!(server.received(peer), json(last, "last") + &json(ids[0], "0"));
}

#[test]
fn poll_ends_without_a_message_after_its_time() {
    let mut server = server();
    let peer = server.connect(get("/a/now"));
    assert_eq!(server.received(peer), NOTHING);
    for _ in 0..3 {
        server.send(peer, get("/a"));
        server.0.advance(25 * SECOND - Duration::from_millis(1)).unwrap();
        assert_eq!(server.received(peer), "");
        server.0.advance(Duration::from_millis(1)).unwrap();
        assert_eq!(server.received(peer), NOTHING);
    }
    assert_eq!(server.0.hub().subscribers("a"), 0);
    server.0.advance(75 * SECOND).unwrap();
    assert!(server.0.kernel_mut().is_ended(peer), "the connection is idle");
}

#[test]
fn poll_of_a_topic_without_a_history_is_answered_with_500() {
    let mut server = server();
    let peer = server.connect(get("/b"));
    assert!(server.received(peer).starts_with("HTTP/1.1 500 "));
}

#[test]
fn poll_whose_client_has_gone_is_forgotten() {
    let mut server = server();
    let peer = server.connect(get("/a"));
    server.0.kernel_mut().reset(peer);
    server.0.settle().unwrap();
    assert_eq!((server.0.hub().subscribers("a"), server.publish("a", "x").queued), (0, 0));
}

#[test]
fn poll_is_no_pending_handshake_and_is_answered_at_shutdown() {
    let mut server = server();
    let peer = server.connect(get("/a"));
    assert_eq!(server.0.hub().stats().pending_handshakes, 0);
    server.0.hub().shutdown(SECOND);
    server.0.settle().unwrap();
    assert!(server.received(peer).starts_with("HTTP/1.1 503 "));
}

#[test]
fn application_makes_the_reply() {
    let routes = Routes::new().get("/", |_, _| {
        let poll = LongPoll::topic("a").timeout(SECOND).respond(|event| match event {
            Some(event) if &*event.data == "panic" => panic!("at the reply"),
            Some(event) => Reply::text(StatusCode::OK, &event.data),
            None => Reply::text(StatusCode::OK, "nothing"),
        });
        Reply::from(poll)
            .header(header::VARY, HeaderValue::from_static("Origin"))
            .header(header::CACHE_CONTROL, HeaderValue::from_static("private"))
    });
    let mut server = Played::serving(Server::routes(routes).unwrap());
    server.0.hub().keep_history("a", HistoryLimits::new());
    let peer = server.connect(get("/"));
    server.publish("a", "text");
    let text = server.received(peer);
    assert!(text.ends_with("\r\n\r\ntext\n") && text.contains("\r\nVary: Origin\r\n"), "{text}");
    assert!(text.contains("\r\nCache-Control: private\r\n") && !text.contains("no-store"), "{text}");
    server.send(peer, get("/"));
    server.0.advance(SECOND).unwrap();
    assert!(server.received(peer).ends_with("\r\n\r\nnothing\n"));
    server.send(peer, get("/"));
    server.publish("a", "panic");
    assert!(server.received(peer).starts_with("HTTP/1.1 500 "));
}

#[test]
fn data_are_escaped_in_json() {
    let mut server = server();
    let id = server.publish("a", "\"quoted\" \\ \n\r\t\u{1}\u{7f} é\u{2028}").event_id.unwrap();
    let peer = server.connect(get("/a/now"));
    let text = server.received(peer);
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let expected = r#"\"quoted\" \\ \n\r\t\u0001"#;
    assert_eq!(body, format!("{{\"id\":{id},\"data\":\"{expected}\u{7f} é\u{2028}\"}}"));
}
