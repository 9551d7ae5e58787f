//! A client of the example `market_data`, in a loop of its own. It shows a client that reconnects with backoff and
//! subscribes again each time, and a loop that has other work between the reactor's turns.
//!
//!     cargo run --release --example feed_client -- [--url URL] [--symbols A,B] [--attempts N]
//!
//! Quotes are printed on stdout, the rate of quotes and the state of the connection on stderr. To try it, start
//! `market_data`, then `feed_client`, and stop and start `market_data` again. The client ends with status 1 if the
//! server refuses it, as with `--url 'ws://127.0.0.1:8080/quotes?token=wrong'`, or if no attempt of N succeeds.

mod arguments;

use std::{
    cell::RefCell,
    io::{self, Write},
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{Attempt, Client, CloseReason, Handler, Handshake, Message, Reactor, Reconnect, Retry, WebSocket};

const URL: &str = "ws://127.0.0.1:8080/quotes?token=sesame";
const SECOND: Duration = Duration::from_secs(1);

/// State shared by the handler and the loop.
#[derive(Default)]
struct Feed {
    /// Quotes that came in this turn.
    quotes: Vec<String>,
    /// Why the last connection ended.
    failure: String,
}

struct Subscriber {
    symbols: Vec<String>,
    feed: Rc<RefCell<Feed>>,
}

impl Handler for Subscriber {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        eprintln!("connected");
        // The server knows nothing of an earlier connection.
        for symbol in &self.symbols {
            ws.send(format!("+{symbol}"));
        }
    }

    fn on_message(&mut self, _: &mut WebSocket<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else { return };
        match text.strip_prefix("quote ") {
            Some(quote) => self.feed.borrow_mut().quotes.push(quote.to_owned()),
            None => eprintln!("{text}"),
        }
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        self.feed.borrow_mut().failure = reason.to_string();
    }

    /// A server that is down may come back. A token that is wrong stays wrong: the default answer ends the client.
    fn on_reconnect(&mut self, _: &mut WebSocket<'_>, attempt: &Attempt<'_>) -> Retry {
        if attempt.default == Retry::Yes {
            eprintln!("{}; attempt {} in {:.1?}", attempt.reason, attempt.number, attempt.wait);
        }
        attempt.default
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Prints quotes, and reconnects",
        &[
            ("--url URL", "URL to connect to [default: ws://127.0.0.1:8080/quotes?token=sesame]"),
            ("--symbols A,B", "Symbols to subscribe to [default: ACME,GLOBEX]"),
            ("--attempts N", "Attempts to reconnect in a row [default: 10]"),
        ],
    );
    arguments::run(|| {
        let symbols = arguments.get("--symbols", "ACME,GLOBEX".to_owned());
        receive(&arguments.get("--url", URL.to_owned()), &symbols, arguments.get("--attempts", 10))
    })
}

fn receive(url: &str, symbols: &str, attempts: u32) -> Result<(), Box<dyn std::error::Error>> {
    let feed = Rc::new(RefCell::new(Feed::default()));
    let symbols = symbols.split(',').map(str::to_owned).collect();
    let subscriber = Subscriber { symbols, feed: Rc::clone(&feed) };
    let policy = Reconnect::new()
        .initial_backoff(Duration::from_millis(500))
        .max_backoff(Duration::from_secs(5))
        .stable_after(Duration::from_secs(5))
        .max_attempts(Some(attempts));
    let mut reactor = Reactor::new()?;
    reactor.connect(url, Client::new(subscriber).reconnect(policy))?;

    let mut stdout = io::stdout().lock();
    let (mut count, mut next) = (0, Instant::now() + SECOND);
    while reactor.hub().connections().next().is_some() {
        // The reactor waits for events no longer than until the loop has work again.
        reactor.turn(Some(next.saturating_duration_since(Instant::now())))?;
        // The loop's own work.
        for quote in feed.borrow_mut().quotes.drain(..) {
            writeln!(stdout, "{quote}")?;
            count += 1;
        }
        if Instant::now() >= next {
            eprintln!("{count} quotes/s");
            (count, next) = (0, next + SECOND);
        }
    }
    // The connection has ended, and no other will be made.
    Err(format!("gave up: {}", feed.borrow().failure).into())
}
