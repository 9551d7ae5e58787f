//! Simulations of event streams and polls in virtual time: clients that read slowly, lose their connections and come
//! back with the last id that they have, on a network with faults.
//!
//! The laws: a client gets every event of its topics that was published while it was subscribed, once and in order;
//! what it has missed between two connections comes first, or a `gap` if the history has forgotten it. Nothing of a
//! client that has left remains.
//!
//! `SIMULATION_SEEDS=100000` runs more seeds, `SIMULATION_SEED=17` replays one.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used)]

use std::{env, time::Duration};

use ws_reactor::{
    EventStream, HistoryLimits, LongPoll, Reactor, ReactorConfig, Routes, Server,
    net::sim::{Buffers, Faults, PeerId, Random, Sim},
};

const TOPICS: [&str; 2] = ["a", "b"];

fn routes() -> Routes {
    let after = |request: &ws_reactor::Request| request.query_value("after").and_then(|after| after.parse().ok());
    Routes::new()
        .event_stream("/both", |_, _| EventStream::topics(TOPICS))
        .event_stream("/a", |_, _| EventStream::topic("a"))
        .get("/poll", move |request, _| {
            let poll = LongPoll::topic("a").timeout(Duration::from_secs(3));
            match after(request) {
                Some(after) => poll.after(after),
                None => poll,
            }
        })
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    id: u64,
    topic: &'static str,
    data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A stream of both topics, or of the first.
    Stream(&'static str),
    /// The same with HTTP/1.0, without chunks.
    OldStream(&'static str),
    /// Polls of the first topic, one after the other.
    Poll,
}

/// A client, over all its connections.
struct Client {
    kind: Kind,
    id: Option<PeerId>,
    /// Bytes of the present connection that are not read yet.
    received: Vec<u8>,
    /// The head of the present response has arrived, and then these bytes of an event.
    has_head: bool,
    body: Vec<u8>,
    /// The ids of the events so far, with the gaps between them.
    events: Vec<u64>,
    /// For each reported gap: the number of events before it, and the last id that was published then. In a stream of
    /// several topics, events of one may come while those of another are missing.
    gaps: Vec<(usize, u64)>,
    /// Number of events published when the client was first known to be subscribed.
    subscribed_at: Option<usize>,
    holds: bool,
}

impl Client {
    fn takes(&self, event: &Published) -> bool {
        matches!(self.kind, Kind::Stream("/both") | Kind::OldStream("/both")) || event.topic == "a"
    }

    fn connect(&mut self, reactor: &mut Reactor<Sim>, random: &mut Random) {
        let Ok(id) = reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()) else { return };
        let send_bytes = [200, 20_000, 64 * 1024][random.below(3)];
        reactor.kernel_mut().set_buffers(id, Buffers { send_bytes, ..Buffers::default() });
        (self.id, self.holds) = (Some(id), false);
        self.received.clear();
        self.body.clear();
        self.has_head = false;
        let last = self.events.last();
        if last.is_none() {
            // Without an id, it begins anew.
            self.subscribed_at = None;
        }
        let request = match self.kind {
            Kind::Stream(path) => format!("GET {path} HTTP/1.1\r\nHost: a\r\n{}\r\n", resumed(last)),
            Kind::OldStream(path) => format!("GET {path} HTTP/1.0\r\n{}\r\n", resumed(last)),
            Kind::Poll => return self.poll(reactor),
        };
        reactor.kernel_mut().send(id, request.as_bytes());
    }

    fn poll(&mut self, reactor: &mut Reactor<Sim>) {
        // A poll without an id waits for the next event; where it began is not known. From 1 on, there is a gap at most
        // ahead of the first event.
        let after = self.events.last().copied().unwrap_or(1);
        let request = format!("GET /poll?after={after} HTTP/1.1\r\nHost: a\r\n\r\n");
        if let Some(id) = self.id {
            reactor.kernel_mut().send(id, request.as_bytes());
        }
    }

    /// Takes what has arrived.
    fn read(&mut self, reactor: &mut Reactor<Sim>, published: &[Published], seed: u64) {
        let Some(id) = self.id else { return };
        self.received.extend(reactor.kernel_mut().received(id));
        match self.kind {
            Kind::Poll => {
                while let Some((status, body, used)) = response(&self.received) {
                    self.received.drain(..used);
                    if status == 200 {
                        let id = body.strip_prefix("{\"id\":").unwrap().split(',').next().unwrap().parse().unwrap();
                        let data = &find(published, id).data;
                        assert_eq!(body, format!("{{\"id\":{id},\"data\":\"{data}\"}}"), "seed {seed}");
                        self.take(id, seed);
                    }
                    self.poll(reactor);
                }
            }
            Kind::Stream(_) | Kind::OldStream(_) => self.read_events(published, seed),
        }
    }

    fn read_events(&mut self, published: &[Published], seed: u64) {
        if !self.has_head {
            let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            assert!(self.received.starts_with(b"HTTP/1.1 200 "), "seed {seed}");
            self.received.drain(..end + 4);
            self.has_head = true;
            self.subscribed_at.get_or_insert(published.len());
        }
        match self.kind {
            Kind::Stream(_) => take_chunks(&mut self.received, &mut self.body),
            _ => self.body.append(&mut self.received),
        }
        while let Some(end) = self.body.windows(2).position(|window| window == b"\n\n") {
            let event = String::from_utf8(self.body.drain(..end + 2).collect()).unwrap();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            match (field("event: "), field("id: ")) {
                (Some("gap"), _) => {
                    self.gaps.push((self.events.len(), published.last().map_or(0, |event| event.id)));
                }
                (None, Some(id)) => {
                    let id = id.parse().unwrap();
                    assert_eq!(field("data: "), Some(&*find(published, id).data), "seed {seed}");
                    self.take(id, seed);
                }
                _ => assert_eq!(event, ":\n\n", "seed {seed}"),
            }
        }
    }

    fn take(&mut self, id: u64, seed: u64) {
        assert!(self.events.last() < Some(&id), "seed {seed}: {id} after {:?}", self.events.last());
        self.events.push(id);
    }

    /// Checks the events against those that were published. Returns their number.
    fn check(&self, published: &[Published], is_complete: bool, forgets: bool, seed: u64) -> usize {
        let wanted: Vec<u64> = published.iter().filter(|event| self.takes(event)).map(|event| event.id).collect();
        let Some(first) = self.events.first() else {
            let before = self.subscribed_at.unwrap_or(published.len());
            let missed = published[before..].iter().filter(|event| self.takes(event)).count();
            assert!(!is_complete || missed == 0, "seed {seed}: {:?} got none of {missed}", self.kind);
            return 0;
        };
        let mut at = wanted.binary_search(first).unwrap();
        if let Some(before) = self.subscribed_at {
            let expected = published[before..].iter().find(|event| self.takes(event)).map(|event| event.id);
            let is_in_time = expected.is_none_or(|expected| *first <= expected);
            let has_gap = self.gaps.iter().any(|gap| gap.0 == 0);
            assert!(is_in_time || has_gap, "seed {seed}: the first events are missing");
        }
        for (place, id) in self.events.iter().enumerate() {
            if wanted[at] != *id {
                let is_in_gap = |gap: &(usize, u64)| gap.0 <= place && wanted[at] <= gap.1;
                let may_miss = forgets && (self.gaps.iter().any(is_in_gap) || self.kind == Kind::Poll);
                assert!(may_miss, "seed {seed}: {:?} has {id} in place of {}", self.kind, wanted[at]);
                at = wanted.binary_search(id).unwrap();
            }
            at += 1;
        }
        assert!(!is_complete || at == wanted.len(), "seed {seed}: {:?} lacks {} events", self.kind, wanted.len() - at);
        self.events.len()
    }
}

fn resumed(last: Option<&u64>) -> String {
    last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"))
}

fn find(published: &[Published], id: u64) -> &Published {
    let index = published.binary_search_by_key(&id, |event| event.id).expect("an event that was published");
    &published[index]
}

/// Takes the contents of the chunks that are complete.
fn take_chunks(bytes: &mut Vec<u8>, contents: &mut Vec<u8>) {
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        let Some(chunk) = bytes.get(line + 2..line + 2 + size + 2) else { break };
        assert!(chunk.ends_with(b"\r\n") && size > 0);
        contents.extend_from_slice(&chunk[..size]);
        bytes.drain(..line + 2 + size + 2);
    }
}

