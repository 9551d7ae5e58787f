//! Load on a WebSocket server: what it bears, how fast it answers, and what that costs it.
//!
//!     cargo run --release --example load -- echo ws://127.0.0.1:8080
//!         [--connections 100] [--bytes 125] [--text | --mixed] [--depth 1] [--deflate]     closed loop: so many messages on their way on each connection
//!     cargo run --release --example load -- rate ws://127.0.0.1:8080
//!         [--rate 10000] [--greedy-bytes N]           open loop: messages at that rate, latencies from the time at which each should be sent
//!     cargo run --release --example load -- fanout ws://127.0.0.1:8080                     one speaks, and everybody hears it (`examples/multicast`)
//!     cargo run --release --example load -- handshakes wss://127.0.0.1:8443 [--resume]     connections that open and are gone
//!     cargo run --release --example load -- idle ws://127.0.0.1:8080 --pid PID             connections that are silent: memory and wakeups
//!
//! With `--pid` the server's time on the CPU for each message is shown (Linux). Every byte that comes back is compared with what was sent. `--seconds` is the length of
//! a slice, `--rounds` how many there are; `--idle` keeps that many silent connections beside. `--spin` never sleeps, so that the server does not pay for waking the load: for measurements, with
//! both on cores of their own. `--json` prints a line of JSON for each slice; with `--paced` a slice is begun by each line of standard input, so that several can be
//! interleaved. `tcp://` is a server that echoes without a protocol. With `--greedy-bytes` one more connection echoes messages of that size as fast as it can.

#[path = "../arguments/mod.rs"]
mod arguments;
mod echo;
mod fanout;
mod handshakes;
mod json;
mod payload;
mod pipe;
mod process;
mod rate;
mod slice;
mod speaker;
mod wire;

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use arguments::Arguments;
use indicatif::{ProgressBar, ProgressStyle};
use payload::Content;
use pipe::{Pipe, Target};
use process::Process;
use slice::{Measured, Work};

/// What all kinds of load go by.
struct Options {
    target: Target,
    connections: usize,
    content: Content,
    bytes: usize,
    depth: usize,
    deflate: bool,
    /// Messages a second, of all connections.
    rate: f64,
    /// The size of the messages of one that echoes flat out; 0 for none.
    greedy_bytes: usize,
    /// How long to wait for news at a time: not at all, or a second.
    wait: Duration,
}

struct Pace {
    slice: Duration,
    rounds: usize,
    json: bool,
    paced: bool,
    server: Option<Process>,
}

