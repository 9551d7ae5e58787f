//! A ticker by server-sent events: prices that change at random, as a page with a chart.
//!
//!     cargo run --release --example sse -- [--listen ADDR]
//!
//! The events have ids, and a client that connects again gets those that it has missed.

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{error::Error, process::ExitCode, time::Duration};

use ws_reactor::{EventStream, HistoryLimits, Hub, Reactor, Reply, Routes, Server};

const PAGE: &str = include_str!("page.html");

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "A ticker by server-sent events",
        &[("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]")],
    );
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let routes = Routes::new()
        .get("/", |_, _| Reply::html(PAGE))
        .event_stream("/prices", |_, _| EventStream::topic("prices").retry(Duration::from_secs(1)));
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), Server::routes(routes)?)?;
    eprintln!("listening on http://{}", listening.addr);
    let hub = reactor.hub();
    hub.keep_history("prices", HistoryLimits::new().max_events(600));
    hub.add_periodic_timer(Duration::from_millis(200), publish_prices());
    Ok(reactor.run()?)
}

/// Publishes a price at each call: the last one, changed at random.
fn publish_prices() -> impl FnMut(&mut Hub) {
    let (mut cents, mut random) = (10_000_i64, 0x9e37_79b9_7f4a_7c15_u64);
    move |hub| {
        // Xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        cents = (cents + (random % 101) as i64 - 50).max(100);
        hub.publish("prices", format!("{}.{:02}", cents / 100, cents % 100));
    }
}
