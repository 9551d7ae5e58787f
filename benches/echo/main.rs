//! What a WebSocket costs beside plain TCP: server CPU per echoed message.
//!
//!     cargo bench --bench echo
//!
//! Three servers, each a process of its own on one core: TCP on a bare mio loop, TCP by a `StreamHandler`, WebSocket by a `Handler`.
//! The load comes from another core and never sleeps, so that no server pays for waking it. Slices are interleaved, and medians compared: on
//! a shared machine only ratios of one run mean something.

mod bare;
mod load;
#[path = "../process/mod.rs"]
mod process;
#[path = "../websocket/mod.rs"]
mod websocket;

use std::time::Duration;

use load::Load;
use process::{cpu_nanos, median};
use ws_reactor::{Error, Reactor, Server, Stream, StreamHandler, on_message};

const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(350);
const CONNECTIONS: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bare,
    Stream,
    WebSocket,
}

const KINDS: [(Kind, &str); 3] =
    [(Kind::Bare, "TCP, bare mio"), (Kind::Stream, "TCP, StreamHandler"), (Kind::WebSocket, "WebSocket, Handler")];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(role) = process::role() {
        return Ok(serve(&role)?);
    }
    println!("server CPU per echoed message, {CONNECTIONS} connections, median of {ROUNDS} slices of {SLICE:?}\n");
    for (bytes, depth) in [(16, 1), (125, 1), (1024, 1), (16 * 1024, 1), (16, 32), (1024, 32)] {
        compare(bytes, depth)?;
    }
    Ok(())
}

fn compare(bytes: usize, depth: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut servers = Vec::new();
    for (index, (kind, name)) in KINDS.iter().enumerate() {
        let (child, addr) = process::start(&index.to_string())?;
        let load = Load::connect(addr, CONNECTIONS, bytes, depth, *kind == Kind::WebSocket)?;
        servers.push((child, load, *name, Vec::new()));
    }
    for _ in 0..ROUNDS {
        for (child, load, _, costs) in &mut servers {
            let before = cpu_nanos(child.id())?;
            let messages = load.run(SLICE)?;
            costs.push((cpu_nanos(child.id())? - before) as f64 / messages as f64);
        }
    }
    let medians: Vec<f64> = servers.iter_mut().map(|(.., costs)| median(costs)).collect();
    println!("{bytes} bytes, {depth} in flight");
    for ((_, _, name, _), cost) in servers.iter().zip(&medians) {
        println!("  {name:<20} {cost:>8.0} ns   {:.3} x bare", cost / medians[0]);
    }
    println!();
    Ok(())
}

fn serve(role: &str) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let listening = match KINDS[role.parse::<usize>().expect("a role is an index")].0 {
        Kind::Bare => bare::serve(),
        Kind::Stream => reactor.listen_stream("127.0.0.1:0", |_| Echo)?,
        Kind::WebSocket => {
            let echo = Server::new(|_| {
                on_message(|ws, message| {
                    ws.send(message);
                })
            });
            reactor.listen("127.0.0.1:0", echo)?
        }
    };
    println!("{}", listening.addr);
    reactor.run()
}

struct Echo;

impl StreamHandler for Echo {
    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        stream.write(data);
    }
}