fn main() -> ExitCode {
    let options = [
        ("--kind KIND", "echo, rate, fanout, handshakes or idle; the option's name may be left out [default: echo]"),
        ("--url URL", "ws, wss or tcp; the option's name may be left out [default: ws://127.0.0.1:8080]"),
        ("--connections NUMBER", "Connections [default: 100]"),
        ("--bytes NUMBER", "Bytes of a message [default: 125]"),
        ("--text", "Messages are text, ASCII"),
        ("--mixed", "Messages are text of one to four bytes for each character"),
        ("--depth NUMBER", "echo: messages in flight on each connection [default: 1]"),
        ("--deflate", "echo: messages are compressed"),
        ("--rate NUMBER", "rate: messages a second, over all connections [default: 10000]"),
        ("--greedy-bytes NUMBER", "rate: one more connection echoes messages of this size as fast as it can"),
        ("--resume", "handshakes: resume TLS sessions"),
        ("--header NAME:VALUE", "Header of each request; may be repeated"),
        ("--idle NUMBER", "Silent connections beside [default: 0]"),
        ("--seconds NUMBER", "Length of a round [default: 3]"),
        ("--rounds NUMBER", "Rounds [default: 1]"),
        ("--pid PID", "Process of the server, whose CPU time is shown (Linux)"),
        ("--spin", "Never sleep, so that the server does not pay for waking the load"),
        ("--json", "A line of JSON for each round"),
        ("--paced", "Begin a round with each line of the standard input"),
    ];
    let arguments =
        Arguments::read("Load on a WebSocket server: how fast it answers, and what that costs it", &options);
    arguments::run(|| measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let url = arguments.get("--url", "ws://127.0.0.1:8080".to_owned());
    let options = Options {
        target: Target::new(&url, arguments.has("--resume"), &arguments.all("--header"))?,
        connections: arguments.get("--connections", 100),
        content: match (arguments.has("--text"), arguments.has("--mixed")) {
            (_, true) => Content::Mixed,
            (true, _) => Content::Text,
            _ => Content::Binary,
        },
        bytes: arguments.get("--bytes", 125),
        depth: arguments.get("--depth", 1),
        deflate: arguments.has("--deflate"),
        rate: arguments.get("--rate", 10_000.0),
        greedy_bytes: arguments.get("--greedy-bytes", 0),
        wait: if arguments.has("--spin") { Duration::ZERO } else { Duration::from_secs(1) },
    };
    if options.connections == 0
        || options.bytes == 0
        || options.depth == 0
        || !options.rate.is_normal()
        || options.rate < 0.0
    {
        arguments.refuse("--connections, --bytes, --depth and --rate are more than 0");
    }
    let pid = arguments.get("--pid", 0);
    let pace = Pace {
        slice: Duration::try_from_secs_f64(arguments.get("--seconds", 3.0))?,
        rounds: arguments.get("--rounds", 1),
        json: arguments.has("--json"),
        paced: arguments.has("--paced"),
        server: if pid > 0 { Some(Process::new(pid)?) } else { None },
    };
    let silent = silent(&options.target, arguments.get("--idle", 0))?;
    match arguments.get("--kind", "echo".to_owned()).as_str() {
        "echo" => slices(echo::Echo::connect(&options)?, silent, &pace)?,
        "rate" => slices(rate::Rate::connect(&options)?, silent, &pace)?,
        "fanout" => slices(fanout::FanOut::connect(&options)?, silent, &pace)?,
        "handshakes" => slices(handshakes::Handshakes::new(&options)?, silent, &pace)?,
        "idle" => idle(&options, &pace)?,
        kind => arguments.refuse(format!("{kind:?} is none of echo, rate, fanout, handshakes, idle")),
    }
    Ok(())
}

/// Measures slice after slice, and says what came out.
fn slices<W: Work>(mut work: W, mut silent: Vec<Pipe>, pace: &Pace) -> Result<(), Box<dyn Error>> {
    let mut round = 0;
    while (pace.paced || round < pace.rounds) && (!pace.paced || io::stdin().read_line(&mut String::new())? > 0) {
        silent.iter_mut().try_for_each(Pipe::settle)?;
        work.settle()?;
        let measured = with_progress(pace, || Measured::of(&mut work, pace.slice, pace.server.as_ref()))?;
        println!("{}", if pace.json { measured.json::<W>() } else { measured.text::<W>() });
        round += 1;
    }
    Ok(())
}

/// Shows how far a round is, where somebody looks on.
fn with_progress<T>(pace: &Pace, work: impl FnOnce() -> T) -> T {
    if pace.json || !io::stderr().is_terminal() {
        return work();
    }
    let bar = ProgressBar::new(pace.slice.as_millis() as u64);
    bar.set_style(ProgressStyle::with_template("[{bar:40}] {percent:>3} %").expect("the template is sound"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                bar.set_position(began.elapsed().as_millis() as u64);
                thread::park_timeout(Duration::from_millis(200));
            }
            bar.finish_and_clear();
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// Connections that say nothing.
fn silent(target: &Target, count: usize) -> io::Result<Vec<Pipe>> {
    (0..count).map(|_| Ok(target.open("")?.0)).collect()
}

/// What silent connections cost the server.
fn idle(options: &Options, pace: &Pace) -> Result<(), Box<dyn Error>> {
    let server = pace.server.as_ref().ok_or("idle needs --pid")?;
    // The first pays for what all share.
    let _first = silent(&options.target, 1)?;
    let before = server.resident_bytes()?;
    let _held = silent(&options.target, options.connections)?;
    thread::sleep(Duration::from_millis(200));
    let each = server.resident_bytes()?.saturating_sub(before) / options.connections as u64;
    let woken = server.wakeups()?;
    thread::sleep(pace.slice);
    let wakeups = (server.wakeups()? - woken) as f64 / pace.slice.as_secs_f64();
    match pace.json {
        true => println!(
            r#"{{"unit":"connections","count":{},"bytes_each":{each},"wakeups_per_second":{wakeups:.1}}}"#,
            options.connections
        ),
        false => println!(
            "{} idle connections: {each} bytes of resident memory each; {wakeups:.1} wakeups a second",
            options.connections
        ),
    }
    io::stdout().flush()?;
    Ok(())
}
