//! The state of a connection: its phase, what keeps it from being read, and how far it is established.
//!
//! Pure: an [`Event`] changes the state, and the [`Effect`] says what the loop has to do. Nothing else changes the
//! phase.
//!
//! ```text
//!  Open ─▶ Closing ─▶ Draining ─▶ Closed       closing handshake, as the server
//!  Open ─▶ Closing ─▶ AwaitingEof ─▶ Closed    closing handshake, as the client
//!  Open ─▶ Lingering ─▶ Closed                 no answer is expected: failure, HTTP response, end of a raw stream
//!  Open ─▶ Draining ─▶ Closed                  slow reader; raw peer that has ended its side
//! ```
//!
//! The next phase, by phase and event. `-`: the event is ignored; `=`: the phase stays, and our side is shut down.
//!
//! | event                     | Open        | Closing     | Draining  | Lingering | AwaitingEof | Closed |
//! |---------------------------|-------------|-------------|-----------|-----------|-------------|--------|
//! | CloseSent                 | Closing     | -           | -         | -         | -           | -      |
//! | LastSent                  | Lingering   | Lingering   | -         | -         | -           | -      |
//! | CloseReceived, we end     | Draining    | Draining    | -         | -         | -           | -      |
//! | CloseReceived, peer ends  | AwaitingEof | AwaitingEof | -         | -         | -           | -      |
//! | SlowReader                | Draining    | Draining    | Draining  | Draining  | Draining    | -      |
//! | EndOfInput                | Closed      | Closed      | Closed    | Closed    | Closed      | -      |
//! | EndOfInput, unsent        | Closed      | Draining    | Closed    | Draining  | Draining    | -      |
//! | EndOfInput, unsent, raw   | Draining    | Draining    | Closed    | Draining  | Draining    | -      |
//! | Written                   | -           | -           | Closed    | =         | -           | -      |
//! | Written, unread           | -           | -           | Lingering | =         | -           | -      |
//! | HalfWritten               | =           | -           | -         | -         | -           | -      |
//! | Ended                     | Closed      | Closed      | Closed    | Closed    | Closed      | -      |
//!
//! A raw stream that allows it may be open in one direction only: then one side has ended, and the phase is still Open.
//! `HalfWritten` shuts our side down. No timer runs meanwhile but that of waiting output, and the idle time-out if
//! there is one.
//!
//! # Timers
//!
//! One timer of a phase runs at a time; the stall timer of the output runs beside it. A deadline that has passed is
//! judged only after the socket was read once since: the answer may lie in the socket after a pause of the process, or
//! behind the events of many other connections. Both sides have a timer unless its row names one.
//!
//! | timer             | default | runs from                | restarted by           | waits while         | in all |
//! |-------------------|---------|--------------------------|------------------------|---------------------|--------|
//! | connect, raw      | 20 s    | `connect_stream`         | nothing                |                     | 20 s   |
//! | opening, client   | 30 s    | dialing                  | nothing                |                     | 30 s   |
//! | refusal, client   | 1 s     | the response head        | nothing                |                     | 1 s    |
//! | TLS handshake, raw| 10 s    | accept, or `start_tls`   | nothing                |                     | 10 s   |
//! | idle, raw         | off     | the stream is connected  | a byte, either way     |                     |        |
//! | PROXY header      | 10 s    | accept                   | nothing                |                     | 10 s   |
//! | opening, server   | 10 s    | accept                   | nothing                |                     | 10 s   |
//! | head, server      | 10 s    | its first byte           | nothing                |                     | 10 s   |
//! | body, server      | 10 s    | the head                 | 4 KiB                  | it is not read      |        |
//! | reply, server     | 60 s    | the request              | nothing                |                     | 60 s   |
//! | keep-alive, server| 75 s    | the last response        | nothing                | output waits        |        |
//! | poll, server      | 25 s    | the request              | nothing                |                     | 25 s   |
//! | comment, server   | 15 s    | the last comment         | nothing                | output waits        |        |
//! | silence           | 20 s    | the last sign of life    | a sign of life         | it is not read      |        |
//! | pong              | 20 s    | the ping has left        | a sign of life         | it is not read      | 60 s   |
//! | stall             | 30 s    | output waits             | 16 KiB taken, or all   | the socket has room |        |
//! | closing           | 5 s     | the last output has left | nothing                | output waits        | 60 s   |
//! | lingering, server | 2 s     | the response has left    | nothing                | output waits        | 60 s   |
//!
//! Opening, server: to the head of the first request, and to the reply if that asks for a WebSocket; behind a PROXY
//! header, from its end. Head: that of a
//! later request. Body and reply: those of a request of HTTP.
//!
//! A sign of life is a whole message, fragment or control frame, or 4 KiB of an unfinished frame. The pong timer is
//! extended, at most threefold, by the time that bytes before the ping need in the system. Closing, lingering and a
//! client's wait for the end of the stream share one timer; 60 s become the time-out itself if that is longer.
//!
//! | timer             | end of the connection                                                                        |
//! |-------------------|----------------------------------------------------------------------------------------------|
//! | connect, raw      | `Timeout(Resolving)` or `Timeout(Connecting)`                                                |
//! | opening, client   | 1006, `Timeout(…)` with the step that was not finished: `Resolving` to `Opening`              |
//! | refusal, client   | 1006, `Refused`: the body is cut off                                                         |
//! | TLS handshake, raw| `Timeout(Securing)`                                                                          |
//! | idle, raw         | `Timeout(Idle)`                                                                              |
//! | PROXY header      | none; `Server::on_error` gets `Timeout(Opening)` if a header has begun                       |
//! | opening, server   | 408 or 503 if a request has begun; `Server::on_error` gets `Timeout(Opening)`                |
//! | head, server      | 408; `Server::on_error` gets `Timeout(Request)`                                              |
//! | body, server      | 408; `Server::on_error` gets `Timeout(Request)`                                              |
//! | reply, server     | 503; `Server::on_error` gets `Timeout(Request)`                                              |
//! | keep-alive, server| none: nothing is missing                                                                     |
//! | poll, server      | none: the response says that there is no message                                             |
//! | comment, server   | none: a comment is sent on the event stream                                                  |
//! | silence           | none: a ping is sent                                                                         |
//! | pong              | 1006, `Timeout(Pong)`                                                                        |
//! | stall             | 1013, `SlowReader`; 1006 if closing has begun                                                |
//! | closing           | 1006, `Timeout(Closing)`; if the peer's close frame has arrived and all was sent, its reason |
//! | lingering, server | none: the response was sent                                                                  |

