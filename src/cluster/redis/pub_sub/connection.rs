//! One of the connections: it logs in, and reads replies.

use std::{
    any::Any,
    cell::RefCell,
    mem,
    rc::{Rc, Weak},
    time::Duration,
};

use super::{
    super::{
        log::EntryId,
        login::Login,
        resp::{Reply, Scanner, write_command},
        settings::Settings,
    },
    Receiver, State, is_of_cluster, lose,
    stream::{end_of, read_entries, stream_ends},
};
use crate::{
    error::Error,
    protocol::CloseReason,
    reactor::{Hub, Stream, StreamHandler, TimerId},
};

/// Interval in which a connection of a loop that is ending looks whether it is the last.
const LAST_LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Subscriber,
    Publisher,
    Reader,
}

/// One of the connections.
pub(super) struct PubSubConnection {
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
    /// The newest entry of the stream when it began to read.
    newest: Option<EntryId>,
    is_reading: bool,
}

impl PubSubConnection {
    pub(super) fn new(shared: &Rc<RefCell<State>>, role: Role, attempt: u64, settings: &Settings) -> Self {
        PubSubConnection {
            shared: Rc::clone(shared),
            role,
            attempt,
            login: Login::new(settings),
            scanner: Scanner::default(),
            unfinished: Vec::new(),
            awaits_pong: false,
            error: None,
            newest: None,
            is_reading: false,
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
                    if self.role == Role::Reader {
                        self.begin_reading(stream);
                    }
                }
                continue;
            }
            match self.role {
                Role::Subscriber => self.on_subscriber_reply(stream.hub(), &reply)?,
                Role::Publisher => self.on_publisher_reply(stream.hub(), &reply)?,
                Role::Reader => self.on_reader_reply(stream, &reply)?,
            }
        }
        Ok(begin)
    }

    fn on_subscriber_reply(&self, hub: &mut Hub, reply: &Reply<'_>) -> Result<(), String> {
        let on_trouble = self.shared.borrow().on_trouble.clone();
        if let Reply::Error(error) = reply {
            return match on_trouble.filter(|_| is_of_cluster(error)) {
                Some(call) => {
                    call(hub, true);
                    Ok(())
                }
                None => Err(error.escape_ascii().to_string()),
            };
        }
        let (pattern, channel, payload) = match reply.items() {
            [Reply::Text(b"pmessage"), Reply::Text(pattern), Reply::Text(channel), Reply::Text(payload)] => {
                (Some(*pattern), *channel, *payload)
            }
            [Reply::Text(b"message" | b"smessage"), Reply::Text(channel), Reply::Text(payload)] => {
                (None, *channel, *payload)
            }
            // The slot of a channel has moved, or the answer to a command.
            [Reply::Text(b"sunsubscribe"), Reply::Text(channel), _] => {
                let is_moved = self.shared.borrow_mut().has_moved(channel);
                on_trouble.filter(|_| is_moved).into_iter().for_each(|call| call(hub, true));
                return Ok(());
            }
            // A confirmation, or a pong.
            _ => return Ok(()),
        };
        if let Some(receiver) = self.receiver() {
            receiver.on_message(hub, pattern, channel, payload);
        }
        Ok(())
    }

    fn receiver(&self) -> Option<Rc<dyn Receiver>> {
        self.shared.borrow().receiver.as_ref().and_then(Weak::upgrade)
    }

    /// Asks for the newest and the oldest entry, before it reads.
    fn begin_reading(&self, stream: &mut Stream<'_>) {
        let command = self.shared.borrow().stream.as_ref().map(stream_ends);
        stream.write(&command.unwrap_or_default());
    }

    /// Asks for the next entries of the stream.
    fn read_on(&self, stream: &mut Stream<'_>) {
        let command = {
            let state = self.shared.borrow();
            state.stream.as_ref().map(|position| position.command(state.settings.ping_interval / 2))
        };
        stream.write(&command.unwrap_or_default());
    }

    fn on_reader_reply(&mut self, stream: &mut Stream<'_>, reply: &Reply<'_>) -> Result<(), String> {
        if let Reply::Error(error) = reply {
            return Err(error.escape_ascii().to_string());
        }
        let receiver = self.receiver();
        match (self.newest, self.is_reading) {
            (None, _) => {
                self.newest = Some(end_of(reply));
                return Ok(());
            }
            (Some(newest), false) => {
                self.is_reading = true;
                let known =
                    self.shared.borrow_mut().stream.as_mut().map(|position| position.begin(newest, end_of(reply)));
                if let Some((known, receiver)) = known.zip(receiver) {
                    receiver.on_position(stream.hub(), known);
                }
            }
            (Some(_), true) => {
                for entry in read_entries(reply) {
                    self.move_position(entry.id);
                    receiver.iter().for_each(|receiver| receiver.on_entry(stream.hub(), entry.clone()));
                }
            }
        }
        self.read_on(stream);
        Ok(())
    }

    fn move_position(&self, id: EntryId) {
        if let Some(position) = &mut self.shared.borrow_mut().stream {
            position.last = Some(id);
        }
    }

    fn on_publisher_reply(&self, hub: &mut Hub, reply: &Reply<'_>) -> Result<(), String> {
        let waiting = self.shared.borrow_mut().waiting.pop_front();
        let call = waiting.ok_or_else(|| "Redis has answered what was not asked".to_owned())?;
        if let Reply::Error(error) = reply
            && !is_of_cluster(error)
        {
            let error = error.escape_ascii();
            log::warn!(target: "ws_reactor::redis", "redis does not carry out a command: {error}");
        }
        if let Some(call) = call {
            call(hub, Some(reply));
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
            Role::Subscriber | Role::Reader => stream.terminate(),
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
            // Redis answers the connection that reads within half of the interval.
            if self.role != Role::Reader {
                let mut ping = Vec::new();
                write_command(&[b"PING"], &mut ping);
                stream.write(&ping);
            }
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
