//! The ends under test: a server and a client of the crate, each with a reactor and a thread of its own.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ws_reactor::{
    Callbacks, Client, ClientConfig, CloseCode, CloseReason, Hub, Reactor, Server, ServerConfig, WebSocketConfig,
};

#[cfg(feature = "tls")]
use crate::support::secure;

/// Layers between the messages and the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
    #[cfg(feature = "deflate")]
    Deflate,
}

impl Transport {
    pub(crate) const ALL: &[Transport] = &[
        Transport::Plain,
        #[cfg(feature = "tls")]
        Transport::Tls,
        #[cfg(feature = "deflate")]
        Transport::Deflate,
    ];

    fn serve(self, server: Server) -> Server {
        match self {
            Transport::Plain => server,
            #[cfg(feature = "tls")]
            Transport::Tls => secure::server(server),
            #[cfg(feature = "deflate")]
            Transport::Deflate => server.deflate(ws_reactor::DeflateConfig::dedicated()),
        }
    }

    fn connect(self, client: Client) -> Client {
        match self {
            Transport::Plain => client,
            #[cfg(feature = "tls")]
            Transport::Tls => client.tls(secure::trust(&secure::LOCALHOST)).server_name("localhost"),
            #[cfg(feature = "deflate")]
            Transport::Deflate => client.deflate(ws_reactor::DeflateConfig::dedicated()),
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            #[cfg(feature = "tls")]
            Transport::Tls => "wss",
            _ => "ws",
        }
    }
}

/// Behaviour of an end.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: WebSocketConfig,
    /// A binary message, sent when the connection is open.
    pub(crate) message: Option<Arc<[u8]>>,
    /// Received messages after which the end closes the connection with 1000. 0: right after sending.
    pub(crate) close_after: Option<u32>,
    /// A binary message is answered with a short text.
    pub(crate) answers: bool,
    /// Time after which the reactor stops, whether or not the connection has ended. Default 30 s.
    pub(crate) give_up_after: Duration,
}

impl Plan {
    /// A receiver that does not answer.
    pub(crate) fn new(config: WebSocketConfig) -> Self {
        let give_up_after = Duration::from_secs(30);
        Plan { config, message: None, close_after: None, answers: false, give_up_after }
    }

    pub(crate) fn sends(mut self, message: &Arc<[u8]>) -> Self {
        self.message = Some(Arc::clone(message));
        self
    }

    pub(crate) fn closes_after(mut self, messages: u32) -> Self {
        self.close_after = Some(messages);
        self
    }

    pub(crate) fn answers(mut self) -> Self {
        self.answers = true;
        self
    }

    pub(crate) fn gives_up_after(mut self, time: Duration) -> Self {
        self.give_up_after = time;
        self
    }
}

/// Events of an end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The binary messages.
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) errors: Vec<String>,
    pub(crate) closed: Option<CloseReason>,
    /// Time from the open connection to its end.
    pub(crate) lived: Duration,
}

impl Report {
    /// The report without the messages, which are large.
    pub(crate) fn summary(&self) -> String {
        let lengths = self.messages.iter().map(Vec::len).collect::<Vec<_>>();
        format!("messages {lengths:?}, errors {:?}, closed {:?} after {:?}", self.errors, self.closed, self.lived)
    }
}

type Shared = Rc<RefCell<Report>>;

/// Starts a server for one connection.
pub(crate) fn serve(transport: Transport, plan: Plan) -> (SocketAddr, JoinHandle<Report>) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let (report, give_up_after) = (Shared::default(), plan.give_up_after);
        let (failed, recorded) = (Rc::clone(&report), Rc::clone(&report));
        let config = ServerConfig::modern().websocket(plan.config.clone());
        let server = Server::with_config(config, move |_| handler(plan.clone(), &recorded))
            .on_error(move |_, error| failed.borrow_mut().errors.push(error.to_string()));
        let mut reactor = Reactor::new().unwrap();
        sender.send(reactor.listen("127.0.0.1:0", transport.serve(server)).unwrap().addr).unwrap();
        run(reactor, give_up_after, &report)
    });
    (receiver.recv().unwrap(), thread)
}

/// Starts a client.
pub(crate) fn connect(transport: Transport, addr: SocketAddr, plan: Plan) -> JoinHandle<Report> {
    thread::spawn(move || {
        let (report, give_up_after) = (Shared::default(), plan.give_up_after);
        let config = ClientConfig::new().websocket(plan.config.clone());
        let client = Client::with_config(config, handler(plan, &report));
        let mut reactor = Reactor::new().unwrap();
        reactor.connect(&format!("{}://{addr}/", transport.scheme()), transport.connect(client)).unwrap();
        run(reactor, give_up_after, &report)
    })
}

fn run(mut reactor: Reactor, give_up_after: Duration, report: &Shared) -> Report {
    reactor.hub().add_timer(give_up_after, Hub::stop);
    reactor.run().unwrap();
    report.take()
}

fn handler(plan: Plan, report: &Shared) -> Callbacks {
    let Plan { message, close_after, answers, .. } = plan;
    let (received, failed, closed) = (Rc::clone(report), Rc::clone(report), Rc::clone(report));
    let opened_at = Rc::new(RefCell::new(None));
    let opened = Rc::clone(&opened_at);
    let mut left = close_after;
    Callbacks::new()
        .on_open(move |ws, _| {
            *opened.borrow_mut() = Some(Instant::now());
            if let Some(message) = &message {
                ws.send(&message[..]);
            }
            if close_after == Some(0) {
                ws.close(CloseCode::NORMAL, "done");
            }
        })
        .on_message(move |ws, message| {
            if message.is_binary() {
                received.borrow_mut().messages.push(message.as_bytes().to_vec());
                if answers {
                    ws.send("received");
                }
            }
            left = left.map(|left| left.saturating_sub(1));
            if left == Some(0) {
                ws.close(CloseCode::NORMAL, "done");
            }
        })
        .on_error(move |_, error| failed.borrow_mut().errors.push(error.to_string()))
        .on_close(move |ws, reason| {
            let mut report = closed.borrow_mut();
            report.closed = Some(reason.clone());
            report.lived = opened_at.borrow().map_or(Duration::ZERO, |at: Instant| at.elapsed());
            ws.hub().stop();
        })
}
