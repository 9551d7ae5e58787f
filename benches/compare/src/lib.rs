//! The common parts of the servers: the command line, and for servers on tokio the accept loop, TLS and broadcasting.
//!
//!     PROGRAM [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--deflate | --deflate-shared] [--deflate-level N]
//!             [--broadcast | --http]
//!
//! With `--http` a server answers `GET /` with status 200 and a `text/plain` body of [`HTTP_BODY`], and serves no
//! WebSockets. A server prints `listening on ws://ADDR`, or `http://ADDR`, to stderr as soon as it listens, and serves
//! until it is killed. It exits with status 2 if its library does not support an option.

pub mod client;

use std::{cell::RefCell, env, error::Error, fmt::Display, net::SocketAddr, process, rc::Rc, str::FromStr, sync::Arc};

use slab::Slab;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{LocalSet, spawn_local},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// The longest message that every server accepts.
pub const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// The body of every HTTP response: 100 bytes.
pub const HTTP_BODY: [u8; 100] = [b'x'; 100];

/// Why a connection failed or a server did not start.
pub type Failure = Box<dyn Error>;

/// The options of the command line.
pub struct Options {
    pub listen: SocketAddr,
    /// The files of the certificate and of its key.
    pub tls: Option<(String, String)>,
    pub deflate: Option<Deflate>,
    /// `None` for the default of the library.
    pub deflate_level: Option<u8>,
    pub broadcast: bool,
    pub http: bool,
}

/// How the server compresses if the client offers permessage-deflate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deflate {
    /// With context takeover: each connection keeps its context between messages.
    Dedicated,
    /// Without context takeover, so that connections can share their compressors.
    Shared,
}

impl Options {
    /// Parses the command line. Exits the process if it is invalid.
    pub fn read() -> Self {
        let mut options = Self {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            deflate: None,
            deflate_level: None,
            broadcast: false,
            http: false,
        };
        let (mut certificate, mut key) = (None, None);
        let mut words = env::args().skip(1);
        while let Some(name) = words.next() {
            match &*name {
                "--listen" => options.listen = value(&name, words.next()),
                "--tls-cert" => certificate = Some(value(&name, words.next())),
                "--tls-key" => key = Some(value(&name, words.next())),
                "--deflate" => options.deflate = Some(Deflate::Dedicated),
                "--deflate-shared" => options.deflate = Some(Deflate::Shared),
                "--deflate-level" => options.deflate_level = Some(value(&name, words.next())),
                "--broadcast" => options.broadcast = true,
                "--http" => options.http = true,
                _ => refuse(format_args!("{name} is not an option")),
            }
        }
        options.tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => refuse("--tls-cert and --tls-key go together"),
        };
        options
    }

    /// Exits the process if TLS is requested.
    pub fn refuse_tls(&self, reason: &str) {
        if self.tls.is_some() {
            refuse(reason);
        }
    }

    /// Parses the command line of a server that speaks HTTP only. Exits the process if anything else is requested.
    pub fn read_http() -> Self {
        let options = Self::read();
        options.refuse_tls("the HTTP servers do not do TLS");
        options.refuse_deflate("HTTP is not compressed");
        if !options.http || options.broadcast {
            refuse("the server speaks HTTP only");
        }
        options
    }

    /// Exits the process if HTTP is requested in place of WebSockets.
    pub fn refuse_http(&self) {
        if self.http {
            refuse("the server speaks WebSocket only");
        }
    }

    /// Exits the process if compression is requested.
    pub fn refuse_deflate(&self, reason: &str) {
        if self.deflate.is_some() || self.deflate_level.is_some() {
            refuse(reason);
        }
    }
}

fn value<Value: FromStr>(name: &str, word: Option<String>) -> Value {
    let parsed = word.and_then(|word| word.parse().ok());
    parsed.unwrap_or_else(|| refuse(format_args!("{name} needs a valid value")))
}

/// Exits with status 2: the server does not support the requested options.
pub fn refuse(reason: impl Display) -> ! {
    eprintln!("{reason}");
    process::exit(2)
}

/// A server on tokio that is generic over the stream.
pub trait Peer: 'static {
    /// Performs the handshake and serves the connection until its end. Generic, because a boxed stream would add a cost
    /// that the library does not have.
    fn serve<S>(&self, stream: S) -> impl Future<Output = Result<(), Failure>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Accepts connections forever and serves them with `peer`, over TLS if the options require it.
pub fn serve(options: &Options, peer: impl Peer) -> Result<(), Failure> {
    let peer = Rc::new(peer);
    let Some((certificate, key)) = &options.tls else {
        return accept(options.listen, "ws", move |stream| {
            let peer = peer.clone();
            async move { peer.serve(stream).await }
        });
    };
    let acceptor = TlsAcceptor::from(Arc::new(tls_config(certificate, key)?));
    accept(options.listen, "wss", move |stream| {
        let (peer, acceptor) = (peer.clone(), acceptor.clone());
        async move { peer.serve(acceptor.accept(stream).await?).await }
    })
}

/// Accepts connections forever, on one thread, and runs the future of `handle` in a task for each.
pub fn accept<Handle, Handling>(listen: SocketAddr, scheme: &str, handle: Handle) -> Result<(), Failure>
where
    Handle: Fn(TcpStream) -> Handling,
    Handling: Future<Output = Result<(), Failure>> + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        eprintln!("listening on {scheme}://{}", listener.local_addr()?);
        loop {
            // A client that disconnects before it is accepted must not stop the server.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let handling = handle(stream);
            spawn_local(async move {
                let _ = handling.await;
            });
        }
    })
}

/// The TLS of a server, with session tickets.
pub fn tls_config(certificate: &str, key: &str) -> Result<ServerConfig, Failure> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// All open connections, for libraries without broadcasting.
pub struct Room<Message> {
    members: RefCell<Slab<UnboundedSender<Message>>>,
}

impl<Message: Clone> Room<Message> {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { members: RefCell::default() })
    }

    /// Adds a member, and returns the receiver of all messages from now on.
    pub fn join(self: &Rc<Self>) -> (Membership<Message>, UnboundedReceiver<Message>) {
        let (sender, receiver) = unbounded_channel();
        let key = self.members.borrow_mut().insert(sender);
        (Membership { room: self.clone(), key }, receiver)
    }
}

/// A connection's membership of the room. Dropping it removes the connection.
pub struct Membership<Message> {
    room: Rc<Room<Message>>,
    key: usize,
}

impl<Message: Clone> Membership<Message> {
    /// Sends a message to all members, including this one.
    pub fn broadcast(&self, message: &Message) {
        for (_, member) in &*self.room.members.borrow() {
            // Fails only for a member that is about to leave.
            let _ = member.send(message.clone());
        }
    }
}

impl<Message> Drop for Membership<Message> {
    fn drop(&mut self) {
        self.room.members.borrow_mut().remove(self.key);
    }
}
