//! The measured server processes: the program of the bench started in a role, or another program; and their costs.
#![allow(dead_code)]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// The environment variable with the role of a server process.
const ROLE: &str = "WS_REACTOR_BENCH_ROLE";

/// The role of this process; `None` for the measuring process.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// A server process, killed on drop.
pub(crate) struct ServerProcess(Child);

impl ServerProcess {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("the server can be killed");
    }
}

/// Starts this program as a server, on the first core if `taskset` is available. Its first line of output is the
/// address.
pub(crate) fn start(role: &str) -> Result<(ServerProcess, SocketAddr), Box<dyn std::error::Error>> {
    let program = env::current_exe()?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(&program).env(ROLE, role).stdout(Stdio::piped());
    let spawned = command.spawn().or_else(|_| {
        eprintln!("taskset is not available: servers and load share the cores");
        Command::new(&program).env(ROLE, role).stdout(Stdio::piped()).spawn()
    });
    let mut server = ServerProcess(spawned?);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((server, line.trim().parse()?))
}

/// The names and commands of other servers from the command line: `--peer NAME=COMMAND`.
pub(crate) fn peers() -> Vec<(String, String)> {
    let words: Vec<String> = env::args().collect();
    let given = words.windows(2).filter(|pair| pair[0] == "--peer");
    given
        .filter_map(|pair| pair[1].split_once('='))
        .map(|(name, command)| (name.to_owned(), command.to_owned()))
        .collect()
}

/// Starts another server on the first core. It prints `listening on SCHEME://ADDR` to stderr.
pub(crate) fn start_peer(
    command: &str,
    arguments: &[&OsStr],
    scheme: &str,
) -> Result<(ServerProcess, SocketAddr), Box<dyn std::error::Error>> {
    let mut words = command.split_whitespace();
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(words.next().ok_or("no command")?).args(words);
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut server = ServerProcess(command.stderr(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(server.0.stderr.take().ok_or("no output")?).read_line(&mut line)?;
    let addr = line.trim().strip_prefix("listening on ").and_then(|url| url.strip_prefix(scheme)?.strip_prefix("://"));
    Ok((server, addr.ok_or("the server does not listen")?.parse()?))
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time so far (Linux, `/proc/PID/schedstat`).
pub(crate) fn cpu_nanos(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    Ok(status.split_whitespace().next().ok_or("no figure")?.parse()?)
}

/// CPU time of all threads so far (Linux, `/proc/PID/task`).
pub(crate) fn cpu_nanos_of_threads(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += status.split_whitespace().next().ok_or("no figure")?.parse::<u64>()?;
    }
    Ok(nanos)
}

/// Resident memory (Linux, `/proc/PID/smaps_rollup`).
pub(crate) fn resident_bytes(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).ok_or("no figure")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<u64>()? * 1024)
}
