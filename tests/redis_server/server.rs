//! A Redis, or the server that `REDIS_SERVER` names.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server with a directory of its own, which is ended with the value.
pub(crate) struct RedisServer {
    child: Child,
    pub(crate) port: u16,
    arguments: Vec<&'static str>,
}

impl RedisServer {
    pub(crate) fn start(arguments: &[&'static str]) -> Self {
        // The bus of a cluster has a port of its own, 10,000 higher.
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let ports = (10_000..30_000).cycle().skip(process::id() as usize * 97 % 20_000);
        let port = ports.step_by(13).find(|port| is_free(*port) && is_free(port + 10_000)).unwrap();
        let mut server = RedisServer { child: spawn(port, arguments), port, arguments: arguments.to_vec() };
        server.wait();
        server
    }

    fn wait(&mut self) {
        wait_until("the server answers", || self.try_command(&["PING"]).is_some_and(|reply| reply == "+PONG"));
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Executes a command. Returns the first line of the reply, or the string that follows.
    pub(crate) fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command += &format!("${}\r\n{word}\r\n", word.len()));
        stream.write_all(command.as_bytes()).ok()?;
        let (mut reader, mut line) = (BufReader::new(stream), String::new());
        reader.read_line(&mut line).ok()?;
        if let Some(length) = line.strip_prefix('$') {
            let mut bytes = vec![0; length.trim().parse().ok()?];
            reader.read_exact(&mut bytes).ok()?;
            return String::from_utf8(bytes).ok();
        }
        Some(line.trim_end().to_owned())
    }

    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("{words:?}"))
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, &self.arguments);
        self.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(directory(self.port));
    }
}

fn directory(port: u16) -> std::path::PathBuf {
    env::temp_dir().join(format!("ws-reactor-redis-{port}"))
}

fn spawn(port: u16, arguments: &[&str]) -> Child {
    let program = env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    let directory = directory(port);
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).args(arguments);
    command.current_dir(directory).stdout(Stdio::null()).spawn().expect("REDIS_SERVER is a program")
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "after 30 s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
