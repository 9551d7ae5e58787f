//! Publications that come back from Redis before subscribers in this process get them.

use std::time::Duration;

use ws_reactor::net::sim::PeerId;

use super::played::World;

fn world() -> (World, PeerId) {
    let mut world = World::with(|redis| redis.one_order(true));
    let client = world.client();
    (world, client)
}

#[test]
fn message_of_another_that_redis_has_before_comes_first() {
    let (mut world, client) = world();
    world.reactor.hub().publish("room", "own");
    world.reactor.settle().unwrap();
    assert!(world.messages(client).is_empty(), "it has not come back");
    world.publish_foreign(b"foreign");
    assert_eq!(world.messages(client), ["foreign", "own"]);
    assert_eq!((world.handle.stats().published, world.handle.stats().received), (1, 1));
}

#[test]
fn sender_that_is_excepted_and_keys_of_latest_messages_are_remembered() {
    let (mut world, client) = world();
    let ids: Vec<_> = world.reactor.hub().connections().collect();
    let other = world.client();
    world.reactor.hub().publish_to_others(ids[ids.len() - 1], "room", "to the other");
    world.reactor.hub().publish_latest("room", "key", "latest");
    world.reactor.hub().publish_local("room", "local");
    world.settle();
    assert_eq!(world.messages(other), ["local", "to the other", "latest"]);
    assert_eq!(world.messages(client), ["local", "latest"]);
}

#[test]
fn message_that_does_not_come_back_is_delivered_at_once() {
    let (mut world, client) = world();
    world.redis.replies = vec![("PUBLISH p:room refused", b"-OOM command not allowed\r\n")];
    world.publish("refused");
    assert_eq!(world.messages(client), ["refused"]);
    world.redis.silent = vec!["PUBLISH p:room lost"];
    world.publish("lost 1");
    world.publish("lost 2");
    assert!(world.messages(client).is_empty());
    world.reset();
    assert_eq!(world.messages(client), ["lost 1", "lost 2"], "in the order of publishing");
    world.publish("away");
    assert_eq!(world.messages(client), ["away"]);
    world.redis.silent.clear();
    world.pass(Duration::from_secs(10));
    world.publish("back");
    assert_eq!(world.messages(client), ["back"]);
    assert_eq!(world.handle.stats().lost, 4);
}

#[test]
fn message_that_is_kept_while_redis_is_away_is_delivered_once() {
    let mut world = World::with(|redis| redis.one_order(true).keep_while_away(10_000));
    let client = world.client();
    world.reset();
    world.publish("kept");
    assert_eq!(world.messages(client), ["kept"]);
    world.pass(Duration::from_secs(10));
    assert!(world.redis.commands.contains(&"PUBLISH p:room kept".to_owned()));
    assert!(world.messages(client).is_empty());
}

#[test]
fn topic_without_subscribers_holds_nothing() {
    let (mut world, _) = world();
    world.reactor.hub().publish("nobody's", "x");
    world.settle();
    assert!(world.redis.commands.contains(&"PUBLISH p:nobody\\'s x".to_owned()), "{:?}", world.redis.commands);
}
