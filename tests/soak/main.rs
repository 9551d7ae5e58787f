//! Soak test: a server under load for minutes. It echoes and broadcasts over thousands of connections, half of them
//! with TLS if that is built in, while other connections open, close and misbehave. No message may be lost, changed or
//! reordered, and memory must not grow.
//!
//! `SOAK_SECONDS=600 SOAK_CONNECTIONS=2000 cargo test --release --test soak` is the full test; the default is short and
//! small. The server is a separate process, so that its memory can be measured. The clients are those of this crate.
#![allow(clippy::unwrap_used)]

mod clients;
mod server;

use std::{
    cell::RefCell,
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use clients::{Report, Urls};
use ws_reactor::Reactor;

const ROLE: &str = "WS_REACTOR_SOAK_SERVER";

fn main() {
    if let Some(folder) = env::var_os(ROLE) {
        return server::serve(&PathBuf::from(folder));
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return println!("soak: test");
    }
    // The only other argument of libtest with an effect is a filter in the first place.
    if arguments.first().is_some_and(|filter| !filter.starts_with('-') && !"soak".contains(filter.as_str())) {
        return;
    }
    let number = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().expect(name));
    soak(Duration::from_secs(number("SOAK_SECONDS", 3)), number("SOAK_CONNECTIONS", 100) as usize);
}

/// The server process, killed on drop.
struct Server {
    process: Child,
    folder: PathBuf,
    urls: Urls,
}

impl Server {
    fn start() -> Server {
        let folder = env::temp_dir().join(format!("ws-reactor-soak-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        let mut process = command.env(ROLE, &folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut addr = || lines.next()?.parse::<SocketAddr>().ok();
        let urls = Urls { plain: addr().expect("the address of the server"), secure: addr() };
        Server { process, folder, urls }
    }

    /// Resident anonymous memory of the process, in bytes.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.filter(|_| cfg!(target_os = "linux")).map_or(0, |kib| kib * 1024)
    }

    /// Number of open file descriptors of the process.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("the server process");
        fs::remove_dir_all(&self.folder).expect("the folder of the server");
    }
}

fn soak(duration: Duration, connections: usize) {
    let server = Server::start();
    let descriptors = server.descriptors();
    let mut reactor = Reactor::new().unwrap();
    let report = Rc::new(RefCell::new(Report::new(duration / 10)));
    clients::start(&mut reactor, &server.urls, &server.folder, connections, &report);
    let (began, mut memory) = (Instant::now(), Vec::new());
    while began.elapsed() < duration {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
        if memory.len() as u64 <= began.elapsed().as_secs() {
            memory.push(server.memory());
            if memory.len().is_multiple_of(30) {
                println!("{} s, {} MiB: {}", memory.len(), server.memory() >> 20, report.borrow());
            }
        }
    }
    // No new traffic; wait for messages in flight, then close all connections.
    report.borrow_mut().stopping = true;
    let deadline = Instant::now() + Duration::from_secs(30);
    while report.borrow().in_flight() > 0 && Instant::now() < deadline {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
    }
    reactor.hub().shutdown(Duration::from_secs(10));
    reactor.run().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.descriptors() > descriptors && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = report.borrow();
    println!("{connections} connections for {duration:?}: {report}");
    assert_eq!(report.in_flight(), 0, "missing echoes");
    assert_eq!(report.violations, Vec::<String>::new(), "violations seen by clients");
    let all_kinds = report.echoed > 0 && report.ticks > 0 && report.visits > 0 && report.faulty > 0;
    assert!(all_kinds, "a kind of traffic is missing: {report}");
    assert_eq!(server.descriptors(), descriptors, "open descriptors of the server");
    // Buffers and pools grow in the first fifth.
    let steady = &memory[memory.len() / 5..];
    let slope = slope(steady) * 60.0 / f64::from(1 << 20);
    println!("memory after {} s: {} MiB, {slope:+.2} MiB a minute", memory.len(), memory.last().unwrap_or(&0) >> 20);
    assert!(duration < Duration::from_secs(300) || slope < 0.5, "memory grows by {slope:.2} MiB a minute");
    println!("soak: passed");
}

/// Growth from one value to the next, by least squares.
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<u64>() as f64 / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let distance = at as f64 - middle;
        covariance += distance * (*value as f64 - mean);
        variance += distance * distance;
    }
    if variance > 0.0 { covariance / variance } else { 0.0 }
}
