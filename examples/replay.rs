//! A recording: what is in it, and what an echo server does with it.
//!
//!     cargo run --release --example echo -- --record incident.wsr        # an echo server that records
//!     cargo run --release --example replay -- incident.wsr               # prints the records
//!     cargo run --release --example replay -- incident.wsr --echo        # plays them to an echo server
//!
//! A test of your own does what `--echo` does, with your handlers in place of the echo.

mod arguments;

use std::{collections::BTreeMap, error::Error, process::ExitCode, time::Duration};

use arguments::Arguments;
use ws_reactor::{
    ReactorConfig, Server, on_message,
    recording::{Record, Recording, StreamNumber},
    testing::Playback,
};

fn main() -> ExitCode {
    let arguments = Arguments::read(
        "Prints a recording, or plays it to an echo server",
        &[("--file FILE", "The recording"), ("--echo", "Play it, and print what the server answers")],
    );
    let Some(file) = arguments.all("--file").pop() else { arguments.refuse("no file is given") };
    arguments::run(|| {
        let recording = Recording::open(file)?;
        match arguments.has("--echo") {
            true => play(recording)?,
            false => print(&recording),
        }
        Ok::<_, Box<dyn Error>>(())
    })
}

fn print(recording: &Recording) {
    let mut at = Duration::ZERO;
    for record in recording.records() {
        match record {
            Record::Turn { at: began } => at = *began,
            Record::Input { stream, bytes } => {
                println!("{:>12.6} {stream} sent {} bytes: {}", at.as_secs_f64(), bytes.len(), excerpt(bytes));
            }
            Record::Random { bytes } => println!("{:>12.6} {} random bytes", at.as_secs_f64(), bytes.len()),
            other => println!("{:>12.6} {other:?}", at.as_secs_f64()),
        }
    }
}

/// The first bytes as text.
fn excerpt(bytes: &[u8]) -> String {
    bytes.iter().take(60).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

fn play(recording: Recording) -> Result<(), Box<dyn Error>> {
    let mut playback = Playback::new(recording, ReactorConfig::new());
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    // The address does not matter: the recording has the connections.
    playback.reactor().listen("127.0.0.1:8080", echo)?;
    let (mut accepted, mut answers) = (0, BTreeMap::<StreamNumber, usize>::new());
    while playback.turn()? {
        accepted = playback.reactor().hub().stats().accepted;
        for stream in (0..accepted as u32).map(StreamNumber::Accepted) {
            *answers.entry(stream).or_default() += playback.output(stream).len();
        }
    }
    let stats = playback.reactor().hub().stats();
    println!("{accepted} connections, {} WebSockets, {} messages", stats.opened, stats.messages_in);
    for (stream, bytes) in answers {
        println!("{stream} got {bytes} bytes");
    }
    match playback.skipped() {
        0 => {}
        skipped => println!("{skipped} commands of other threads could not be repeated"),
    }
    Ok(())
}
