//! Pub/sub of Redis as it is: channels, patterns and payloads of other programs, for layers whose messages have formats
//! of their own.

mod connection;
mod nodes;
mod stream;

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    rc::{Rc, Weak},
    time::Duration,
};

use self::connection::{PubSubConnection, Role};
pub(crate) use self::{nodes::ShardedPubSub, stream::StreamEntry};
use super::{
    log::EntryId,
    resp::{Reply, write_command},
    settings::Settings,
};
use crate::reactor::{ConnectionId, Hub, Remote};

/// A layer that receives messages.
pub(crate) trait Receiver {
    /// A message of a channel. `pattern`: it came by a pattern.
    fn on_message(&self, hub: &mut Hub, pattern: Option<&[u8]>, channel: &[u8], payload: &[u8]);

    /// The stream is read from behind an entry on, for the first time or again. All entries behind `known` will be
    /// read; some before that may have been removed.
    fn on_position(&self, hub: &mut Hub, known: EntryId) {
        let _ = (hub, known);
    }

    /// The connections are lost. Called before the calls of unanswered commands.
    fn on_loss(&self, hub: &mut Hub) {
        let _ = hub;
    }

    /// An entry of the stream.
    fn on_entry(&self, hub: &mut Hub, entry: StreamEntry) {
        let _ = (hub, entry);
    }
}

/// Longest wait before an attempt to connect.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Called with the reply to a command; `None` if Redis went away before it came.
type OnReply = Box<dyn FnOnce(&mut Hub, Option<&Reply<'_>>)>;

/// Called when a node is lost, or refuses or gives up a channel (`true`).
pub(super) type OnTrouble = Rc<dyn Fn(&mut Hub, bool)>;

/// Kinds of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChannelKind {
    Plain,
    Pattern,
    /// A channel of sharded pub/sub, which a node of a cluster has.
    Sharded,
}

impl ChannelKind {
    fn subscribe(self) -> &'static [u8] {
        match self {
            ChannelKind::Plain => b"SUBSCRIBE",
            ChannelKind::Pattern => b"PSUBSCRIBE",
            ChannelKind::Sharded => b"SSUBSCRIBE",
        }
    }

    fn unsubscribe(self) -> &'static [u8] {
        match self {
            ChannelKind::Plain => b"UNSUBSCRIBE",
            ChannelKind::Pattern => b"PUNSUBSCRIBE",
            ChannelKind::Sharded => b"SUNSUBSCRIBE",
        }
    }
}

/// Connections to Redis: one subscribes, one publishes, and one reads a stream if there is one to read.
#[derive(Clone)]
pub(crate) struct PubSub(Rc<RefCell<State>>);

struct State {
    settings: Settings,
    receiver: Option<Weak<dyn Receiver>>,
    on_trouble: Option<OnTrouble>,
    subscriptions: BTreeSet<(ChannelKind, String)>,
    /// Answers to SUNSUBSCRIBE that have not come, by channel.
    leaving: HashMap<String, usize>,
    /// Commands for the connection that subscribes, which it writes in a callback of its own.
    unsent: Vec<u8>,
    /// Wakes that connection.
    remote: Option<Remote>,
    /// The stream that is read.
    stream: Option<stream::Position>,
    /// By role. Empty between two attempts.
    ids: Vec<ConnectionId>,
    ready: [bool; 3],
    /// Number of the attempt. Connections of an earlier one are not listened to.
    attempt: u64,
    failures: u32,
    /// Commands of the publisher that have not been answered.
    waiting: VecDeque<Option<OnReply>>,
    is_started: bool,
    is_ending: bool,
    is_away: bool,
}

impl PubSub {
    pub(super) fn new(settings: Settings) -> Self {
        PubSub(Rc::new(RefCell::new(State {
            settings,
            receiver: None,
            on_trouble: None,
            subscriptions: BTreeSet::new(),
            leaving: HashMap::new(),
            unsent: Vec::new(),
            remote: None,
            stream: None,
            ids: Vec::new(),
            ready: [false; 3],
            attempt: 0,
            failures: 0,
            waiting: VecDeque::new(),
            is_started: false,
            is_ending: false,
            is_away: false,
        })))
    }

    /// Sets the receiver of messages.
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

    /// Sets what is called when Redis refuses a channel, or is lost.
    pub(super) fn set_on_trouble(&self, call: OnTrouble) {
        self.0.borrow_mut().on_trouble = Some(call);
    }

