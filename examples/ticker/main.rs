//! Quotes that come faster than a slow reader takes them: it gets the newest of each symbol, in bounded memory.
//!
//!     cargo run --release --example ticker -- [--listen ADDR] [--symbols N] [--rate N] [--seconds N] [--queue-all]
//!
//! The example has two clients of its own: one reads at once, the other reads 25 quotes four times a second. Each
//! second it prints how old the quotes were that they received, and what waits for the slow one. With `--queue-all`
//! each quote is queued, and none replaces another: what waits grows, and so does the age.
//!
//! The page on the same port has a chart, and switches for both: `--seconds 0` serves it until the program is stopped.

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{
    cell::RefCell,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{
    Bind, Callbacks, Client, CloseReason, ClosedBy, ConnectionId, Error, Handler, Handshake, Hub, Listening, Message,
    Reactor, Reply, Server, SocketOptions, TimerId, WebSocket, http::StatusCode,
};

/// Quotes that the slow reader takes at a time, and its wait until the next time.
const AT_A_TIME: usize = 25;
const BREAK: Duration = Duration::from_millis(250);

/// Paths, and topics: each quote, and the newest of each symbol.
const ALL: &str = "/all";
const LATEST: &str = "/latest";

const PAGE: &str = include_str!("page.html");

/// The market: prices, and how they are published.
struct Market {
    began: Instant,
    prices: Vec<u64>,
    /// Quotes per second.
    rate: f64,
    published: u64,
}

impl Market {
    fn tick(&mut self, hub: &mut Hub) {
        let due = (self.began.elapsed().as_secs_f64() * self.rate) as u64;
        while self.published < due {
            let index = self.published as usize % self.prices.len();
            self.prices[index] += self.published % 7;
            self.published += 1;
            let symbol = format!("SYM{index:03}");
            let quote = format!("{symbol} {} {}", self.prices[index], self.began.elapsed().as_micros());
            hub.publish(ALL, &*quote);
            // Of the quotes that wait for a reader, the new one replaces that of the same symbol.
            hub.publish_latest(LATEST, &symbol, quote);
        }
    }
}

/// Quotes received by a client since the last report.
#[derive(Default)]
struct Received {
    quotes: u64,
    oldest: Duration,
}

/// A client that notes the age of each quote.
struct Reader {
    began: Instant,
    received: Rc<RefCell<Received>>,
    /// Quotes until the next break. `None` for a reader without breaks.
    left: Option<usize>,
}

impl Handler for Reader {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let micros = message.as_text().and_then(|quote| quote.rsplit(' ').next()?.parse().ok()).unwrap_or_default();
        let mut received = self.received.borrow_mut();
        received.quotes += 1;
        received.oldest = received.oldest.max(self.began.elapsed().saturating_sub(Duration::from_micros(micros)));
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                ws.pause();
                ws.set_timer(BREAK);
            }
        }
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        self.left = Some(AT_A_TIME);
        ws.resume();
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        if reason.by != ClosedBy::Shutdown {
            eprintln!("a reader was closed: {reason}");
            ws.hub().stop();
        }
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Publishes quotes to a fast and to a slow reader",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--symbols N", "Number of symbols [default: 20]"),
            ("--rate N", "Quotes per second, of all symbols together [default: 2000]"),
            ("--seconds N", "Time to run; 0: until the program is stopped [default: 10]"),
            ("--queue-all", "Queue each quote: none replaces another"),
        ],
    );
    arguments::run(|| run(&arguments))
}

fn run(arguments: &arguments::Arguments) -> Result<(), Error> {
    let began = Instant::now();
    let mut market = Market {
        began,
        prices: vec![10_000; arguments.get("--symbols", 20_usize).max(1)],
        rate: arguments.get("--rate", 2000.0),
        published: 0,
    };
    let path = if arguments.has("--queue-all") { ALL } else { LATEST };
    let mut reactor = Reactor::new()?;
    let slow_id = Rc::new(RefCell::new(None::<ConnectionId>));
    let listening = listen(&mut reactor, arguments.get("--listen", "127.0.0.1:8080".to_owned()), &slow_id)?;
    eprintln!("listening on http://{}", listening.addr);
    let fast = connect(&mut reactor, &format!("ws://{}{path}", listening.addr), began, None)?;
    let slow = connect(&mut reactor, &format!("ws://{}{path}?slow", listening.addr), began, Some(AT_A_TIME))?;
    println!("  time         fast reader         slow reader  waits for the slow reader");
    reactor.hub().add_periodic_timer(Duration::from_millis(1), move |hub| market.tick(hub));
    reactor.hub().add_periodic_timer(Duration::from_secs(1), move |hub| {
        let waiting = slow_id.borrow().map_or(0, |id| hub.buffered(id));
        report(began, &fast.take(), &slow.take(), waiting, hub.stats().conflated);
    });
    let seconds = arguments.get("--seconds", 10);
    if seconds > 0 {
        reactor.hub().add_timer(Duration::from_secs(seconds), Hub::stop);
    }
    reactor.run()?;
    Ok(())
}

/// Listens. The system may hold little for a connection: what waits in it is not replaced.
fn listen(
    reactor: &mut Reactor,
    address: String,
    slow_id: &Rc<RefCell<Option<ConnectionId>>>,
) -> Result<Listening, Error> {
    let slow_id = Rc::clone(slow_id);
    let server = Server::new(move |_: &Handshake| {
        let slow_id = Rc::clone(&slow_id);
        Callbacks::new().on_open(move |ws, handshake| {
            ws.subscribe(handshake.path());
            if handshake.query_string() == Some("slow") {
                *slow_id.borrow_mut() = Some(ws.id());
            }
        })
    })
    .on_request(|request, _| match (request.is_upgrade(), request.path()) {
        (true, ALL | LATEST) => Reply::upgrade(),
        (false, "/") => Reply::html(PAGE),
        _ => Reply::status(StatusCode::NOT_FOUND),
    });
    let options = SocketOptions::new().send_buffer_bytes(Some(4096)).unsent_bytes(1024);
    Ok(reactor.listen(Bind::to(address).socket(options), server)?)
}

fn connect(
    reactor: &mut Reactor,
    url: &str,
    began: Instant,
    left: Option<usize>,
) -> Result<Rc<RefCell<Received>>, Error> {
    let received = Rc::<RefCell<Received>>::default();
    let reader = Reader { began, received: Rc::clone(&received), left };
    let options = SocketOptions::new().receive_buffer_bytes(Some(2048));
    reactor.connect(url, Client::new(reader).socket(options))?;
    Ok(received)
}

fn report(began: Instant, fast: &Received, slow: &Received, waiting: usize, replaced: u64) {
    let line =
        |received: &Received| format!("{:>6} ≤ {:>7.1} ms", received.quotes, received.oldest.as_secs_f64() * 1e3);
    println!(
        "{:>4.0} s  {}  {}  {waiting:>8} B, {replaced:>8} replaced",
        began.elapsed().as_secs_f64(),
        line(fast),
        line(slow)
    );
}
