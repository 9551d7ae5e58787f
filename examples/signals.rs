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
//! A second SIGTERM ends the program at once. Under systemd the program reports that it is ready, and feeds the
//! watchdog by a timer of the loop: a loop that is stuck is restarted. With `--features signals,socket-activation` it
//! takes the sockets of its unit.

mod arguments;

use std::{env, error::Error, os::unix::net::UnixDatagram, process::ExitCode, time::Duration};

use ws_reactor::{Bind, CloseCode, Hub, Reactor, Server, on_message, signals};

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080, or the sockets of systemd]"),
        ("--grace SECONDS", "Time that clients have to answer the close frame [default: 5]"),
    ];
    let arguments = arguments::Arguments::read("An echo server that handles signals", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let grace = Duration::from_secs(arguments.get("--grace", 5));
    let mut reactor = Reactor::new()?;
    for socket in sockets(arguments)? {
        let echo = Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message);
            })
        });
        let listening = reactor.listen(socket, echo)?;
        eprintln!("listening on ws://{}", listening.addr);
    }
    for signal in [signals::SIGTERM, signals::SIGINT] {
        let mut is_ending = false;
        reactor.on_signal(signal, move |hub| {
            notify("STOPPING=1");
            match std::mem::replace(&mut is_ending, true) {
                false => hub.shutdown(grace),
                true => hub.stop(),
            };
        })?;
    }
    reactor.on_signal(signals::SIGHUP, restart)?;
    reactor.on_signal(signals::SIGUSR1, |hub| eprintln!("{:?}", hub.stats()))?;
    if let Some(micros) = env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok()) {
        reactor.hub().add_periodic_timer(Duration::from_micros(micros) / 2, |_| notify("WATCHDOG=1"));
    }
    notify("READY=1");
    Ok(reactor.run()?)
}

/// The sockets of systemd, or the address that was given.
fn sockets(arguments: &arguments::Arguments) -> Result<Vec<Bind>, Box<dyn Error>> {
    #[cfg(feature = "socket-activation")]
    {
        let inherited = Bind::inherited()?;
        if !inherited.is_empty() {
            return Ok(inherited);
        }
    }
    Ok(vec![Bind::to(arguments.get("--listen", "127.0.0.1:8080".to_owned()))])
}

/// Tells systemd a state (sd_notify(3)). Does nothing without systemd.
fn notify(state: &str) {
    let Ok(path) = env::var("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
    if let Err(error) = sent {
        eprintln!("NOTIFY_SOCKET: {error}");
    }
}

/// Closes all connections; the listener stays.
fn restart(hub: &mut Hub) {
    let all: Vec<_> = hub.connections().collect();
    for id in all {
        hub.close(id, CloseCode::from(1012), "service restart");
    }
}
