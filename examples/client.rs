//! A client for the terminal: sends lines of stdin, prints received messages.
//!
//!     cargo run --release --example client -- [URL] [--help]
//!
//! The line `/ping` sends a ping and prints its round trip; `/close` closes. At the end of stdin the client waits for
//! further messages (`--wait`). Messages go to stdout, everything else to stderr, in colours on a terminal unless
//! `NO_COLOR` is set. `rlwrap` in front of the command keeps a history of lines. The status is 0 if the connection was
//! open and ended cleanly, else 1.

mod arguments;

use std::{
    cell::Cell,
    env,
    error::Error,
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    process::{self, ExitCode},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

#[cfg(feature = "deflate")]
use ws_reactor::DeflateConfig;
#[cfg(feature = "tls")]
use ws_reactor::TlsClientConfig;
use ws_reactor::{
    Client, CloseCode, CloseReason, ClosedBy, ConnectionId, Error as WsError, Handler, Handshake, Message, Reactor,
    Remote, Version, WebSocket,
};

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--url URL", "URL to connect to; the option's name may be left out [default: ws://127.0.0.1:8080/]"),
        ("--header NAME:VALUE", "Header of the request; may be repeated"),
        ("--subprotocol NAME", "Subprotocol to offer, the preferred first; may be repeated"),
        ("--origin URL", "Origin of the request, as a browser would name it"),
        ("--version NUMBER", "Protocol version: 13, 8, 7, 6, 5, 3, 2, 1, 76 or 75 [default: 13]"),
        ("--deflate", "Offer permessage-deflate"),
        ("--insecure", "Accept any certificate"),
        ("--proxy URL", "Connect through a proxy: http, https or socks5"),
        ("--proxy-from-environment", "Connect through the proxy of the environment variables"),
        ("--redirects NUMBER", "Redirects to follow [default: 0]"),
        ("--wait SECONDS", "Time to wait for messages after the end of stdin [default: 1]"),
    ];
    let arguments = arguments::Arguments::read("Sends lines and shows messages", &options);
    arguments::run(|| connect(&arguments))
}

fn connect(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let failed = Rc::new(Cell::new(false));
    let wait = Duration::from_secs(arguments.get("--wait", 1));
    let terminal = Terminal { remote: reactor.remote(), wait, failed: Rc::clone(&failed) };
    let client = asked_for(arguments, Client::new(terminal))?;
    reactor.connect(&arguments.get("--url", "ws://127.0.0.1:8080/".to_owned()), client)?;
    reactor.run()?;
    // `on_error` has printed the failure.
    if failed.get() {
        process::exit(1);
    }
    Ok(())
}

/// The client with the options of the command line.
fn asked_for(arguments: &arguments::Arguments, mut client: Client) -> Result<Client, Box<dyn Error>> {
    let version = arguments.get("--version", 13);
    client = client.version(Version::from_number(version).ok_or(format!("there is no version {version}"))?);
    for header in &arguments.all("--header") {
        let (name, value) = header.split_once(':').ok_or(format!("{header:?} is not NAME:VALUE"))?;
        client = client.header(name.trim().parse()?, value.trim().parse()?);
    }
    client = client.subprotocols(arguments.all("--subprotocol")).follow_redirects(arguments.get("--redirects", 0));
    if arguments.has("--origin") {
        client = client.origin(arguments.get("--origin", String::new()).parse()?);
    }
    if arguments.has("--proxy") {
        client = client.proxy(arguments.get("--proxy", String::new()).parse()?);
    }
    if arguments.has("--proxy-from-environment") {
        client = client.proxy_from_environment();
    }
    if arguments.has("--deflate") {
        client = compressed(client)?;
    }
    if arguments.has("--insecure") {
        client = insecure(client)?;
    }
    Ok(client)
}

#[cfg(feature = "deflate")]
fn compressed(client: Client) -> Result<Client, Box<dyn Error>> {
    Ok(client.deflate(DeflateConfig::dedicated()))
}

