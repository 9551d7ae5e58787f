//! Simulations of HTTP in virtual time: clients that send pipelines in pieces, read slowly, end their side or leave, on
//! a network with faults.
//!
//! The laws: what a client receives is the start of the responses to its requests, in their order; all of them, if the
//! client stays. Nothing of a client that has left remains.
//!
//! `SIMULATION_SEEDS=100000` runs more seeds, `SIMULATION_SEED=17` replays one.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

use std::{
    cell::{Cell, RefCell},
    env, io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use ws_reactor::{
    BodyStream, Reactor, ReactorConfig, Reply, RequestBody, Responder, Routes, Server, Upload,
    http::{HeaderValue, StatusCode, header},
    net::sim::{Buffers, Faults, PeerId, Random, Sim},
};

/// Counts the values that live.
#[derive(Clone, Default)]
struct Living(Arc<()>);

impl Living {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A body of `left` times "x", in parts of any length, each of which may need to be asked for again.
struct Parts {
    left: usize,
    asked: u64,
    #[expect(dead_code, reason = "counts")]
    living: Living,
}

impl BodyStream for Parts {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.asked += 1;
        if self.asked % 5 == 3 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let part = self.left.min((self.asked as usize * 977) % 9000);
        self.left -= part;
        match (part, self.left) {
            (0, 0) => Poll::Ready(None),
            _ => Poll::Ready(Some(Ok(Bytes::from(vec![b'x'; part])))),
        }
    }
}

/// Answers with the number of bytes.
struct Count(#[expect(dead_code, reason = "counts")] Living);

impl Upload for Count {
    fn on_chunk(&mut self, _: &mut RequestBody<'_>, _: &[u8]) -> Result<(), Reply> {
        Ok(())
    }

    fn on_end(&mut self, body: &mut RequestBody<'_>) -> Reply {
        Reply::bytes(body.received().to_string())
    }
}

type Responders = Rc<RefCell<Vec<Responder>>>;

fn routes(living: &Living, responders: &Responders) -> Routes {
    let (streams, uploads, deferred) = (living.clone(), living.clone(), Rc::clone(responders));
    Routes::new()
        .any("/echo", |request, _| Reply::bytes(request.body().clone()))
        .get("/bytes/{count}", |request, _| Reply::bytes(vec![b'x'; request.param("count").parse().unwrap()]))
        .get("/stream/{count}", move |request, _| {
            let left = request.param("count").parse().unwrap();
            Reply::stream(Parts { left, asked: 0, living: streams.clone() })
        })
        .upload("/count", move |_, _| Ok::<_, Reply>(Count(uploads.clone())))
        .get("/later", move |_, _| {
            let (reply, responder) = Reply::later();
            deferred.borrow_mut().push(responder);
            reply
        })
        .get("/type", |_, _| Reply::html("<p>").header(header::ETAG, HeaderValue::from_static("\"1\"")))
}

/// A request, and what its response consists of.
struct Exchange {
    request: Vec<u8>,
    status: u16,
    body: Vec<u8>,
    is_head: bool,
}

fn exchange(random: &mut Random) -> Exchange {
    let body: Vec<u8> = (0..[0, 1, 50, 5000, 40_000][random.below(5)]).map(|_| random.below(256) as u8).collect();
    let count = [0, 1, 100, 20_000, 300_000][random.below(5)];
    let framed = |method: &str, path: &str, random: &mut Random| {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n").into_bytes();
        // After a chunked body that no one reads, the connection is closed.
        if random.one_in(2) || path == "/nowhere" {
            request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            request.extend(&body);
        } else {
            request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1 + random.below(7000)) {
                request.extend(format!("{:x};ext=\"1\"\r\n", chunk.len()).into_bytes());
                request.extend(chunk);
                request.extend(b"\r\n");
            }
            request.extend(b"0\r\nTrailer: 1\r\n\r\n");
        }
        request
    };
    let get = |path: String| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let (request, status, answer) = match random.below(8) {
        0 => (framed("POST", "/echo", random), 200, body.clone()),
        1 => (framed("PUT", "/count", random), 200, body.len().to_string().into_bytes()),
        2 => (framed("POST", "/nowhere", random), 404, b"Not Found\n".to_vec()),
        3 => (get(format!("/bytes/{count}")), 200, vec![b'x'; count]),
        4 => (get(format!("/stream/{count}")), 200, vec![b'x'; count]),
        5 => (get("/later".to_owned()), 202, b"Accepted\n".to_vec()),
        6 => (get(format!("/stream/{count}")), 200, Vec::new()),
        _ => (get("/type".to_owned()), 200, b"<p>".to_vec()),
    };
    let is_head = answer.is_empty() && request.starts_with(b"GET /stream") && count > 0;
    let request = if is_head { [b"HEAD".as_slice(), &request[3..]].concat() } else { request };
    let answer = if is_head { Vec::new() } else { answer };
    Exchange { request, status, body: answer, is_head }
}

/// A client, its requests, and what it has received.
struct Client {
    id: PeerId,
    unsent: Vec<u8>,
    expected: Vec<Exchange>,
    received: Vec<u8>,
    /// Leaves, or ends its side before all is sent.
    has_left: bool,
    has_ended: bool,
    holds: bool,
}

/// Reads one response. `None` if it is incomplete.
fn parse(bytes: &[u8], is_head: bool) -> Option<(u16, Vec<u8>, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    let status = head[9..12].parse().unwrap();
    if is_head {
        return Some((status, Vec::new(), end));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    if let Some(length) = length {
        let length: usize = length.parse().unwrap();
        return Some((status, bytes.get(end..end + length)?.to_vec(), end + length));
    }
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    let (mut at, mut body) = (end, Vec::new());
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16).unwrap();
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n");
        at += size + 2;
        if size == 0 {
            return Some((status, body, at));
        }
    }
}

