//! The end of a connection: queues the last output, records the reason, and applies events to the state.

use std::{io, time::Duration};

use super::{
    connection::{
        encoding::Encoding,
        reason::{End, in_order, unanswered_close},
        state::{Effect, Event, Phase},
    },
    hub::Hub,
    id::ConnectionId,
};
use crate::{
    protocol::{CloseCode, CloseReason, ClosedBy, ProtocolError, Version, encoder::Encoder, incoming::CloseFrame},
    send_status::SendStatus,
};

/// If more than this of a begun frame is queued, a close frame behind it does not reach a peer that does not read. The
/// memory is freed instead.
const HOPELESS_BYTES: usize = 64 * 1024;

impl Hub {
    /// Closes a connection. A WebSocket performs the closing handshake (RFC 6455 §7.1.2); a raw stream ends once its
    /// output is written and ignores `code` and `reason`.
    ///
    /// Messages queued before are still sent. No more messages are accepted or delivered. `on_close` is called when the
    /// peer has answered, or when [`closing_timeout`](crate::StreamConfig::closing_timeout) has passed after the close
    /// frame was sent: 5 s by default, and 60 s at most in all. [`CloseReason::unsent`] says how many bytes could not
    /// be sent. A client does not reconnect. A connection that is not established yet ends at once.
    ///
    /// The id stays in [`connections`](Self::connections) until `on_close`.
    ///
    /// A reason over 123 bytes is cut at a character boundary.
    ///
    /// Returns [`Queued`](SendStatus::Queued) if the connection is closing now,
    /// [`Unsupported`](SendStatus::Unsupported), without effect, if `code` is not [sendable](CloseCode::is_sendable),
    /// and [`Closed`](SendStatus::Closed) if the connection has ended or was closing already.
    pub fn close(&mut self, id: ConnectionId, code: CloseCode, reason: &str) -> SendStatus {
        if !code.is_sendable() {
            return match self.is_alive(id) {
                true => SendStatus::Unsupported,
                false => SendStatus::Closed,
            };
        }
        self.close_by(id, code, reason, ClosedBy::Application)
    }

    pub(crate) fn close_by(&mut self, id: ConnectionId, code: CloseCode, reason: &str, by: ClosedBy) -> SendStatus {
        self.note_closed_by_app(id);
        let Some(outbound) = self.outbounds.open_mut(id) else { return SendStatus::Closed };
        if outbound.state.is_connecting() {
            // Nothing was sent that could still arrive.
            self.mark_closed(id.key(), by);
            return SendStatus::Queued;
        }
        let Some(encoder) = outbound.encoder() else {
            outbound.end_event_stream(&mut self.pools);
            self.begin_closing(id, Event::LastSent, in_order(by));
            return SendStatus::Queued;
        };
        log::trace!(target: "ws_reactor::reactor", "{id} closes with {code} {reason:?}");
        outbound.close_frame(Some(code), reason, &mut self.pools);
        let event = if encoder.version().has_closing_handshake() { Event::CloseSent } else { Event::LastSent };
        self.begin_closing(id, event, unanswered_close(encoder.version(), code, reason, by));
        SendStatus::Queued
    }

    /// Ends the output of a raw stream once it is written, and goes on reading: the peer sees the end of the stream,
    /// and may still send. When the peer ends its side as well, the connection ends. Later writes return
    /// [`Closed`](SendStatus::Closed).
    ///
    /// If the peer has ended its side before, the connection ends once its output is written, by the peer.
    ///
    /// Returns [`Unsupported`](SendStatus::Unsupported) on a WebSocket and on an event stream.
    pub fn end_output(&mut self, id: ConnectionId) -> SendStatus {
        let Some(outbound) = self.outbounds.writable_mut(id) else { return SendStatus::Closed };
        if outbound.encoding != Encoding::Raw || outbound.is_away() {
            return outbound.unsupported();
        }
        if outbound.state.end_output() {
            self.touch(id.key());
            return SendStatus::Queued;
        }
        // The peer has ended it, so that a client may connect again.
        self.begin_closing(id, Event::LastSent, in_order(ClosedBy::Peer));
        SendStatus::Queued
    }

