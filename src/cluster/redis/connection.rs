//! One of the two connections to Redis: it logs in, and reads replies.

use std::{mem, rc::Rc, time::Duration};

use super::{
    channels::News,
    link::{Complaint, Loss, Role, SharedLink},
    login::Login,
    payload,
    resp::{BadReply, Reply, Scanner},
    sentinel::{self, SentinelEvents},
    settings::{OnMessage, Settings},
    slot_map::moved_slot,
};
use crate::{
    error::{ConnectError, Error},
    protocol::CloseReason,
    reactor::{ConnectionId, Hub, Stream, StreamHandler, TimerId},
};

/// A connection to Redis.
pub(super) struct Connection {
    link: SharedLink,
    role: Role,
    /// Number of the attempt that it belongs to.
    attempt: u64,
    login: Login,
    is_ready: bool,
    scanner: Scanner,
    /// The beginning of a reply.
    unfinished: Vec<u8>,
    /// A PING was sent, and nothing was read since.
    awaits_pong: bool,
    error: Option<String>,
}

impl Connection {
    pub(super) fn new(link: SharedLink, role: Role, attempt: u64, settings: &Settings) -> Self {
        Connection {
            link,
            role,
            attempt,
            login: Login::new(settings),
            is_ready: false,
            scanner: Scanner::default(),
            unfinished: Vec::new(),
            awaits_pong: false,
            error: None,
        }
    }

    /// Handles the whole replies of `input`. Returns its length without the unfinished one at the end.
    fn read(&mut self, stream: &mut Stream<'_>, input: &[u8]) -> Result<usize, Loss> {
        let bad = |error: BadReply| Loss { reason: format!("it does not speak RESP: {error}"), is_timeout: false };
        let mut begin = 0;
        while self.link.borrow().is_current(self.attempt)
            && let Some(length) = self.scanner.end(&input[begin..]).map_err(bad)?
        {
            let reply = Reply::decode(&input[begin..begin + length], self.login.version()).map_err(bad)?;
            begin += length;
            match self.role {
                _ if !self.login.is_done() => self.on_login_reply(stream, &reply)?,
                Role::Subscriber => self.on_subscriber_reply(stream, &reply)?,
                Role::Reader => self.on_reader_reply(stream, &reply)?,
                Role::Publisher => {
                    let (is_error, text) = error_of(&reply);
                    let mut link = self.link.borrow_mut();
                    let news = link.read(|channels, commands| channels.on_reply(is_error, commands));
                    match news {
                        News::Appended(number) => link.on_appended(stream.hub(), number, &reply),
                        News::NodeId => link.set_node_id(&reply),
                        News::Slots => link.set_slots(stream.hub(), &reply),
                        news => link.take_news(stream.hub(), &text, news)?,
                    }
                }
            }
        }
        Ok(begin)
    }

    fn on_login_reply(&mut self, stream: &mut Stream<'_>, reply: &Reply<'_>) -> Result<(), Loss> {
        let client_id = self.login.take(reply).map_err(|reason| Loss { reason, is_timeout: false })?;
        if let Some(id) = client_id {
            self.link.borrow_mut().set_client_id(self.role, id);
        }
        if self.login.is_done() {
            self.is_ready = true;
            self.schedule_ping(stream);
            self.link.borrow_mut().on_ready(stream.hub(), self.role);
        }
        Ok(())
    }

    fn on_subscriber_reply(&mut self, stream: &mut Stream<'_>, reply: &Reply<'_>) -> Result<(), Loss> {
        let hub = stream.hub();
        if let [Reply::Text(b"pmessage"), Reply::Text(pattern), Reply::Text(channel), Reply::Text(payload)] =
            reply.items()
        {
            self.on_pattern_message(hub, pattern, channel, payload);
            return Ok(());
        }
        if let [kind, channel, rest] = reply.items()
            && let (Some(kind), Some(channel)) = (kind.as_bytes(), channel.as_bytes())
        {
            let mut link = self.link.borrow_mut();
            return match kind {
                b"message" | b"smessage" => {
                    let Some(payload) = rest.as_bytes() else { return Ok(()) };
                    if let Some(topic) = link.receive(hub, channel, payload) {
                        match payload::message(payload) {
                            Some(message) => {
                                link.counters.received += 1;
                                hub.deliver(&topic, message);
                            }
                            None => {
                                link.counters.unreadable += 1;
                                link.complain(
                                    hub,
                                    Complaint::Unreadable,
                                    "a message is neither text nor marked as binary",
                                );
                            }
                        }
                    }
                    Ok(())
                }
                b"subscribe" | b"ssubscribe" => {
                    link.handle(hub, "", |channels, commands| channels.on_subscribed(channel, commands))
                }
                b"unsubscribe" | b"sunsubscribe" => {
                    link.handle(hub, "", |channels, commands| channels.on_unsubscribed(channel, commands))
                }
                b"psubscribe" => link.handle(hub, "", |channels, _| channels.on_pattern()),
                _ => Ok(()),
            };
        }
        let (is_error, text) = error_of(reply);
        let mut link = self.link.borrow_mut();
        match is_error {
            true if !["NOPERM", "MOVED", "CLUSTERDOWN", "TRYAGAIN"].iter().any(|kind| text.starts_with(kind)) => {
                Err(Loss { reason: text, is_timeout: false })
            }
            true => {
                let slot = moved_slot(&text);
                link.handle(hub, &text, |channels, commands| channels.on_refused(slot, commands))
            }
            // Before the first subscription and in version 3 it is a string, and otherwise a list.
            false => link.handle(hub, "", |channels, _| channels.on_pong()),
        }
    }

