//! Playing a recording into handlers.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, path::Path, rc::Rc};

use super::Recording as State;
use crate::{
    error::PollError,
    net::{
        Answer, Resolver,
        recording::{Record, Recorded, Recording, RecordingError, StreamNumber},
    },
    protocol::{CloseCode, OwnedMessage},
    reactor::{Reactor, ReactorConfig, Turn, hub::Running, id::ConnectionId},
};

/// Reads a recording, to play it into handlers: yesterday's incident as a test.
///
/// ```no_run
/// use ws_reactor::{Server, on_message, recording::StreamNumber, testing};
///
/// let mut playback = testing::replay("incident.wsr")?;
/// // As in the recorded process, in the same order.
/// playback.reactor().listen("127.0.0.1:8080", Server::new(|_| on_message(|ws, message| { ws.send(message); })))?;
/// playback.run()?;
/// let output = playback.output(StreamNumber::Accepted(0));
/// assert!(output.starts_with(b"HTTP/1.1 101"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// See [`Recording::open`].
pub fn replay(path: impl AsRef<Path>) -> Result<Playback, RecordingError> {
    Ok(Playback::new(Recording::open(path)?, ReactorConfig::default()))
}

/// A recording and the reactor that it is played to.
///
/// Each recorded turn is one turn of the reactor, at its recorded time, with its recorded input, commands, room for
/// output and randomness. So handlers that use nothing but their callbacks, [`Hub::now`](crate::Hub::now) and
/// [`Hub::random`](crate::Hub::random) do what they did, as long as they are set up as they were: the same listeners
/// and outgoing connections, in the same order. Addresses and ports do not matter, and TLS is left out: all streams
/// carry plaintext, and [`is_secure`](crate::Handshake::is_secure) is `false`.
///
/// Three things may differ:
///
/// - Within a turn, the input of all connections comes before that of connections accepted in it.
/// - [Slices of time](field@crate::ReactorConfig::time_slice) are not repeated: messages of one read that an overloaded
///   process divided over several turns are handled in the first of them.
/// - Redacted credentials are not those that were sent: a rule that checks them has to let the recorded ones pass.
#[derive(Debug)]
pub struct Playback {
    reactor: Reactor<Recorded>,
    lookups: Lookups,
    skipped: usize,
}

/// Look-ups that the recording answers.
#[derive(Debug, Clone, Default)]
struct Lookups(Rc<RefCell<LookupState>>);

#[derive(Debug, Default)]
struct LookupState {
    /// Number of the next one.
    next: u64,
    asked: HashMap<u64, Answer>,
    /// Answers that were given within the turn that asks: it is played after its records are handed over.
    early: HashMap<u64, io::Result<Vec<SocketAddr>>>,
}

impl Resolver for Lookups {
    fn resolve(&self, _: &str, _: u16, answer: Answer) {
        let mut lookups = self.0.borrow_mut();
        let number = lookups.next;
        lookups.next += 1;
        match lookups.early.remove(&number) {
            Some(addresses) => answer.give(addresses),
            None => _ = lookups.asked.insert(number, answer),
        }
    }
}

impl Lookups {
    /// Gives an answer, now or as soon as it is asked for. Returns `false` if it was given before.
    fn give(&self, number: u64, addresses: io::Result<Vec<SocketAddr>>) -> bool {
        let mut lookups = self.0.borrow_mut();
        match lookups.asked.remove(&number) {
            Some(answer) => answer.give(addresses),
            None if number >= lookups.next => _ = lookups.early.insert(number, addresses),
            None => return false,
        }
        true
    }
}

impl Playback {
    /// Plays a recording to a reactor with this configuration.
    pub fn new(recording: Recording, config: ReactorConfig) -> Self {
        let mut reactor = Reactor::on(Recorded::new(recording), config);
        reactor.hub.recording = Some(Box::new(State::of_playback()));
        let lookups = Lookups::default();
        reactor.set_resolver(lookups.clone());
        Playback { reactor, lookups, skipped: 0 }
    }

    /// The reactor, to set up what the recorded process had.
    pub fn reactor(&mut self) -> &mut Reactor<Recorded> {
        &mut self.reactor
    }

    /// Plays the next turn. Returns `false` at the end of the recording, and when the loop has stopped.
    ///
    /// # Errors
    ///
    /// None of this system's own; the loop may fail as [`Reactor::turn`] does.
    pub fn turn(&mut self) -> Result<bool, PollError> {
        if self.reactor.hub.running == Running::Stopped {
            return Ok(false);
        }
        let Some(records) = self.reactor.kernel.next_turn().map(<[Record]>::to_vec) else { return Ok(false) };
        for record in records {
            self.prepare(record);
        }
        Ok(self.reactor.turn(Some(std::time::Duration::ZERO))? == Turn::Running)
    }

    /// Plays all turns that are left.
    ///
    /// # Errors
    ///
    /// See [`turn`](Self::turn).
    pub fn run(&mut self) -> Result<(), PollError> {
        while self.turn()? {}
        Ok(())
    }

    /// Takes the output that the reactor has written to a stream since the last call, as plaintext.
    pub fn output(&mut self, stream: StreamNumber) -> Vec<u8> {
        self.reactor.kernel.take_output(stream)
    }

    /// Number of records that could not be repeated so far: commands that are functions or values of the application,
    /// those for connections that are not there, and connections of listeners that were not opened.
    pub fn skipped(&self) -> usize {
        self.skipped + self.reactor.kernel.unplayable()
    }

    /// Hands over what comes from other threads, before the turn.
    fn prepare(&mut self, record: Record) {
        let remote = self.reactor.remote();
        let done = match record {
            Record::Send { stream, is_text, payload } => {
                self.connection(stream).is_some_and(|id| remote.send(id, message(is_text, payload)).is_ok())
            }
            Record::Publish { topic, is_text, payload } => remote.publish(topic, message(is_text, payload)).is_ok(),
            Record::Close { stream, code, reason } => {
                self.connection(stream).is_some_and(|id| remote.close(id, CloseCode::new(code), reason).is_ok())
            }
            Record::Resolved { number, addresses } => {
                self.lookups.give(number.into(), addresses.map_err(io::Error::from))
            }
            Record::Other { .. } => false,
            _ => true,
        };
        self.skipped += usize::from(!done);
    }

    fn connection(&self, stream: StreamNumber) -> Option<ConnectionId> {
        let key = self.reactor.hub.recording.as_ref()?.key_of(stream)?;
        Some(self.reactor.hub.outbounds[key].id)
    }
}

fn message(is_text: bool, payload: Vec<u8>) -> OwnedMessage {
    match String::from_utf8(payload) {
        Ok(text) if is_text => OwnedMessage::text(text),
        Ok(text) => OwnedMessage::binary(text.into_bytes()),
        Err(error) => OwnedMessage::binary(error.into_bytes()),
    }
}
