//! Pub/sub of Redis as it is: channels, patterns and payloads of other programs, for layers whose messages have formats
//! of their own.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    mem,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    login::Login,
    resp::{Reply, Scanner, write_command},
    settings::Settings,
};
use crate::{
    error::Error,
    protocol::CloseReason,
    reactor::{ConnectionId, Hub, Remote, Stream, StreamHandler, TimerId},
};

/// What a layer is told.
pub(crate) trait Receiver {
    /// A message of a channel. `pattern`: it came by a pattern.
    fn on_message(&self, hub: &mut Hub, pattern: Option<&[u8]>, channel: &[u8], payload: &[u8]);
}

/// Longest wait before an attempt to connect.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Interval in which a connection of a loop that is ending looks whether it is the last.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Called with the number of subscribers of a channel; `None` if Redis did not answer.
type OnCount = Box<dyn FnOnce(&mut Hub, Option<usize>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Subscriber,
    Publisher,
}

/// A pair of connections to Redis: one subscribes, and one publishes.
#[derive(Clone)]
pub(crate) struct PubSub(Rc<RefCell<State>>);

struct State {
    settings: Settings,
    receiver: Option<Weak<dyn Receiver>>,
    channels: BTreeSet<String>,
    patterns: BTreeSet<String>,
    /// Commands for the connection that subscribes, which it writes in a callback of its own.
    unsent: Vec<u8>,
    /// Wakes that connection.
    remote: Option<Remote>,
    /// `None` between two attempts.
    ids: Option<[ConnectionId; 2]>,
    ready: [bool; 2],
    /// Number of the attempt. Connections of an earlier one are not listened to.
    attempt: u64,
    failures: u32,
    /// Commands of the publisher that have not been answered.
    waiting: VecDeque<Option<OnCount>>,
    is_started: bool,
    is_ending: bool,
    is_away: bool,
}

impl PubSub {
    pub(super) fn new(settings: Settings) -> Self {
        PubSub(Rc::new(RefCell::new(State {
            settings,
            receiver: None,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            unsent: Vec::new(),
            remote: None,
            ids: None,
            ready: [false; 2],
            attempt: 0,
            failures: 0,
            waiting: VecDeque::new(),
            is_started: false,
            is_ending: false,
            is_away: false,
        })))
    }

    /// Sets what is told of messages.
    pub(crate) fn set_receiver(&self, receiver: &Rc<impl Receiver + 'static>) {
        let receiver: Weak<dyn Receiver> = Rc::downgrade(receiver) as Weak<dyn Receiver>;
        self.0.borrow_mut().receiver = Some(receiver);
    }

    /// Connects, unless that was done before.
    pub(crate) fn start(&self, hub: &mut Hub) {
        self.0.borrow_mut().remote = Some(hub.remote());
        if !mem::replace(&mut self.0.borrow_mut().is_started, true) {
            connect(&self.0, hub);
        }
    }

    /// Subscribes channels and patterns, now and after each loss.
    pub(crate) fn subscribe(&self, channels: &[&str], patterns: &[&str]) {
        let mut state = self.0.borrow_mut();
        state.channels.extend(channels.iter().map(ToString::to_string));
        state.patterns.extend(patterns.iter().map(ToString::to_string));
        state.command_all(&[("SUBSCRIBE", channels), ("PSUBSCRIBE", patterns)]);
    }

    /// Ends subscriptions.
    pub(crate) fn unsubscribe(&self, channels: &[&str], patterns: &[&str]) {
        let mut state = self.0.borrow_mut();
        channels.iter().for_each(|channel| _ = state.channels.remove(*channel));
        patterns.iter().for_each(|pattern| _ = state.patterns.remove(*pattern));
        state.command_all(&[("UNSUBSCRIBE", channels), ("PUNSUBSCRIBE", patterns)]);
    }

    /// Publishes a payload. Returns `false` if it is lost: Redis is away, or does not take what waits for it.
    pub(crate) fn publish(&self, hub: &mut Hub, channel: &str, payload: &[u8]) -> bool {
        let mut state = self.0.borrow_mut();
        let Some(id) = state.publisher(hub) else { return false };
        state.waiting.push_back(None);
        write(hub, id, &[b"PUBLISH", channel.as_bytes(), payload]);
        true
    }

    /// Asks how many connections subscribe a channel.
    pub(crate) fn count(&self, hub: &mut Hub, channel: &str, call: impl FnOnce(&mut Hub, Option<usize>) + 'static) {
        let mut state = self.0.borrow_mut();
        match state.publisher(hub) {
            Some(id) => {
                state.waiting.push_back(Some(Box::new(call)));
                write(hub, id, &[b"PUBSUB", b"NUMSUB", channel.as_bytes()]);
            }
            None => {
                drop(state);
                call(hub, None);
            }
        }
    }
}

impl State {
    /// The connection that publishes, if Redis takes what is written.
    fn publisher(&self, hub: &Hub) -> Option<ConnectionId> {
        let id = self.ids?[Role::Publisher as usize];
        let takes = self.ready[Role::Publisher as usize] && hub.buffered(id) <= self.settings.bounds.pending;
        takes.then_some(id)
    }