    /// Subscribes, now and after each loss.
    pub(crate) fn subscribe(&self, kind: ChannelKind, names: &[&str]) {
        let mut state = self.0.borrow_mut();
        state.subscriptions.extend(names.iter().map(|name| (kind, (*name).to_owned())));
        state.command(kind.subscribe(), kind, names);
    }

    /// Ends subscriptions.
    pub(crate) fn unsubscribe(&self, kind: ChannelKind, names: &[&str]) {
        let mut state = self.0.borrow_mut();
        names.iter().for_each(|name| _ = state.subscriptions.remove(&(kind, (*name).to_owned())));
        state.command(kind.unsubscribe(), kind, names);
    }

    /// Publishes a payload. It is lost if Redis is away, or does not take what waits for it.
    pub(crate) fn publish(&self, hub: &mut Hub, channel: &str, payload: &[u8]) {
        self.send(hub, &[b"PUBLISH", channel.as_bytes(), payload], None);
    }

    /// Sends a command by the connection that publishes.
    pub(super) fn ask(
        &self,
        hub: &mut Hub,
        command: &[&[u8]],
        call: impl FnOnce(&mut Hub, Option<&Reply<'_>>) + 'static,
    ) {
        self.send(hub, command, Some(Box::new(call)));
    }

    fn send(&self, hub: &mut Hub, command: &[&[u8]], call: Option<OnReply>) {
        let mut state = self.0.borrow_mut();
        let Some(id) = state.publisher(hub) else {
            drop(state);
            return call.into_iter().for_each(|call| call(hub, None));
        };
        state.waiting.push_back(call);
        let mut out = Vec::new();
        write_command(command, &mut out);
        hub.write(id, &out);
    }

    /// Asks how many connections subscribe a channel.
    pub(crate) fn count(&self, hub: &mut Hub, channel: &str, call: impl FnOnce(&mut Hub, Option<usize>) + 'static) {
        let command: &[&[u8]] = &[b"PUBSUB", b"NUMSUB", channel.as_bytes()];
        self.ask(hub, command, |hub, reply| call(hub, read_count(reply)));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.0.borrow().is_ready()
    }

    /// Ends the connections, and makes no further attempt.
    pub(super) fn end(&self, hub: &mut Hub) {
        let mut state = self.0.borrow_mut();
        state.is_ending = true;
        let ids = state.ids.clone();
        drop(state);
        ids.into_iter().for_each(|id| _ = hub.terminate(id));
    }
}

/// The answer to `PUBSUB NUMSUB` or `SHARDNUMSUB` with one channel.
pub(super) fn read_count(reply: Option<&Reply<'_>>) -> Option<usize> {
    match reply?.items() {
        [_, Reply::Integer(count)] => usize::try_from(*count).ok(),
        _ => None,
    }
}

impl State {
    /// The connection that publishes, if Redis takes what is written.
    fn publisher(&self, hub: &Hub) -> Option<ConnectionId> {
        let id = *self.ids.get(Role::Publisher as usize)?;
        let takes = self.ready[Role::Publisher as usize] && hub.buffered(id) <= self.settings.bounds.pending;
        takes.then_some(id)
    }

    /// Has the connection that subscribes write a command, if it is there.
    fn command(&mut self, command: &[u8], kind: ChannelKind, names: &[&str]) {
        let id = self.ids.get(Role::Subscriber as usize).copied();
        let Some(id) = id.filter(|_| self.ready[Role::Subscriber as usize]) else { return };
        let is_notified = !self.unsent.is_empty();
        if command == ChannelKind::Sharded.unsubscribe() {
            names.iter().for_each(|name| *self.leaving.entry((*name).to_owned()).or_default() += 1);
        }
        // The channels of a command have to be in one slot of a cluster.
        let length = if kind == ChannelKind::Sharded { 1 } else { names.len().max(1) };
        for names in names.chunks(length) {
            let words: Vec<&[u8]> = [command].into_iter().chain(names.iter().map(|name| name.as_bytes())).collect();
            write_command(&words, &mut self.unsent);
        }
        if let Some(remote) = self.remote.as_ref().filter(|_| !is_notified) {
            // The loop may be ending.
            let _ = remote.notify(id, ());
        }
    }

    fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && !self.ids.is_empty()
    }

