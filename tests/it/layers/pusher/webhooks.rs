//! Requests of webhooks to a server that the tests play.

use std::net::SocketAddr;

use super::*;

const RECEIVER: &str = "10.0.0.9:8080";

/// A world whose events are posted to a server of the test.
fn world() -> World {
    let mut world = World::new(0);
    world.reactor.kernel_mut().play(RECEIVER.parse::<SocketAddr>().unwrap());
    // The clients answer no pings.
    let app = app().activity_timeout(Duration::from_secs(100_000));
    world.start(app.webhook(&format!("http://{RECEIVER}/hook?a=b")).unwrap());
    world
}

impl World {
    /// The connection of the next request, and its text.
    fn request(&mut self) -> (PeerId, String) {
        let (peer, _) = self.reactor.kernel_mut().dialed().expect("a request");
        (peer, String::from_utf8(self.reactor.kernel_mut().received(peer)).unwrap())
    }

    fn respond(&mut self, peer: PeerId, text: &str) {
        self.reactor.kernel_mut().send(peer, text.as_bytes());
        self.settle();
    }

    fn has_request(&mut self) -> bool {
        self.reactor.kernel_mut().dialed().is_some()
    }
}

#[test]
fn request_has_the_headers_and_a_signature() {
    let mut world = world();
    world.member(0, "presence-a", "ann");
    assert!(!world.has_request(), "events are collected");
    world.advance(1);
    let (peer, request) = world.request();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\nHost: 10.0.0.9:8080\r\n"), "{head}");
    for line in ["Content-Type: application/json", "X-Pusher-Key: key", "Connection: close"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    let signature = head.lines().find_map(|line| line.strip_prefix("X-Pusher-Signature: ")).unwrap();
    assert_eq!((signature.len(), signature.bytes().all(|octet| octet.is_ascii_hexdigit())), (64, true));
    let body: Value = serde_json::from_str(body).unwrap();
    let names: Vec<_> =
        body["events"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["channel_occupied", "member_added"]);
    assert!(body["time_ms"].is_u64());
    world.respond(peer, "HTTP/1.1 204 No Content\r\n\r\n");
    world.advance(600);
    assert!(!world.has_request());
    let stats = world.nodes[0].app("1").unwrap().stats();
    assert_eq!((stats.webhooks_waiting, stats.webhooks_dropped), (0, 0));
}

#[test]
fn request_without_success_is_repeated_and_dropped_at_last() {
    let mut world = world();
    world.member(0, "presence-a", "ann");
    let mut bodies = Vec::new();
    for (wait, response) in [
        (1, "HTTP/1.1 500 Internal Server Error\r\n\r\n"),
        (1, "nonsense\r\n\r\n"),
        (4, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\n"),
        (15, ""),
        (60, "HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\n\r\n"),
        (300, "HTTP/1.1 404 Not Found\r\n\r\n"),
    ] {
        world.advance(wait);
        let (peer, request) = world.request();
        bodies.push(request.split_once("\r\n\r\n").unwrap().1.to_owned());
        match response {
            // The receiver hangs.
            "" => world.advance(6),
            response => world.respond(peer, response),
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    world.advance(1000);
    assert!(!world.has_request());
    let stats = world.nodes[0].app("1").unwrap().stats();
    assert_eq!((stats.webhooks_waiting, stats.webhooks_dropped), (0, 1));
}

#[test]
fn url_of_a_webhook_is_plain_http() {
    for url in ["https://example.com/", "ws://example.com/", "example.com", "http://", "http://a b/", "http://user@a/"]
    {
        assert!(app().webhook(url).is_err(), "{url}");
    }
    assert!(app().webhook("http://[::1]:80").is_ok());
}
