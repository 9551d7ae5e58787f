//! Messages that are held are delivered once, in their order, whatever happens to Redis.

use std::time::Duration;

use ws_reactor::{Redis, Turn, net::sim::PeerId};

use super::played::{ADDRESS, World};

fn world(change: impl FnOnce(Redis) -> Redis) -> (World, PeerId) {
    let mut world = World::with(|redis| change(redis.one_order(true)));
    let client = world.client();
    (world, client)
}

#[test]
fn order_is_kept_beyond_the_bound_of_what_may_wait() {
    let (mut world, client) = world(|redis| redis.pending_bytes(1000));
    (0..20).for_each(|number| _ = world.reactor.hub().publish("room", format!("{number:02}")));
    world.settle();
    let messages = world.messages(client);
    assert!(messages.len() == 20 && messages.is_sorted(), "{messages:?}");
    assert!(world.handle.stats().lost > 0);
}

#[test]
fn order_is_kept_around_a_refusal() {
    let (mut world, client) = world(|redis| redis);
    world.redis.replies = vec![("PUBLISH p:room 2", b"-OOM command not allowed\r\n")];
    ["1", "2", "3"].into_iter().for_each(|text| _ = world.reactor.hub().publish("room", text));
    world.settle();
    assert_eq!(world.messages(client), ["1", "2", "3"]);
}

#[test]
fn redis_that_is_lost_during_a_shutdown_holds_nothing() {
    let (mut world, client) = world(|redis| redis);
    let last = world.client();
    world.reactor.hub().shutdown_over(Duration::from_secs(30), Duration::from_secs(120));
    world.pass(Duration::from_secs(12));
    world.redis.silent = vec!["PUBLISH"];
    world.publish("before the loss");
    world.reset();
    world.publish("after the loss");
    for client in [client, last] {
        assert_eq!(world.messages(client), ["before the loss", "after the loss"]);
    }
}

#[test]
fn message_of_the_callback_that_shuts_down_arrives_before_the_close() {
    let (mut world, client) = world(|redis| redis);
    world.reactor.hub().publish("room", "last words");
    world.reactor.hub().shutdown(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.messages(client)[0], "last words");
}

#[test]
fn shutdown_ends_with_the_last_client() {
    let (mut world, client) = world(|redis| redis.history_stream("s", 10));
    world.reactor.hub().shutdown(Duration::from_secs(60));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.redis.sessions.len(), 3);
    assert_eq!(world.reactor.settle().unwrap(), Turn::Running);
    world.reactor.kernel_mut().reset(client);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.reactor.settle().unwrap(), Turn::Stopped);
}

#[test]
fn backplane_that_replaces_another_ends_it_after_its_tasks() {
    let (mut world, client) = world(|redis| redis);
    world.redis.silent = vec!["PUBLISH"];
    world.publish("held");
    world.reactor.hub().publish("room", "of the same turn");
    let second = Redis::new(&format!("redis://{ADDRESS}")).unwrap().prefix("p:");
    world.reactor.hub().set_backplane(second);
    world.settle();
    assert_eq!(world.messages(client), ["held", "of the same turn"]);
    world.redis.silent.clear();
    world.pass(Duration::from_secs(1));
    world.publish_foreign(b"foreign");
    world.publish("own");
    assert_eq!(world.messages(client), ["foreign", "own"]);
    let kernel = world.reactor.kernel_mut();
    let open = world.redis.sessions.keys().filter(|peer| !kernel.is_closed(**peer) && !kernel.is_ended(**peer)).count();
    assert_eq!(open, 2, "the connections of the first one are closed");
}
