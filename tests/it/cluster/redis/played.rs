//! Redis as the test plays it, and a process that uses it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Reactor, ReactorConfig, Redis, RedisHandle, Server,
    net::sim::{PeerId, Sim},
};

use crate::support::{REQUEST, further_frames, played::SERVER};

pub(super) const ADDRESS: &str = "10.0.0.9:6379";

/// A Redis, with the connections that it has.
#[derive(Default)]
pub(super) struct FakeRedis {
    pub(super) sessions: BTreeMap<PeerId, Session>,
    /// All commands so far, those of PING without a word.
    pub(super) commands: Vec<String>,
    /// Replies in place of the usual ones, by the beginning of the command.
    pub(super) replies: Vec<(&'static str, &'static [u8])>,
    /// Commands that begin so get no reply.
    pub(super) silent: Vec<&'static str>,
    /// Several of them may have the same.
    pub(super) stream: Rc<RefCell<PlayedStream>>,
    /// The stream keeps so many entries once commands have waited for each other.
    pub(super) trims_to: Option<usize>,
    /// Replies and messages that are on their way. `None`: they arrive at once.
    pub(super) under_way: Option<RefCell<BTreeMap<PeerId, Vec<u8>>>>,
    now: Duration,
}

/// A stream, which is the only one.
#[derive(Default)]
pub(super) struct PlayedStream {
    pub(super) entries: Vec<PlayedEntry>,
    /// The milliseconds of the next entry.
    pub(super) millis: u64,
}

/// The id of an entry, and its fields with their values.
type PlayedEntry = ((u64, u64), Vec<Vec<u8>>);

/// A client that waits for entries.
struct Blocked {
    after: (u64, u64),
    count: usize,
    until: Duration,
}

#[derive(Default)]
pub(super) struct Session {
    input: Vec<u8>,
    pub(super) channels: BTreeSet<String>,
    /// Patterns that end in `*`.
    patterns: BTreeSet<String>,
    is_resp3: bool,
    blocked: Option<Blocked>,
}

/// A process with a client in the topic `room`, and its Redis.
pub(super) struct World {
    pub(super) reactor: Reactor<Sim>,
    pub(super) redis: FakeRedis,
    pub(super) handle: RedisHandle,
    pub(super) gaps: Rc<RefCell<Vec<String>>>,
}

impl World {
    pub(super) fn new(url: &str, change: impl FnOnce(Redis) -> Redis) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new());
        reactor.kernel_mut().play(ADDRESS.parse().unwrap());
        let gaps = Rc::<RefCell<Vec<String>>>::default();
        let noted = Rc::clone(&gaps);
        let redis = Redis::new(url).unwrap().prefix("p:").on_gap(move |_, topics, _| {
            noted.borrow_mut().extend(topics.iter().map(ToString::to_string));
        });
        let redis = change(redis);
        let handle = redis.handle();
        reactor.hub().set_backplane(redis);
        let server = Server::new(|_| {
            ws_reactor::Callbacks::new()
                .on_open(|ws, _| {
                    ws.subscribe("room");
                })
                .on_message(|ws, message| {
                    ws.publish("room", message);
                })
        });
        reactor.listen(SERVER, server).unwrap();
        World { reactor, redis: FakeRedis::default(), handle, gaps }
    }

    pub(super) fn connected() -> Self {
        World::with(|redis| redis)
    }

    pub(super) fn with(change: impl FnOnce(Redis) -> Redis) -> Self {
        let mut world = World::new(&format!("redis://{ADDRESS}"), change);
        world.settle();
        assert!(world.handle.stats().is_connected);
        world.redis.commands.clear();
        world
    }

    pub(super) fn client(&mut self) -> PeerId {
        let kernel = self.reactor.kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(peer, REQUEST);
        self.settle();
        peer
    }

    /// Has the reactor and Redis work until nothing is left.
    pub(super) fn settle(&mut self) {
        for _ in 0..64 {
            self.reactor.settle().unwrap();
            self.redis.serve(self.reactor.kernel_mut());
        }
        self.reactor.settle().unwrap();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 50 {
            self.redis.now += Duration::from_millis(50);
            self.reactor.advance(Duration::from_millis(50)).unwrap();
            self.redis.serve(self.reactor.kernel_mut());
        }
        self.settle();
    }

    pub(super) fn publish(&mut self, text: &str) {
        self.reactor.hub().publish("room", text);
        self.settle();
    }

    /// Another program publishes.
    pub(super) fn publish_foreign(&mut self, payload: &[u8]) {
        self.redis.publish(self.reactor.kernel_mut(), "p:room", payload);
        self.settle();
    }

    pub(super) fn messages(&mut self, peer: PeerId) -> Vec<String> {
        let received = self.reactor.kernel_mut().received(peer);
        further_frames(&received).into_iter().map(|payload| payload.escape_ascii().to_string()).collect()
    }

    /// Ends all connections of Redis.
    pub(super) fn reset(&mut self) {
        for peer in std::mem::take(&mut self.redis.sessions).into_keys() {
            self.reactor.kernel_mut().reset(peer);
        }
        if let Some(under_way) = &self.redis.under_way {
            under_way.borrow_mut().clear();
        }
        self.reactor.settle().unwrap();
    }
}