    /// A channel is subscribed no longer. Returns `true` if that was not wanted: its slot has moved.
    fn has_moved(&mut self, channel: &[u8]) -> bool {
        let name = String::from_utf8_lossy(channel).into_owned();
        if let Some(count) = self.leaving.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.leaving.remove(&name);
            }
            return false;
        }
        self.subscriptions.contains(&(ChannelKind::Sharded, name))
    }

    /// The connections that there have to be.
    fn roles(&self) -> &'static [Role] {
        match self.stream {
            Some(_) => &[Role::Subscriber, Role::Publisher, Role::Reader],
            None => &[Role::Subscriber, Role::Publisher],
        }
    }

    fn is_ready(&self) -> bool {
        self.roles().iter().all(|role| self.ready[*role as usize])
    }

    /// A connection has logged in.
    fn on_ready(&mut self, role: Role) {
        self.ready[role as usize] = true;
        if role == Role::Subscriber {
            self.unsent.clear();
            self.leaving.clear();
            let subscriptions = mem::take(&mut self.subscriptions);
            for kind in [ChannelKind::Plain, ChannelKind::Pattern, ChannelKind::Sharded] {
                let of_kind = subscriptions.iter().filter(|(of, _)| *of == kind);
                let names: Vec<&str> = of_kind.map(|(_, name)| name.as_str()).collect();
                self.command(kind.subscribe(), kind, &names);
            }
            self.subscriptions = subscriptions;
        }
        if self.is_ready() {
            self.failures = 0;
            let address = &self.settings.url.address;
            match mem::take(&mut self.is_away) {
                true => log::warn!(target: "ws_reactor::redis", "redis {address}: connected again"),
                false => log::info!(target: "ws_reactor::redis", "redis {address}: connected"),
            }
        }
    }
}

/// Makes an attempt to connect.
fn connect(shared: &Rc<RefCell<State>>, hub: &mut Hub) {
    let mut state = shared.borrow_mut();
    if state.is_ending {
        return;
    }
    state.attempt += 1;
    let attempt = state.attempt;
    let dial = |role: &Role| {
        let connection = PubSubConnection::new(shared, *role, attempt, &state.settings);
        let config = state.settings.stream_config();
        hub.connect_stream_with(&state.settings.url.address, config, connection).inspect(|_| {
            hub.add_background_connection();
        })
    };
    let dialled: Vec<_> = state.roles().iter().map(dial).collect();
    let is_refused = dialled.iter().any(Result::is_err);
    let ids: Vec<ConnectionId> = dialled.into_iter().flatten().collect();
    if is_refused {
        // The loop is ending.
        state.is_ending = true;
        ids.into_iter().for_each(|id| _ = hub.terminate(id));
    } else {
        state.ids = ids;
    }
}

/// Ends the pair, and makes another attempt later.
fn lose(shared: &Rc<RefCell<State>>, hub: &mut Hub, attempt: u64, reason: &str) {
    let mut state = shared.borrow_mut();
    if !state.is_current(attempt) {
        return;
    }
    let ids = mem::take(&mut state.ids);
    state.ready = [false; 3];
    state.failures += 1;
    if !mem::replace(&mut state.is_away, true) && !state.is_ending {
        log::warn!(target: "ws_reactor::redis", "redis {}: lost: {reason}", state.settings.url.address);
    }
    let wait = state.settings.wait(state.failures, hub).min(LONGEST_WAIT);
    let (waiting, is_ending, on_trouble) = (mem::take(&mut state.waiting), state.is_ending, state.on_trouble.clone());
    let receiver = state.receiver.as_ref().and_then(Weak::upgrade);
    drop(state);
    ids.into_iter().for_each(|id| _ = hub.terminate(id));
    receiver.into_iter().for_each(|receiver| receiver.on_loss(hub));
    waiting.into_iter().flatten().for_each(|call| call(hub, None));
    if let Some(on_trouble) = on_trouble.filter(|_| !is_ending) {
        on_trouble(hub, false);
    }
    if !is_ending {
        let shared = Rc::downgrade(shared);
        hub.add_timer(wait, move |hub| {
            if let Some(shared) = shared.upgrade() {
                connect(&shared, hub);
            }
        });
    }
}

/// Returns `true` for an error of a node that has not what is asked of it: another node has it, or none has.
pub(super) fn is_of_cluster(error: &[u8]) -> bool {
    [&b"MOVED "[..], b"ASK ", b"CLUSTERDOWN ", b"TRYAGAIN "].iter().any(|kind| error.starts_with(kind))
}
