//! Pages, files, uploads, topics, event streams, long-polling and WebSockets on one port.
//!
//!     cargo run --release --example server -- [--listen ADDR] [--root DIR] [--unix PATH] [--proxy-protocol]
//!         [--tls-cert FILE --tls-key FILE] [--threads N]
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page with a live chart over `/topics/stats/events` and a chat over `/topics/lobby` |
//! | any method `/echo` | its body, with its `Content-Type`; a WebSocket gets its messages back |
//! | WebSocket `/topics/{topic}` | subscribes, and publishes what it is sent |
//! | `GET /topics/{topic}/events` | an event stream of what is published, with ids and the last 100 events |
//! | `GET /topics/{topic}/poll?after=N&timeout=MS` | the first event after N as JSON, or 204 after the time-out |
//! | `POST /topics/{topic}` | publishes the body; 202 |
//! | `GET /stream/{bytes}` | so many bytes, made as the client reads |
//! | `POST /count` | the number of bytes of a body of up to 1 GiB |
//! | `GET /files/…` | the files below `--root` |
//! | `GET /whoami` | address of the client, and whether the connection uses TLS |
//! | `GET /slow?ms=N` | `late`, decided by another thread |
//! | `GET /health` | `ok` |
//! | `GET /metrics` | the counters of the reactors, for Prometheus |
//!
//! With `--features redis`, `--redis URL [--redis-prefix PREFIX]` joins the topics of several processes.
//!
//! `--unix PATH` listens there, too, without TLS. With `--proxy-protocol`, each TCP connection begins with a header of
//! the PROXY protocol.

#[path = "../arguments/mod.rs"]
mod arguments;
mod topics;

use std::{
    cell::Cell,
    error::Error,
    io,
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use arguments::{redis, shutdown};
use ws_reactor::{
    Bind, BodyStream, Hub, ReactorGroup, Reply, Request, RequestBody, Routes, Server, SetupError, Stats, Upload,
    http::{HeaderValue, StatusCode, header},
    on_message,
};
#[cfg(feature = "tls")]
use ws_reactor::{TlsAcceptor, TlsConfig};

const PAGE: &str = include_str!("page.html");

/// Largest body that `POST /count` takes.
const MAX_COUNTED_BYTES: u64 = 1 << 30;

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--root DIR", "Folder of the files below /files/ [default: .]"),
        ("--unix PATH", "Path of a Unix socket to listen on, too"),
        ("--proxy-protocol", "Require a header of the PROXY protocol on TCP connections"),
        ("--tls-cert FILE", "Certificate, PEM"),
        ("--tls-key FILE", "Private key of the certificate, PEM"),
        ("--threads N", "Reactors that share the port and the topics, each in its own thread [default: 1]"),
    ];
    let about = "Pages, files, uploads, topics, event streams and WebSockets on one port";
    let arguments = arguments::Arguments::read(about, &[&options[..], &redis::OPTIONS].concat());
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let threads = arguments.get("--threads", NonZeroUsize::MIN);
    let (with_tls, scheme) = tls(arguments)?;
    ReactorGroup::new(threads.get())?.run(|reactor| {
        redis::attach(arguments, reactor)?;
        shutdown::on_signals(reactor)?;
        let root = arguments.get("--root", PathBuf::from("."));
        let server = || Ok::<_, SetupError>(Server::routes(routes(root.clone()))?.trusted_proxies(TRUSTED)?);
        let bind = Bind::to(arguments.get("--listen", "127.0.0.1:8080".to_owned()));
        let listening = reactor.listen(proxied(bind, arguments)?, with_tls(server()?))?;
        if let Some(path) = arguments.all("--unix").pop() {
            reactor.listen(format!("unix:{path}"), server()?)?;
        }
        if reactor.hub().group_index() == 0 {
            reactor.hub().add_periodic_timer(Duration::from_secs(1), publish_stats());
            eprintln!("listening on {scheme}://{}", listening.addr);
        }
        Ok(())
    })?;
    Ok(())
}

/// Proxies on this machine tell the addresses of their clients.
const TRUSTED: [&str; 3] = ["127.0.0.0/8", "::1", "unix"];

#[cfg(feature = "proxy-protocol")]
fn proxied(bind: Bind, arguments: &arguments::Arguments) -> Result<Bind, SetupError> {
    Ok(match arguments.has("--proxy-protocol") {
        true => bind.proxy_protocol(ws_reactor::ProxyProtocol::Required),
        false => bind,
    })
}

#[cfg(not(feature = "proxy-protocol"))]
fn proxied(bind: Bind, arguments: &arguments::Arguments) -> Result<Bind, SetupError> {
    match arguments.has("--proxy-protocol") {
        true => Err("--proxy-protocol needs the feature proxy-protocol".into()),
        false => Ok(bind),
    }
}

