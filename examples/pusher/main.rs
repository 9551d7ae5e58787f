//! A server for the clients of Pusher Channels, with a chat for pusher-js and one for Laravel Echo.
//!
//!     cargo run --release --features pusher --example pusher -- [--listen ADDR] [--app ID:KEY:SECRET]...
//!         [--webhook URL] [--activity-timeout S] [--subscription-count] [--origin URL]... [--modules DIRECTORY]
//!
//! | path | what it does |
//! |---|---|
//! | `/app/KEY` | the protocol, for clients |
//! | `/apps/ID/…` | the HTTP API, for Pusher's server libraries |
//! | `/` | a chat by pusher-js, in the presence channel of a room |
//! | `/echo` | the same by Laravel Echo |
//! | `POST /broadcasting/auth` | signs any private or presence channel of the first app, for the user in `?user=NAME` |
//! | `POST /broadcasting/user-auth` | signs in the user in `?user=NAME` |
//!
//! The pages load their libraries from `/modules`, the folder `node_modules` given by `--modules`, with the packages
//! `pusher-js` and `laravel-echo` of npm.
//!
//! With `--features redis`, `--redis URL` joins it with other processes.

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{borrow::Cow, cell::RefCell, error::Error, process::ExitCode, rc::Rc, time::Duration};

use serde_json::json;
use ws_reactor::{
    Reactor, Reply, Request, Routes, Server,
    http::{HeaderValue, StatusCode, header},
    pusher::{AuthorizationError, Pusher, PusherApp, PusherAppHandle, PusherHandle},
};

/// A page, with the script that connects in the place of `SCRIPT`.
const PAGE: &str = include_str!("page.html");
const PUSHER: &str = include_str!("pusher.html");
const ECHO: &str = include_str!("echo.html");

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:6001]"),
        ("--app ID:KEY:SECRET", "An app, several times for several [default: 1:key:secret]"),
        ("--redis URL", "Share the apps with other processes: redis://…, rediss://… or unix://…"),
        ("--webhook URL", "Where the events of all apps are posted: http://… [default: nowhere]"),
        ("--activity-timeout S", "Seconds of silence before a ping [default: 120]"),
        ("--subscription-count", "Tell subscribers how many they are"),
        ("--origin URL", "Origin of pages that may connect, several times for several [default: all]"),
        ("--modules DIRECTORY", "The folder node_modules with pusher-js and laravel-echo [default: none]"),
    ];
    let arguments = arguments::Arguments::read("A server for the clients of Pusher Channels", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    attach_redis(arguments, &mut reactor)?;
    let pusher = pusher(arguments)?.build();
    let app = pusher.apps().next().ok_or("there is no app")?;
    let mut routes = pusher.mount(pages(&app));
    if let Some(folder) = arguments.all("--modules").pop() {
        routes = routes.files("/modules", folder);
    }
    close_on_signals(&mut reactor, &pusher)?;
    let (address, server) = (arguments.get("--listen", "127.0.0.1:6001".to_owned()), Server::routes(routes)?);
    let failed = Rc::new(RefCell::new(None));
    let failure = Rc::clone(&failed);
    // Clients come when the channels of the other processes are known.
    pusher.when_ready(reactor.hub(), move |hub| {
        hub.listen(address, server, move |hub, listening| match listening {
            Ok(listening) => eprintln!("listening on http://{}", listening.addr),
            Err(error) => {
                *failure.borrow_mut() = Some(error);
                hub.stop();
            }
        });
    });
    reactor.run()?;
    failed.take().map_or(Ok(()), |error| Err(error.into()))
}

fn pusher(arguments: &arguments::Arguments) -> Result<Pusher, Box<dyn Error>> {
    let apps = match arguments.all("--app") {
        none if none.is_empty() => vec!["1:key:secret"],
        apps => apps,
    };
    let mut pusher = Pusher::new();
    for app in apps {
        let mut parts = app.splitn(3, ':');
        let (Some(id), Some(key), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            arguments.refuse(format!("--app {app:?}: not ID:KEY:SECRET"));
        };
        let seconds = arguments.get("--activity-timeout", 120.0);
        let silence = Duration::try_from_secs_f64(seconds)
            .unwrap_or_else(|error| arguments.refuse(format!("--activity-timeout: {error}")));
        let mut app = PusherApp::new(id, key, secret)
            .activity_timeout(silence)
            .subscription_count(arguments.has("--subscription-count"));
        if let Some(url) = arguments.all("--webhook").pop() {
            app = app.webhook(url).map_err(|error| format!("--webhook: {error}"))?;
        }
        pusher = pusher.app(app);
    }
    let origins = arguments.all("--origin");
    Ok(if origins.is_empty() { pusher } else { pusher.origins(origins)? })
}

