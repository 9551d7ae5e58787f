//! The cost of an idle connection: memory, and wakeups of the loop.
//!
//!     cargo bench --bench idle
//!
//! Exits with status 1 if a connection uses more than 1 KiB, or the loop wakes up more than twice a second. Linux only
//! (`/proc`).

mod process;
mod websocket;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use process::resident_bytes;
use ws_reactor::{Error, Reactor, Server, on_message};

const CONNECTIONS: usize = 18_000;
const OBSERVED: Duration = Duration::from_secs(3);

/// "hi" with a masking key of zeros, and its echo.
const FRAME: &[u8] = b"\x81\x82\0\0\0\0hi";
const ECHO: &[u8] = b"\x81\x02hi";

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    if process::role().is_some() {
        serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (server, addr) = process::start("server")?;
    // The first connection causes the shared allocations.
    let mut connections = vec![connect(addr)?];
    let empty = resident_bytes(server.id())?;
    for _ in 0..CONNECTIONS {
        connections.push(connect(addr)?);
    }
    let bytes_each = (resident_bytes(server.id())? - empty) / CONNECTIONS as u64;
    println!("{CONNECTIONS} idle connections: {bytes_each} bytes of resident memory each");

    let before = wakeups(server.id())?;
    thread::sleep(OBSERVED);
    let wakeups_per_second = (wakeups(server.id())? - before) as f64 / OBSERVED.as_secs_f64();
    println!("wakeups, keep-alive off: {wakeups_per_second:.1} per second");
    Ok(if bytes_each <= 1024 && wakeups_per_second <= 2.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve() -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let listening = reactor.listen("127.0.0.1:0", echo.ping_after(None))?;
    println!("{}", listening.addr);
    reactor.run()?;
    Ok(())
}

/// Opens a connection and checks one echo.
fn connect(to: SocketAddr) -> Result<TcpStream, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(to)?;
    websocket::handshake(&mut stream)?;
    stream.write_all(FRAME)?;
    let mut echo = [0; ECHO.len()];
    stream.read_exact(&mut echo)?;
    if echo == ECHO { Ok(stream) } else { Err("no echo".into()) }
}

/// The number of voluntary context switches of the process: each is followed by a wakeup.
fn wakeups(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).ok_or("no figure")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
}
