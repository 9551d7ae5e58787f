//! What each option of a socket does, between two network namespaces with a cable of their own.
//!
//!     sudo cargo bench --bench sockets [-- CASE...]
//!
//! Linux, as root, with `ip` and `tc`. Namespaces and cable are removed at the end, and a changed `net.core.rmem_max`
//! is restored.

mod ends;
mod link;

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use link::{Link, Side};

type Failure = Box<dyn Error>;

/// Time after which a dead network counts as unnoticed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An option, and how to show what it does.
struct Case {
    name: &'static str,
    title: &'static str,
    show: fn(&Link) -> Result<(), Failure>,
}

const CASES: [Case; 8] = [
    Case { name: "nodelay", title: "two messages of 20 B, 5 ms apart: delay of the second", show: delayed_pairs },
    Case { name: "unsent", title: "10,000 quotes of 1 KiB a second by 20 Mbit/s, newest of 10 symbols", show: quotes },
    Case { name: "priority", title: "100 messages a second beside a bulk transfer, 20 Mbit/s", show: beside_bulk },
    Case { name: "receive", title: "bytes that a client takes while it does not read", show: held_by_receiver },
    Case { name: "send", title: "bytes that the system takes for a client that does not read", show: held_by_sender },
    Case { name: "dead", title: "cable cut: time until the connection ends", show: cut_cable },
    Case { name: "cpu", title: "400 connections from CPU 0 to two listeners on one port", show: listeners_of_cpus },
    Case { name: "poll", title: "5,000 messages a second: delay", show: polled_socket },
];

fn main() -> Result<(), Failure> {
    if let Some(role) = link::role() {
        return ends::play(&role);
    }
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let link = Link::new()?;
    for case in CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|wanted| wanted == case.name)) {
        println!("{}", case.title);
        (case.show)(&link)?;
    }
    Ok(())
}

fn delayed_pairs(link: &Link) -> Result<(), Failure> {
    for (row, server, client) in [
        ("default", "serve pairs", "read answering"),
        ("sender without nodelay", "serve lazy-pairs", "read answering"),
        ("sender without nodelay, receiver with quickack", "serve lazy-pairs", "read answering-quickack"),
    ] {
        println!("    {row}: {}", measured(link, server, client)?);
    }
    Ok(())
}

fn quotes(link: &Link) -> Result<(), Failure> {
    link.limit_rate(Some("20mbit"))?;
    for bytes in [512 * 1024, 64 * 1024, 16 * 1024] {
        let server = format!("serve quotes {bytes}");
        println!("    unsent_bytes {} KiB: {}", bytes / 1024, measured(link, &server, "read default")?);
    }
    link.limit_rate(None)
}

fn beside_bulk(link: &Link) -> Result<(), Failure> {
    link.limit_rate(Some("20mbit"))?;
    for (row, option) in [("default", "default"), ("priority 6", "priority"), ("type_of_service 0x10", "service")] {
        let server = format!("serve beside-bulk {option}");
        println!("    {row}: {}", measured(link, &server, "read beside-bulk")?);
    }
    link.limit_rate(None)
}

fn held_by_receiver(link: &Link) -> Result<(), Failure> {
    const FILE: &str = "/proc/sys/net/core/rmem_max";
    let before = fs::read_to_string(FILE)?;
    // The kernel's own default, and enough for the option.
    let show = |largest: &str| -> Result<(), Failure> {
        fs::write(FILE, largest)?;
        println!(
            "    receive_buffer_bytes 4 MiB, net.core.rmem_max {largest}: {}",
            held(link, "65536 16384", "4194304")?
        );
        Ok(())
    };
    println!("    default: {}", held(link, "65536 16384", "default")?);
    let shown = ["212992", "4194304"].into_iter().try_for_each(show);
    fs::write(FILE, before)?;
    shown
}

fn held_by_sender(link: &Link) -> Result<(), Failure> {
    for (row, options) in [
        ("default", "default 524288"),
        ("unsent_bytes 16 KiB", "default 16384"),
        ("unsent_bytes unlimited", "default 4294967295"),
        ("send_buffer_bytes 32 KiB", "32768 524288"),
    ] {
        println!("    {row}: {}", held(link, options, "default")?);
    }
    Ok(())
}

fn cut_cable(link: &Link) -> Result<(), Failure> {
    for (row, manner) in [
        ("10 messages a second", "talking"),
        ("10 messages a second, user_timeout 2 s", "talking-timeout"),
        ("silence, keepalive 1 s, interval 1 s, 3 retries", "silent-keepalive"),
        ("silence, ping_after 1 s, pong_timeout 2 s", "silent-pings"),
    ] {
        let mut server = link.start(Side::Far, "serve sink")?;
        server.line()?;
        let mut client = link.start(Side::Near, &format!("wait {manner}"))?;
        client.line()?;
        thread::sleep(Duration::from_millis(500));
        link.cut(true)?;
        let began = Instant::now();
        let ended = client.line_within(PATIENCE);
        match ended {
            Some(reason) => println!("    {row}: {:.1} s ({reason})", began.elapsed().as_secs_f64()),
            None => println!("    {row}: not within {} s", PATIENCE.as_secs()),
        }
        link.cut(false)?;
    }
    Ok(())
}

fn listeners_of_cpus(link: &Link) -> Result<(), Failure> {
    for (row, option) in [("default", "default"), ("incoming_cpu", "cpus")] {
        let mut server = link.start(Side::Near, &format!("serve two-listeners {option}"))?;
        server.line()?;
        link.start(Side::Near, "connect 400")?.line()?;
        println!("    {row}: {}", server.line()?);
    }
    Ok(())
}

fn polled_socket(link: &Link) -> Result<(), Failure> {
    for (row, client) in [("default", "read default"), ("busy_poll 50 µs", "read poll")] {
        println!("    {row}: {}", measured(link, "serve steady", client)?);
    }
    Ok(())
}

/// What a client prints that measures a server.
fn measured(link: &Link, server: &str, client: &str) -> Result<String, Failure> {
    let mut running = link.start(Side::Far, server)?;
    running.line()?;
    link.start(Side::Near, client)?.line()
}

/// What a server with these options prints about a client that does not read.
fn held(link: &Link, options: &str, receive_buffer: &str) -> Result<String, Failure> {
    let mut server = link.start(Side::Far, &format!("serve held {options}"))?;
    server.line()?;
    let _client = link.start(Side::Near, &format!("pause {receive_buffer}"))?;
    server.line()
}

/// A server or client in a namespace, killed on drop.
struct End {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl End {
    fn new(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.stdout(std::process::Stdio::piped()).spawn()?;
        let output: ChildStdout = child.stdout.take().ok_or("no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(End { child, lines })
    }

    fn line(&mut self) -> Result<String, Failure> {
        Ok(self.lines.recv_timeout(PATIENCE).map_err(|_| "a process printed nothing")?)
    }

    fn line_within(&mut self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the process can be killed");
    }
}
