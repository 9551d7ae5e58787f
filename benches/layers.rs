//! The cost of layers: a broadcast to many clients of ActionCable, of Socket.IO and of Pusher, beside a plain publish
//! to as many WebSockets.
//!
//!     cargo bench --features action-cable,pusher,socket-io --bench layers
//!
//! The server runs in a process of its own, on one core. Linux only (`/proc`).

mod process;
mod websocket;

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use process::{cpu_nanos_of_threads, median};
use ws_reactor::{
    Callbacks, Reactor, Routes, Server,
    action_cable::{ActionCable, Channel, Subscription},
    on_message,
    pusher::{Pusher, PusherApp},
    socket_io::SocketIo,
};

const CLIENTS: usize = 1000;
const MESSAGES: usize = 100;
const ROUNDS: usize = 7;
const SIZE: usize = 1024;
const SUBSCRIBE: &str = r#"{"command":"subscribe","identifier":"{\"channel\":\"Chat\"}"}"#;
const TEXT: u8 = 0x81;

/// The ways of a message, each with a topic of that name, the path of its clients, and what they send to begin with.
const WAYS: [(&str, &str, &str); 4] = [
    ("plain", "/plain", ""),
    ("cable", "/cable", SUBSCRIBE),
    ("socket.io", "/socket.io/?EIO=4&transport=websocket", "40"),
    ("pusher", "/app/key?protocol=7", r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#),
];

struct Chat;

impl Channel for Chat {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        subscription.stream_from("cable");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if process::role().is_some() {
        return serve();
    }
    let (server, addr) = process::start("serve")?;
    let mut costs = WAYS.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (way, costs) in WAYS.into_iter().zip(&mut costs) {
            let cost = broadcast(server.id(), addr, way)?;
            // The first round fills pools and buffers.
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    let costs = costs.map(|mut costs| median(&mut costs));
    println!("{SIZE} B to {CLIENTS} clients, CPU per delivery:");
    for ((name, ..), cost) in WAYS.into_iter().zip(costs) {
        println!("{name:>10} {cost:.3} µs, {:.3} of a plain publish", cost / costs[0]);
    }
    Ok(())
}

/// Sends to many clients. Returns the microseconds of CPU per delivery.
fn broadcast(server: u32, addr: SocketAddr, way: (&str, &str, &str)) -> Result<f64, Box<dyn Error>> {
    let (topic, path, first) = way;
    let mut clients = (0..CLIENTS).map(|_| websocket::connect(addr, path)).collect::<Result<Vec<_>, _>>()?;
    if !first.is_empty() {
        let first = websocket::masked_frame(TEXT, first.as_bytes());
        clients.iter_mut().try_for_each(|client| client.write_all(&first))?;
    }
    // The welcome and the confirmation.
    thread::sleep(Duration::from_millis(500));
    for client in &mut clients {
        client.set_nonblocking(true)?;
        let mut rest = [0; 4096];
        while client.read(&mut rest).is_ok_and(|length| length > 0) {}
        client.set_nonblocking(false)?;
    }
    let mut sender = websocket::connect(addr, &format!("/send/{topic}"))?;
    let json = format!("\"{}\"", "x".repeat(SIZE - 2));
    let frame = websocket::masked_frame(TEXT, json.as_bytes());
    let before = cpu_nanos_of_threads(server)?;
    for _ in 0..MESSAGES {
        sender.write_all(&frame)?;
        for client in &mut clients {
            receive(client)?;
        }
    }
    Ok((cpu_nanos_of_threads(server)? - before) as f64 / (MESSAGES * CLIENTS) as f64 / 1000.0)
}

/// Reads a message of the size, and whatever shorter ones come before it.
fn receive(client: &mut TcpStream) -> Result<(), Box<dyn Error>> {
    loop {
        let (mut head, mut length) = ([0; 2], [0; 2]);
        client.read_exact(&mut head)?;
        let bytes = match head[1] {
            126 => {
                client.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; bytes];
        client.read_exact(&mut payload)?;
        if bytes >= SIZE {
            return Ok(());
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let io = SocketIo::new();
    let all = io.of("/");
    let pusher = Pusher::new().app(PusherApp::new("1", "key", "secret")).build();
    let app = pusher.app("1").expect("it was added");
    let routes = Routes::new()
        .websocket("/send/socket.io", move |_| {
            let all = all.clone();
            on_message(move |ws, message| {
                let text = message.as_text().unwrap_or_default().trim_matches('"');
                all.emit(ws.hub(), "message", text);
            })
        })
        .websocket("/send/pusher", move |_| {
            let app = app.clone();
            on_message(move |ws, message| {
                let text = message.as_text().unwrap_or_default().trim_matches('"');
                app.trigger(ws.hub(), &["news"], "message", text, None).expect("the data is short");
            })
        })
        .websocket("/plain", |_| Callbacks::new().on_open(|ws, _| _ = ws.subscribe("plain")))
        .websocket("/send/{topic}", |handshake| {
            let topic = handshake.request().param("topic").to_owned();
            on_message(move |ws, message| _ = ws.publish(&topic, message))
        });
    let routes = ActionCable::new().any_origin().channel("Chat", || Chat).mount(routes, "/cable");
    let routes = pusher.mount(io.mount(routes));
    let mut reactor = Reactor::new()?;
    println!("{}", reactor.listen("127.0.0.1:0", Server::routes(routes)?.ping_after(None))?.addr);
    reactor.run()?;
    Ok(())
}