impl Client {
    /// Checks the responses received so far. Returns their number.
    fn check(&self, seed: u64) -> usize {
        let mut at = 0;
        for (index, exchange) in self.expected.iter().enumerate() {
            let Some((status, body, used)) = parse(&self.received[at..], exchange.is_head) else { return index };
            assert_eq!((status, &body), (exchange.status, &exchange.body), "seed {seed}, response {index}");
            at += used;
        }
        assert_eq!(at, self.received.len(), "seed {seed}: bytes behind the last response");
        self.expected.len()
    }
}

/// Runs one seed. Returns the number of responses.
fn simulate(seed: u64) -> usize {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let lossless = random.one_in(2);
    let faults = if lossless { Faults::ROUGH } else { Faults { reset: 300, shortage: 200, ..Faults::ROUGH } };
    let config = ReactorConfig::new()
        .read_buffer_bytes([16, 1000, 64 * 1024][random.below(3)])
        .turn_budget_bytes([100, 1024 * 1024][random.below(2)]);
    let mut reactor = Reactor::on(Sim::with_faults(seed, faults), config);
    let (living, responders, errors) = (Living::default(), Responders::default(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&errors);
    let budget = [1, 3, 256][random.below(3)];
    let server = Server::routes(routes(&living, &responders))
        .unwrap()
        .configure(|config| config.websocket.message_budget = budget)
        .on_error(move |_, _| count.set(count.get() + 1));
    let addr = reactor.listen("10.0.0.1:80", server).unwrap().addr;
    let mut clients = Vec::new();
    for _ in 0..1 + random.below(4) {
        let Ok(id) = reactor.kernel_mut().connect(addr) else { continue };
        let expected: Vec<Exchange> = (0..random.below(8)).map(|_| exchange(&mut random)).collect();
        let unsent = expected.iter().flat_map(|exchange| exchange.request.clone()).collect();
        let send_bytes = [300, 20_000, 64 * 1024][random.below(3)];
        reactor.kernel_mut().set_buffers(id, Buffers { send_bytes, ..Buffers::default() });
        let (received, has_left, has_ended, holds) = (Vec::new(), false, false, false);
        clients.push(Client { id, unsent, expected, received, has_left, has_ended, holds });
    }
    for step in 0..1500 {
        for client in &mut clients {
            let cut = client.unsent.len().min(random.below(3000));
            if cut > 0 && random.one_in(3) {
                let part: Vec<u8> = client.unsent.drain(..cut).collect();
                reactor.kernel_mut().send(client.id, &part);
            }
            match random.below(200) {
                0 if !lossless && !client.has_left => {
                    reactor.kernel_mut().reset(client.id);
                    client.has_left = true;
                }
                1 if client.unsent.is_empty() && !client.has_ended => {
                    reactor.kernel_mut().finish(client.id);
                    client.has_ended = true;
                }
                2..12 if step < 500 && !client.holds => {
                    reactor.kernel_mut().stop_reading(client.id);
                    client.holds = true;
                }
                12..40 if client.holds => {
                    reactor.kernel_mut().release(client.id);
                    client.holds = false;
                }
                _ => {}
            }
            client.received.extend(reactor.kernel_mut().received(client.id));
            client.check(seed);
        }
        if random.one_in(10)
            && let Some(responder) = responders.borrow_mut().pop()
        {
            // The client may have left.
            let _ = responder.respond(StatusCode::ACCEPTED);
        }
        reactor.advance(Duration::from_millis(random.below(5) as u64)).unwrap();
    }
    let mut answered = 0;
    for client in &mut clients {
        reactor.kernel_mut().release(client.id);
    }
    for _ in 0..600 {
        while let Some(responder) = responders.borrow_mut().pop() {
            let _ = responder.respond(StatusCode::ACCEPTED);
        }
        for client in &mut clients {
            let rest = std::mem::take(&mut client.unsent);
            reactor.kernel_mut().send(client.id, &rest);
            client.received.extend(reactor.kernel_mut().received(client.id));
        }
        reactor.advance(Duration::from_millis(100)).unwrap();
        if clients.iter().all(|client| client.check(seed) == client.expected.len()) {
            break;
        }
    }
    for client in &mut clients {
        client.received.extend(reactor.kernel_mut().received(client.id));
        let count = client.check(seed);
        answered += count;
        assert!(!lossless || count == client.expected.len(), "seed {seed}: {count} of {}", client.expected.len());
    }
    assert!(!lossless || errors.get() == 0, "seed {seed}: {} errors", errors.get());
    reactor.advance(Duration::from_secs(200)).unwrap();
    assert_eq!(reactor.hub().stats().connections, 0, "seed {seed}: idle connections are closed");
    assert_eq!(living.count(), 2, "seed {seed}: streams and uploads end with their requests");
    answered
}

#[test]
fn responses_are_complete_and_in_order_on_any_network() {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        println!("seed {seed}: {} responses", simulate(seed));
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(100);
    let answered: usize = (0..seeds).map(simulate).sum();
    println!("{seeds} seeds: {answered} responses");
    assert!(answered as u64 > seeds * 3, "{answered} responses");
}
