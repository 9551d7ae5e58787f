//! A server of market data. It shows a token checked before the upgrade, the user handed from the request to the
//! handler, a topic for each symbol, and quotes of which only the latest counts: a slow reader skips those out of date.
//!
//!     cargo run --release --example market_data -- [--listen ADDR] [--every MILLISECONDS]
//!
//! The tokens are `sesame` and `poppy`, the symbols `ACME`, `GLOBEX` and `INITECH`. A client names its first symbols
//! in the URL. The message `+SYMBOL` adds one, `-SYMBOL` takes one away:
//!
//!     python -m websockets 'ws://127.0.0.1:8080/quotes?token=sesame&symbols=ACME,GLOBEX'
//!
//! A message from the server begins with `welcome`, `quote` or `error`.

mod arguments;

use std::{process::ExitCode, time::Duration};

use ws_reactor::{
    CloseCode, Error, Handler, Handshake, Hub, Message, Reactor, Request, Server, Upgrade, WebSocket, http::StatusCode,
};

/// Tokens, and the users they belong to. A real server asks its database; see `Reply::later`.
const USERS: [(&str, &str); 2] = [("sesame", "alice"), ("poppy", "bob")];

/// Symbols, and their first prices in cents.
const SYMBOLS: [(&str, u64); 3] = [("ACME", 12_000), ("GLOBEX", 4_500), ("INITECH", 800)];

/// The user of a request that was accepted.
#[derive(Clone)]
struct User(&'static str);

/// A client that receives quotes. Each symbol is a topic.
struct Subscriber(User);

impl Handler for Subscriber {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        ws.send(format!("welcome {}", self.0.0));
        let symbols = handshake.query_value("symbols").unwrap_or_default();
        for symbol in symbols.split(',').filter(|symbol| !symbol.is_empty()) {
            subscribe(ws, symbol);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let Message::Text(text) = message else {
            ws.close(CloseCode::UNSUPPORTED_DATA, "commands are text");
            return;
        };
        if let Some(symbol) = text.strip_prefix('+') {
            subscribe(ws, symbol);
        } else if let Some(symbol) = text.strip_prefix('-') {
            ws.unsubscribe(symbol);
        } else {
            ws.send("error commands are +SYMBOL and -SYMBOL");
        }
    }
}

/// Subscribes to a symbol that exists: a peer cannot fill the memory with topics of its own.
fn subscribe(ws: &mut WebSocket<'_>, symbol: &str) {
    if SYMBOLS.iter().any(|(known, _)| *known == symbol) {
        ws.subscribe(symbol);
    } else {
        ws.send(format!("error no symbol {symbol:?}"));
    }
}

/// Decides on a request: `Ok` accepts the WebSocket, `Err` responds with a status.
fn admit(request: &Request) -> Result<Upgrade, StatusCode> {
    if request.path() != "/quotes" {
        return Err(StatusCode::NOT_FOUND);
    }
    let token = request.query_value("token").unwrap_or_default();
    let user = USERS.iter().find(|(known, _)| *known == token).ok_or(StatusCode::UNAUTHORIZED)?.1;
    Ok(Upgrade::new().extension(User(user)))
}

/// Prices on a random walk.
struct Market {
    prices: [(&'static str, u64); SYMBOLS.len()],
    random: u64,
}

impl Market {
    /// Moves each price by at most 5 cents, and publishes it.
    fn tick(&mut self, hub: &mut Hub) {
        for (symbol, cents) in &mut self.prices {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *cents = (*cents + (self.random >> 33) % 11).saturating_sub(5).max(1);
            let quote = format!("quote {symbol} {}.{:02}", *cents / 100, *cents % 100);
            // Of the quotes that wait for a slow reader, the new one replaces that of the same key.
            hub.publish_latest(symbol, symbol, quote);
        }
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Publishes quotes to those who have a token",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--every MILLISECONDS", "Time between two quotes of a symbol [default: 100]"),
        ],
    );
    arguments::run(|| serve(arguments.get("--listen", "127.0.0.1:8080".to_owned()), arguments.get("--every", 100)))
}

fn serve(listen: String, every: u64) -> Result<(), Error> {
    let accept =
        |handshake: &Handshake| Subscriber(handshake.extension::<User>().expect("every upgrade has a user").clone());
    let server = Server::new(accept).on_request(|request, _| admit(request));
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, server)?;
    eprintln!("listening on ws://{}", listening.addr);
    let mut market = Market { prices: SYMBOLS, random: 1 };
    reactor.hub().add_periodic_timer(Duration::from_millis(every), move |hub| market.tick(hub));
    reactor.run()?;
    Ok(())
}
