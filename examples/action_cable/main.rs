//! A chat for the clients of Rails' ActionCable, and Turbo's signed streams.
//!
//!     cargo run --release --features action-cable --example action_cable -- [--listen ADDR] [--origin URL]...
//!         [--signed-streams-secret SECRET] [--broadcast-key KEY] [--presence-ttl S] [--pong-timeout S]
//!
//! | path | what it does |
//! |---|---|
//! | `/cable` | the cable. `?user=NAME` says who connects, and `?denied=1` is turned away |
//! | `/events` | a subscription as an event stream: `?channel=ChatChannel&room=1` |
//! | `POST /_broadcast` | broadcasts of other programs, with `--broadcast-key` |
//!
//! `ChatChannel` streams from `chat:ROOM`, by its parameter `room`, and its action `speak` broadcasts `body` there. Its
//! clients can whisper and be present, with the extended protocol. The newest 100 messages of a room are kept for five
//! minutes, and so are the sessions of clients whose line was cut.
//! `ForbiddenChannel` rejects everybody.
//!
//! With `--features redis`, `--redis URL [--channel-prefix PREFIX]` joins it with other processes, and with Rails.
//! `--history-stream KEY` keeps the histories in Redis: a client that comes to another process gets what it has missed.
//! Rails does not hear the broadcasts of clients then.

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{borrow::Cow, error::Error, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use ws_reactor::{
    Reactor, Routes, Server,
    action_cable::{Action, ActionCable, CableHandle, Channel, Denied, NamedStreams, StreamVerifier, Subscription},
};

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--redis URL", "Share the streams with other processes: redis://…, rediss://… or unix://…"),
        ("--channel-prefix PREFIX", "What the channels of Redis begin with, ahead of a colon [default: nothing]"),
        (
            "--history-stream KEY",
            "Keep the histories in a stream of Redis, for all processes [default: in each process]",
        ),
        ("--origin URL", "Origin of pages that may connect, several times for several [default: all]"),
        ("--signed-streams-secret SECRET", "Key of the signatures of Turbo's streams [default: none are let in]"),
        ("--broadcast-key KEY", "Key of programs that post broadcasts [default: none may]"),
        ("--presence-ttl S", "Seconds for which a client counts as present whose line was cut [default: 15]"),
        ("--pong-timeout S", "Seconds in which clients of the extended protocol answer a ping [default: off]"),
    ];
    let arguments = arguments::Arguments::read("A chat for the clients of Rails' ActionCable", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    attach_redis(arguments, &mut reactor)?;
    let cable = cable(arguments)?;
    let handle = cable.handle();
    let routes = match arguments.all("--broadcast-key").pop() {
        Some(key) => cable.broadcast_route(Routes::new(), "/_broadcast", key),
        None => Routes::new(),
    };
    let routes = cable.mount(routes, "/cable");
    restart_on_signals(&mut reactor, &handle)?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), Server::routes(routes)?)?;
    eprintln!("listening on ws://{}/cable", listening.addr);
    reactor.run()?;
    Ok(())
}

fn cable(arguments: &arguments::Arguments) -> Result<ActionCable, Box<dyn Error>> {
    let cable = ActionCable::new()
        .connect(|connect| {
            let request = connect.request();
            if request.query_value("denied").is_some() {
                return Err(Denied::Unauthorized);
            }
            let user = request.query_value("user").map(Cow::into_owned);
            if let Some(name) = &user {
                connect.identify(name.clone());
            }
            Ok(CurrentUser(user))
        })
        .channel("ChatChannel", || Chat)
        .channel("ForbiddenChannel", || Forbidden);
    let cable = match arguments.all("--signed-streams-secret").pop() {
        Some(secret) => {
            let verifier = StreamVerifier::new(secret);
            let signed = NamedStreams::signed("signed_stream_name", &verifier);
            let of_any_cable = signed.clone().whispers().presence();
            cable.streams("Turbo::StreamsChannel", signed).streams("$pubsub", of_any_cable)
        }
        None => cable.channel("Turbo::StreamsChannel", || Forbidden),
    };
    let cable = match arguments.has("--history-stream") {
        true => cable.shared_history(HISTORY, KEPT),
        false => cable.history(HISTORY, KEPT),
    };
    let cable = cable
        .keep_sessions(KEPT)
        .event_streams("/events")
        .presence_ttl(seconds(arguments, "--presence-ttl").unwrap_or(PRESENCE_TTL));
    let cable = match seconds(arguments, "--pong-timeout") {
        Some(timeout) => cable.pong_timeout(timeout),
        None => cable,
    };
    let origins = arguments.all("--origin");
    Ok(if origins.is_empty() { cable.any_origin() } else { cable.origins(origins)? })
}

