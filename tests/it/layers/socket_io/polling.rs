//! Engine.IO: sessions that poll.

use ws_reactor::Cors;

use super::{
    engine::{PATH, echo},
    *,
};

const TARGET: &str = "/engine.io/?EIO=4&transport=polling";

#[test]
fn poll_waits_for_a_message_and_takes_what_came_before() {
    let (mut world, _) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    assert_eq!(world.post(PATH, &sid, "4a\u{1e}bAQI=\u{1e}4é"), (200, "ok".to_owned()));
    let poll = world.poll(PATH, &sid);
    assert_eq!(world.response(poll), (200, "4a\u{1e}bAQI=\u{1e}4é".to_owned()));
    let poll = world.poll(PATH, &sid);
    assert_eq!(world.raw(poll), "");
    assert_eq!(world.post(PATH, &sid, "4b\u{1e}4c").0, 200);
    assert_eq!(world.response(poll), (200, "4b\u{1e}4c".to_owned()), "one response has all of a callback");
}

#[test]
fn response_has_at_most_sixteen_packets() {
    let (mut world, _) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    world.post(PATH, &sid, &vec!["4"; 20].join("\u{1e}"));
    for expected in [16, 4] {
        let poll = world.poll(PATH, &sid);
        assert_eq!(world.response(poll).1, vec!["4"; expected].join("\u{1e}"));
    }
}

#[test]
fn second_poll_is_refused_and_ends_the_session() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let (first, second) = (world.poll(PATH, &sid), world.poll(PATH, &sid));
    assert_eq!(world.response(first), (200, "1".to_owned()));
    assert_eq!(world.response(second).0, 400);
    assert_eq!(*log.borrow(), ["polling transport error"]);
    assert_eq!(world.post(PATH, &sid, "4x").0, 400);
}

#[test]
fn second_post_at_a_time_ends_the_session() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let target = format!("{TARGET}&sid={sid}");
    let first = world.request("POST", &target, "Content-Length: 10\n", "");
    assert_eq!(world.post(PATH, &sid, "4x").0, 400);
    assert_eq!(*log.borrow(), ["polling transport error"]);
    world.cut(first);
    assert_eq!(log.borrow().len(), 1);
}

#[test]
fn request_that_is_cut_ends_the_session() {
    for is_poll in [true, false] {
        let (mut world, log) = echo(|engine| engine);
        let sid = world.handshake(PATH);
        let peer = match is_poll {
            true => world.poll(PATH, &sid),
            false => world.request("POST", &format!("{TARGET}&sid={sid}"), "Content-Length: 10\n", ""),
        };
        assert!(log.borrow().is_empty());
        world.cut(peer);
        assert_eq!(*log.borrow(), ["polling transport error"]);
    }
    // A connection may be used again, and ends when nothing is asked for.
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let peer = world.request("POST", &format!("{TARGET}&sid={sid}"), "", "4x");
    world.raw(peer);
    world.further_request(peer, "GET", &format!("{TARGET}&sid={sid}"), "", "");
    assert_eq!(world.response(peer).1, "4x");
    world.cut(peer);
    assert!(log.borrow().is_empty());
}

#[test]
fn body_that_is_no_packet_ends_the_session() {
    let long = "4".repeat(200);
    let cases = [("", "abc", "parse error"), ("", "4a\u{1e}", "parse error"), ("", "b!", "parse error")];
    for (headers, body, reason) in cases {
        let (mut world, log) = echo(|engine| engine);
        let sid = world.handshake(PATH);
        let peer = world.request("POST", &format!("{TARGET}&sid={sid}"), headers, body);
        assert_eq!(world.response(peer).0, 200);
        assert_eq!(*log.borrow(), [format!("polling {reason}")], "{body}");
    }
    let (mut world, log) = echo(|engine| engine.max_payload(100));
    let sid = world.handshake(PATH);
    assert_eq!(world.post(PATH, &sid, &long), (413, String::new()));
    assert!(log.borrow().is_empty());
    assert_eq!(world.post(PATH, &sid, "4x").0, 200, "the session goes on");
    let octets = "Content-Type: application/octet-stream\n";
    let peer = world.request("POST", &format!("{TARGET}&sid={sid}"), octets, "4x");
    assert_eq!(world.response(peer).0, 400);
    assert_eq!(*log.borrow(), ["polling transport error"]);
}

