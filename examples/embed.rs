//! An application's own loop that runs the turns of the reactor, and another thread that sends.
//!
//!     cargo run --example embed -- [--listen ADDR] [--seconds N]

mod arguments;

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{Callbacks, Error, Reactor, Server, Turn};

/// Interval of the loop's own work.
const FRAME: Duration = Duration::from_millis(16);

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Gives the reactor its turns in a loop of its own",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--seconds N", "Time to run, in seconds [default: without end]"),
        ],
    );
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    let seconds = arguments.get("--seconds", u64::MAX);
    arguments::run(|| serve(listen, seconds))
}

fn serve(listen: String, seconds: u64) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            ws.subscribe("clock");
            ws.subscribe("frames");
        })
    });
    let listening = reactor.listen(listen, server)?;
    eprintln!("listening on ws://{}", listening.addr);

    // Another thread cannot use the reactor, but it can use a remote.
    let remote = reactor.remote();
    let clock = thread::spawn(move || {
        for second in 1..=seconds {
            thread::sleep(Duration::from_secs(1));
            if remote.publish("clock", format!("{second} s")).is_err() {
                return;
            }
        }
        // The loop may have ended.
        let _ = remote.shutdown(Duration::from_secs(1));
    });

    let (mut frame, mut next) = (0_u64, Instant::now());
    loop {
        // The reactor waits for events no longer than until the loop has work again.
        let patience = next.saturating_duration_since(Instant::now());
        if reactor.turn(Some(patience))? == Turn::Stopped {
            break;
        }
        // The loop's own work.
        if Instant::now() >= next {
            (frame, next) = (frame + 1, next + FRAME);
            if frame.is_multiple_of(60) {
                reactor.hub().publish("frames", format!("frame {frame}"));
            }
        }
    }
    drop(reactor);
    clock.join().expect("the clock does not panic");
    Ok(())
}