/// Messages of a stream that are kept, and the time for which they and sessions are.
const HISTORY: usize = 100;
const KEPT: Duration = Duration::from_secs(300);

/// Default of `--presence-ttl`.
const PRESENCE_TTL: Duration = Duration::from_secs(15);

/// The value of an option in seconds.
fn seconds(arguments: &arguments::Arguments, option: &str) -> Option<Duration> {
    let given = arguments.has(option).then(|| Duration::try_from_secs_f64(arguments.get(option, 0.0)));
    given.map(|value| value.unwrap_or_else(|error| arguments.refuse(format!("{option}: {error}"))))
}

/// Messages of all streams together that Redis keeps.
#[cfg(feature = "redis")]
const MOST_EVENTS: usize = 10_000;

/// The name of the user of a connection.
struct CurrentUser(Option<String>);

/// A room in which everybody hears everybody.
struct Chat;

#[derive(Deserialize, Serialize)]
struct Speech {
    body: serde_json::Value,
}

impl Channel for Chat {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        match subscription.param("room") {
            Some(room) => {
                let stream = format!("chat:{room}");
                subscription.stream_from(&stream);
                subscription.allow_whispers(&stream);
                subscription.allow_presence(&stream);
            }
            None => subscription.reject(),
        }
    }

    fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
        let (Some(room), Ok(speech)) = (subscription.param("room"), action.data::<Speech>()) else { return };
        if action.name() == "speak" {
            let name = subscription.user::<CurrentUser>().and_then(|user| user.0.as_deref()).unwrap_or("somebody");
            log::info!("{name} speaks in {room}");
            // JSON that was read can be written.
            let _ = subscription.broadcast(&format!("chat:{room}"), &speech);
        }
    }
}

/// A channel for nobody.
struct Forbidden;

impl Channel for Forbidden {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        subscription.reject();
    }
}

#[cfg(feature = "redis")]
fn attach_redis(arguments: &arguments::Arguments, reactor: &mut Reactor) -> Result<(), Box<dyn Error>> {
    let Some(url) = arguments.all("--redis").pop() else { return Ok(()) };
    let redis = ws_reactor::Redis::new(url).map_err(|error| format!("--redis: {error}"))?;
    let prefix = arguments.all("--channel-prefix").pop().map(|prefix| format!("{prefix}:"));
    let redis = redis.prefix(prefix.unwrap_or_default());
    let redis = match arguments.all("--history-stream").pop() {
        Some(key) => redis.history_stream(key, MOST_EVENTS),
        None => redis,
    };
    reactor.hub().set_backplane(redis);
    Ok(())
}

#[cfg(not(feature = "redis"))]
fn attach_redis(arguments: &arguments::Arguments, _: &mut Reactor) -> Result<(), Box<dyn Error>> {
    match arguments.has("--redis") {
        true => Err("--redis needs the feature `redis`".into()),
        false => Ok(()),
    }
}

/// Time in which the clients are told of a restart, and that for their answers.
const SPREAD: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(4);

/// Tells the clients of a restart when SIGTERM or SIGINT comes, and ends.
#[cfg(all(unix, feature = "signals"))]
fn restart_on_signals(reactor: &mut Reactor, handle: &CableHandle) -> Result<(), Box<dyn Error>> {
    use ws_reactor::signals::{SIGINT, SIGTERM};

    for signal in [SIGTERM, SIGINT] {
        let handle = handle.clone();
        reactor.on_signal(signal, move |hub| {
            handle.restart(hub, SPREAD);
            hub.shutdown_over(SPREAD, SPREAD + GRACE);
        })?;
    }
    Ok(())
}

#[cfg(not(all(unix, feature = "signals")))]
fn restart_on_signals(_: &mut Reactor, _: &CableHandle) -> Result<(), Box<dyn Error>> {
    let _ = (SPREAD, GRACE);
    Ok(())
}