#[test]
fn get_with_a_body_is_bounded() {
    let (mut world, _) = echo(|engine| engine.max_payload(100));
    let peer = world.request("GET", TARGET, "", &"x".repeat(200));
    assert_eq!(world.response(peer).0, 413);
}

#[test]
fn close_of_the_client_answers_its_poll() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    let poll = world.poll(PATH, &sid);
    assert_eq!(world.post(PATH, &sid, "1").0, 200);
    assert_eq!(world.response(poll), (200, "6".to_owned()));
    assert_eq!(*log.borrow(), ["polling transport close"]);
}

#[test]
fn close_of_the_server_waits_for_a_poll() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    world.post(PATH, &sid, "4last\u{1e}4close\u{1e}4too late");
    assert!(log.borrow().is_empty());
    let poll = world.poll(PATH, &sid);
    assert_eq!(world.response(poll), (200, "4last\u{1e}1".to_owned()));
    assert_eq!(*log.borrow(), ["polling forced close"]);
}

#[test]
fn client_that_never_polls_is_gone_after_interval_and_timeout() {
    let (mut world, log) = echo(|engine| engine);
    (0..100).for_each(|_| _ = world.handshake(PATH));
    world.sleep(Duration::from_millis(44_900));
    assert!(log.borrow().is_empty());
    world.sleep(Duration::from_millis(200));
    assert_eq!(log.borrow().len(), 100);
    assert!(log.borrow().iter().all(|line| line == "polling ping timeout"));
}

#[test]
fn poll_is_answered_with_pings_for_ever() {
    let (mut world, log) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    for _ in 0..5 {
        let poll = world.poll(PATH, &sid);
        world.sleep(Duration::from_secs(25));
        assert_eq!(world.response(poll), (200, "2".to_owned()));
        assert_eq!(world.post(PATH, &sid, "3").0, 200);
    }
    assert!(log.borrow().is_empty());
}

#[test]
fn client_that_does_not_poll_is_bounded() {
    let (mut world, log) = echo(|engine| engine.max_waiting_bytes(1500));
    let sid = world.handshake(PATH);
    world.post(PATH, &sid, &format!("4{}", "x".repeat(900)));
    assert!(log.borrow().is_empty());
    world.post(PATH, &sid, &format!("4{}", "x".repeat(900)));
    assert_eq!(*log.borrow(), ["polling transport error"]);
}

#[test]
fn pages_of_other_origins_may_connect_by_the_policy() {
    let (mut world, _) = echo(|engine| engine.cors(Cors::origins(["http://good.test"]).unwrap().credentials(true)));
    let origin = "Origin: http://good.test\n";
    for (target, status) in [(TARGET, "200"), ("/engine.io/?EIO=3&transport=polling", "400")] {
        let peer = world.request("GET", target, origin, "");
        let response = world.raw(peer);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert!(response.contains("Access-Control-Allow-Origin: http://good.test\r\n"), "{response}");
        assert!(response.contains("Access-Control-Allow-Credentials: true\r\n"), "{response}");
    }
    let preflight = "Origin: http://good.test\nAccess-Control-Request-Method: POST\n";
    let peer = world.request("OPTIONS", TARGET, preflight, "");
    assert!(world.raw(peer).starts_with("HTTP/1.1 204 "));
    let peer = world.request("GET", TARGET, "Origin: http://bad.test\n", "");
    assert!(!world.raw(peer).contains("Access-Control-Allow-Origin"));
}

#[cfg(feature = "deflate")]
#[test]
fn long_response_is_compressed_for_clients_that_accept_it() {
    let (mut world, _) = echo(|engine| engine);
    let sid = world.handshake(PATH);
    for (accepts, is_compressed) in [("Accept-Encoding: gzip, deflate\n", true), ("", false)] {
        world.post(PATH, &sid, &format!("4{}", "x".repeat(2000)));
        let peer = world.request("GET", &format!("{TARGET}&sid={sid}"), accepts, "");
        let response = world.raw(peer);
        assert_eq!(response.contains("Content-Encoding: gzip\r\n"), is_compressed, "{response}");
        assert!(response.len() < 400 || !is_compressed);
    }
}
