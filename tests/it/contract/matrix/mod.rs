//! What a callback may do: every action in every callback, each with one defined outcome.
//!
//! The server has four connections, distinguished by the path of the request. `/actor` takes one action once, in one of
//! its callbacks or in a function of the loop. `/other` is the connection an action of the actor aims at. `/bystander`
//! echoes and must not be affected. `/stale` has ended before, and `/other` uses its slot.

mod actions;
mod expected;
mod world;

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use actions::{act, act_on};
use expected::{Action, Callback, End, Expected, Own, expected};
use world::{Frame, Scenario, World};
use ws_reactor::{
    CloseCode, CloseReason, ConnectionId, Error, Handler, Handshake, Hub, Message, Reactor, ReactorConfig, Server,
    TimerId, Turn, WebSocket,
    net::{
        Kernel,
        sim::{PeerId, Sim},
    },
};

/// The delay of every timer.
const DELAY: Duration = Duration::from_millis(100);
/// The size of the message that makes `on_drain` run.
const LARGE_MESSAGE_BYTES: usize = 100_000;
/// The message of the panics that the actions cause.
const INTENDED_PANIC: &str = "on purpose";

/// Makes a test of every action, which tries it in every callback.
macro_rules! matrix {
    ($($test:ident: $action:ident;)*) => {
        $(#[test] fn $test() { check_in_every_callback(Action::$action); })*
    };
}

matrix! {
    message_to_the_own_connection_arrives_while_it_is_open: SendToSelf;
    message_to_another_connection_arrives: SendToOther;
    close_accepts_no_further_message_and_ends_with_on_close: CloseSelf;
    close_of_another_connection_ends_it_with_on_close: CloseOther;
    terminate_ends_the_own_connection_without_waiting_for_the_peer: TerminateSelf;
    terminate_ends_another_connection_without_a_close_frame: TerminateOther;
    publish_reaches_every_open_subscriber_and_no_other_connection: Publish;
    subscription_applies_from_the_next_publish: Subscribe;
    unsubscribed_connection_receives_no_further_publish: Unsubscribe;
    timer_of_a_connection_fires_while_the_connection_is_open: SetOwnTimer;
    cancelled_timer_of_a_connection_does_not_fire: CancelOwnTimer;
    timer_of_the_loop_fires_once_and_cannot_be_cancelled_then: AddTimer;
    cancelled_timer_of_the_loop_does_not_fire: CancelTimer;
    periodic_timer_can_cancel_itself: CancelPeriodicInItself;
    next_tick_runs_once: NextTick;
    paused_connection_gets_no_message_until_it_is_resumed: Pause;
    pause_that_is_resumed_at_once_loses_no_message: PauseAndResume;
    stop_ends_the_loop_after_every_on_close: Stop;
    shutdown_closes_every_connection_and_then_ends_the_loop: Shutdown;
    stale_id_reaches_no_connection: SendToStale;
    panic_ends_its_own_connection_and_no_other: Panic;
}

fn check_in_every_callback(action: Action) {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(INTENDED_PANIC) {
                default_hook(info);
            }
        }));
    });
    let failed: Vec<Callback> = Callback::ALL
        .into_iter()
        .filter(|callback| panic::catch_unwind(|| check(action, *callback)).is_err())
        .collect();
    assert!(failed.is_empty(), "{action:?} in {failed:?}");
}

fn check(action: Action, callback: Callback) {
    let Expected { results, actor_frames, other_frames, actor_end, other_end, actor_events, loop_events, panics } =
        expected(action, callback);
    let mut world = World::new(action, callback);
    world.connect("/stale");
    let stale = world.scenario.id("/stale");
    world.reactor.hub().terminate(stale);
    world.reactor.settle().unwrap();
    world.connect("/other");
    world.connect("/bystander");

    let turn = world.trigger();
    assert_eq!(turn == Turn::Stopped, action == Action::Stop, "only stop ends the loop at once");
    assert_eq!(world.scenario.results(), results, "the results of the calls");
    world.reactor.advance(10 * DELAY).unwrap();
    let mut events_of_actor = callback.events();
    events_of_actor.extend(actor_events.into_iter().map(str::to_owned));
    // `on_error` reports the panic, except to a handler whose `on_close` runs or has run.
    if action == Action::Panic && callback.has_connection() && callback.own() != Own::Dead {
        events_of_actor.push("error".to_owned());
    }
    // In all other cases `on_close` waits for the close frame of the peer.
    if callback.own() == Own::Dead || matches!(action, Action::Stop | Action::TerminateSelf) {
        events_of_actor.push(actor_end.reason(callback).to_owned());
    }
    assert_eq!(world.scenario.events("/actor"), events_of_actor, "the callbacks of the actor");
    assert_eq!(world.scenario.events("loop"), loop_events, "the functions of the loop that ran");
    assert_eq!(world.reactor.hub().stats().panics, panics);

    world.reactor.hub().publish("news", "news");
    world.reactor.hub().publish("fresh", "fresh");
    world.reactor.settle().unwrap();
    let ends_loop = matches!(action, Action::Stop | Action::Shutdown);
    let bystander_end = if ends_loop { other_end } else { End::Peer };
    let bystander_frames = match bystander_end {
        End::Shutdown => vec![Frame::Close(1001)],
        End::Peer => vec![Frame::text("late")],
        _ => Vec::new(),
    };
    let ends = [
        ("/actor", actor_end, actor_frames),
        ("/other", other_end, other_frames),
        ("/bystander", bystander_end, bystander_frames),
    ];
    let mut last = turn;
    for (path, end, mut frames) in ends {
        let mut events = if path == "/actor" { events_of_actor.clone() } else { vec!["open".to_owned()] };
        if end == End::Peer {
            let subscribed = path == "/other" || path == "/actor" && action != Action::Unsubscribe;
            frames.extend(subscribed.then(|| Frame::text("news")));
            frames.extend(((path, action) == ("/actor", Action::Subscribe)).then(|| Frame::text("fresh")));
            frames.push(Frame::Close(1000));
            events.push("message late".to_owned());
        }
        if !events.iter().any(|event| event.starts_with("close")) {
            events.push(end.reason(callback).to_owned());
        }
        last = world.finish(path);
        assert_eq!(world.received(path), frames, "what the peer of {path} received");
        assert_eq!(world.scenario.events(path), events, "the callbacks of {path}");
        assert!(world.reactor.kernel_mut().is_closed(world.peers[path]));
    }
    assert!(world.received("/stale").is_empty(), "a message to a stale id reaches no peer");
    assert_eq!(last == Turn::Stopped, ends_loop, "the loop ends with its last connection after stop and shutdown only");
}