#[cfg(not(feature = "deflate"))]
fn compressed(_: Client) -> Result<Client, Box<dyn Error>> {
    Err("built without the feature `deflate`".into())
}

#[cfg(feature = "tls")]
fn insecure(client: Client) -> Result<Client, Box<dyn Error>> {
    let anybody = TlsClientConfig::dangerously_trusting_everybody();
    Ok(client.tls(anybody.clone()).proxy_tls(anybody))
}

#[cfg(not(feature = "tls"))]
fn insecure(_: Client) -> Result<Client, Box<dyn Error>> {
    Err("built without the feature `tls`".into())
}

struct Terminal {
    remote: Remote,
    wait: Duration,
    failed: Rc<Cell<bool>>,
}

/// Sends the lines of stdin. In a thread of its own, because reading a terminal blocks.
fn read_lines(remote: &Remote, id: ConnectionId, begun: Instant, wait: Duration) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let sent = match line.as_str() {
            "/ping" => remote.run(move |hub| {
                hub.ping(id, begun.elapsed().as_micros().to_string().as_bytes());
            }),
            "/close" => remote.close(id, CloseCode::NORMAL, ""),
            text => remote.send(id, text),
        };
        if sent.is_err() {
            return;
        }
    }
    thread::sleep(wait);
    // An error means that the reactor has ended.
    let _ = remote.close(id, CloseCode::NORMAL, "");
}

/// Colours of terminals (ECMA-48 §8.3.117).
const CYAN: &str = "36";
const RED: &str = "31";
const FAINT: &str = "2";

/// A text in a colour, if it goes to a terminal.
fn painted(text: impl Display, colour: &str, to: &impl IsTerminal) -> String {
    match to.is_terminal() && env::var_os("NO_COLOR").is_none() {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text.to_string(),
    }
}

/// Tells a state of the connection.
fn tell(text: impl Display) {
    eprintln!("{}", painted(text, FAINT, &io::stderr()));
}

/// Time from which pings are measured.
fn began() -> Instant {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

impl Handler for Terminal {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, handshake: &Handshake) {
        let subprotocol = handshake.subprotocol().map_or_else(String::new, |name| format!(", subprotocol {name}"));
        tell(format_args!("connected to {} by {}{subprotocol}", ws.peer_addr(), ws.version()));
        let (remote, id, wait) = (self.remote.clone(), ws.id(), self.wait);
        let begun = began();
        thread::spawn(move || read_lines(&remote, id, begun, wait));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let mut output = io::stdout().lock();
        let shown = match message {
            Message::Text(text) => writeln!(output, "{}", painted(text, CYAN, &output)),
            Message::Binary(bytes) => {
                writeln!(output, "{}", painted(format_args!("{} bytes: {message}", bytes.len()), CYAN, &output))
            }
        };
        if shown.is_err() {
            // The reader of stdout has ended, as in `client … | head -1`.
            ws.close(CloseCode::NORMAL, "");
        }
    }

    fn on_pong(&mut self, _: &mut WebSocket<'_>, data: &[u8]) {
        let sent = str::from_utf8(data).ok().and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
        if let Some(sent) = sent {
            tell(format_args!("pong after {:?}", began().elapsed().saturating_sub(sent)));
        }
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &WsError) {
        eprintln!("{}", painted(format_args!("{error:#}"), RED, &io::stderr()));
        if let WsError::Refused(refusal) = error {
            eprint!("{}", String::from_utf8_lossy(&refusal.body));
        }
        self.failed.set(true);
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        tell(format_args!("closed: {reason}"));
        // A connection of hixie is never clean.
        let hixie = matches!(ws.version(), Version::Hixie75 | Version::Hixie76);
        let lost = reason.by == ClosedBy::Peer && !reason.clean && !hixie;
        self.failed.set(self.failed.get() || lost);
        ws.hub().stop();
    }
}
