//! What wss costs: server CPU per echoed message and per handshake, and memory per idle connection.
//!
//!     cargo bench --bench wss [-- --peer NAME=COMMAND]...
//!
//! A peer is another server, measured in the same run: COMMAND is started with `--listen ADDR --tls-cert FILE --tls-key FILE`, and says
//! `listening on wss://ADDR`. `benches/compare` has one on fastwebsockets. Slices are interleaved, and medians compared.

mod load;
#[path = "../process/mod.rs"]
mod process;
#[path = "../websocket/mod.rs"]
mod websocket;

use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use load::Load;
use process::{ServerProcess, cpu_nanos, median, resident_bytes};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use ws_reactor::{Reactor, Server, TlsConfig, on_message};

const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(350);
const CONNECTIONS: usize = 100;
const HANDSHAKES: usize = 100;
const IDLE: usize = 1000;

struct Measured {
    name: String,
    server: ServerProcess,
    addr: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(folder) = process::role() {
        return serve(&PathBuf::from(folder));
    }
    let folder = env::temp_dir().join(format!("ws-reactor-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(&folder);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    let tls = ["--tls-cert".as_ref(), certificate.as_os_str(), "--tls-key".as_ref(), key.as_os_str()];
    let start = |peer: &Option<(String, String)>| -> Result<Measured, Box<dyn Error>> {
        let (server, addr) = match peer {
            None => process::start(&folder.to_string_lossy())?,
            Some((_, command)) => process::start_peer(command, &tls, "wss")?,
        };
        let name = peer.as_ref().map_or("ws-reactor", |(name, _)| name).to_owned();
        Ok(Measured { name, server, addr })
    };
    let all: Vec<_> = [None].into_iter().chain(process::peers().into_iter().map(Some)).collect();
    let servers = || all.iter().map(start).collect::<Result<Vec<Measured>, _>>();
    let (fresh, resuming) = (client(&made.cert.pem(), false)?, client(&made.cert.pem(), true)?);

    println!("server CPU, ECDSA P-256, median of {ROUNDS} slices; x is beside ws-reactor\n");
    for bytes in [125, 1024, 16 * 1024] {
        let servers = servers()?;
        let mut loads = Vec::new();
        for server in &servers {
            loads.push(Load::connect(server.addr, CONNECTIONS, bytes, &resuming)?);
        }
        report(&format!("echo of {bytes} bytes, {CONNECTIONS} connections"), &servers, |index| {
            loads[index].run(SLICE)
        })?;
    }
    for (what, config) in [("full", &fresh), ("resumed", &resuming)] {
        let servers = servers()?;
        // The first brings the ticket.
        for server in &servers {
            drop(load::open(server.addr, config)?);
        }
        report(&format!("{what} handshakes, with the connection and the request"), &servers, |index| {
            for _ in 0..HANDSHAKES {
                drop(load::open(servers[index].addr, config)?);
            }
            Ok(HANDSHAKES as u64)
        })?;
    }
    println!("idle connections, {IDLE} of them");
    for server in servers()? {
        let mut held = vec![load::open(server.addr, &resuming)?];
        let empty = resident_bytes(server.server.id())?;
        for _ in 0..IDLE {
            held.push(load::open(server.addr, &resuming)?);
        }
        let each = (resident_bytes(server.server.id())? - empty) / IDLE as u64;
        println!("  {:<20} {each:>8} bytes of resident memory each", server.name);
    }
    Ok(())
}

/// Measures each server in turn, round by round, and prints the medians.
fn report(
    what: &str,
    servers: &[Measured],
    mut work: impl FnMut(usize) -> std::io::Result<u64>,
) -> Result<(), Box<dyn Error>> {
    let mut costs = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (index, server) in servers.iter().enumerate() {
            let before = cpu_nanos(server.server.id())?;
            let done = work(index)?;
            costs[index].push((cpu_nanos(server.server.id())? - before) as f64 / done as f64);
        }
    }
    let medians: Vec<f64> = costs.iter_mut().map(|costs| median(costs)).collect();
    println!("{what}");
    for (server, cost) in servers.iter().zip(&medians) {
        let rate = 1e9 / cost;
        println!("  {:<20} {cost:>8.0} ns  {rate:>8.0} a second and core  {:.3} x", server.name, cost / medians[0]);
    }
    println!();
    Ok(())
}

fn client(certificate: &str, resuming: bool) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    if !resuming {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    let tls = TlsConfig::from_pem_files(folder.join("cert.pem"), folder.join("key.pem"))?;
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen("127.0.0.1:0", echo.tls(tls).ping_after(None))?;
    println!("{}", listening.addr);
    Ok(reactor.run()?)
}
