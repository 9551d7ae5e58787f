//! Two processes joined by Redis: the time from a message to its delivery in the other process, and its cost.
//!
//!     cargo bench --features redis --bench backplane
//!
//! Both servers run on one core, Redis and the clients where the system puts them. Needs `redis-server`. Linux only
//! (`/proc`).

mod process;
mod websocket;

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use process::{ServerProcess, cpu_nanos_of_threads, median};
use ws_reactor::{Callbacks, Reactor, Redis, Server};

/// Lone messages whose time is measured.
const LONE: usize = 20_000;
/// Messages as fast as they go.
const FLOOD: usize = 1_000_000;
/// Messages of the flood that are under way at a time.
const WINDOW: usize = 2000;
/// Clients of the other process.
const CLIENTS: usize = 1000;
const MESSAGES: usize = 200;
const ROUNDS: usize = 5;
const SIZE: usize = 125;

/// A Redis of this bench, ended on drop.
struct RedisServer(Child, String);

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("Redis can be ended");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(url) = process::role() {
        return serve(&url);
    }
    let redis = start_redis()?;
    let (publishing, receiving) = (process::start(&redis.1)?, process::start(&redis.1)?);
    println!("{SIZE} B, from a client of one process to a client of the other, through Redis:");
    latency("    two processes", publishing.1, receiving.1)?;
    latency("    one process, without Redis", publishing.1, publishing.1)?;
    flood(&redis, &publishing, &receiving)?;
    deliveries(&publishing, &receiving)
}

fn start_redis() -> Result<RedisServer, Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1"]).stdout(Stdio::null());
    let redis = RedisServer(command.spawn()?, format!("redis://127.0.0.1:{port}"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(redis)
}

/// A server whose clients get what is published, and publish what they send.
fn serve(url: &str) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    reactor.hub().set_backplane(Redis::new(url)?);
    let server = Server::new(|handshake| {
        let is_receiver = handshake.path() == "/receive";
        Callbacks::new()
            .on_open(move |ws, _| {
                if is_receiver {
                    ws.subscribe("all");
                }
            })
            .on_message(|ws, message| _ = ws.hub().publish("all", message))
    });
    println!("{}", reactor.listen("127.0.0.1:0", server.ping_after(None))?.addr);
    reactor.run()?;
    Ok(())
}

/// Clients that receive, once their topic is subscribed at Redis.
fn receivers(publishing: SocketAddr, receiving: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Box<dyn Error>> {
    let mut receivers = (0..count).map(|_| websocket::connect(receiving, "/receive")).collect::<Result<Vec<_>, _>>()?;
    let mut sender = websocket::connect(publishing, "/send")?;
    let (frame, mut received) =
        (websocket::masked(&websocket::payload(1)), websocket::unmasked(&websocket::payload(1)));
    receivers[0].set_read_timeout(Some(Duration::from_millis(50)))?;
    loop {
        sender.write_all(&frame)?;
        if receivers[0].read_exact(&mut received).is_ok() {
            break;
        }
    }
    // What the others have got of it.
    thread::sleep(Duration::from_millis(200));
    for receiver in &mut receivers {
        receiver.set_nonblocking(true)?;
        let mut rest = [0; 4096];
        while receiver.read(&mut rest).is_ok_and(|length| length > 0) {}
        receiver.set_nonblocking(false)?;
        receiver.set_read_timeout(None)?;
    }
    Ok(receivers)
}

fn latency(name: &str, publishing: SocketAddr, receiving: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut receiver = receivers(publishing, receiving, 1)?.remove(0);
    let mut sender = websocket::connect(publishing, "/send")?;
    let payload = websocket::payload(SIZE);
    let (frame, mut received) = (websocket::masked(&payload), websocket::unmasked(&payload));
    let mut times = Vec::with_capacity(LONE);
    for _ in 0..LONE {
        let began = Instant::now();
        sender.write_all(&frame)?;
        receiver.read_exact(&mut received)?;
        times.push(began.elapsed());
    }
    times.sort();
    let at = |part: f64| times[(LONE as f64 * part) as usize];
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
    Ok(())
}

/// Many messages, with a bounded number under way.
fn flood(
    redis: &RedisServer,
    publishing: &(ServerProcess, SocketAddr),
    receiving: &(ServerProcess, SocketAddr),
) -> Result<(), Box<dyn Error>> {
    let mut receiver = receivers(publishing.1, receiving.1, 1)?.remove(0);
    let mut sender = websocket::connect(publishing.1, "/send")?;
    let payload = websocket::payload(SIZE);
    let (frame, mut received) = (websocket::masked(&payload).repeat(100), websocket::unmasked(&payload).repeat(100));
    let processes = [publishing.0.id(), redis.0.id(), receiving.0.id()];
    let cpu = || processes.iter().map(|id| cpu_nanos_of_threads(*id)).collect::<Result<Vec<_>, _>>();
    let (before, began) = (cpu()?, Instant::now());
    for number in 0..(FLOOD + WINDOW) / 100 {
        if number < FLOOD / 100 {
            sender.write_all(&frame)?;
        }
        if number >= WINDOW / 100 {
            receiver.read_exact(&mut received)?;
        }
    }
    let (after, time) = (cpu()?, began.elapsed());
    let cost = |index: usize| (after[index] - before[index]) as f64 / FLOOD as f64 / 1000.0;
    println!(
        "{FLOOD} messages: {:.0} per second, none lost; CPU per message: {:.2} µs in the publishing process, {:.2} µs in \
         Redis, {:.2} µs in the receiving process",
        FLOOD as f64 / time.as_secs_f64(),
        cost(0),
        cost(1),
        cost(2),
    );
    Ok(())
}

/// The cost of a delivery to many clients of the other process, beside one to clients of the same process.
fn deliveries(
    publishing: &(ServerProcess, SocketAddr),
    receiving: &(ServerProcess, SocketAddr),
) -> Result<(), Box<dyn Error>> {
    let payload = websocket::payload(SIZE);
    let (frame, mut received) = (websocket::masked(&payload), websocket::unmasked(&payload));
    let mut clients = receivers(publishing.1, receiving.1, CLIENTS)?;
    let mut costs = [publishing.1, receiving.1].map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (from, costs) in [publishing.1, receiving.1].into_iter().zip(&mut costs) {
            let mut sender = websocket::connect(from, "/send")?;
            let before = cpu_nanos_of_threads(receiving.0.id())?;
            for _ in 0..MESSAGES {
                sender.write_all(&frame)?;
                for client in &mut clients {
                    client.read_exact(&mut received)?;
                }
            }
            let nanos = cpu_nanos_of_threads(receiving.0.id())? - before;
            // The first round fills pools and buffers.
            if round > 0 {
                costs.push(nanos as f64 / (MESSAGES * CLIENTS) as f64 / 1000.0);
            }
        }
    }
    let [through, within] = costs.map(|mut costs| median(&mut costs));
    println!(
        "{CLIENTS} clients: {through:.3} µs of CPU per delivery through Redis, {within:.3} µs within the process, ratio {:.3}",
        through / within
    );
    Ok(())
}