/// Status, body and length of a complete response with a length.
fn response(bytes: &[u8]) -> Option<(u16, String, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    let body = String::from_utf8(bytes.get(end..end + length)?.to_vec()).unwrap();
    Some((head[9..12].parse().unwrap(), body, end + length))
}

/// Runs one seed. Returns the number of events received.
fn simulate(seed: u64) -> usize {
    let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let lossless = random.one_in(2);
    let faults = if lossless { Faults::ROUGH } else { Faults { reset: 300, shortage: 200, ..Faults::ROUGH } };
    let config = ReactorConfig::new().event_budget([1, 3, 256][random.below(3)]);
    let mut reactor = Reactor::on(Sim::with_faults(seed, faults), config);
    reactor.listen("10.0.0.1:80", Server::routes(routes()).unwrap()).unwrap();
    let forgets = random.one_in(3);
    let limits = HistoryLimits::new().max_events(if forgets { 5 } else { 10_000 });
    for topic in TOPICS {
        reactor.hub().keep_history(topic, limits);
    }
    let kinds = [Kind::Stream("/both"), Kind::Stream("/a"), Kind::OldStream("/both"), Kind::Poll];
    let mut clients: Vec<Client> = (0..1 + random.below(5))
        .map(|_| Client {
            kind: kinds[random.below(4)],
            id: None,
            received: Vec::new(),
            has_head: false,
            body: Vec::new(),
            events: Vec::new(),
            gaps: Vec::new(),
            subscribed_at: None,
            holds: false,
        })
        .collect();
    let mut published: Vec<Published> = Vec::new();
    for step in 0..800 {
        for client in &mut clients {
            let is_gone = client.id.is_some_and(|id| reactor.kernel_mut().is_closed(id));
            if is_gone {
                client.read(&mut reactor, &published, seed);
                client.id = None;
            }
            match (client.id, random.below(100)) {
                (None, 0..30) => client.connect(&mut reactor, &mut random),
                (Some(id), 0) if !lossless && step < 600 => reactor.kernel_mut().reset(id),
                (Some(id), 1..5) if step < 400 && !client.holds => {
                    reactor.kernel_mut().stop_reading(id);
                    client.holds = true;
                }
                (Some(id), 5..30) if client.holds => {
                    reactor.kernel_mut().release(id);
                    client.holds = false;
                }
                _ => {}
            }
            client.read(&mut reactor, &published, seed);
        }
        for _ in 0..[0, 0, 1, 4][random.below(4)] {
            let topic = TOPICS[random.below(2)];
            let data = format!("{step} {}", "x".repeat([0, 30, 3000][random.below(3)]));
            let id = reactor.hub().publish(topic, &*data).event_id.unwrap();
            published.push(Published { id, topic, data });
        }
        reactor.advance(Duration::from_millis(random.below(20) as u64)).unwrap();
    }
    for _ in 0..600 {
        for client in &mut clients {
            match client.id {
                Some(id) if reactor.kernel_mut().is_closed(id) => client.id = None,
                Some(id) => reactor.kernel_mut().release(id),
                None => client.connect(&mut reactor, &mut random),
            }
            client.read(&mut reactor, &published, seed);
        }
        reactor.advance(Duration::from_millis(10)).unwrap();
    }
    let received = clients.iter().map(|client| client.check(&published, lossless, forgets, seed)).sum();
    for client in &clients {
        if let Some(id) = client.id {
            reactor.kernel_mut().reset(id);
        }
    }
    reactor.advance(Duration::from_secs(200)).unwrap();
    let hub = reactor.hub();
    let left = TOPICS.map(|topic| hub.subscribers(topic));
    assert_eq!((hub.stats().connections, left), (0, [0, 0]), "seed {seed}: something of a client is left");
    received
}

#[test]
fn each_event_arrives_once_and_in_order_on_any_network() {
    let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        println!("seed {seed}: {} events", simulate(seed));
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(20);
    let received: usize = (0..seeds).map(simulate).sum();
    println!("{seeds} seeds: {received} events");
    assert!(received as u64 > seeds * 100, "{received} events");
}