    /// Has the connection that subscribes write commands, if it is there.
    fn command_all(&mut self, commands: &[(&str, &[&str])]) {
        let Some(ids) = self.ids.filter(|_| self.ready[Role::Subscriber as usize]) else { return };
        for (command, names) in commands.iter().filter(|(_, names)| !names.is_empty()) {
            let words: Vec<&[u8]> = [*command].iter().chain(*names).map(|word| word.as_bytes()).collect();
            write_command(&words, &mut self.unsent);
        }
        if let Some(remote) = &self.remote {
            // The loop may be ending.
            let _ = remote.notify(ids[Role::Subscriber as usize], ());
        }
    }

    fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && self.ids.is_some()
    }

    /// A connection has logged in.
    fn on_ready(&mut self, role: Role) {
        self.ready[role as usize] = true;
        if role == Role::Subscriber {
            let (channels, patterns) = (self.channels.clone(), self.patterns.clone());
            let names = |names: &BTreeSet<String>| -> Vec<String> { names.iter().cloned().collect() };
            let (channels, patterns) = (names(&channels), names(&patterns));
            let [channels, patterns] =
                [&channels, &patterns].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
            self.unsent.clear();
            self.command_all(&[("SUBSCRIBE", &channels), ("PSUBSCRIBE", &patterns)]);
        }
        if self.ready == [true; 2] {
            self.failures = 0;
            let address = &self.settings.url.address;
            match mem::take(&mut self.is_away) {
                true => log::warn!(target: "ws_reactor::redis", "redis {address}: connected again"),
                false => log::info!(target: "ws_reactor::redis", "redis {address}: connected"),
            }
        }
    }
}

fn write(hub: &mut Hub, id: ConnectionId, command: &[&[u8]]) {
    let mut out = Vec::new();
    write_command(command, &mut out);
    hub.write(id, &out);
}

/// Makes an attempt to connect.
fn connect(shared: &Rc<RefCell<State>>, hub: &mut Hub) {
    let mut state = shared.borrow_mut();
    if state.is_ending {
        return;
    }
    state.attempt += 1;
    let attempt = state.attempt;
    let dialled = [Role::Subscriber, Role::Publisher].map(|role| {
        let connection = PubSubConnection::new(shared, role, attempt, &state.settings);
        let config = state.settings.stream_config();
        hub.connect_stream_with(&state.settings.url.address, config, connection).inspect(|_| {
            hub.add_background_connection();
        })
    });
    match dialled {
        [Ok(subscriber), Ok(publisher)] => state.ids = Some([subscriber, publisher]),
        // The loop is ending.
        dialled => {
            state.is_ending = true;
            dialled.into_iter().flatten().for_each(|id| _ = hub.terminate(id));
        }
    }
}

/// Ends the pair, and makes another attempt later.
fn lose(shared: &Rc<RefCell<State>>, hub: &mut Hub, attempt: u64, reason: &str) {
    let mut state = shared.borrow_mut();
    if !state.is_current(attempt) {
        return;
    }
    let ids = state.ids.take();
    state.ready = [false; 2];
    state.failures += 1;
    if !mem::replace(&mut state.is_away, true) && !state.is_ending {
        log::warn!(target: "ws_reactor::redis", "redis {}: lost: {reason}", state.settings.url.address);
    }
    let wait = state.settings.wait(state.failures, hub).min(LONGEST_WAIT);
    let (waiting, is_ending) = (mem::take(&mut state.waiting), state.is_ending);
    drop(state);
    ids.into_iter().flatten().for_each(|id| _ = hub.terminate(id));
    waiting.into_iter().flatten().for_each(|call| call(hub, None));
    if !is_ending {
        let shared = Rc::downgrade(shared);
        hub.add_timer(wait, move |hub| {
            if let Some(shared) = shared.upgrade() {
                connect(&shared, hub);
            }
        });
    }
}

/// One of the two connections.
struct PubSubConnection {
    shared: Rc<RefCell<State>>,
    role: Role,
    attempt: u64,
    login: Login,
    scanner: Scanner,
    /// The beginning of a reply.
    unfinished: Vec<u8>,
    /// A PING was sent, and nothing was read since.
    awaits_pong: bool,
    error: Option<String>,
}

impl PubSubConnection {
    fn new(shared: &Rc<RefCell<State>>, role: Role, attempt: u64, settings: &Settings) -> Self {
        PubSubConnection {
            shared: Rc::clone(shared),
            role,
            attempt,
            login: Login::new(settings),
            scanner: Scanner::default(),
            unfinished: Vec::new(),
            awaits_pong: false,
            error: None,
        }
    }

