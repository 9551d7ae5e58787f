//! One client, and its time-outs and limits.

use ws_reactor::TestSocket;

use super::*;

#[test]
fn client_that_answers_pings_stays_and_another_is_closed() {
    let mut client = PusherTest::connect(Pusher::new().app(app()), "1");
    client.advance(Duration::from_secs(1000));
    assert!(client.is_connected());
    let mut world = World::new(1);
    let silent = world.client(0);
    world.advance(119);
    assert_eq!(world.events(&silent), [""; 0]);
    world.advance(2);
    assert_eq!(world.events(&silent), ["pusher:ping"]);
    // Any message counts.
    world.send(&silent, &json!({"event": "unknown"}));
    world.advance(119);
    assert_eq!(world.events(&silent), [""; 0]);
    world.advance(2);
    assert_eq!(world.events(&silent), ["pusher:ping"]);
    world.advance(28);
    assert_eq!(world.events(&silent), [""; 0]);
    world.advance(3);
    assert_eq!(world.close_code(&silent), Some(4201));
}

#[test]
fn subscriptions_members_and_their_data_are_bounded() {
    let app = app().max_channels(3).max_members(2).max_member_bytes(50);
    let mut client = PusherTest::connect(Pusher::new().app(app), "1");
    let user = |id: &str| Some(json!({"user_id": id}));
    assert!(client.subscribe("a", None).is_ok() && client.subscribe("presence-b", user("1")).is_ok());
    let long = json!({"user_id": "1", "user_info": "x".repeat(50)});
    assert_eq!(client.subscribe("presence-c", Some(long)).unwrap_err()["status"], 400);
    assert!(client.subscribe("presence-c", user("1")).is_ok());
    assert_eq!(client.subscribe("d", None).unwrap_err()["type"], "LimitReached");
    assert!(client.subscribe("a", None).is_ok(), "it is subscribed");
    client.unsubscribe("a");
    assert!(client.subscribe("d", None).is_ok());

    let mut world = World::new(1);
    let limited = world.start(PusherApp::new("1", "key", "secret").max_members(2));
    for user in ["ann", "bob"] {
        world.member(0, "presence-a", user);
    }
    let cid = world.client(limited);
    world.subscribe(&cid, "presence-a", Some("cid"));
    assert_eq!(world.events(&cid), ["pusher:subscription_error"]);
    world.member(limited, "presence-a", "bob");
}

#[test]
fn connections_are_bounded() {
    let mut world = World::new(0);
    world.start(app().max_connections(1));
    let first = world.client(0);
    let kernel = world.reactor.kernel_mut();
    let peer = kernel.connect(address(0).parse().unwrap()).unwrap();
    kernel.send(peer, UPGRADE.as_bytes());
    world.settle();
    assert_eq!(world.received(peer)[0]["data"]["code"], 4004);
    world.cut(&first);
    world.client(0);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let status = |origin: &str| {
        let pusher = Pusher::new().app(app()).origins(["https://example.com"]).unwrap().build();
        let server = Server::routes(pusher.mount(Routes::new())).unwrap();
        let request = UPGRADE.replace("Host: example.com\r\n", &format!("Host: example.com\r\n{origin}"));
        let mut socket = TestSocket::request(server, request);
        String::from_utf8_lossy(&socket.received_bytes()[9..12]).into_owned()
    };
    assert_eq!(status("Origin: https://example.com\r\n"), "101");
    assert_eq!(status(""), "101");
    assert_eq!(status("Origin: https://other.example\r\n"), "403");
    assert!(Pusher::new().origins(["no scheme"]).is_err());
}

#[test]
fn channels_are_private_to_those_with_a_signature() {
    let mut client = PusherTest::connect(Pusher::new().app(app()), "1");
    for (channel, auth) in [("private-a", ""), ("presence-a", "key:00"), ("private-encrypted-a", "other:00")] {
        client.send("pusher:subscribe", &json!({"channel": channel, "auth": auth}));
        let events = client.events();
        assert_eq!(
            (events.len(), &*events[0].1, &events[0].2["status"]),
            (1, "pusher:subscription_error", &json!(401))
        );
    }
    assert!(client.is_connected());
}

#[test]
fn events_of_the_application_follow_the_limits() {
    let mut client = PusherTest::connect(Pusher::new().app(app().max_event_bytes(10)), "1");
    let app = client.app();
    client.subscribe("a", None).unwrap();
    assert!(app.trigger(client.hub(), &["a"], "e", &"1234567", None).is_ok());
    assert!(app.trigger(client.hub(), &["a"], "e", &"123456789", None).is_err());
    assert!(app.trigger(client.hub(), &[], "e", &"1", None).is_err());
    assert!(app.trigger(client.hub(), &["a b"], "e", &"1", None).is_err());
    let own = client.socket_id().to_owned();
    assert!(app.trigger(client.hub(), &["a"], "e", &"1", Some(&own)).is_ok());
    assert_eq!(client.events(), [("a".to_owned(), "e".to_owned(), json!("1234567"))]);
}