/// The pages, and the routes that sign their subscriptions.
fn pages(app: &PusherAppHandle) -> Routes {
    let (key, channels, users) = (app.key(), app.clone(), app.clone());
    let page = |script: &str| PAGE.replace("SCRIPT", script).replace("APP_KEY", key);
    let (pusher, echo) = (page(PUSHER), page(ECHO));
    Routes::new()
        .get("/", move |_, _| Reply::html(&*pusher))
        .get("/echo", move |_, _| Reply::html(&*echo))
        .post("/broadcasting/auth", move |request, _| authorize(&channels, request))
        .post("/broadcasting/user-auth", move |request, _| authenticate(&users, request))
}

/// The name by which a page presents its user. An application asks its session instead.
fn user(request: &Request) -> Option<String> {
    request.query_value("user").map(Cow::into_owned).filter(|name| !name.is_empty())
}

fn authorize(app: &PusherAppHandle, request: &Request) -> Reply {
    let (socket_id, channel) = (request.form_value("socket_id"), request.form_value("channel_name"));
    let (Some(socket_id), Some(channel)) = (socket_id, channel) else { return StatusCode::BAD_REQUEST.into() };
    let Some(user) = user(request) else { return StatusCode::FORBIDDEN.into() };
    let member = channel.starts_with("presence-").then(|| json!({"user_id": user, "user_info": {"name": user}}));
    signed(app.authorize(&socket_id, &channel, member.map(|member| member.to_string()).as_deref()))
}

fn authenticate(app: &PusherAppHandle, request: &Request) -> Reply {
    let Some(socket_id) = request.form_value("socket_id") else { return StatusCode::BAD_REQUEST.into() };
    match user(request) {
        Some(user) => signed(app.authenticate(&socket_id, &json!({"id": user}).to_string())),
        None => StatusCode::FORBIDDEN.into(),
    }
}

fn signed(json: Result<String, AuthorizationError>) -> Reply {
    let json = match json {
        Ok(json) => json,
        Err(error) => return Reply::text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    Reply::bytes(json).header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

#[cfg(feature = "redis")]
fn attach_redis(arguments: &arguments::Arguments, reactor: &mut Reactor) -> Result<(), Box<dyn Error>> {
    if let Some(url) = arguments.all("--redis").pop() {
        let redis = ws_reactor::Redis::new(url).map_err(|error| format!("--redis: {error}"))?;
        reactor.hub().set_backplane(redis.one_order(true));
    }
    Ok(())
}

#[cfg(not(feature = "redis"))]
fn attach_redis(arguments: &arguments::Arguments, _: &mut Reactor) -> Result<(), Box<dyn Error>> {
    match arguments.has("--redis") {
        true => Err("--redis needs the feature `redis`".into()),
        false => Ok(()),
    }
}

/// Time for the last webhooks.
const LEAVING: Duration = Duration::from_millis(500);

/// Time for the answers to the close frames.
const GRACE: Duration = Duration::from_secs(2);

/// Closes the connections when SIGTERM or SIGINT comes, and ends.
#[cfg(all(unix, feature = "signals"))]
fn close_on_signals(reactor: &mut Reactor, pusher: &PusherHandle) -> Result<(), Box<dyn Error>> {
    use ws_reactor::signals::{SIGINT, SIGTERM};

    for signal in [SIGTERM, SIGINT] {
        let pusher = pusher.clone();
        reactor.on_signal(signal, move |hub| {
            pusher.close(hub);
            hub.add_timer(LEAVING, |hub| hub.shutdown(GRACE));
        })?;
    }
    Ok(())
}

#[cfg(not(all(unix, feature = "signals")))]
fn close_on_signals(_: &mut Reactor, _: &PusherHandle) -> Result<(), Box<dyn Error>> {
    let _ = (LEAVING, GRACE);
    Ok(())
}