/// Closing phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Both sides may send.
    Open,
    /// Our close frame is queued; the peer's has not arrived.
    Closing,
    /// Queued output is sent, input is not read, then the connection ends.
    Draining,
    /// Queued output is sent, then our side ends; input is discarded until the peer's side ends.
    Lingering,
    /// Queued output is sent and input is discarded; the peer, a server, ends the stream (RFC 6455 §7.1.1).
    AwaitingEof,
    /// The connection has ended and is removed at the end of the turn.
    Closed,
}

/// An event that may change the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Event {
    /// Our close frame is queued, and the peer has to answer it.
    CloseSent,
    /// Our last output is queued, and no answer is expected: a response, the end of a raw stream, a failure.
    LastSent,
    /// The peer's close frame has arrived, and ours is queued. `peer_ends`: the peer is the server.
    CloseReceived { peer_ends: bool },
    /// The peer does not read.
    SlowReader,
    /// The peer has ended its side. `unsent`: output waits that the peer may still read. `raw`: the stream has no
    /// closing handshake.
    EndOfInput { unsent: bool, raw: bool },
    /// The system has taken all output. `unread`: input waits.
    Written { unread: bool },
    /// The system has taken all output of a stream whose output ends here while its input goes on.
    HalfWritten,
    /// The connection was terminated, timed out, or its transport failed.
    Ended,
}

/// Work of the loop after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Effect {
    /// Nothing: the event does not matter in this phase.
    Nothing,
    /// Record the reason, start the closing time-out, and write the output.
    BeginClosing,
    /// Write the output. Reason and time-out stay.
    Drain,
    /// Shut down our side of the stream.
    ShutDown,
    /// Complete the reason, and remove the connection.
    Remove,
}

/// What keeps the input of an open connection from its handler. One byte, so that the usual case is one comparison.
mod input {
    /// The application has paused reading.
    pub(super) const PAUSED: u8 = 1;
    /// The peer of a half-open stream has ended its side.
    pub(super) const ENDED: u8 = 2;
    /// The input waits until the stream that it is relayed to has room, or until the handler knows that the relay has
    /// ended.
    pub(super) const HELD: u8 = 4;
    /// The input is written to another stream.
    pub(super) const RELAYED: u8 = 8;
}

