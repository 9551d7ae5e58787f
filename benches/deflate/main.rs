//! The cost of permessage-deflate: server CPU per echoed message, bytes per echo, and memory per compressing
//! connection.
//!
//!     cargo bench --bench deflate [-- --peer NAME=COMMAND]...
//!
//! A peer is another server, measured in the same run: COMMAND is started with `--listen ADDR` and prints `listening on
//! ws://ADDR`. `benches/compare` has such servers; they compress if COMMAND ends with `--deflate`. The time slices of
//! the servers alternate, and the medians are compared.

#[path = "../../examples/load/json.rs"]
mod json;
mod load;
#[path = "../process/mod.rs"]
mod process;
#[path = "../websocket/mod.rs"]
mod websocket;

use std::{error::Error, net::SocketAddr, time::Duration};

use load::Load;
use process::{ServerProcess, cpu_nanos, median, resident_bytes};
use ws_reactor::{DeflateConfig, Reactor, Server, on_message};

const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(350);
const CONNECTIONS: [usize; 2] = [1, 100];
const MESSAGE_BYTES: usize = 1024;

/// The number of connections whose memory is measured, and of messages on each before: more than a window.
const COMPRESSING: usize = 200;
const MESSAGES_BEFORE: usize = 48;

/// The names of our servers, and their roles.
const OURS: [(&str, &str); 9] = [
    ("dedicated, level 1", "1 12 true true"),
    ("dedicated, level 3", "3 12 true true"),
    ("dedicated, level 6", "6 12 true true"),
    ("dedicated, level 1, window 15", "1 15 true true"),
    ("dedicated, level 6, window 15", "6 15 true true"),
    ("shared, level 1", "1 15 false false"),
    ("shared, level 3", "3 15 false false"),
    ("shared, level 5", "5 15 false false"),
    ("shared, level 6", "6 15 false false"),
];

struct Measured {
    name: String,
    server: ServerProcess,
    load: Load,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(role) = process::role() {
        return serve(&role);
    }
    for connections in CONNECTIONS {
        measure_cpu(connections)?;
    }
    measure_memory()
}

fn measure_cpu(connections: usize) -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    for (name, role) in OURS {
        servers.push(measured(name, process::start(role)?, connections)?);
    }
    for (name, command) in process::peers() {
        servers.push(measured(&name, process::start_peer(&command, &[], "ws")?, connections)?);
    }
    let mut costs = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (index, server) in servers.iter_mut().enumerate() {
            let before = cpu_nanos(server.server.id())?;
            let echoed = server.load.run(SLICE)?;
            costs[index].push((cpu_nanos(server.server.id())? - before) as f64 / echoed as f64);
        }
    }
    let medians: Vec<f64> = costs.iter_mut().map(|costs| median(costs)).collect();
    println!("echo of {MESSAGE_BYTES} bytes of JSON, {connections} connections: server CPU per message,");
    println!("median of {ROUNDS} slices; bytes per echo; CPU as a multiple of the first row\n");
    for (server, cost) in servers.iter().zip(&medians) {
        let (name, bytes) = (&server.name, server.load.bytes_per_echo());
        println!("  {name:<32} {cost:>8.0} ns  {bytes:>5.0} bytes  {:.3} x", cost / medians[0]);
    }
    println!();
    Ok(())
}

fn measured(
    name: &str,
    (server, addr): (ServerProcess, SocketAddr),
    connections: usize,
) -> Result<Measured, Box<dyn Error>> {
    Ok(Measured { name: name.to_owned(), server, load: Load::connect(addr, connections, MESSAGE_BYTES)? })
}

/// Measures the memory of a connection after more than a window of compressed messages in both directions.
fn measure_memory() -> Result<(), Box<dyn Error>> {
    println!("resident memory per compressing connection in KiB, average of {COMPRESSING} connections,");
    println!("by window bits (rows) and by the sides with context takeover (columns)\n");
    println!("  {:<10} {:>10} {:>10} {:>10} {:>10}", "window", "none", "server", "client", "both");
    for bits in 9..=15 {
        let mut row = Vec::new();
        for (server, client) in [(false, false), (true, false), (false, true), (true, true)] {
            let (process, addr) = process::start(&format!("1 {bits} {server} {client}"))?;
            // The first connection causes the shared allocations.
            let mut first = Load::connect(addr, 1, MESSAGE_BYTES)?;
            first.exchange(MESSAGES_BEFORE)?;
            let empty = resident_bytes(process.id())?;
            let mut load = Load::connect(addr, COMPRESSING, MESSAGE_BYTES)?;
            load.exchange(MESSAGES_BEFORE)?;
            row.push((resident_bytes(process.id())? - empty) as f64 / COMPRESSING as f64 / 1024.0);
        }
        println!("  {bits:<10} {:>10.1} {:>10.1} {:>10.1} {:>10.1}", row[0], row[1], row[2], row[3]);
    }
    Ok(())
}

/// `role` has the level, the window bits, the server's context takeover and the client's context takeover.
fn serve(role: &str) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = role.split(' ').collect();
    let [level, bits, server, client] = words[..] else { return Err("a role has four words".into()) };
    let bits = bits.parse()?;
    let config = DeflateConfig::shared()
        .level(level.parse()?)?
        .server_max_window_bits(bits)?
        .client_max_window_bits(bits)?
        .server_context_takeover(server.parse()?)
        .client_context_takeover(client.parse()?);
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen("127.0.0.1:0", echo.deflate(config).ping_after(None))?;
    println!("{}", listening.addr);
    Ok(reactor.run()?)
}
