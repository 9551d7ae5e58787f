//! Pages, files, uploads, topics and WebSockets on one port.
//!
//!     cargo run --release --example server -- [--listen ADDR] [--root DIR] [--tls-cert FILE --tls-key FILE]
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page with a chat over `/topics/lobby` |
//! | any method `/echo` | its body, with its `Content-Type`; a WebSocket gets its messages back |
//! | WebSocket `/topics/{topic}` | subscribes, and publishes what it is sent |
//! | `GET /topics/{topic}/events` | an event stream of what is published |
//! | `POST /topics/{topic}` | publishes the body; 202 |
//! | `GET /stream/{bytes}` | so many bytes, made as the client reads |
//! | `POST /count` | the number of bytes of a body of up to 1 GiB |
//! | `GET /files/…` | the files below `--root` |
//! | `GET /whoami` | address of the client, and whether the connection uses TLS |
//! | `GET /slow?ms=N` | `late`, decided by another thread |
//! | `GET /health` | `ok` |

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{
    error::Error,
    io,
    path::PathBuf,
    process::ExitCode,
    task::{Context, Poll},
    thread,
    time::Duration,
};

#[cfg(feature = "tls")]
use ws_reactor::TlsConfig;
use ws_reactor::{
    BodyStream, Callbacks, CloseCode, EventStream, Reactor, Reply, Request, RequestBody, Routes, Server, Upload,
    http::{HeaderValue, StatusCode, header},
    on_message,
};

const PAGE: &str = include_str!("page.html");

/// Largest body that `POST /count` takes.
const MAX_COUNTED_BYTES: u64 = 1 << 30;

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "Pages, files, uploads, topics and WebSockets on one port",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--root DIR", "Folder of the files below /files/ [default: .]"),
            ("--tls-cert FILE", "Certificate, PEM"),
            ("--tls-key FILE", "Private key of the certificate, PEM"),
        ],
    );
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let root = arguments.get("--root", PathBuf::from("."));
    let (server, scheme) = secured(Server::routes(routes(root))?, arguments)?;
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), server)?;
    eprintln!("listening on {scheme}://{}", listening.addr);
    Ok(reactor.run()?)
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
        .websocket("/topics/{topic}", |handshake| topic(handshake.request().param("topic").to_owned()))
        .event_stream("/topics/{topic}/events", |request, _| {
            EventStream::topic(request.param("topic")).retry(Duration::from_secs(2))
        })
        .post("/topics/{topic}", |request, hub| {
            let topic = request.param("topic");
            if topic.contains('\0') {
                return Err(Reply::text(StatusCode::BAD_REQUEST, "a topic has no NUL"));
            }
            hub.publish(topic, request.text()?);
            Ok(StatusCode::ACCEPTED)
        })
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

/// Subscribes to a topic, and publishes what it is sent.
fn topic(topic: String) -> Callbacks {
    let subscribed = topic.clone();
    Callbacks::new()
        .on_open(move |ws, _| {
            ws.subscribe(&subscribed);
        })
        .on_message(move |ws, message| {
            match message.is_text() {
                true => _ = ws.hub().publish(&topic, message),
                false => _ = ws.close(CloseCode::UNSUPPORTED_DATA, "text only"),
            };
        })
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

/// The server with TLS, if a certificate is given, and the scheme of its URLs.
#[cfg(feature = "tls")]
fn secured(server: Server, arguments: &arguments::Arguments) -> Result<(Server, &'static str), Box<dyn Error>> {
    if !arguments.has("--tls-cert") {
        return Ok((server, "http"));
    }
    let file = |name| std::fs::read(arguments.get(name, PathBuf::new()));
    let tls = TlsConfig::from_pem(&file("--tls-cert")?, &file("--tls-key")?)?;
    Ok((server.tls(tls), "https"))
}

#[cfg(not(feature = "tls"))]
fn secured(server: Server, arguments: &arguments::Arguments) -> Result<(Server, &'static str), Box<dyn Error>> {
    if arguments.has("--tls-cert") {
        return Err("built without the feature tls".into());
    }
    Ok((server, "http"))
}