impl FakeRedis {
    /// Executes the commands that have arrived.
    pub(super) fn serve(&mut self, kernel: &mut Sim) {
        while let Some((peer, _)) = kernel.dialed() {
            self.sessions.insert(peer, Session::default());
        }
        let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
        for peer in peers {
            let received = kernel.received(peer);
            self.sessions.get_mut(&peer).unwrap().input.extend(received);
            while let Some(words) = self.next_command(peer) {
                self.execute(kernel, peer, &words);
                if self.trims_to.is_none() {
                    self.answer_blocked(kernel);
                }
            }
        }
        if let Some(count) = self.trims_to {
            let entries = &mut self.stream.borrow_mut().entries;
            let needless = entries.len().saturating_sub(count);
            entries.drain(..needless);
        }
        self.answer_blocked(kernel);
    }

    /// Executes the commands of one client only.
    pub(super) fn serve_one(&mut self, kernel: &mut Sim, peer: PeerId) {
        let received = kernel.received(peer);
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.input.extend(received);
        }
        while let Some(words) = self.next_command(peer) {
            self.execute(kernel, peer, &words);
        }
    }

    /// Sends bytes to a client, or has them wait on their way.
    fn send(&self, kernel: &mut Sim, peer: PeerId, bytes: &[u8]) {
        match &self.under_way {
            Some(under_way) => under_way.borrow_mut().entry(peer).or_default().extend(bytes),
            None => kernel.send(peer, bytes),
        }
    }

    /// So many bytes that are on their way arrive.
    pub(super) fn arrive(&self, kernel: &mut Sim, peer: PeerId, count: usize) {
        let Some(under_way) = &self.under_way else { return };
        if let Some(bytes) = under_way.borrow_mut().get_mut(&peer) {
            let arrived: Vec<u8> = bytes.drain(..count.min(bytes.len())).collect();
            kernel.send(peer, &arrived);
        }
    }

    /// The next command of a client, unless that waits for entries.
    fn next_command(&mut self, peer: PeerId) -> Option<Vec<Vec<u8>>> {
        let session = self.sessions.get_mut(&peer).filter(|session| session.blocked.is_none())?;
        command(&mut session.input)
    }

    /// Answers clients that wait for entries, if there are some, or their time is over.
    fn answer_blocked(&mut self, kernel: &mut Sim) {
        let stream = self.stream.borrow();
        for (peer, session) in &mut self.sessions {
            let Some(blocked) = &session.blocked else { continue };
            let new: Vec<_> = stream.entries.iter().filter(|(id, _)| *id > blocked.after).take(blocked.count).collect();
            if new.is_empty() && self.now < blocked.until {
                continue;
            }
            let reply = match (new.is_empty(), session.is_resp3) {
                (true, true) => "_\r\n".to_owned(),
                (true, false) => "*-1\r\n".to_owned(),
                (false, true) => format!("%1\r\n$1\r\ns\r\n{}", entries(&new)),
                (false, false) => format!("*1\r\n*2\r\n$1\r\ns\r\n{}", entries(&new)),
            };
            session.blocked = None;
            kernel.send(*peer, reply.as_bytes());
        }
    }

    fn execute(&mut self, kernel: &mut Sim, peer: PeerId, words: &[Vec<u8>]) {
        let text: Vec<String> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
        let line = text.join(" ");
        if line != "PING" {
            self.commands.push(line.clone());
        }
        if self.silent.iter().any(|begin| line.starts_with(begin)) {
            return;
        }
        if let Some((_, reply)) = self.replies.iter().find(|(begin, _)| line.starts_with(begin)) {
            return self.send(kernel, peer, reply);
        }
        let session = self.sessions.get_mut(&peer).unwrap();
        let push = if session.is_resp3 { '>' } else { '*' };
        let reply = match text[0].as_str() {
            "HELLO" => {
                session.is_resp3 = true;
                "%1\r\n+proto\r\n:3\r\n".to_owned()
            }
            "PING" if session.channels.is_empty() || session.is_resp3 => "+PONG\r\n".to_owned(),
            "PING" => "*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_owned(),
            "CLIENT" if text[1] == "ID" => ":77\r\n".to_owned(),
            "SUBSCRIBE" => {
                session.channels.insert(text[1].clone());
                format!("{push}3\r\n$9\r\nsubscribe\r\n${}\r\n{}\r\n:1\r\n", text[1].len(), text[1])
            }
            "PSUBSCRIBE" => {
                session.patterns.insert(text[1].clone());
                format!("{push}3\r\n$10\r\npsubscribe\r\n${}\r\n{}\r\n:1\r\n", text[1].len(), text[1])
            }
            "UNSUBSCRIBE" => {
                session.channels.remove(&text[1]);
                format!("{push}3\r\n$11\r\nunsubscribe\r\n${}\r\n{}\r\n:0\r\n", text[1].len(), text[1])
            }
            "PUBLISH" => {
                self.publish(kernel, &text[1], &words[2]);
                ":1\r\n".to_owned()
            }
            "XADD" => self.stream.borrow_mut().add(&words[6..]),
            "XRANGE" => entries(&self.stream.borrow().entries.first().into_iter().collect::<Vec<_>>()),
            "XREVRANGE" => entries(&self.stream.borrow().entries.last().into_iter().collect::<Vec<_>>()),
            "XREAD" => {
                let (millis, number) = text[7].split_once('-').unwrap();
                let until = self.now + Duration::from_millis(text[4].parse().unwrap());
                let after = (millis.parse().unwrap(), number.parse().unwrap());
                session.blocked = Some(Blocked { after, count: text[2].parse().unwrap(), until });
                return;
            }
            _ => "+OK\r\n".to_owned(),
        };
        self.send(kernel, peer, reply.as_bytes());
    }

    pub(super) fn publish(&self, kernel: &mut Sim, channel: &str, payload: &[u8]) {
        for (peer, session) in self.sessions.iter().filter(|(_, session)| session.channels.contains(channel)) {
            let push = if session.is_resp3 { '>' } else { '*' };
            let head = format!("{push}3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
            self.send(kernel, *peer, &[head.as_bytes(), payload, b"\r\n"].concat());
        }
        for (peer, session) in &self.sessions {
            let matches = |pattern: &&String| channel.starts_with(pattern.trim_end_matches('*'));
            for pattern in session.patterns.iter().filter(matches) {
                let push = if session.is_resp3 { '>' } else { '*' };
                let [a, b, c] = [pattern.len(), channel.len(), payload.len()];
                let head = format!("{push}4\r\n$8\r\npmessage\r\n${a}\r\n{pattern}\r\n${b}\r\n{channel}\r\n${c}\r\n");
                self.send(kernel, *peer, &[head.as_bytes(), payload, b"\r\n"].concat());
            }
        }
    }
}

