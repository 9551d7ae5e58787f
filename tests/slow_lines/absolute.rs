//! Phases whose time-outs no byte of the peer extends, by real sockets. The peers are std sockets that send one byte at
//! a time.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use ws_reactor::{
    Callbacks, Client, ClientConfig, Hub, Reactor, Reply, Server, ServerConfig, Stream, StreamConfig, StreamHandler,
    http::StatusCode,
};

use crate::run_all;

/// Time-out of the phase under test.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Time after which the reactor under test gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

type Events = mpsc::Sender<String>;

/// A raw stream that reports its errors, and stops the reactor at its end.
struct Recording(Events);

impl StreamHandler for Recording {
    fn on_error(&mut self, _: &mut Stream<'_>, error: &ws_reactor::Error) {
        let _ = self.0.send(error.to_string());
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &ws_reactor::CloseReason) {
        stream.hub().stop();
    }
}

/// Runs a reactor until it stops, and returns the events that were reported.
fn run(start: impl FnOnce(&mut Reactor, &Events)) -> Vec<String> {
    let (events, received) = mpsc::channel();
    let mut reactor = Reactor::new().unwrap();
    start(&mut reactor, &events);
    reactor.hub().add_timer(GIVE_UP_AFTER, Hub::stop);
    reactor.run().unwrap();
    drop((reactor, events));
    received.iter().collect()
}

/// Sends `first` at once, then `rest` byte by byte, and returns what was received until the end of the stream.
fn drip(mut stream: TcpStream, first: &[u8], rest: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut received = Vec::new();
    if stream.write_all(first).is_err() {
        return received;
    }
    // The rest is long enough for the longest run.
    for octet in rest.iter().cycle().take(400) {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return received,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return received,
        }
        if stream.write_all(&[*octet]).is_err() {
            return received;
        }
    }
    received
}

/// A server that a thread plays: it accepts one connection, and drips.
fn dripping_server(first: &'static [u8], rest: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || drip(listener.accept().unwrap().0, first, rest));
    addr
}

/// A client that reports its errors, and stops the reactor at its end.
fn client(events: &Events) -> Client {
    let errors = events.clone();
    let handler =
        Callbacks::new().on_error(move |_, error| _ = errors.send(error.to_string())).on_close(|ws, _| ws.hub().stop());
    Client::with_config(ClientConfig::new().opening_timeout(TIMEOUT), handler)
}

fn opening_of_a_client() {
    let addr = dripping_server(b"HTTP/1.1 101 Switching Protocols\r\n", b"X");
    let events = run(|reactor, events| _ = reactor.connect(&format!("ws://{addr}/"), client(events)).unwrap());
    assert_eq!(events, ["the opening handshake timed out"]);
}

fn body_of_a_refusal() {
    let addr = dripping_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10000\r\n\r\n", b"x");
    let config = ClientConfig::new().opening_timeout(GIVE_UP_AFTER);
    let events = run(|reactor, events| {
        let client = client(events).configure(|own| *own = config);
        reactor.connect(&format!("ws://{addr}/"), client).unwrap();
    });
    assert_eq!(events, ["the server responded with 403 Forbidden"]);
}

fn opening_of_a_server() {
    let (addresses, address) = mpsc::channel::<SocketAddr>();
    let peer =
        thread::spawn(move || drip(TcpStream::connect(address.recv().unwrap()).unwrap(), b"GET / HTTP/1.1\r\n", b"X"));
    let events = run(|reactor, events| {
        let (errors, remote) = (events.clone(), reactor.remote());
        let config = ServerConfig::new().opening_timeout(TIMEOUT).linger_timeout(TIMEOUT);
        let server = Server::with_config(config, |_| Callbacks::new()).on_error(move |_, error| {
            let _ = errors.send(error.to_string());
            // The response leaves, and the peer ends, within this time.
            let _ = remote.shutdown(2 * TIMEOUT);
        });
        addresses.send(reactor.listen("127.0.0.1:0", server).unwrap().addr).unwrap();
    });
    assert_eq!(events, ["the opening handshake timed out"]);
    assert!(peer.join().unwrap().starts_with(b"HTTP/1.1 408 "));
}

/// The peer reads the response and goes on sending: its connection is reset, although it has not ended its side.
fn lingering_of_a_response() {
    let (addresses, address) = mpsc::channel::<SocketAddr>();
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address.recv().unwrap()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        let mut sent = 0;
        while sent < 400 && stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
            sent += 1;
        }
        (received, sent)
    });
    run(|reactor, _| {
        let config = ServerConfig::new().linger_timeout(TIMEOUT);
        let server = Server::with_config(config, |_| Callbacks::new())
            .on_request(|_, _| Reply::text(StatusCode::NOT_FOUND, "no"));
        addresses.send(reactor.listen("127.0.0.1:0", server).unwrap().addr).unwrap();
        reactor.hub().add_periodic_timer(TIMEOUT / 10, |hub| {
            if hub.stats().accepted == 1 && hub.stats().connections == 0 {
                hub.stop();
            }
        });
    });
    let (received, sent) = peer.join().unwrap();
    assert!(received.starts_with(b"HTTP/1.1 404 "));
    assert!((1..400).contains(&sent), "{sent} bytes were sent after the response");
}

/// The queue of the listener is full, so the system drops further connection requests.
#[cfg(target_os = "linux")]
fn connect_of_a_raw_stream() {
    use socket2::{Domain, Socket, Type};

    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let held = TcpStream::connect(addr).unwrap();
    let events = run(|reactor, events| {
        let config = StreamConfig::new().connect_timeout(TIMEOUT);
        reactor.connect_stream_with(&addr.to_string(), config, Recording(events.clone())).unwrap();
    });
    assert_eq!(events, ["connecting timed out"]);
    drop((held, listener));
}

#[cfg(feature = "tls")]
fn tls_handshake_of_a_raw_stream() {
    use crate::support::secure::LOCALHOST;

    let (addresses, address) = mpsc::channel::<SocketAddr>();
    let peer = thread::spawn(move || {
        drip(TcpStream::connect(address.recv().unwrap()).unwrap(), b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc", b"\x03")
    });
    let events = run(|reactor, events| {
        let tls = ws_reactor::TlsConfig::from_pem(LOCALHOST.certificate.as_bytes(), LOCALHOST.key.as_bytes()).unwrap();
        let (config, events) = (StreamConfig::new().tls_handshake_timeout(TIMEOUT), events.clone());
        let listening =
            reactor.listen_stream_over_tls("127.0.0.1:0", tls, config, move |_| Recording(events.clone())).unwrap();
        addresses.send(listening.addr).unwrap();
    });
    assert_eq!(events, ["the TLS handshake timed out"]);
    peer.join().unwrap();
}

#[test]
fn phase_with_an_absolute_timeout_ends_although_bytes_arrive() {
    let cases: &[(&str, fn())] = &[
        ("opening, client", opening_of_a_client),
        ("refusal, client", body_of_a_refusal),
        ("opening, server", opening_of_a_server),
        ("lingering, server", lingering_of_a_response),
        #[cfg(target_os = "linux")]
        ("connect, raw", connect_of_a_raw_stream),
        #[cfg(feature = "tls")]
        ("TLS handshake, raw", tls_handshake_of_a_raw_stream),
    ];
    run_all(cases.iter().map(|(name, run)| ((*name).to_owned(), *run)).collect());
}
