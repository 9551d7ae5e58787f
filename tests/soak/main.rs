//! A server for minutes on end: echo and broadcast over thousands of connections, half of them within TLS where that is
//! built in, while others come, go and misbehave. No message may be missed, changed or out of order, and memory must
//! not grow.
//!
//! `SOAK_SECONDS=600 SOAK_CONNECTIONS=2000 cargo test --release --test soak` is the whole; by default it is a short and
//! small one. The server is a process of its own, so that its memory is its own; the clients are ours, too, and check
//! every byte.
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
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        return println!("soak: test");
    }
    // Of libtest's arguments only a filter, which comes first, is heard.
    if words.first().is_some_and(|word| !word.starts_with('-') && !"soak".contains(word.as_str())) {
        return;
    }
    let number = |name: &str, usual: u64| env::var(name).map_or(usual, |text| text.parse().expect(name));
    soak(Duration::from_secs(number("SOAK_SECONDS", 3)), number("SOAK_CONNECTIONS", 100) as usize);
}

/// The server's process, ended with its owner.
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
        let urls = Urls { plain: addr().expect("it listens"), secure: addr() };
        Server { process, folder, urls }
    }

    /// Bytes of resident memory that are its own.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.filter(|_| cfg!(target_os = "linux")).map_or(0, |kib| kib * 1024)
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("the server can be ended");
        fs::remove_dir_all(&self.folder).expect("its files are there");
    }
}

fn soak(lasting: Duration, connections: usize) {
    let server = Server::start();
    let descriptors = server.descriptors();
    let mut reactor = Reactor::new().unwrap();
    let report = Rc::new(RefCell::new(Report::new(lasting / 10)));
    clients::start(&mut reactor, &server.urls, &server.folder, connections, &report);
    let (began, mut memory) = (Instant::now(), Vec::new());
    while began.elapsed() < lasting {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
        if memory.len() as u64 <= began.elapsed().as_secs() {
            memory.push(server.memory());
            if memory.len().is_multiple_of(30) {
                println!("{} s, {} MiB: {}", memory.len(), server.memory() >> 20, report.borrow());
            }
        }
    }
    // What is under way arrives; then all leave.
    report.borrow_mut().over = true;
    let patience = Instant::now() + Duration::from_secs(30);
    while report.borrow().under_way() > 0 && Instant::now() < patience {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
    }
    reactor.hub().shutdown(Duration::from_secs(10));
    reactor.run().unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    while server.descriptors() > descriptors && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = report.borrow();
    println!("{connections} connections for {lasting:?}: {report}");
    assert_eq!(report.under_way(), 0, "echoes that never came");
    assert_eq!(report.wrong, Vec::<String>::new(), "what was found wrong");
    assert!(report.echoed > 0 && report.told > 0 && report.visits > 0 && report.faulty > 0, "all kinds were there");
    assert_eq!(server.descriptors(), descriptors, "descriptors left");
    // The first fifth fills what is filled once.
    let steady = &memory[memory.len() / 5..];
    let slope = slope(steady) * 60.0 / f64::from(1 << 20);
    println!("memory after {} s: {} MiB, {slope:+.2} MiB a minute", memory.len(), memory.last().unwrap_or(&0) >> 20);
    assert!(lasting < Duration::from_secs(300) || slope < 0.5, "memory grows by {slope:.2} MiB a minute");
    println!("soak: passed");
}

/// By how much the values grow from one to the next: least squares.
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<u64>() as f64 / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        let away = at as f64 - middle;
        above += away * (*value as f64 - mean);
        below += away * away;
    }
    if below > 0.0 { above / below } else { 0.0 }
}
