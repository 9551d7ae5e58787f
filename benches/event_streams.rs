//! The cost of a delivery to an event stream beside that to a WebSocket: 1,000 clients of each, in one process.
//!
//!     cargo bench --bench event_streams
//!
//! Messages are published one by one, to the WebSockets and to the event streams in turn. Prints the CPU time of the
//! server for each delivery, medians of all rounds, and their ratio. Linux only (`/proc`).

mod process;
mod websocket;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use process::{ServerProcess, cpu_nanos, median};
use ws_reactor::{Callbacks, Error, EventStream, Reactor, Reply, Routes, Server, http::StatusCode};

const CLIENTS: usize = 1000;
/// Messages of a round.
const MESSAGES: usize = 100;
const ROUNDS: usize = 15;
const SIZES: [usize; 2] = [125, 1024];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if process::role().is_some() {
        return Ok(serve()?);
    }
    let (server, addr) = process::start("server")?;
    let mut poster = TcpStream::connect(addr)?;
    let mut sockets = Clients::new("ws", addr, CLIENTS)?;
    let mut streams = Clients::new("sse", addr, CLIENTS)?;
    for size in SIZES {
        let (mut by_socket, mut by_stream) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let cost = (sockets.round(&server, &mut poster, size)?, streams.round(&server, &mut poster, size)?);
            // The first round fills pools and buffers.
            if round > 0 {
                by_socket.push(cost.0);
                by_stream.push(cost.1);
            }
        }
        let (socket, stream) = (median(&mut by_socket), median(&mut by_stream));
        let ratio = stream / socket;
        println!(
            "{size} B: WebSocket {socket:.2} µs, event stream {stream:.2} µs of CPU per delivery, ratio {ratio:.3}"
        );
    }
    Ok(())
}

fn serve() -> Result<(), Error> {
    let routes = Routes::new()
        .event_stream("/stream", |_, _| EventStream::topic("sse"))
        .websocket("/", |_| {
            Callbacks::new().on_open(|ws, _| {
                ws.subscribe("ws");
            })
        })
        .post("/{topic}", |request, hub| {
            hub.publish(request.param("topic"), request.text()?);
            Ok::<_, Reply>(StatusCode::NO_CONTENT)
        });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen("127.0.0.1:0", Server::routes(routes)?.ping_after(None))?;
    println!("{}", listening.addr);
    Ok(reactor.run()?)
}

/// The subscribers of a topic.
struct Clients {
    topic: &'static str,
    sockets: Vec<TcpStream>,
    /// Bytes around the payload of a message.
    framing: fn(usize) -> usize,
}

impl Clients {
    fn new(topic: &'static str, addr: SocketAddr, count: usize) -> std::io::Result<Self> {
        let is_stream = topic == "sse";
        let connect = |_| {
            let mut socket = TcpStream::connect(addr)?;
            match is_stream {
                true => request(&mut socket, "GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n")?,
                false => websocket::handshake(&mut socket)?,
            }
            Ok(socket)
        };
        let framing = match is_stream {
            // A chunk.
            true => |size| "data: \n\n".len() + format!("{:x}\r\n\r\n", size + "data: \n\n".len()).len(),
            false => |size| if size > 125 { 4 } else { 2 },
        };
        Ok(Clients { topic, sockets: (0..count).map(connect).collect::<std::io::Result<_>>()?, framing })
    }

    /// Publishes messages and reads them. Returns the CPU time of the server per delivery, in microseconds.
    fn round(
        &mut self,
        server: &ServerProcess,
        poster: &mut TcpStream,
        size: usize,
    ) -> Result<f64, Box<dyn std::error::Error>> {
        let body = "x".repeat(size);
        let post = format!("POST /{} HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\n\r\n{body}", self.topic);
        let before = cpu_nanos(server.id())?;
        for _ in 0..MESSAGES {
            request(poster, &post)?;
        }
        let mut received = vec![0; MESSAGES * (size + (self.framing)(size))];
        for socket in &mut self.sockets {
            socket.read_exact(&mut received)?;
        }
        let nanos = cpu_nanos(server.id())? - before;
        Ok(nanos as f64 / (MESSAGES * self.sockets.len()) as f64 / 1000.0)
    }
}

/// Sends a request, and reads the head of the response.
fn request(socket: &mut TcpStream, text: &str) -> std::io::Result<()> {
    socket.write_all(text.as_bytes())?;
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut octet)?;
        head.push(octet[0]);
    }
    Ok(())
}
