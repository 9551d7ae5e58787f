//! A chat room with names, a history and a list of those present. The page is served on the same port: open it in two
//! windows.
//!
//!     cargo run --release --example chat -- [--listen ADDR] [--threads N]
//!
//! Several processes share the room by Redis:
//!
//!     cargo run --release --features redis --example chat -- --redis redis://localhost [--redis-prefix PREFIX]
//!
//! Messages are lines with tabs between the fields. A client sends its name, then texts. It receives:
//!
//!     say TIME NAME TEXT        a message, TIME in seconds since 1970
//!     joined TIME NAME          and left TIME NAME
//!     present NODE NAME…        names on one reactor, on each change and every ten seconds

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    error::Error,
    num::NonZeroUsize,
    process::ExitCode,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arguments::{redis, shutdown};
use ws_reactor::{CloseCode, CloseReason, Handler, HistoryLimits, Hub, Message, Reactor, ReactorGroup, Reply, Server};
use ws_reactor::{WebSocket, http::StatusCode};

const PAGE: &str = include_str!("page.html");

/// Messages of the room, which have a history, and the names of those present.
const ROOM: &str = "the room";
const PRESENT: &str = "present";

/// Asks all reactors for their names.
const WHO: &str = "who";

/// Those present on this reactor, and the number of their connections.
struct Presence {
    node: String,
    names: BTreeMap<String, usize>,
}

impl Presence {
    fn publish(&self, hub: &mut Hub) {
        let names: String = self.names.keys().map(|name| format!("\t{name}")).collect();
        hub.publish(PRESENT, format!("present\t{}{names}", self.node));
    }
}

/// A member of the room. The first message is the name.
struct Guest {
    name: Option<String>,
    presence: Rc<RefCell<Presence>>,
}

impl Guest {
    fn join(&mut self, ws: &mut WebSocket<'_>, name: &str) {
        let history = ws.hub().events_after([ROOM], 0).map(|replay| replay.events).unwrap_or_default();
        for message in history {
            ws.send(&*message.data);
        }
        ws.subscribe(ROOM);
        ws.subscribe(PRESENT);
        let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect();
        let mut presence = self.presence.borrow_mut();
        let connections = presence.names.entry(name.clone()).or_default();
        *connections += 1;
        if *connections == 1 {
            ws.publish(ROOM, format!("joined\t{}\t{name}", now()));
            presence.publish(ws.hub());
        }
        ws.publish(WHO, "");
        self.name = Some(name);
    }
}

impl Handler for Guest {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        match (message, &self.name) {
            (Message::Text(text), Some(name)) => _ = ws.publish(ROOM, format!("say\t{}\t{name}\t{text}", now())),
            (Message::Text(name), None) => self.join(ws, name.trim()),
            (Message::Binary(_), _) => _ = ws.close(CloseCode::UNSUPPORTED_DATA, "this room is for text"),
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        let Some(name) = self.name.take() else { return };
        let mut presence = self.presence.borrow_mut();
        let connections = presence.names.get_mut(&name).map_or(0, |connections| {
            *connections -= 1;
            *connections
        });
        if connections == 0 {
            presence.names.remove(&name);
            ws.publish(ROOM, format!("left\t{}\t{name}", now()));
            presence.publish(ws.hub());
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--threads N", "Reactors that share the port and the room, each in its own thread [default: 1]"),
    ];
    let options = [&options[..], &redis::OPTIONS].concat();
    let arguments = arguments::Arguments::read("A chat room with a page for the browser", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let threads = arguments.get("--threads", NonZeroUsize::MIN);
    ReactorGroup::new(threads.get())?.run(|reactor| {
        redis::attach(arguments, reactor)?;
        shutdown::on_signals(reactor)?;
        let presence = watch(reactor);
        let listening = reactor.listen(&listen, chat(presence))?;
        if reactor.hub().group_index() == 0 {
            eprintln!("listening on http://{}", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

/// Keeps the history, and publishes the names of this reactor every ten seconds and when another asks.
fn watch(reactor: &mut Reactor) -> Rc<RefCell<Presence>> {
    let hub = reactor.hub();
    hub.keep_history(ROOM, HistoryLimits::new().max_events(50).max_age(Duration::from_secs(86_400)));
    let mut node = [0; 8];
    hub.random(&mut node);
    let node = format!("{:x}", u64::from_ne_bytes(node));
    let presence = Rc::new(RefCell::new(Presence { node, names: BTreeMap::new() }));
    let (asked, ticking) = (Rc::clone(&presence), Rc::clone(&presence));
    hub.watch_topic(WHO, move |hub, _| asked.borrow().publish(hub));
    hub.add_periodic_timer(Duration::from_secs(10), move |hub| ticking.borrow().publish(hub));
    presence
}

fn chat(presence: Rc<RefCell<Presence>>) -> Server {
    let server = Server::new(move |_| Guest { name: None, presence: Rc::clone(&presence) });
    server.max_message_bytes(4096).on_request(|request, _| match (request.is_upgrade(), request.path()) {
        (true, "/chat") => Reply::upgrade(),
        (false, "/") => Reply::html(PAGE),
        _ => Reply::status(StatusCode::NOT_FOUND),
    })
}
