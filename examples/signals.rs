//! Signals on the loop, for a service under systemd or in a container.
//!
//!     cargo run --release --features signals --example signals -- [--listen ADDR] [--grace SECONDS]
//!
//! | signal | what it does |
//! |---|---|
//! | SIGTERM, SIGINT | no new connections; clients get 1001; the program ends with the last one, or after the grace |
//! | SIGHUP | clients get 1012, "service restart", and may connect again |
//! | SIGUSR1 | prints the counters |
//!
//! A second SIGTERM ends the program at once.

mod arguments;

use std::{error::Error, process::ExitCode, time::Duration};

use ws_reactor::{CloseCode, Hub, Reactor, Server, on_message, signals};

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--grace SECONDS", "Time that clients have to answer the close frame [default: 5]"),
    ];
    let arguments = arguments::Arguments::read("An echo server that handles signals", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let grace = Duration::from_secs(arguments.get("--grace", 5));
    let mut reactor = Reactor::new()?;
    let echo = Server::new(|_| {
        on_message(|ws, message| {
            ws.send(message);
        })
    });
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), echo)?;
    for signal in [signals::SIGTERM, signals::SIGINT] {
        let mut is_ending = false;
        reactor.on_signal(signal, move |hub| {
            match std::mem::replace(&mut is_ending, true) {
                false => hub.shutdown(grace),
                true => hub.stop(),
            };
        })?;
    }
    reactor.on_signal(signals::SIGHUP, restart)?;
    reactor.on_signal(signals::SIGUSR1, |hub| eprintln!("{:?}", hub.stats()))?;
    eprintln!("listening on ws://{}", listening.addr);
    Ok(reactor.run()?)
}

/// Closes all connections; the listener stays.
fn restart(hub: &mut Hub) {
    let all: Vec<_> = hub.connections().collect();
    for id in all {
        hub.close(id, CloseCode::from(1012), "service restart");
    }
}
