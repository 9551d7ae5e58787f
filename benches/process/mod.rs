//! Servers under measurement: the bench's own program, started again in a role.

use std::{
    env,
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
