//! A server on several cores: each reactor has a thread of its own, and topics reach the connections of all.
//!
//!     cargo run --release --example group -- [--listen ADDR] [--threads N]
//!
//! A text message goes to all connections. `ping NUMBER` goes to one connection, on whichever reactor it is. Each
//! reactor prints its counters every ten seconds.

mod arguments;

use std::{
    collections::HashMap,
    error::Error,
    num::NonZeroUsize,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ws_reactor::{CloseReason, ConnectionId, Handler, Handshake, Message, ReactorGroup, Server, WebSocket};

/// State of all reactors: what is `Rc<RefCell<…>>` in one reactor is shared by `Arc` here.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    connections: Mutex<HashMap<u64, ConnectionId>>,
}

struct Member {
    number: u64,
    shared: Arc<Shared>,
}

impl Handler for Member {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.connections.lock().expect("no panic").insert(self.number, ws.id());
        ws.subscribe("all");
        let reactor = ws.hub().group_index();
        ws.send(format!("you are {} on reactor {reactor}", self.number));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        let Some(number) = text.strip_prefix("ping ").and_then(|number| number.parse().ok()) else {
            ws.publish("all", format!("{}: {text}", self.number));
            return;
        };
        let id = self.shared.connections.lock().expect("no panic").get(&number).copied();
        // The Hub reaches the connections of its reactor; a Remote those of the whole group.
        let sent = id.map(|id| ws.hub().remote().send(id, format!("ping from {}", self.number)));
        if !matches!(sent, Some(Ok(()))) {
            ws.send(format!("{number} is not here"));
        }
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, _: &CloseReason) {
        self.shared.connections.lock().expect("no panic").remove(&self.number);
    }
}

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--threads N", "Reactors [default: one for each core]"),
    ];
    let arguments = arguments::Arguments::read("A server on several cores", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = arguments.get("--threads", cores);
    let shared = Arc::<Shared>::default();
    ReactorGroup::new(threads.get())?.run(|reactor| {
        arguments::shutdown::on_signals(reactor)?;
        let shared = Arc::clone(&shared);
        let server = Server::new(move |_| Member { number: 0, shared: Arc::clone(&shared) });
        let listening = reactor.listen(&listen, server)?;
        let hub = reactor.hub();
        if hub.group_index() == 0 {
            eprintln!("listening on ws://{}", listening.addr);
        }
        let index = hub.group_index();
        hub.add_periodic_timer(Duration::from_secs(10), move |hub| {
            let stats = hub.stats();
            eprintln!("reactor {index}: {} connections, {} messages", stats.connections, stats.messages_in);
        });
        Ok(())
    })?;
    Ok(())
}
