//! What the servers have in common: the command line, and for those on tokio the accepting, TLS and the room they
//! broadcast in.
//!
//!     PROGRAM [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--deflate | --deflate-shared] [--deflate-level N]
//!             [--broadcast]
//!
//! A server prints one line to stderr as soon as it listens, `listening on ws://ADDR`, and serves until it is killed.
//! What its library can't do it refuses, with exit status 2.

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

/// Why a connection ended before its time, or a server did not begin.
pub type Failure = Box<dyn Error>;

/// What the command line asks for.
pub struct Options {
    pub listen: SocketAddr,
    /// The files of the certificate and of its key.
    pub tls: Option<(String, String)>,
    pub deflate: Option<Deflate>,
    /// None leaves the level to the library.
    pub deflate_level: Option<u8>,
    pub broadcast: bool,
}

/// How to compress, where the client offers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deflate {
    /// Each connection keeps its context from message to message.
    Dedicated,
    /// Each message starts afresh, so that connections can share what they compress with.
    Shared,
}

impl Options {
    /// Reads the command line. It ends the process if that makes no sense.
    pub fn read() -> Self {
        let mut options = Self {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            deflate: None,
            deflate_level: None,
            broadcast: false,
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

    /// For a library that does not do TLS.
    pub fn refuse_tls(&self, reason: &str) {
        if self.tls.is_some() {
            refuse(reason);
        }
    }

    /// For a library that does not compress.
    pub fn refuse_deflate(&self, reason: &str) {
        if self.deflate.is_some() || self.deflate_level.is_some() {
            refuse(reason);
        }
    }
}

fn value<Value: FromStr>(name: &str, word: Option<String>) -> Value {
    let parsed = word.and_then(|word| word.parse().ok());
    parsed.unwrap_or_else(|| refuse(format_args!("{name} needs a value that makes sense")))
}

/// Ends the process with the status that says: asked for what this server can't do.
pub fn refuse(reason: impl Display) -> ! {
    eprintln!("{reason}");
    process::exit(2)
}

/// A server on tokio that does not care what it talks over.
pub trait Peer: 'static {
    /// Shakes hands and talks until the connection is over. Generic, for a boxed stream would cost the peer something
    /// that its users need not pay.
    fn talk<S>(&self, stream: S) -> impl Future<Output = Result<(), Failure>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Serves with `peer` for ever, over TLS if the command line says so.
pub fn serve(options: &Options, peer: impl Peer) -> Result<(), Failure> {
    let peer = Rc::new(peer);
    let Some((certificate, key)) = &options.tls else {
        return accept(options.listen, "ws", move |stream| {
            let peer = peer.clone();
            async move { peer.talk(stream).await }
        });
    };
    let acceptor = acceptor(certificate, key)?;
    accept(options.listen, "wss", move |stream| {
        let (peer, acceptor) = (peer.clone(), acceptor.clone());
        async move { peer.talk(acceptor.accept(stream).await?).await }
    })
}

/// Accepts connections for ever, on one thread, with a task of `talk` for each.
pub fn accept<Talk, Talking>(listen: SocketAddr, scheme: &str, talk: Talk) -> Result<(), Failure>
where
    Talk: Fn(TcpStream) -> Talking,
    Talking: Future<Output = Result<(), Failure>> + 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        eprintln!("listening on {scheme}://{}", listener.local_addr()?);
        loop {
            // A client gone before it was accepted is no reason to stop.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let talking = talk(stream);
            spawn_local(async move {
                let _ = talking.await;
            });
        }
    })
}

fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = ring::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// All open connections, for a library that leaves broadcasting to its user.
pub struct Room<Message> {
    members: RefCell<Slab<UnboundedSender<Message>>>,
}

impl<Message: Clone> Room<Message> {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { members: RefCell::default() })
    }

    /// A seat in the room, and what is said there from now on.
    pub fn enter(self: &Rc<Self>) -> (Seat<Message>, UnboundedReceiver<Message>) {
        let (sender, receiver) = unbounded_channel();
        let key = self.members.borrow_mut().insert(sender);
        (Seat { room: self.clone(), key }, receiver)
    }
}

/// A connection's place in the room. Dropping it leaves the room.
pub struct Seat<Message> {
    room: Rc<Room<Message>>,
    key: usize,
}

impl<Message: Clone> Seat<Message> {
    /// Says it to all in the room, this one included.
    pub fn say(&self, message: &Message) {
        for (_, member) in &*self.room.members.borrow() {
            // One that can't hear it any more is about to leave.
            let _ = member.send(message.clone());
        }
    }
}

impl<Message> Drop for Seat<Message> {
    fn drop(&mut self) {
        self.room.members.borrow_mut().remove(self.key);
    }
}
