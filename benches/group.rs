//! The cost of a delivery in groups of 1, 2 and 4 reactors, how evenly the system distributes connections, and the
//! memory of each reactor.
//!
//!     cargo bench --bench group
//!
//! All servers run on one core, so that the CPU time does not depend on how many run at once. Messages come from one
//! client, in turn to each group. Prints the CPU time of the server for each delivery to 1,000 clients, medians of all
//! rounds, and their ratio to the group of one. Linux only (`/proc`).

mod process;
mod websocket;

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use process::{ServerProcess, cpu_nanos_of_threads, median, resident_bytes};
use ws_reactor::{Callbacks, ReactorGroup, Server};

const GROUPS: [&str; 3] = ["1", "2", "4"];
const CLIENTS: usize = 1000;
/// Messages of a round.
const MESSAGES: usize = 100;
const ROUNDS: usize = 15;
const SIZES: [usize; 2] = [125, 1024];
/// Numbers of connections whose distribution is shown, and the attempts of each.
const CROWDS: [usize; 3] = [40, 400, 4000];
const ATTEMPTS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(reactors) = process::role() {
        return serve(reactors.parse()?);
    }
    println!("memory of a process that has started:");
    for group in GROUPS {
        let (server, _) = process::start(group)?;
        println!("    {group} reactors: {:.1} MiB", resident_bytes(server.id())? as f64 / 1048576.0);
    }
    println!("most connections of a reactor, beside an equal share (median and most of {ATTEMPTS}):");
    for crowd in CROWDS {
        let (mut shares, mut most) = (Vec::new(), 0.0_f64);
        for _ in 0..ATTEMPTS {
            let share = largest_share(crowd)?;
            shares.push(share);
            most = most.max(share);
        }
        println!("    {crowd} connections, 4 reactors: {:.2}, {most:.2}", median(&mut shares));
    }
    deliveries()
}

fn serve(reactors: usize) -> Result<(), Box<dyn Error>> {
    ReactorGroup::new(reactors)?.run(|reactor| {
        let server = Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.subscribe("all");
                })
                .on_message(|ws, message| match message.is_text() {
                    // The connections of each reactor.
                    true => {
                        let id = ws.id();
                        ws.hub().ask_group(
                            |hub| hub.stats().connections,
                            move |hub, counts| {
                                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                                hub.send(id, counts.join(" "));
                            },
                        );
                    }
                    false => _ = ws.hub().publish("all", message),
                })
        });
        let listening = reactor.listen("127.0.0.1:0", server.ping_after(None))?;
        if reactor.hub().group_index() == 0 {
            println!("{}", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

/// Connections of the reactor that has most of `crowd`, in parts of an equal share.
fn largest_share(crowd: usize) -> Result<f64, Box<dyn Error>> {
    let (_server, addr) = process::start("4")?;
    let clients = connect(addr, crowd)?;
    let mut first = &clients[0];
    first.write_all(&websocket::masked_frame(TEXT, b"share"))?;
    let mut header = [0; 2];
    first.read_exact(&mut header)?;
    let mut counts = vec![0; usize::from(header[1])];
    first.read_exact(&mut counts)?;
    let counts: Vec<usize> = String::from_utf8(counts)?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let most = counts.iter().max().ok_or("no reactor")?;
    Ok((most * counts.len()) as f64 / crowd as f64)
}

/// First byte of a frame with a whole text message.
const TEXT: u8 = 0x81;

fn connect(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Box<dyn Error>> {
    let connect = |_| {
        let mut socket = TcpStream::connect(addr)?;
        websocket::handshake(&mut socket)?;
        Ok(socket)
    };
    (0..count).map(connect).collect()
}

fn deliveries() -> Result<(), Box<dyn Error>> {
    let start = |group| {
        let (server, addr) = process::start(group)?;
        Ok::<_, Box<dyn Error>>((server, connect(addr, CLIENTS)?))
    };
    let mut groups = GROUPS.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
    for size in SIZES {
        let mut costs = GROUPS.map(|_| Vec::new());
        for round in 0..=ROUNDS {
            for ((server, clients), costs) in groups.iter_mut().zip(&mut costs) {
                let cost = publish(server, clients, size)?;
                // The first round fills pools and buffers.
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        let medians = costs.map(|mut costs| median(&mut costs));
        for (group, cost) in GROUPS.into_iter().zip(medians) {
            println!("{size} B, {group} reactors: {cost:.3} µs of CPU per delivery, ratio {:.3}", cost / medians[0]);
        }
    }
    Ok(())
}

/// Publishes messages one by one, and reads them. Returns the CPU time of the server per delivery, in microseconds.
fn publish(server: &ServerProcess, clients: &mut [TcpStream], size: usize) -> Result<f64, Box<dyn Error>> {
    let payload = websocket::payload(size);
    let (frame, mut received) = (websocket::masked(&payload), websocket::unmasked(&payload));
    let before = cpu_nanos_of_threads(server.id())?;
    for _ in 0..MESSAGES {
        clients[0].write_all(&frame)?;
        for client in &mut *clients {
            client.read_exact(&mut received)?;
        }
    }
    let nanos = cpu_nanos_of_threads(server.id())? - before;
    Ok(nanos as f64 / (MESSAGES * clients.len()) as f64 / 1000.0)
}