/// How far a connection is established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The name of the target is being resolved.
    Resolving,
    /// The target is being connected, or waits for that.
    Connecting,
    Connected,
}

/// State of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct State {
    phase: Phase,
    reach: Reach,
    /// Flags of [`input`].
    input: u8,
    /// The output of an open stream ends once it is written.
    output_ended: bool,
    /// Our side of the stream was shut down.
    shut: bool,
    /// The application has ended the connection, or is about to.
    closed_by_app: bool,
    /// Reading was resumed, and no read has followed yet.
    reread_due: bool,
    /// Output was above the mark, or a send was congested or dropped, and the output has not drained since.
    awaits_drain: bool,
}

impl State {
    /// State of an accepted connection.
    pub(in crate::reactor) fn connected() -> Self {
        State {
            phase: Phase::Open,
            reach: Reach::Connected,
            input: 0,
            output_ended: false,
            shut: false,
            closed_by_app: false,
            reread_due: false,
            awaits_drain: false,
        }
    }

    /// Applies an event.
    pub(in crate::reactor) fn on(&mut self, event: Event) -> Effect {
        let Some((next, effect)) = transition(self.phase, event) else { return Effect::Nothing };
        if effect == Effect::ShutDown && self.shut {
            return Effect::Nothing;
        }
        self.shut |= effect == Effect::ShutDown;
        self.phase = next;
        effect
    }

    /// The connection is to be established, for the first time or with another target.
    pub(in crate::reactor) fn connect(&mut self) {
        self.reach = Reach::Connecting;
    }

    /// The name of the target is being resolved, or no longer.
    pub(in crate::reactor) fn set_resolving(&mut self, resolving: bool) {
        self.reach = if resolving { Reach::Resolving } else { Reach::Connecting };
    }

    /// The connection is established.
    pub(in crate::reactor) fn on_connected(&mut self) {
        self.reach = Reach::Connected;
    }

    /// The peer has ended its side. Returns `true` if the stream stays open for output.
    pub(in crate::reactor) fn end_input(&mut self) -> bool {
        let stays = self.phase == Phase::Open && !self.output_ended && !self.is_input_ended();
        if stays {
            self.input |= input::ENDED;
        }
        stays
    }

    /// Our side ends once its output is written. Returns `true` if the stream stays open for input.
    pub(in crate::reactor) fn end_output(&mut self) -> bool {
        let stays = !self.output_ended && !self.is_input_ended();
        self.output_ended |= stays;
        stays
    }

    /// Returns `true` if the peer has ended its side of an open stream.
    pub(in crate::reactor) fn is_input_ended(&self) -> bool {
        self.input & input::ENDED != 0
    }

    /// The input is written to another stream from now on.
    pub(in crate::reactor) fn begin_relay(&mut self) {
        self.input |= input::RELAYED;
    }

    /// The input waits.
    pub(in crate::reactor) fn hold_relay(&mut self) {
        self.input |= input::HELD;
    }

    /// The input is relayed again, or goes to the handler. Returns `true` if it waited.
    pub(in crate::reactor) fn release_relay(&mut self, goes_on: bool) -> bool {
        let waited = self.input & input::HELD != 0;
        self.input &= !(input::HELD | input::RELAYED);
        if goes_on {
            self.begin_relay();
        }
        waited
    }

    /// Returns `true` if the input does not go to the handler: it is relayed or discarded.
    #[inline]
    pub(in crate::reactor) fn bypasses_handler(&self) -> bool {
        self.input & (input::HELD | input::RELAYED) != 0 || self.discards_input()
    }

    /// Returns `true` if no more output is accepted on an open stream.
    pub(in crate::reactor) fn is_output_ended(&self) -> bool {
        self.output_ended
    }

    /// The application ends the connection, even if the connection has ended already: a client does not reconnect.
    pub(in crate::reactor) fn close_by_app(&mut self) {
        self.closed_by_app = true;
    }

    pub(in crate::reactor) fn pause(&mut self) {
        self.input |= input::PAUSED;
    }

    /// Ends a pause. Returns `false` if reading was not paused.
    pub(in crate::reactor) fn resume(&mut self) -> bool {
        let was_paused = self.input & input::PAUSED != 0;
        self.input &= !input::PAUSED;
        self.reread_due |= was_paused;
        was_paused
    }

    /// Output is above its mark: reading stops until it has drained.
    pub(in crate::reactor) fn await_drain(&mut self) {
        self.awaits_drain = true;
    }