impl PlayedStream {
    /// Appends an entry. Returns the reply.
    pub(super) fn add(&mut self, fields: &[Vec<u8>]) -> String {
        let number =
            self.entries.last().filter(|((millis, _), _)| *millis == self.millis).map_or(0, |(id, _)| id.1 + 1);
        self.entries.push(((self.millis, number), fields.to_vec()));
        let id = format!("{}-{number}", self.millis);
        format!("${}\r\n{id}\r\n", id.len())
    }

    /// Another program appends an event.
    pub(super) fn add_event(&mut self, topic: &str, data: &str) {
        self.add(&["topic", topic, "data", data].map(|word| word.as_bytes().to_vec()));
    }
}

/// Entries as a reply.
fn entries(entries: &[&PlayedEntry]) -> String {
    let mut reply = format!("*{}\r\n", entries.len());
    for ((millis, number), fields) in entries {
        let id = format!("{millis}-{number}");
        reply += &format!("*2\r\n${}\r\n{id}\r\n*{}\r\n", id.len(), fields.len());
        for field in fields {
            let field = str::from_utf8(field).unwrap();
            reply += &format!("${}\r\n{field}\r\n", field.len());
        }
    }
    reply
}

/// Takes the first whole command of the input.
fn command(input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let (mut at, mut words) = (0, Vec::new());
    let number = |at: &mut usize| -> Option<usize> {
        let end = *at + input.get(*at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&input[*at + 1..end]).unwrap().parse().unwrap();
        *at = end + 2;
        Some(number)
    };
    for _ in 0..number(&mut at)? {
        let length = number(&mut at)?;
        words.push(input.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    input.drain(..at);
    Some(words)
}