    /// Ends a connection at once, without a closing handshake. Queued output is lost. A client does not reconnect.
    ///
    /// Returns `false` if the connection has ended.
    pub fn terminate(&mut self, id: ConnectionId) -> bool {
        self.terminate_with(id, ClosedBy::Application)
    }

    /// Ends a connection at once, as if it was lost: a client with a policy to [`Reconnect`](crate::Reconnect) connects
    /// again, after `on_close` with [`ClosedBy::Reconnect`] and `on_reconnect`. Queued output is lost.
    ///
    /// For a line that an application finds dead, and to move to a server that has a new address. Without a policy, and
    /// on a server, the connection ends. Between two connections nothing happens.
    ///
    /// Returns `false` if the connection has ended, or is not open at present.
    pub fn reconnect(&mut self, id: ConnectionId) -> bool {
        self.is_open(id) && self.terminate_with(id, ClosedBy::Reconnect)
    }

    pub(crate) fn terminate_with(&mut self, id: ConnectionId, by: ClosedBy) -> bool {
        if matches!(by, ClosedBy::Application | ClosedBy::Shutdown) {
            self.note_closed_by_app(id);
        }
        let there = self.phase(id) != Phase::Closed;
        if there {
            self.mark_closed(id.key(), by);
        }
        there
    }

    /// Records that the application has ended the connection, even if the connection has ended already: a client does
    /// not reconnect.
    fn note_closed_by_app(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.get_mut(id) {
            outbound.state.close_by_app();
        }
    }

    /// Answers the peer's close frame with the same body and ends the connection (RFC 6455 §5.5.1).
    pub(crate) fn answer_close(&mut self, id: ConnectionId, frame: CloseFrame<'_>) {
        let phase = self.phase(id);
        let Some(outbound) = self.outbounds.get_mut(id) else { return };
        let by = match (phase, outbound.ending()) {
            (Phase::Closing, Some(ours)) => ours.by,
            (Phase::Open, _) => {
                log::trace!(target: "ws_reactor::reactor", "{id} answers the close");
                outbound.close_answer(frame.body, &mut self.pools);
                ClosedBy::Peer
            }
            _ => return,
        };
        let (code, reason) = (frame.code().unwrap_or(CloseCode::NO_STATUS), frame.reason());
        let ending = match outbound.encoder().is_some_and(|encoder| encoder.version().closes_cleanly()) {
            true => CloseReason { code, reason: reason.to_owned(), clean: true, ..CloseReason::abnormal(by) },
            false => CloseReason::abnormal(by),
        };
        // A server ends the stream first; a client waits for that (RFC 6455 §7.1.1).
        let peer_ends = outbound.encoder().is_some_and(Encoder::masks);
        self.begin_closing(id, Event::CloseReceived { peer_ends }, ending);
    }

    /// Fails a connection because of a protocol error: the close frame is sent, our side ends, and input is discarded
    /// (RFC 6455 §7.1.7).
    pub(crate) fn fail(&mut self, id: ConnectionId, error: ProtocolError, reason: &str) {
        self.stats.protocol_errors += 1;
        self.fail_with(id, |_| error.close_code(), reason, ClosedBy::Protocol(error));
    }

    /// Fails a connection whose handler panicked.
    pub(super) fn fail_panicked(&mut self, id: ConnectionId) {
        self.fail_with(id, Version::internal_error, "", ClosedBy::Panic);
    }

    fn fail_with(&mut self, id: ConnectionId, code: impl FnOnce(Version) -> CloseCode, reason: &str, by: ClosedBy) {
        let phase = self.phase(id);
        let Some(outbound) = self.outbounds.get_mut(id) else { return };
        match (phase, outbound.encoder()) {
            (Phase::Open, Some(encoder)) => {
                let code = code(encoder.version());
                log::trace!(target: "ws_reactor::reactor", "{id} fails with {code} {reason:?}");
                outbound.failure_frame(code, reason, &mut self.pools);
                self.begin_closing(id, Event::LastSent, unanswered_close(encoder.version(), code, reason, by));
            }
            // Our close frame was sent already, and there is no second one.
            (Phase::Closing, _) => self.begin_closing(id, Event::LastSent, CloseReason::abnormal(by)),
            (Phase::Open, None) => self.mark_closed(id.key(), by),
            (Phase::Draining | Phase::Lingering | Phase::AwaitingEof | Phase::Closed, _) => {}
        }
    }