    /// Handles the whole replies of `input`. Returns its length without the unfinished one at the end.
    fn read(&mut self, stream: &mut Stream<'_>, input: &[u8]) -> Result<usize, String> {
        let mut begin = 0;
        while self.shared.borrow().is_current(self.attempt)
            && let Some(length) =
                self.scanner.end(&input[begin..]).map_err(|error| format!("it does not speak RESP: {error}"))?
        {
            let reply = Reply::decode(&input[begin..begin + length], self.login.version());
            let reply = reply.map_err(|error| format!("it does not speak RESP: {error}"))?;
            begin += length;
            if !self.login.is_done() {
                self.login.take(&reply)?;
                if self.login.is_done() {
                    self.schedule_ping(stream);
                    self.shared.borrow_mut().on_ready(self.role);
                }
                continue;
            }
            match self.role {
                Role::Subscriber => self.on_subscriber_reply(stream.hub(), &reply)?,
                Role::Publisher => self.on_publisher_reply(stream.hub(), &reply)?,
            }
        }
        Ok(begin)
    }

    fn on_subscriber_reply(&self, hub: &mut Hub, reply: &Reply<'_>) -> Result<(), String> {
        if let Reply::Error(error) = reply {
            return Err(error.escape_ascii().to_string());
        }
        let (pattern, channel, payload) = match reply.items() {
            [Reply::Text(b"pmessage"), Reply::Text(pattern), Reply::Text(channel), Reply::Text(payload)] => {
                (Some(*pattern), *channel, *payload)
            }
            [Reply::Text(b"message"), Reply::Text(channel), Reply::Text(payload)] => (None, *channel, *payload),
            // A confirmation, or a pong.
            _ => return Ok(()),
        };
        let receiver = self.shared.borrow().receiver.as_ref().and_then(Weak::upgrade);
        if let Some(receiver) = receiver {
            receiver.on_message(hub, pattern, channel, payload);
        }
        Ok(())
    }

    fn on_publisher_reply(&self, hub: &mut Hub, reply: &Reply<'_>) -> Result<(), String> {
        let waiting = self.shared.borrow_mut().waiting.pop_front();
        let call = waiting.ok_or_else(|| "Redis has answered what was not asked".to_owned())?;
        if let Reply::Error(error) = reply {
            let error = error.escape_ascii();
            log::warn!(target: "ws_reactor::redis", "redis does not carry out a command: {error}");
        }
        if let Some(call) = call {
            let count = match reply.items() {
                [_, Reply::Integer(count)] => usize::try_from(*count).ok(),
                _ => None,
            };
            call(hub, count);
        }
        Ok(())
    }

    fn schedule_ping(&mut self, stream: &mut Stream<'_>) {
        let interval = self.shared.borrow().settings.ping_interval;
        let deadline = stream.hub().after(interval);
        stream.set_deadline(Some(deadline));
    }

    fn lose(&self, stream: &mut Stream<'_>, reason: &str) {
        lose(&self.shared, stream.hub(), self.attempt, reason);
    }

    /// Closes the connection of a loop that is ending, once no other is left that may publish.
    fn end(&self, stream: &mut Stream<'_>) {
        let has_others = stream.hub().has_foreground_connections();
        match self.role {
            _ if !self.login.is_done() => stream.terminate(),
            _ if has_others => _ = stream.set_timer(LAST_LOOK_EVERY),
            Role::Publisher => stream.close(),
            Role::Subscriber => stream.terminate(),
        }
    }
}

impl StreamHandler for PubSubConnection {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let state = self.shared.borrow();
        let (timeout, login) = (state.settings.connect_timeout, self.login.commands(&state.settings));
        #[cfg(feature = "tls")]
        if let (Some(tls), Some(name)) = (&state.settings.tls, &state.settings.url.tls_name) {
            stream.start_tls(tls, name);
        }
        drop(state);
        stream.write(&login);
        let deadline = stream.hub().after(timeout);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        self.awaits_pong = false;
        let mut unfinished = mem::take(&mut self.unfinished);
        let result = if unfinished.is_empty() {
            self.read(stream, data).map(|end| unfinished.extend_from_slice(&data[end..]))
        } else {
            unfinished.extend_from_slice(data);
            self.read(stream, &unfinished).map(|end| drop(unfinished.drain(..end)))
        };
        self.unfinished = unfinished;
        if let Err(reason) = result {
            self.lose(stream, &reason);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        if self.login.is_done() && !self.awaits_pong {
            self.awaits_pong = true;
            if self.role == Role::Publisher {
                self.shared.borrow_mut().waiting.push_back(None);
            }
            let mut ping = Vec::new();
            write_command(&[b"PING"], &mut ping);
            stream.write(&ping);
            return self.schedule_ping(stream);
        }
        self.lose(stream, "it does not answer");
        stream.terminate();
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        self.end(stream);
    }

    /// There are commands to write.
    fn on_event(&mut self, stream: &mut Stream<'_>, _: &dyn Any) {
        let commands = mem::take(&mut self.shared.borrow_mut().unsent);
        if self.role == Role::Subscriber && !commands.is_empty() {
            stream.write(&commands);
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        self.shared.borrow_mut().is_ending = true;
        self.end(stream);
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.error = Some(format!("{error:#}"));
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        stream.hub().remove_background_connection();
        let reason = self.error.take().unwrap_or_else(|| "it has closed the connection".to_owned());
        self.lose(stream, &reason);
    }
}