#[test]
fn subscriptions_of_a_connection_have_a_rate() {
    let mut client = PusherTest::connect(Pusher::new().app(app().max_channels(1)), "1");
    let accepted = |client: &mut PusherTest| {
        let accepts = |_: &i32| {
            let is_accepted = client.subscribe("a", None).is_ok();
            client.unsubscribe("a");
            is_accepted
        };
        (0..300).filter(accepts).count()
    };
    assert_eq!(accepted(&mut client), 100);
    client.advance(Duration::from_millis(500));
    assert_eq!(accepted(&mut client), 50);
}

#[test]
fn values_that_could_sign_something_else_are_not_signed() {
    use ws_reactor::pusher::AuthorizationError::{Channel, ChannelData, SocketId, UserData};

    let pusher = Pusher::new().app(app()).build();
    let app = pusher.app("1").unwrap();
    let member = Some("{\"user_id\":1}");
    for (socket_id, channel, data, error) in [
        ("1.2:private-secret", "private-own", None, SocketId),
        ("1.2", ":user::{\"id\":\"admin\"}", None, Channel),
        ("1.2", "private-a:b", None, Channel),
        ("1.2:presence-a", "{\"user_id\":\"admin\"}", None, SocketId),
        ("1.2", "private-a", member, ChannelData),
        ("1.2", "presence-a", None, ChannelData),
        ("1.2", "presence-a", Some("{}"), ChannelData),
    ] {
        assert_eq!(app.authorize(socket_id, channel, data), Err(error), "{socket_id} {channel}");
    }
    assert_eq!(app.authenticate("1.2:private-secret", "{\"id\":1}"), Err(SocketId));
    assert_eq!(app.authenticate("1.2", "{}"), Err(UserData));
    assert!(app.authorize("1.2", "presence-a", member).is_ok() && app.authenticate("1.2", "{\"id\":1}").is_ok());
}

#[test]
fn panic_of_the_hook_ends_nothing_else() {
    crate::support::silence_deliberate_panics();
    let mut client = PusherTest::connect(Pusher::new().app(app()), "1");
    client.app().on_event(|_, event| panic!("deliberate: {event:?}"));
    client.subscribe("a", None).unwrap();
    client.advance(Duration::from_secs(2));
    let app = client.app();
    app.trigger(client.hub(), &["a"], "e", &1, None).unwrap();
    assert_eq!(client.events().len(), 1);
}

#[test]
fn user_is_signed_in_once_for_a_connection() {
    let mut client = PusherTest::connect(Pusher::new().app(app()), "1");
    let ann = json!({"id": "ann", "watchlist": ["ann", "bob"]});
    assert!(client.sign_in(&ann) && client.sign_in(&ann));
    assert!(!client.sign_in(&json!({"id": "bob"})));
    assert_eq!(client.app().stats().users, 1);
    assert!(
        client.subscribe("#server-to-user-ann", None).is_ok() && client.subscribe("#server-to-user-bob", None).is_err()
    );
    let app = client.app();
    app.trigger(client.hub(), &["#server-to-user-ann"], "mail", &1, None).unwrap();
    assert_eq!(client.events(), [("#server-to-user-ann".to_owned(), "mail".to_owned(), json!(1))]);
    app.terminate_user(client.hub(), "ann");
    assert_eq!((client.is_connected(), client.error()), (false, Some(4009)));
    client.disconnect();
    assert_eq!(client.app().stats().users, 0);
}

#[test]
fn client_that_leaves_before_it_is_confirmed_leaves_nothing() {
    let mut world = World::new(2);
    let client = world.client(0);
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#;
    let unsubscribe = r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#;
    let frame = |text: &str| [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
    // All in one turn.
    let all = [subscribe, unsubscribe, subscribe, unsubscribe, subscribe].map(frame).concat();
    world.reactor.kernel_mut().send(client.peer, &all);
    world.settle();
    assert_eq!(world.events(&client), ["subscription_succeeded"]);
    assert_eq!(world.nodes[1].app("1").unwrap().subscriptions("a"), 1);
    world.reactor.kernel_mut().send(client.peer, &[unsubscribe, subscribe].map(frame).concat());
    world.cut(&client);
    let stats = world.nodes.iter().map(|node| node.app("1").unwrap().stats());
    assert!(stats.clone().all(|stats| (stats.channels, stats.subscriptions, stats.connections) == (0, 0, 0)));
    let reports = world.reports.take();
    assert_eq!(reports.iter().filter(|report| report.contains("Occupied")).count() * 2, reports.len(), "{reports:?}");
}
