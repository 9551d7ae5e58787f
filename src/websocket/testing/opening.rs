//! How the played ends of a test open: clients, and servers that accept or refuse.

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{Network, peer::Peer};
use crate::{
    error::Refusal,
    http::Request,
    net::sim::PeerId,
    protocol::{ClientHandshake, Handshake, ServerHandshake, ServerStep, Version},
};

/// The opening handshake of a played client.
#[derive(Debug, Clone)]
#[must_use]
pub struct Opening(ClientHandshake);

impl Opening {
    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If name or value are not those of a header.
    #[track_caller]
    pub fn header(self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("the name of a header");
        Opening(self.0.header(name, HeaderValue::try_from(value).expect("the value of a header")))
    }

    /// Sets the protocol version. Default [`Version::Rfc6455`].
    pub fn version(self, version: Version) -> Self {
        Opening(self.0.version(version))
    }

    /// Sets the subprotocols to offer. Default: none.
    pub fn subprotocols<S: Into<String>>(self, subprotocols: impl IntoIterator<Item = S>) -> Self {
        Opening(self.0.subprotocols(subprotocols))
    }
}

impl Network {
    /// Opens a connection to a server under test, as the client `name`. A closed connection of that name is replaced.
    ///
    /// # Panics
    ///
    /// If the connection does not open.
    #[track_caller]
    pub fn open(&mut self, name: &str, url: &str) {
        self.open_with(name, url, |opening| opening);
    }

    /// Opens a connection with headers, subprotocols or another version.
    ///
    /// ```
    /// # use ws_reactor::{Server, Version, on_message, testing::Network};
    /// # let mut network = Network::new();
    /// # network.listen("chat.example", Server::new(|_| on_message(|ws, message| { ws.send(message); })));
    /// network.open_with("ann", "ws://chat.example/", |opening| {
    ///     opening.header("cookie", "session=1").version(Version::Hixie76)
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`open`](Self::open).
    #[track_caller]
    pub fn open_with(&mut self, name: &str, url: &str, change: impl FnOnce(Opening) -> Opening) {
        if let Err(refusal) = self.try_open(name, url, change) {
            self.fail(&format!("{url} refuses {name:?} with {}", refusal.status));
        }
    }

    /// Opens a connection that the server may refuse.
    ///
    /// # Errors
    ///
    /// The response of the server, if its status is not 101. The name remains free.
    ///
    /// # Panics
    ///
    /// If the URL is invalid, or its scheme is `wss`; if nobody listens; if the server does not answer.
    #[track_caller]
    pub fn try_open(
        &mut self,
        name: &str,
        url: &str,
        change: impl FnOnce(Opening) -> Opening,
    ) -> Result<(), Box<Refusal>> {
        let handshake = ClientHandshake::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(!handshake.is_secure(), "{url}: played clients have no TLS; `TestSocket` has");
        let addr = self.address(&format!("{}:{}", handshake.host(), handshake.port()));
        let id = self.reactor.kernel_mut().connect(addr).unwrap_or_else(|_| panic!("nobody listens on {url}"));
        let mut request = Vec::new();
        let pending = change(Opening(handshake)).0.send(repeatable(), &mut request);
        let pending = pending.unwrap_or_else(|error| panic!("{url}: {error}"));
        self.note(name, &format!("→ {}", String::from_utf8_lossy(&request).lines().next().unwrap_or_default()));
        self.reactor.kernel_mut().send(id, &request);
        self.add(name, Peer::client(id, pending));
        self.wait_for(|network| network.peers[name].is_settled());
        match self.peers[name].refusal() {
            None if self.peers[name].handshake().is_some() => Ok(()),
            None => self.fail(&format!("{url} does not open for {name:?}")),
            Some(refusal) => {
                let refusal = Box::new(refusal.clone());
                self.peers.remove(name);
                Err(refusal)
            }
        }
    }

    /// Accepts the next connection of a client under test to a [played](Self::play) address. The played end is called
    /// `name`.
    ///
    /// # Panics
    ///
    /// If no client connects, or its request is invalid.
    #[track_caller]
    pub fn accept(&mut self, name: &str, address: &str) {
        let (id, mut handshake, mut input, request) = self.next_request(address);
        self.note(name, &format!("← {} {}", request.method(), request.path()));
        let mut output = Vec::new();
        if let Err(error) = handshake.accept(*request, &mut output) {
            self.fail(&format!("the request of a client is invalid: {error}"));
        }
        self.reactor.kernel_mut().send(id, &output);
        self.add(name, Peer::server(id, handshake, std::mem::take(&mut input)));
        self.wait_for(|network| network.peers[name].is_settled());
        if self.peers[name].handshake().is_none() {
            self.fail(&format!("{name:?} does not open"));
        }
    }

    /// Refuses the next connection of a client under test to a [played](Self::play) address, with a status and headers.
    ///
    /// # Panics
    ///
    /// If no client connects, or the status or a header is invalid.
    #[track_caller]
    pub fn refuse(&mut self, address: &str, status: u16, headers: &[(&str, &str)]) {
        let (id, mut handshake, _, request) = self.next_request(address);
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("the name of a header");
            response.headers_mut().append(name, HeaderValue::try_from(*value).expect("the value of a header"));
        }
        let mut output = Vec::new();
        handshake.refuse(&request, &response, &mut output);
        self.note(address, &format!("refuses {} with {status}", request.path()));
        self.reactor.kernel_mut().send(id, &output);
        self.reactor.kernel_mut().finish(id);
        self.settle();
    }

    /// The next connection to an address, with its request and the input behind it.
    #[track_caller]
    fn next_request(&mut self, address: &str) -> (PeerId, ServerHandshake, Vec<u8>, Box<Request>) {
        let addr = self.address(address);
        self.wait_for(|network| network.dialed.iter().any(|(_, to)| *to == addr));
        let Some(index) = self.dialed.iter().position(|(_, to)| *to == addr) else {
            self.fail(&format!("no client connects to {address}"));
        };
        let (id, _) = self.dialed.remove(index).expect("the index was found");
        let (mut handshake, mut output) = (ServerHandshake::new(), Vec::new());
        let deadline = self.now() + self.patience;
        loop {
            let input = self.reactor.kernel_mut().received(id);
            match handshake.receive(&input, &mut output) {
                Ok((used, Some(ServerStep::Request(request)))) => {
                    return (id, handshake, input[used..].to_vec(), Box::new(request));
                }
                Ok(_) if self.now() < deadline => self.step(deadline),
                Ok(_) => self.fail(&format!("the client that connects to {address} sends no request")),
                Err(error) => self.fail(&format!("the request of a client is invalid: {error}")),
            }
        }
    }

    /// The handshake of a played end: the request, the version, the subprotocol.
    ///
    /// # Panics
    ///
    /// If nobody has the name.
    #[track_caller]
    pub fn handshake(&self, name: &str) -> &Handshake {
        self.peer(name).handshake().expect("played ends are open")
    }
}

/// Masking keys and nonces that are the same in every run.
fn repeatable() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u8;
    move |bytes: &mut [u8]| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(17);
            *byte = next;
        }
    }
}