    /// Ends our side once the output is written, and discards input for `timeout` after that, so that the peer receives
    /// all of our output (RFC 9112 §9.6).
    pub(crate) fn linger(&mut self, id: ConnectionId, timeout: Duration, by: ClosedBy) {
        self.begin_closing_within(id, Event::LastSent, Some(timeout), in_order(by));
    }

    /// Closes a slow reader: output that has not begun to leave is dropped, and a close frame with 1013 is queued
    /// instead. The loop terminates the connection in this turn.
    pub(super) fn abort_slow_reader(&mut self, id: ConnectionId) {
        let Some(outbound) = self.outbounds.get_mut(id).filter(|outbound| !outbound.state.is_closed()) else { return };
        if !outbound.state.is_open() {
            // The last output of the connection is queued already.
            return self.mark_closed(id.key(), ClosedBy::SlowReader);
        }
        let code = CloseCode::TRY_AGAIN_LATER;
        outbound.drop_unsent(&mut self.pools);
        if outbound.queued() > HOPELESS_BYTES {
            outbound.note_dropped(outbound.queued());
            outbound.release(&mut self.pools);
        } else {
            outbound.failure_frame(code, "", &mut self.pools);
        }
        // The socket may have room for a close frame where it had none for a larger write.
        (outbound.blocked, outbound.is_unwritten) = (false, false);
        outbound.state.on(Event::SlowReader);
        let reason = match outbound.encoder() {
            Some(encoder) => unanswered_close(encoder.version(), code, "", ClosedBy::SlowReader),
            None => CloseReason { code, ..CloseReason::abnormal(ClosedBy::SlowReader) },
        };
        outbound.set_ending(reason);
        outbound.set_rule(None);
        outbound.congested = false;
        self.recharge(id.key());
        self.deferred.slow_readers.push(id);
    }

    /// Handles the end of the peer's side of the stream. `held`: the transport still holds output.
    pub(super) fn on_end_of_input(&mut self, key: usize, held: bool) {
        let outbound = &mut self.outbounds[key];
        let (id, phase) = (outbound.id, outbound.state.phase());
        let unsent = held || outbound.buffered() > 0;
        let event = Event::EndOfInput { unsent, raw: outbound.encoder().is_none() };
        match self.apply(key, event, ClosedBy::Peer) {
            Effect::BeginClosing => self.start_closing(id, None, in_order(ClosedBy::Peer)),
            // An unanswered close is not clean.
            Effect::Drain if phase == Phase::Closing => {
                if let Some(reason) = self.outbounds[key].ending_mut() {
                    *reason = CloseReason::abnormal(reason.by);
                }
            }
            _ => {}
        }
    }

    /// Ends a connection whose transport has failed.
    pub(super) fn mark_failed(&mut self, key: usize, error: io::Error) {
        let by = match error.kind() {
            io::ErrorKind::InvalidData => ClosedBy::Tls,
            kind => ClosedBy::Network(kind),
        };
        if let Some(outbound) = self.outbounds.at_mut(key) {
            *outbound.failure() = Some(error);
        }
        self.mark_closed(key, by);
    }

    /// Ends a connection at once. If closing has begun, its reason stays.
    pub(super) fn mark_closed(&mut self, key: usize, by: ClosedBy) {
        if self.outbounds.at_mut(key).is_some() {
            match by {
                ClosedBy::Network(kind) => self.note(|recording| recording.on_failed(key, kind)),
                ClosedBy::Tls => self.note(|recording| recording.on_failed(key, io::ErrorKind::InvalidData)),
                _ => {}
            }
            self.apply(key, Event::Ended, by);
        }
    }

