//! Servers under measurement: the bench's own program, started again in a role, or that of another; and what they cost.
#![allow(dead_code)]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// Which server this process is, if it is one.
const ROLE: &str = "WS_REACTOR_BENCH_ROLE";

/// The role of this process; `None` if it is the one that measures.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// A server process, ended with its owner.
pub(crate) struct ServerProcess(Child);

impl ServerProcess {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("the server can be ended");
    }
}

/// Starts a server, on the first core if `taskset` is here; its first line of output is the address.
pub(crate) fn start(role: &str) -> Result<(ServerProcess, SocketAddr), Box<dyn std::error::Error>> {
    let program = env::current_exe()?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(&program).env(ROLE, role).stdout(Stdio::piped());
    let spawned = command.spawn().or_else(|_| {
        eprintln!("taskset is not here: servers and load are not kept apart");
        Command::new(&program).env(ROLE, role).stdout(Stdio::piped()).spawn()
    });
    let mut server = ServerProcess(spawned?);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((server, line.trim().parse()?))
}

/// Servers of others, as the command line names them: `--peer NAME=COMMAND`.
pub(crate) fn peers() -> Vec<(String, String)> {
    let words: Vec<String> = env::args().collect();
    let given = words.windows(2).filter(|pair| pair[0] == "--peer");
    given
        .filter_map(|pair| pair[1].split_once('='))
        .map(|(name, command)| (name.to_owned(), command.to_owned()))
        .collect()
}

/// Starts the server of somebody else, on the first core, which says `listening on SCHEME://ADDR`.
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
    let said = line.trim().strip_prefix("listening on ").and_then(|url| url.strip_prefix(scheme)?.strip_prefix("://"));
    let addr = said.ok_or("it does not listen")?.parse()?;
    Ok((server, addr))
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time on the CPU so far (Linux, `/proc/PID/schedstat`).
pub(crate) fn cpu_nanos(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    Ok(status.split_whitespace().next().ok_or("no figure")?.parse()?)
}

/// Resident memory (Linux, `/proc/PID/smaps_rollup`).
pub(crate) fn resident_bytes(process: u32) -> Result<u64, Box<dyn std::error::Error>> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).ok_or("no figure")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<u64>()? * 1024)
}
