//! The chat of Socket.IO's own examples.
//!
//!     cargo run --release --features socket-io --example socket_io -- [--listen ADDR] [--public DIRECTORY]
//!         [--client DIRECTORY]
//!
//! Serves the page of the official example unmodified: `--public` is its folder `public` (`examples/chat/public` of
//! github.com/socketio/socket.io), and `--client` the folder `dist` of the npm package `socket.io-client`, whose
//! `socket.io.js` the page loads. Without them there are the events alone, for clients of one's own.
//!
//! | event | what the server does |
//! |---|---|
//! | `add user NAME` | emits `login` to the client, `user joined` to the others |
//! | `new message TEXT`, `typing`, `stop typing` | emits the same to the others, with the name |
//! | the end of a client | emits `user left` to the others |

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{cell::Cell, error::Error, process::ExitCode, rc::Rc};

use serde_json::json;
use ws_reactor::{
    Reactor, Routes, Server,
    socket_io::{Recovery, Socket, SocketIo},
};

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:3000]"),
        ("--public DIRECTORY", "The page of the official example [default: none]"),
        ("--client DIRECTORY", "Where socket.io.js is [default: none]"),
    ];
    let arguments = arguments::Arguments::read("The chat of Socket.IO's own examples", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let io = SocketIo::new().recovery(Recovery::new());
    let users = Rc::new(Cell::new(0));
    io.of("/").on_connection(move |socket| chat(socket, &users));
    let mut routes = Routes::new();
    if let Some(folder) = arguments.all("--client").pop() {
        routes = routes.files("/socket.io", folder);
    }
    if let Some(folder) = arguments.all("--public").pop() {
        routes = routes.files("/", folder);
    }
    let mut reactor = Reactor::new()?;
    let address = arguments.get("--listen", "127.0.0.1:3000".to_owned());
    let listening = reactor.listen(address, Server::routes(io.mount(routes))?)?;
    eprintln!("listening on http://{}", listening.addr);
    reactor.run()?;
    Ok(())
}

/// Name of a user.
struct User(String);

fn chat(socket: &mut Socket<'_>, users: &Rc<Cell<usize>>) {
    let counted = Rc::clone(users);
    socket.on("add user", move |socket, name: String| {
        if socket.get::<User>().is_some() {
            return;
        }
        counted.set(counted.get() + 1);
        let count = counted.get();
        socket.emit("login", &json!({"numUsers": count}));
        socket.broadcast().emit("user joined", &json!({"username": name, "numUsers": count}));
        socket.set(User(name));
    });
    socket.on("new message", |socket, text: String| {
        let message = json!({"username": name(socket), "message": text});
        socket.broadcast().emit("new message", &message);
    });
    for event in ["typing", "stop typing"] {
        socket.on(event, move |socket, (): ()| {
            let user = json!({"username": name(socket)});
            socket.broadcast().emit(event, &user);
        });
    }
    let counted = Rc::clone(users);
    socket.on_disconnect(move |socket, _| {
        if socket.get::<User>().is_some() {
            counted.set(counted.get() - 1);
            let left = json!({"username": name(socket), "numUsers": counted.get()});
            socket.broadcast().emit("user left", &left);
        }
    });
}

fn name(socket: &Socket<'_>) -> Option<String> {
    socket.get::<User>().map(|user| user.0.clone())
}