fn routes(root: PathBuf) -> Routes {
    Routes::new()
        .get("/", |_, _| Reply::html(PAGE))
        .any("/echo", |request, _| echo(request))
        .websocket("/echo", |_| {
            on_message(|ws, message| {
                ws.send(message);
            })
        })
        .scope("/topics/{topic}", topics::routes())
        .get("/stream/{bytes}", |request, _| match request.param("bytes").parse() {
            Ok(bytes) => Reply::stream(Digits { left: bytes }),
            Err(_) => Reply::text(StatusCode::BAD_REQUEST, "not a number of bytes"),
        })
        .scope("/count", Routes::new().max_body_bytes(MAX_COUNTED_BYTES).upload("/", |_, _| Ok::<_, Reply>(Count)))
        .files("/files", root)
        .get("/whoami", |request, _| {
            let (peer, secure) = (request.peer_addr(), request.is_secure());
            typed(Reply::bytes(format!("{{\"peer\":\"{peer}\",\"secure\":{secure}}}")), "application/json")
        })
        .get("/slow", |request, _| slow(request))
        .get("/health", |_, _| typed(Reply::bytes("ok"), "text/plain"))
        .metrics("/metrics")
}

/// Publishes the counters of all reactors once a second, for the chart of the page.
fn publish_stats() -> impl FnMut(&mut Hub) {
    let before = Rc::new(Cell::new(0));
    move |hub| {
        let before = Rc::clone(&before);
        hub.ask_group(
            |hub| (hub.stats(), hub.subscribers("stats")),
            move |hub, answers| {
                let stats: Stats = answers.iter().map(|(stats, _)| *stats).sum();
                let messages = stats.messages_in + stats.messages_out;
                // A reactor that does not answer is missing in the sum.
                let since = messages.saturating_sub(before.replace(messages));
                if answers.iter().any(|(_, subscribers)| *subscribers > 0) {
                    // For this process: others have numbers of their own.
                    hub.deliver("stats", format!("{{\"connections\":{},\"messages\":{since}}}", stats.connections));
                }
            },
        );
    }
}

/// Sends the body back.
fn echo(request: &Request) -> Reply {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let reply = Reply::bytes(request.body().clone());
    match content_type {
        Some(content_type) => reply.header(header::CONTENT_TYPE, content_type.clone()),
        None => reply,
    }
}
/// Decides after some time, on another thread.
fn slow(request: &Request) -> Reply {
    let Ok(wait) = request.query_value("ms").unwrap_or_default().parse() else {
        return Reply::text(StatusCode::BAD_REQUEST, "ms is a number of milliseconds");
    };
    let (reply, responder) = Reply::later();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(wait));
        // The client may have left.
        let _ = responder.respond(typed(Reply::bytes("late"), "text/plain"));
    });
    reply
}

fn typed(reply: Reply, content_type: &'static str) -> Reply {
    reply.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
}

/// A body of digits.
struct Digits {
    left: u64,
}

impl BodyStream for Digits {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<bytes::Bytes>>> {
        static DIGITS: [u8; 16 * 1024] = [b'7'; 16 * 1024];
        let length = self.left.min(DIGITS.len() as u64);
        self.left -= length;
        Poll::Ready((length > 0).then(|| Ok(bytes::Bytes::from_static(&DIGITS[..length as usize]))))
    }
}

/// Counts the bytes of an upload.
struct Count;

impl Upload for Count {
    fn on_chunk(&mut self, _: &mut RequestBody<'_>, _: &[u8]) -> Result<(), Reply> {
        Ok(())
    }

    fn on_end(&mut self, body: &mut RequestBody<'_>) -> Reply {
        typed(Reply::bytes(body.received().to_string()), "text/plain")
    }
}

/// The function that adds TLS, if a certificate is given, and the scheme of the URLs.
#[cfg(feature = "tls")]
fn tls(arguments: &arguments::Arguments) -> Result<(impl Fn(Server) -> Server, &'static str), Box<dyn Error>> {
    let file = |name| std::fs::read(arguments.get(name, PathBuf::new()));
    let acceptor = match arguments.has("--tls-cert") {
        true => Some(TlsAcceptor::from(TlsConfig::from_pem(&file("--tls-cert")?, &file("--tls-key")?)?)),
        false => None,
    };
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let add = move |server: Server| match &acceptor {
        Some(acceptor) => server.tls(acceptor.clone()),
        None => server,
    };
    Ok((add, scheme))
}

#[cfg(not(feature = "tls"))]
fn tls(arguments: &arguments::Arguments) -> Result<(impl Fn(Server) -> Server, &'static str), Box<dyn Error>> {
    match arguments.has("--tls-cert") {
        true => Err("built without the feature tls".into()),
        false => Ok((|server| server, "http")),
    }
}