    /// Output has drained. Returns `true` if that was awaited.
    pub(in crate::reactor) fn on_drained(&mut self) -> bool {
        std::mem::take(&mut self.awaits_drain)
    }

    /// A read is due without an event.
    pub(in crate::reactor) fn expect_reread(&mut self) {
        self.reread_due = true;
    }

    /// The connection is being read.
    pub(in crate::reactor) fn on_read(&mut self) {
        self.reread_due = false;
    }

    #[inline]
    pub(in crate::reactor) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns `true` if both sides may send. The connection may still be opening.
    #[inline]
    pub(in crate::reactor) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    #[inline]
    pub(in crate::reactor) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns `true` if the connection may be read. `allowed`: the output rule grants a read although output waits.
    #[inline]
    pub(in crate::reactor) fn may_read(&self, allowed: impl FnOnce() -> bool) -> bool {
        match self.phase {
            Phase::Open => match self.input {
                0 => !self.awaits_drain || allowed(),
                // What is relayed is held back by the output of the other stream.
                input::RELAYED => true,
                _ => false,
            },
            // The peer's close frame has to be found even if the application has paused reading.
            Phase::Closing | Phase::Lingering | Phase::AwaitingEof => true,
            Phase::Draining | Phase::Closed => false,
        }
    }

    /// Returns `true` if a read follows without an event.
    pub(in crate::reactor) fn is_reread_due(&self) -> bool {
        self.reread_due
    }

    /// Returns `true` if only the output keeps the connection from being read.
    pub(in crate::reactor) fn is_held_by_output(&self) -> bool {
        self.is_open() && self.awaits_drain && self.input == 0
    }

    pub(in crate::reactor) fn awaits_drain(&self) -> bool {
        self.awaits_drain
    }

    /// Returns `true` in phases that read and discard input, until the peer ends its side.
    pub(in crate::reactor) fn discards_input(&self) -> bool {
        matches!(self.phase, Phase::Lingering | Phase::AwaitingEof)
    }

    /// Returns `true` if our side of the stream ends once all output is written.
    pub(in crate::reactor) fn ends_when_written(&self) -> bool {
        let ends = match self.phase {
            Phase::Draining | Phase::Lingering => true,
            Phase::Open => self.output_ended,
            _ => false,
        };
        ends && !self.shut
    }

    /// Returns `true` if our side of the stream was shut down.
    pub(in crate::reactor) fn is_shut(&self) -> bool {
        self.shut
    }

    pub(in crate::reactor) fn is_connecting(&self) -> bool {
        self.reach != Reach::Connected
    }

    pub(in crate::reactor) fn is_resolving(&self) -> bool {
        self.reach == Reach::Resolving
    }

    pub(in crate::reactor) fn is_closed_by_app(&self) -> bool {
        self.closed_by_app
    }
}

/// The next phase and its effect; `None` if the event is ignored.
fn transition(phase: Phase, event: Event) -> Option<(Phase, Effect)> {
    use Effect::{BeginClosing, Drain, Remove, ShutDown};
    use Phase::{AwaitingEof, Closed, Closing, Draining, Lingering, Open};
    Some(match (phase, event) {
        (Closed, _) => return None,
        (_, Event::Ended) => (Closed, Remove),
        (_, Event::SlowReader) => (Draining, Drain),
        (Open, Event::CloseSent) => (Closing, BeginClosing),
        (Open | Closing, Event::LastSent) => (Lingering, BeginClosing),
        (Open | Closing, Event::CloseReceived { peer_ends: true }) => (AwaitingEof, BeginClosing),
        (Open | Closing, Event::CloseReceived { peer_ends: false }) => (Draining, BeginClosing),
        // A raw peer may end its side and still read.
        (Open, Event::EndOfInput { unsent: true, raw: true }) => (Draining, BeginClosing),
        // The peer may still read our last output.
        (Closing | Lingering | AwaitingEof, Event::EndOfInput { unsent: true, .. }) => (Draining, Drain),
        (_, Event::EndOfInput { .. }) => (Closed, Remove),
        // Unread input would make the system reset the connection, and our last output with it.
        (Draining, Event::Written { unread: true }) => (Lingering, ShutDown),
        (Draining, Event::Written { unread: false }) => (Closed, Remove),
        (Lingering, Event::Written { .. }) => (Lingering, ShutDown),
        (Open, Event::HalfWritten) => (Open, ShutDown),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
