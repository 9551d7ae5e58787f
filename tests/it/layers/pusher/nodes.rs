//! Several nodes of an app.

use super::*;

#[test]
fn members_are_users_of_all_nodes() {
    let mut world = World::new(2);
    let ann = world.member(0, "presence-a", "ann");
    let bob = world.member(1, "presence-a", "bob");
    let same = world.member(1, "presence-a", "ann");
    assert_eq!(world.events(&ann), [r#"added "bob""#]);
    assert_eq!(
        (world.users(0, "presence-a"), world.users(1, "presence-a")),
        (vec!["ann".into(), "bob".into()], vec!["ann".into(), "bob".into()])
    );
    world.cut(&ann);
    assert_eq!(world.events(&bob), [""; 0]);
    world.cut(&same);
    assert_eq!(world.events(&bob), [r#"removed "ann""#]);
    world.cut(&bob);
    let a = "channel: \"presence-a\"";
    assert_eq!(
        world.reports.take(),
        [
            format!("ChannelOccupied {{ {a} }}"),
            format!("MemberAdded {{ {a}, user_id: \"ann\" }}"),
            format!("MemberAdded {{ {a}, user_id: \"bob\" }}"),
            format!("MemberRemoved {{ {a}, user_id: \"ann\" }}"),
            format!("MemberRemoved {{ {a}, user_id: \"bob\" }}"),
            format!("ChannelVacated {{ {a} }}"),
        ]
    );
}

#[test]
fn events_reach_all_nodes_but_not_the_excluded_connection() {
    let mut world = World::new(3);
    let clients: Vec<Client> = (0..3).map(|node| world.client(node)).collect();
    clients.iter().for_each(|client| world.subscribe(client, "private-a", None));
    let app = world.nodes[0].app("1").unwrap();
    app.trigger(world.reactor.hub(), &["private-a"], "e", &1, Some(&clients[2].socket_id)).unwrap();
    world.settle();
    world.send(&clients[1], &json!({"event": "client-e", "channel": "private-a", "data": {}}));
    let succeeded = "subscription_succeeded";
    assert_eq!(world.events(&clients[0]), [succeeded, "e", "client-e"]);
    assert_eq!(world.events(&clients[1]), [succeeded, "e"]);
    assert_eq!(world.events(&clients[2]), [succeeded, "client-e"]);
}

#[test]
fn node_that_starts_later_has_members_and_caches() {
    let mut world = World::new(1);
    world.member(0, "presence-a", "ann");
    let trigger = world.nodes[0].app("1").unwrap();
    for number in 0..100 {
        let channel = format!("cache-{number}");
        trigger.trigger(world.reactor.hub(), &[&channel], "kept", &"x".repeat(9000), None).unwrap();
    }
    world.settle();
    world.reports.take();
    world.start(app());
    assert_eq!(world.users(1, "presence-a"), ["ann"]);
    assert_eq!(world.nodes[1].app("1").unwrap().stats().cached_events, 100);
    let client = world.client(1);
    for channel in ["cache-0", "cache-none"] {
        world.subscribe(&client, channel, None);
    }
    let expected = ["subscription_succeeded", "kept", "subscription_succeeded", "pusher:cache_miss"];
    assert_eq!(world.events(&client), expected);
    assert!(!world.reports.take().iter().any(|report| report.contains("presence-a")), "it is no news");
    // The time of a cached event goes on.
    world.advance(1795);
    assert_eq!(world.nodes[1].app("1").unwrap().stats().cached_events, 100);
    world.advance(10);
    assert_eq!(world.nodes[1].app("1").unwrap().stats().cached_events, 0);
}

#[test]
fn node_that_closes_leaves_at_once() {
    let mut world = World::new(2);
    let (ann, bob) = (world.member(0, "presence-a", "ann"), world.member(1, "presence-a", "bob"));
    world.events(&ann);
    world.reports.take();
    let leaving = world.nodes[1].clone();
    leaving.close(world.reactor.hub());
    world.settle();
    assert_eq!(world.close_code(&bob), Some(4200));
    assert_eq!(world.events(&ann), [r#"removed "bob""#]);
    assert_eq!(world.reports.take().len(), 1);
    world.advance(60);
    assert_eq!((world.events(&ann).len(), world.users(0, "presence-a")), (0, vec!["ann".to_owned()]));
}

#[test]
fn events_of_the_start_are_reported_unless_they_are_no_news() {
    let mut world = World::new(0);
    let (pusher, reports) = (Pusher::new().app(app()).build(), Rc::clone(&world.reports));
    pusher.app("1").unwrap().on_event(move |_, event| reports.borrow_mut().push(format!("{event:?}")));
    let server = Server::routes(pusher.mount(Routes::new())).unwrap().ping_after(None);
    world.reactor.listen(&*address(0), server).unwrap();
    world.nodes.push(pusher);
    // The client starts the app.
    world.member(0, "presence-a", "ann");
    world.member(0, "presence-b", "ann");
    assert_eq!(world.reports.take(), [""; 0], "the others may answer");
    let members = json!({"ann": [1, {"user_id": "ann"}]});
    let holdings = json!({"channels": {"presence-a": {"subscriptions": 1, "members": members}}, "users": {}});
    let all = json!({"t": "holdings", "holdings": holdings, "last_token": 9, "is_first": true, "is_last": true});
    world.publish(&other("x", 0, all));
    world.publish(&other("x", 1, join("presence-b", "ann")));
    world.advance(2);
    let b = "channel: \"presence-b\"";
    let expected = [format!("ChannelOccupied {{ {b} }}"), format!("MemberAdded {{ {b}, user_id: \"ann\" }}")];
    assert_eq!(world.reports.take(), expected);
}

#[test]
fn node_that_closes_alone_reports_what_ends() {
    let mut world = World::new(1);
    let ann = world.member(0, "presence-a", "ann");
    world.reports.take();
    let leaving = world.nodes[0].clone();
    leaving.close(world.reactor.hub());
    world.settle();
    assert_eq!(world.close_code(&ann), Some(4200));
    let a = "channel: \"presence-a\"";
    let expected = [format!("MemberRemoved {{ {a}, user_id: \"ann\" }}"), format!("ChannelVacated {{ {a} }}")];
    assert_eq!(world.reports.take(), expected);
    // It accepts no further clients.
    let kernel = world.reactor.kernel_mut();
    let peer = kernel.connect(address(0).parse().unwrap()).unwrap();
    kernel.send(peer, UPGRADE.as_bytes());
    world.settle();
    assert_eq!(world.received(peer)[0]["data"]["code"], 4200);
}

/// A message of another node.
fn other(node: &str, number: u64, message: Value) -> Value {
    let mut envelope = json!({"n": node, "s": number});
    envelope.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
    envelope
}

fn join(channel: &str, user: &str) -> Value {
    json!({"t": "change", "change": {"join": {"channel": channel, "member": {"user_id": user}}}})
}

#[test]
fn node_that_is_silent_ends_after_its_lease() {
    let mut world = World::new(2);
    let ann = world.member(0, "presence-a", "ann");
    for (node, user) in [("x", "bob"), ("y", "cid"), ("y", "ann")] {
        let number = u64::from(user == "ann");
        world.publish(&other(node, number, join("presence-a", user)));
    }
    assert_eq!(world.events(&ann), [r#"added "bob""#, r#"added "cid""#]);
    world.reports.take();
    world.advance(25);
    world.publish(&other("y", 2, json!({"t": "alive"})));
    world.advance(12);
    assert_eq!(world.events(&ann), [r#"removed "bob""#]);
    assert_eq!(world.reports.take(), [r#"MemberRemoved { channel: "presence-a", user_id: "bob" }"#], "by one node");
    world.advance(30);
    assert_eq!(world.events(&ann), [r#"removed "cid""#]);
    assert_eq!(world.reports.take().len(), 1);
}

#[test]
fn node_with_a_gap_is_asked_for_its_holdings() {
    let mut world = World::new(1);
    let ann = world.member(0, "presence-a", "ann");
    let asked = Log::default();
    let noted = Rc::clone(&asked);
    world.reactor.hub().watch_topic("pusher/1", move |_, message| {
        let value: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        if value["t"] == "ask" {
            noted.borrow_mut().push(value["node"].as_str().unwrap().to_owned());
        }
    });
    world.publish(&other("x", 0, join("presence-a", "bob")));
    world.publish(&other("x", 2, join("presence-a", "cid")));
    world.publish(&other("x", 3, join("presence-a", "dan")));
    assert_eq!((world.events(&ann), asked.take()), (vec![r#"added "bob""#.to_owned()], vec!["x".to_owned()]));
    let members = json!({"cid": [1, {"user_id": "cid"}], "eva": [2, {"user_id": "eva"}]});
    let holdings = json!({"channels": {"presence-a": {"subscriptions": 3, "members": members}}, "users": {}});
    world.publish(&other(
        "x",
        4,
        json!({"t": "holdings", "holdings": holdings, "last_token": 9, "is_first": true, "is_last": true}),
    ));
    let mut events = world.events(&ann);
    events.sort();
    assert_eq!(events, [r#"added "cid""#, r#"added "eva""#, r#"removed "bob""#]);
    assert_eq!(world.nodes[0].app("1").unwrap().subscriptions("presence-a"), 4);
    world.publish(&other("x", 5, json!({"t": "bye"})));
    assert_eq!(world.users(0, "presence-a"), ["ann"]);
}

#[test]
fn malformed_messages_on_the_topic_are_dropped() {
    let mut world = World::new(1);
    let ann = world.member(0, "presence-a", "ann");
    for text in ["", "{}", "x", "{\"n\":\"a\",\"s\":0,\"t\":\"event\",\"name\":\"e\",\"channels\":[\"presence-a\"]}\n{"]
    {
        world.reactor.hub().publish("pusher/1", text);
    }
    world.reactor.hub().publish("pusher/1", &b"\xff"[..]);
    world.settle();
    assert_eq!(world.events(&ann), [""; 0]);
}

/// A backplane whose connection the test makes and loses. It delivers what this process publishes.
#[derive(Clone, Default)]
struct Line(Rc<RefCell<Vec<String>>>);

impl ws_reactor::Backplane for Line {
    fn subscribe(&mut self, hub: &mut ws_reactor::Hub, topic: &str) {
        hub.confirm_topic(topic);
    }

    fn publish(&mut self, _: &mut ws_reactor::Hub, published: ws_reactor::PublishedMessage<'_>) {
        self.0.borrow_mut().push(published.message.to_string());
    }
}

#[test]
fn nobody_ends_in_an_outage_that_is_longer_than_a_lease() {
    let mut world = World::new(0);
    let sent = Line::default();
    world.reactor.hub().set_backplane(sent.clone());
    world.start(app());
    let ann = world.member(0, "presence-a", "ann");
    world.reactor.hub().deliver("pusher/1", other("x", 0, join("presence-a", "bob")).to_string());
    world.settle();
    assert_eq!(world.events(&ann), [r#"added "bob""#]);
    world.reactor.hub().revoke_topics(["pusher/1"]);
    world.advance(60);
    world.reactor.hub().confirm_topic("pusher/1");
    world.settle();
    sent.0.take();
    world.advance(4);
    world.reactor.hub().deliver("pusher/1", other("x", 1, json!({"t": "alive"})).to_string());
    world.advance(29);
    // Those of the start.
    assert_eq!((world.events(&ann).len(), world.reports.take().len()), (0, 2));
    world.advance(10);
    assert_eq!(world.events(&ann), [r#"removed "bob""#]);
    assert!(sent.0.take().iter().any(|text| text.contains("ended")));
}

#[test]
fn node_that_was_stopped_ends_no_other() {
    let mut world = World::new(1);
    let ann = world.member(0, "presence-a", "ann");
    world.publish(&other("x", 0, join("presence-a", "bob")));
    world.advance(10);
    world.events(&ann);
    world.reactor.kernel_mut().advance(Duration::from_secs(100));
    world.settle();
    world.advance(10);
    world.publish(&other("x", 1, json!({"t": "alive"})));
    world.advance(25);
    assert_eq!(world.users(0, "presence-a"), ["ann", "bob"]);
}

#[test]
fn node_that_others_have_ended_comes_back() {
    let mut world = World::new(1);
    let ann = world.member(0, "presence-a", "ann");
    let own = Log::default();
    let noted = Rc::clone(&own);
    world.reactor.hub().watch_topic("pusher/1", move |_, message| {
        let value: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        noted.borrow_mut().push(value["n"].as_str().unwrap().to_owned());
    });
    world.advance(6);
    let node = own.take().pop().expect("it is alive");
    world.reports.take();
    world.publish(&other("x", 0, json!({"t": "ended", "node": node})));
    assert_eq!(world.events(&ann), [r#"removed "ann""#, r#"added "ann""#]);
    assert_eq!(world.users(0, "presence-a"), ["ann"]);
    assert_eq!(world.reports.take().len(), 2, "the end is reported by another node");
}
