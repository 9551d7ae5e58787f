//! A chat with rooms. It shows state that the guests of a room share, history, presence, and events between handlers.
//!
//!     cargo run --release --example chat_history -- [--listen ADDR]
//!
//! The path of the URL is the room, `/lobby` or `/garden`. The query has the name of the guest:
//!
//!     python -m websockets 'ws://127.0.0.1:8080/lobby?name=alice'
//!
//! A request for another room gets 404, one without a name 400, one with a name that is taken 409. A new guest
//! receives the last 50 messages. `/kick NAME` removes a guest; any other text is a message to all in the room.

mod arguments;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::{any::Any, cell::RefCell, process::ExitCode, rc::Rc};

use ws_reactor::{CloseCode, CloseReason, ConnectionId, Error, Handler, Handshake, Message, Reactor};
use ws_reactor::{Request, Server, Upgrade, WebSocket, http::StatusCode};

const HISTORY: usize = 50;

/// State shared by the guests of a room. The history begins with the newest message.
#[derive(Default)]
struct Room {
    history: VecDeque<String>,
    guests: BTreeMap<String, ConnectionId>,
}

type Rooms = HashMap<&'static str, Rc<RefCell<Room>>>;

struct Guest {
    name: String,
    topic: String,
    room: Rc<RefCell<Room>>,
}

/// An event for a guest: another guest, of this name, has removed it.
struct Kick(String);

impl Handler for Guest {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        let mut room = self.room.borrow_mut();
        // The name may have been taken since the request was accepted.
        if *room.guests.entry(self.name.clone()).or_insert(ws.id()) != ws.id() {
            ws.close(CloseCode::POLICY_VIOLATION, "the name is taken");
            return;
        }
        for line in room.history.iter().rev() {
            ws.send(line);
        }
        ws.subscribe(&self.topic);
        self.announce(ws, &room, "has joined");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        let mut room = self.room.borrow_mut();
        if let Some(name) = text.strip_prefix("/kick ") {
            if let Some(&guest) = room.guests.get(name) {
                ws.hub().notify(guest, Kick(self.name.clone()));
            }
            return;
        }
        let line = format!("{}: {text}", self.name);
        ws.publish(&self.topic, &line);
        room.history.push_front(line);
        room.history.truncate(HISTORY);
    }

    fn on_event(&mut self, ws: &mut WebSocket<'_>, event: &dyn Any) {
        if let Some(Kick(by)) = event.downcast_ref() {
            ws.close(CloseCode::POLICY_VIOLATION, &format!("kicked by {by}"));
        }
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut room = self.room.borrow_mut();
        if room.guests.get(&self.name) == Some(&ws.id()) {
            room.guests.remove(&self.name);
            self.announce(ws, &room, &format!("has left ({reason})"));
        }
    }
}

impl Guest {
    /// Tells the room that this guest has come or gone, and the names of those present.
    fn announce(&self, ws: &mut WebSocket<'_>, room: &Room, change: &str) {
        let present = room.guests.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        ws.publish(&self.topic, format!("* {} {change}. Present: {present}", self.name));
    }
}

/// Decides on a request: `Ok` accepts the WebSocket, `Err` responds with a status.
fn admit(request: &Request, rooms: &Rooms) -> Result<Upgrade, StatusCode> {
    let room = rooms.get(request.path()).ok_or(StatusCode::NOT_FOUND)?;
    let name = request.query_value("name").filter(|name| !name.is_empty()).ok_or(StatusCode::BAD_REQUEST)?;
    if room.borrow().guests.contains_key(&*name) { Err(StatusCode::CONFLICT) } else { Ok(Upgrade::new()) }
}

fn main() -> ExitCode {
    env_logger::init();
    let listen = ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]");
    let arguments = arguments::Arguments::read("Chat with rooms, history and presence", &[listen]);
    arguments::run(|| serve(arguments.get("--listen", "127.0.0.1:8080".to_owned())))
}

fn serve(listen: String) -> Result<(), Error> {
    let rooms: Rooms = ["/lobby", "/garden"].map(|path| (path, Rc::default())).into();
    let occupied = rooms.clone();
    let chat = Server::new(move |handshake| Guest {
        name: handshake.query_value("name").unwrap_or_default().into_owned(),
        topic: handshake.path().to_owned(),
        room: Rc::clone(&rooms[handshake.path()]),
    })
    .max_message_bytes(4096);
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, chat.on_request(move |request, _| admit(request, &occupied)))?;
    eprintln!("listening on ws://{}", listening.addr);
    Ok(reactor.run()?)
}