    /// Applies an event. If the event ends the connection, `by` is the cause, and the loop removes the connection.
    pub(super) fn apply(&mut self, key: usize, event: Event, by: ClosedBy) -> Effect {
        let outbound = &mut self.outbounds[key];
        let (raw, unsent) = (outbound.encoder().is_none(), outbound.unsent());
        let end = End { phase: outbound.state.phase(), by, raw, unsent, shut: outbound.state.is_shut() };
        let effect = outbound.state.on(event);
        if effect == Effect::Remove {
            self.end_relays_of(self.outbounds[key].id, &end);
            self.outbounds[key].set_file(None);
            self.prepare_removal(key, end);
        }
        effect
    }

    fn prepare_removal(&mut self, key: usize, end: End) {
        let outbound = &mut self.outbounds[key];
        let recorded = outbound.take_ending();
        let slow = recorded.as_ref().is_some_and(|reason| reason.by == ClosedBy::SlowReader);
        outbound.set_ending(end.complete(recorded));
        if slow || matches!(end.by, ClosedBy::Timeout(_) | ClosedBy::SlowReader) {
            self.stats.timed_out += 1;
        }
        outbound.set_rule(None);
        outbound.is_output_watched = false;
        outbound.deadline = None;
        self.discharge(key);
        // Done now and not in `on_close`: if thousands of connections end at once, their publishes need not skip each
        // other.
        self.topics.leave_all(key);
        self.deferred.closed.push(key);
    }

    /// Applies an event with which closing begins, and records the reason. Without effect in other phases.
    fn begin_closing(&mut self, id: ConnectionId, event: Event, reason: CloseReason) {
        self.begin_closing_within(id, event, None, reason);
    }

    fn begin_closing_within(&mut self, id: ConnectionId, event: Event, timeout: Option<Duration>, reason: CloseReason) {
        let Some(outbound) = self.outbounds.get_mut(id) else { return };
        if outbound.state.on(event) == Effect::BeginClosing {
            self.start_closing(id, timeout, reason);
        }
    }

    /// Records the reason of a closing that has begun, and starts its time-out: the configured one if there is none.
    fn start_closing(&mut self, id: ConnectionId, timeout: Option<Duration>, reason: CloseReason) {
        let now = self.now;
        let Some(outbound) = self.outbounds.get_mut(id) else { return };
        outbound.set_ending(reason);
        let deadline = outbound.begin_closing_timer(timeout.unwrap_or(outbound.config.closing_timeout), now);
        if outbound.may_read() {
            // The peer's answer may have been waiting behind a pause.
            self.deferred.reread.push(id.key());
        }
        // The flush that follows starts the rule of waiting output, or the time-out.
        self.touch(id.key());
        let outbound = &mut self.outbounds[id.key()];
        match outbound.deadline.filter(|_| outbound.deadline_is_for_tls) {
            // The TLS handshake keeps its time-out.
            Some(at) if at <= deadline => {}
            _ => self.set_deadline(id, Some(deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Reactor, ReactorConfig, Stream, StreamHandler, net::sim::Sim};

    /// Replaces its timer with each input.
    #[derive(Default)]
    struct ReplacesTimer(Option<crate::TimerId>);

    impl StreamHandler for ReplacesTimer {
        fn on_data(&mut self, stream: &mut Stream<'_>, _: &mut [u8]) {
            if let Some(old) = self.0.replace(stream.set_timer(Duration::from_secs(60))) {
                stream.cancel_timer(old);
            }
        }
    }

    #[test]
    fn cancelled_timer_is_removed_from_its_connection() {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen_stream("10.0.0.1:80", |_| ReplacesTimer::default()).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        for _ in 0..100 {
            reactor.kernel_mut().send(peer, b"again");
            reactor.settle().unwrap();
        }
        assert_eq!((reactor.hub().outbounds[0].timers_mut().len(), reactor.hub().timers.len()), (1, 1));
        reactor.kernel_mut().finish(peer);
        reactor.settle().unwrap();
        assert_eq!(reactor.hub().timers.len(), 0, "timers are removed with their connection");
    }
}