    fn on_reader_reply(&mut self, stream: &mut Stream<'_>, reply: &Reply<'_>) -> Result<(), Loss> {
        let (is_error, text) = error_of(reply);
        if is_error && !["NOPERM", "WRONGTYPE", "ERR"].iter().any(|kind| text.starts_with(kind)) {
            return Err(Loss { reason: text, is_timeout: false });
        }
        self.link.borrow_mut().read_log(stream.hub(), reply, &text)
    }

    fn on_pattern_message(&self, hub: &mut Hub, pattern: &[u8], channel: &[u8], payload: &[u8]) {
        let calls: Vec<OnMessage> = {
            let link = self.link.borrow();
            let patterns = link.settings.patterns.iter().filter(|(known, _)| known.as_bytes() == pattern);
            patterns.map(|(_, call)| Rc::clone(call)).collect()
        };
        if let (Ok(channel), Some(message)) = (str::from_utf8(channel), payload::message(payload)) {
            calls.iter().for_each(|call| call(hub, channel, message));
        }
    }

    fn schedule_ping(&mut self, stream: &mut Stream<'_>) {
        let interval = self.link.borrow().settings.ping_interval;
        // Redis notices every 100 ms by default that the time for which it waits for entries is over.
        let interval = if self.role == Role::Reader { interval + READER_PATIENCE } else { interval };
        let deadline = stream.hub().after(interval);
        stream.set_deadline(Some(deadline));
    }

    /// Ends the pair.
    fn lose(&self, stream: &mut Stream<'_>, loss: Loss) {
        lose(&self.link, stream.hub(), self.attempt, loss);
    }

    /// Closes the connection of a loop that is ending, once no other is left that may publish.
    fn end(&mut self, stream: &mut Stream<'_>) {
        let has_others = stream.hub().has_foreground_connections();
        match self.role {
            _ if !self.is_ready => stream.terminate(),
            _ if has_others => _ = stream.set_timer(LAST_LOOK_EVERY),
            Role::Publisher => stream.close(),
            Role::Subscriber | Role::Reader => stream.terminate(),
        }
    }
}

/// Makes an attempt to connect.
pub(super) fn connect(shared: &SharedLink, hub: &mut Hub) {
    let Some(attempt) = shared.borrow_mut().begin() else { return };
    if shared.borrow().settings.url.sentinels.is_none() {
        return connect_pair(shared, hub, attempt);
    }
    let events = SentinelEvents { on_master: connect_pair, on_loss: lose };
    sentinel::ask(shared, hub, attempt, 0, events);
}

/// Makes the two connections of an attempt.
fn connect_pair(shared: &SharedLink, hub: &mut Hub, attempt: u64) {
    let mut link = shared.borrow_mut();
    let mut dial = |role| -> Result<ConnectionId, ConnectError> {
        let connection = Connection::new(Rc::clone(shared), role, attempt, &link.settings);
        let id = hub.connect_stream_with(link.address(), link.settings.stream_config(), connection)?;
        hub.add_background_connection();
        Ok(id)
    };
    let ids: Vec<_> = link.roles().map(&mut dial).collect();
    if let Ok(ids) = ids.iter().map(|id| id.as_ref().copied().map_err(drop)).collect() {
        return link.set_pair(ids);
    }
    let mut reason = None;
    for id in ids {
        match id {
            Ok(id) => _ = hub.terminate(id),
            // The loop is ending.
            Err(ConnectError::ShuttingDown { .. }) => link.end(),
            Err(error) => reason = Some(error.to_string()),
        }
    }
    drop(link);
    if let Some(reason) = reason {
        lose(shared, hub, attempt, Loss { reason, is_timeout: false });
    }
}

/// Ends the pair, and makes another attempt later.
fn lose(shared: &SharedLink, hub: &mut Hub, attempt: u64, loss: Loss) {
    let wait = shared.borrow_mut().lose(hub, attempt, loss);
    if let Some(wait) = wait {
        let shared = Rc::clone(shared);
        hub.add_timer(wait, move |hub| connect(&shared, hub));
    }
}

/// Time that the connection which reads histories has besides the interval of PINGs.
const READER_PATIENCE: Duration = Duration::from_millis(200);

/// Interval in which a connection of a loop that is ending looks whether it is the last.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Whether a reply is an error, and its text.
fn error_of(reply: &Reply<'_>) -> (bool, String) {
    match reply {
        Reply::Error(error) => (true, error.escape_ascii().to_string()),
        _ => (false, String::new()),
    }
}

impl StreamHandler for Connection {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let (timeout, login) = {
            let settings = &self.link.borrow().settings;
            (settings.connect_timeout, self.login.commands(settings))
        };
        #[cfg(feature = "tls")]
        {
            let link = self.link.borrow();
            if let (Some(tls), Some(name)) = (&link.settings.tls, &link.settings.url.tls_name) {
                stream.start_tls(tls, name);
            }
        }
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
        if let Err(loss) = result {
            self.lose(stream, loss);
        }
    }

    fn on_deadline(&mut self, stream: &mut Stream<'_>) {
        if self.is_ready && !self.awaits_pong {
            self.awaits_pong = true;
            self.link.borrow_mut().ping(stream.hub(), self.role);
            return self.schedule_ping(stream);
        }
        let reason = "it does not answer".to_owned();
        self.lose(stream, Loss { reason, is_timeout: true });
        stream.terminate();
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        self.end(stream);
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        self.link.borrow_mut().end();
        self.end(stream);
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.error = Some(format!("{error:#}"));
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        stream.hub().remove_background_connection();
        let reason = self.error.take().unwrap_or_else(|| "it has closed the connection".to_owned());
        self.lose(stream, Loss { reason, is_timeout: false });
    }
}
