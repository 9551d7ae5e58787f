//! Load generator for WebSocket and HTTP servers: throughput, latency, CPU time and memory of the server.
//!
//!     cargo run --release --example load -- KIND URL [OPTIONS]
//!
//! | kind | load |
//! |---|---|
//! | `echo` | closed loop: each connection sends the next `--depth` messages when the last ones are back |
//! | `rate` | open loop: `--rate` messages per second; a latency counts from the time at which the message was due |
//! | `fanout` | one connection sends, and all connections wait for the message (as with the example `multicast`) |
//! | `handshakes` | connections that open and end |
//! | `http` | closed loop of `GET` requests: each response must have status 200 and a body of `--bytes` bytes |
//! | `idle` | silent connections: memory and wake-ups of the server, needs `--pid` |
//! | `session` | users of any server: each connects, and takes the steps of a scenario |
//!
//! Every received byte of an echo is compared with the sent message. `--pid` shows the server's CPU time per message
//! (Linux). `--seconds` is the length of a round. `--spin` polls without sleeping, for measurements with load and
//! server on separate cores. With `--paced` each line of stdin starts a round, so that rounds of several processes can
//! be interleaved. `tcp://` is an echo server without a protocol. With `--greedy-bytes` one more connection echoes
//! messages of that size as fast as it can.
//!
//! Sessions speak WebSocket, Socket.IO, ActionCable, or read event streams. A scenario is a TOML file:
//!
//! ```toml
//! users = 1000
//! ramp_up = "10s"
//! duration = "60s"
//! headers = { cookie = "session={user}" }
//! open = [{ send = "join room {random}", expect = "welcome" }]
//! loop = [{ think = "1s..3s" }, { send = "say {number} of {user}", expect = "{number} of {user}" }]
//! ```
//!
//! Further keys: `url`, `protocol`, `channel`, `subprotocols`, `sources`, `deflate`, `reconnect`, `every`; of a step:
//! `send_file`, `timeout`. A message of one loop goes by options: `load session URL --send TEXT --expect TEXT`.
//! `--report` writes a page with plots, `--fail-if` sets the exit status.
//!
//! For servers that are no plain echo: `--subscribe` sends a message on each connection first, `--payload` takes the
//! message from a file, and `--header` adds a header, such as a token.

#[path = "../arguments/mod.rs"]
mod arguments;
mod echo;
mod fanout;
mod handshakes;
mod http;
mod json;
mod payload;
mod pipe;
mod process;
mod rate;
mod session;
mod slice;
mod speaker;
mod wire;

use std::{
    error::Error,
    fs,
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

/// Options of all kinds of load.
struct Options {
    target: Target,
    connections: usize,
    content: Content,
    payload: Vec<u8>,
    depth: usize,
    deflate: bool,
    /// Messages per second, over all connections.
    rate: f64,
    /// Message size of the connection that echoes as fast as it can; 0 for none.
    greedy_bytes: usize,
    /// Longest wait for events.
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
        (
            "--kind KIND",
            "echo, rate, fanout, handshakes, http, idle or session; the option's name may be left out [default: echo]",
        ),
        ("--url URL", "ws, wss, http, https or tcp; the option's name may be left out [default: ws://127.0.0.1:8080]"),
        ("--connections NUMBER", "Connections [default: 100]"),
        ("--bytes NUMBER", "Bytes of a message, or of the body of a response [default: 125]"),
        ("--payload FILE", "Messages have the contents of the file; text with --text, else binary"),
        ("--subscribe TEXT", "Text message sent first on each connection; may be repeated"),
        ("--text", "Messages are text, ASCII"),
        ("--mixed", "Messages are text of one to four bytes for each character"),
        ("--depth NUMBER", "echo, http: messages or requests in flight on each connection [default: 1]"),
        ("--deflate", "echo: messages are compressed"),
        ("--rate NUMBER", "rate: messages a second, over all connections [default: 10000]"),
        ("--greedy-bytes NUMBER", "rate: one more connection echoes messages of this size as fast as it can"),
        ("--resume", "handshakes: resume TLS sessions"),
        ("--header NAME:VALUE", "Header of each request; may be repeated"),
        ("--idle NUMBER", "Further silent connections [default: 0]"),
        ("--seconds NUMBER", "Length of a round [default: 3]"),
        ("--rounds NUMBER", "Rounds [default: 1]"),
        ("--pid PID", "Process of the server, whose CPU time is shown (Linux)"),
        ("--spin", "Poll without sleeping"),
        ("--json", "A line of JSON for each round"),
        ("--paced", "Start a round with each line of stdin"),
    ];
    let options = [&options[..], &session::OPTIONS].concat();
    let arguments = Arguments::read(
        "Load generator for WebSocket and HTTP servers: throughput, latency, CPU time, memory",
        &options,
    );
    let url = arguments.get("--url", "ws://127.0.0.1:8080".to_owned());
    arguments::run(|| match arguments.get("--kind", String::new()).as_str() {
        "session" => session::run(&arguments, url),
        _ => measure(&arguments, url),
    })
}

fn measure(arguments: &Arguments, url: String) -> Result<(), Box<dyn Error>> {
    let content = match (arguments.has("--text"), arguments.has("--mixed")) {
        (_, true) => Content::Mixed,
        (true, _) => Content::Text,
        _ => Content::Binary,
    };
    let payload = match arguments.all("--payload").pop() {
        Some(file) => fs::read(file).map_err(|error| format!("--payload {file}: {error}"))?,
        None => content.payload(arguments.get("--bytes", 125)),
    };
    if content != Content::Binary && str::from_utf8(&payload).is_err() {
        arguments.refuse("--text: the payload is not UTF-8");
    }
    let (headers, first) = (arguments.all("--header"), arguments.all("--subscribe"));
    let options = Options {
        target: Target::new(&url, arguments.has("--resume"), &headers, &first)?,
        connections: arguments.get("--connections", 100),
        content,
        payload,
        depth: arguments.get("--depth", 1),
        deflate: arguments.has("--deflate"),
        rate: arguments.get("--rate", 10_000.0),
        greedy_bytes: arguments.get("--greedy-bytes", 0),
        wait: if arguments.has("--spin") { Duration::ZERO } else { Duration::from_secs(1) },
    };
    if options.connections == 0
        || options.payload.is_empty()
        || options.depth == 0
        || !options.rate.is_normal()
        || options.rate < 0.0
    {
        arguments.refuse("--connections, --bytes, --depth, --rate and the length of --payload must be more than 0");
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
        "http" => slices(http::Requests::connect(&options)?, silent, &pace)?,
        "idle" => idle(&options, &pace)?,
        kind => arguments.refuse(format!("{kind:?} is none of echo, rate, fanout, handshakes, http, idle, session")),
    }
    Ok(())
}

/// Measures rounds, and prints the results.
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

/// Shows the progress of a round on a terminal.
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

/// Opens silent connections.
fn silent(target: &Target, count: usize) -> io::Result<Vec<Pipe>> {
    (0..count).map(|_| Ok(target.open("")?.0)).collect()
}

/// Measures the cost of silent connections.
fn idle(options: &Options, pace: &Pace) -> Result<(), Box<dyn Error>> {
    let server = pace.server.as_ref().ok_or("idle needs --pid")?;
    // The first connection allocates what all share.
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
            "{} idle connections: {each} bytes of resident memory each; {wakeups:.1} wake-ups per second",
            options.connections
        ),
    }
    io::stdout().flush()?;
    Ok(())
}
