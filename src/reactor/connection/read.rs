//! Reading from sockets, and passing input to handlers.

use std::{io, mem};

use crate::{
    buffer::LARGE_PAYLOAD_BYTES,
    net::{Kernel, Readiness, transport::Arrived},
    protocol::ClosedBy,
    reactor::{
        Reactor,
        callback_scope::Input,
        connection::{
            inbound::Backlog,
            read_plan::{ReadPlan, ReadState},
        },
    },
    tls_info::TlsInfo,
};

impl<K: Kernel> Reactor<K> {
    /// Handles an event of a connection.
    pub(in crate::reactor) fn on_readiness(&mut self, key: usize, readiness: Readiness) {
        // An event may be stale; the code below relies only on the connection's existence.
        let Some(inbound) = self.inbounds.get_mut(key) else { return };
        inbound.readable |= readiness.readable;
        inbound.hangup |= readiness.hangup || readiness.failed;
        // With edge triggers each event for input also reports room for output.
        let outbound = &mut self.hub.outbounds[key];
        if readiness.writable && (outbound.blocked || inbound.transport.holds_output()) {
            if outbound.blocked {
                outbound.unblock(&mut self.hub.pools);
            }
            self.flush(key);
        }
        if readiness.failed && !self.hub.outbounds[key].may_read() {
            self.hub.mark_closed(key, ClosedBy::Network(io::ErrorKind::ConnectionReset));
        }
        if readiness.readable {
            self.read_from(key);
        }
    }

    /// Reads input within the budget and passes it to the handler.
    pub(in crate::reactor) fn read_from(&mut self, key: usize) {
        let whole = self.config.read_budget_bytes.max(1);
        let (mut left, mut full, mut began) = (whole, 0, None);
        if let Some(outbound) = self.hub.outbounds.at_mut(key) {
            outbound.state.on_read();
        }
        loop {
            let Some(inbound) = self.inbounds.get_mut(key) else { return };
            let outbound = &mut self.hub.outbounds[key];
            if inbound.backlog.is_some() && outbound.state.discards_input() {
                inbound.backlog = None;
            }
            let state = ReadState {
                may_read: outbound.may_read(),
                handshaking: inbound.transport.is_handshaking() && !outbound.state.is_closed(),
                has_backlog: inbound.backlog.is_some(),
                readable: inbound.readable,
                expected: inbound.expected as usize,
                full,
            };
            let most = match ReadPlan::new(state, self.reader.budget(left, whole)) {
                ReadPlan::Read(most) => most.min(outbound.read_limit()),
                ReadPlan::Stop => return,
                ReadPlan::Backlog => match self.deliver_backlog(key) {
                    true => continue,
                    false => return,
                },
                ReadPlan::Yield { unread } => {
                    if unread {
                        outbound.state.expect_reread();
                    }
                    return self.queue_reread(key);
                }
                ReadPlan::AwaitTlsStep => return self.queue_tls_step(key),
            };
            if state.handshaking {
                self.reader.tls_step_allowed = false;
            }
            let buffer = &mut self.reader.buffer[..most];
            let Arrived { length, taken, more } =
                match inbound.transport.read(&mut self.kernel, buffer, &mut self.reader.ciphertext) {
                    Ok(Arrived::END) => return self.on_eof(key),
                    Ok(arrived) => arrived,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return self.on_read_error(key, error),
                };
            inbound.readable = more || inbound.hangup;
            full = if length == most { length } else { 0 };
            outbound.count_read(length);
            if let Some(recording) = &mut self.hub.recording
                && length > 0
            {
                let is_plain = outbound.encoder().is_none();
                recording.on_input(key, &self.reader.buffer[..length], is_plain);
            }
            self.hub.stats.bytes_in += length as u64;
            left = left.saturating_sub(taken.max(1));
            if more && self.hub.time_slice.is_over(&mut began) {
                left = 0;
            }
            self.reader.spend(taken);
            let bypasses = outbound.state.bypasses_handler();
            if let Some(info) = inbound.transport.tls_info() {
                self.on_tls_handshake_done(key, info);
            }
            if bypasses || length == 0 {
                if length == 0 || self.relay_or_discard(key, length) {
                    continue;
                }
                return;
            }
            if state.handshaking && !self.hub.outbounds[key].may_read() {
                self.inbounds[key].backlog = Some(Backlog::new(&self.reader.buffer[..length]));
                return;
            }
            if !self.deliver(key, length) {
                return;
            }
            if self.inbounds.get(key).is_none_or(|inbound| !inbound.readable && inbound.backlog.is_none()) {
                return;
            }
            // A peer that does not take its answers is not read faster.
            if full > 0 && self.hub.outbounds.at_mut(key).is_some_and(|outbound| outbound.buffered() > 0) {
                full = 0;
            }
        }
    }

    /// Handles the end of the peer's side.
    fn on_eof(&mut self, key: usize) {
        self.hub.note(|recording| recording.on_end(key));
        let (inbound, outbound) = (&mut self.inbounds[key], &mut self.hub.outbounds[key]);
        if outbound.allows_half_open() && outbound.state.end_input() {
            // The next read, when the stream is closing, finds the end again.
            inbound.readable = true;
            let id = outbound.id;
            if !self.hub.end_relayed_input(id) {
                self.call(key, |handler, stream| handler.on_end(stream));
            }
            return;
        }
        inbound.readable = false;
        let held = inbound.transport.holds_output();
        self.hub.on_end_of_input(key, held);
    }

    /// Stores the result of a TLS handshake. Output that waited for the handshake may be sent now.
    #[cold]
    fn on_tls_handshake_done(&mut self, key: usize, info: TlsInfo) {
        let outbound = &mut self.hub.outbounds[key];
        outbound.set_tls_info(info);
        if mem::take(&mut outbound.deadline_is_for_tls) {
            outbound.deadline = outbound.closing_deadline();
        }
        outbound.unblock(&mut self.hub.pools);
        self.flush(key);
    }

    #[cold]
    fn on_read_error(&mut self, key: usize, error: io::Error) {
        let (inbound, outbound) = (&mut self.inbounds[key], &self.hub.outbounds[key]);
        inbound.readable = false;
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            // A WebSocket has its own closing handshake; without it the end is unclean, however the stream ends. A
            // request of HTTP says itself where it ends. A TLS handshake that is cut off has failed.
            io::ErrorKind::UnexpectedEof
                if !outbound.state.is_open() || outbound.encoding.has_ends() && !inbound.transport.is_handshaking() =>
            {
                self.on_eof(key);
            }
            kind => {
                if kind == io::ErrorKind::InvalidData && self.hub.may_warn() {
                    let id = self.hub.outbounds[key].id;
                    log::warn!(target: "ws_reactor::net", "{id}: {error}");
                }
                self.hub.mark_failed(key, error);
            }
        }
    }

    /// Passes input to the handler. Returns whether to go on: the handler has taken all, or a part before it handed the
    /// connection over, and the next handler gets the rest.
    fn deliver(&mut self, key: usize, length: usize) -> bool {
        let mut buffer = mem::take(&mut self.reader.buffer);
        let large = length >= LARGE_PAYLOAD_BYTES;
        if large {
            self.hub.callback.input = Input::new(&buffer[..length]);
        }
        let (unread, handed_over) =
            self.run_callback(key, |handler, stream| handler.on_data(stream, &mut buffer[..length]));
        let unread = unread.min(length);
        self.reader.buffer = buffer;
        let (mut expected, mut was_sent_from) = (0, false);
        if large {
            let input = mem::take(&mut self.hub.callback.input);
            (expected, was_sent_from) = (input.expected(), input.was_sent_from());
        }
        self.inbounds[key].expected = expected;
        self.hub.outbounds[key].use_allowance(length - unread);
        self.after_callback(key);
        if was_sent_from {
            self.hub.outbounds[key].keep_input(&self.reader.buffer, &mut self.hub.pools);
        }
        if handed_over && !self.hub.callback.handed_on.is_empty() {
            return self.hand_on(key);
        }
        if unread == 0 {
            return true;
        }
        let backlog = Backlog::new(&self.reader.buffer[length - unread..length]);
        self.keep_backlog(key, backlog, handed_over && unread < length)
    }

    /// Passes the backlog to the handler. Returns whether to go on, as [`deliver`](Self::deliver).
    fn deliver_backlog(&mut self, key: usize) -> bool {
        if self.hub.outbounds[key].state.bypasses_handler() {
            return self.relay_backlog(key);
        }
        let Some(mut backlog) = self.inbounds[key].backlog.take() else { return true };
        let left = backlog.bytes.len() - backlog.start;
        let data = &mut backlog.bytes[backlog.start..][..left.min(self.hub.outbounds[key].read_limit())];
        let length = data.len();
        let (unread, handed_over) = self.run_callback(key, |handler, stream| handler.on_data(stream, data));
        let unread = unread.min(length);
        self.inbounds[key].expected = mem::take(&mut self.hub.callback.input).expected();
        self.hub.outbounds[key].use_allowance(length - unread);
        self.after_callback(key);
        if handed_over && !self.hub.callback.handed_on.is_empty() {
            return self.hand_on(key);
        }
        backlog.start += length - unread;
        backlog.start == backlog.bytes.len() || self.keep_backlog(key, backlog, handed_over && unread < length)
    }

    /// Passes input on to the next handler, within TLS if that has just been started as the server. Returns whether to
    /// go on.
    #[cold]
    fn hand_on(&mut self, key: usize) -> bool {
        let bytes = mem::take(&mut self.hub.callback.handed_on);
        let inbound = &mut self.inbounds[key];
        if inbound.transport.take_first_bytes(&bytes) {
            inbound.readable = true;
            return true;
        }
        self.keep_backlog(key, Backlog::new(&bytes), true)
    }

    /// Keeps input for the next turn, or for the next handler, which gets it at once. Returns whether it does.
    fn keep_backlog(&mut self, key: usize, backlog: Box<Backlog>, at_once: bool) -> bool {
        if self.fail_input_before_tls(key) {
            return false;
        }
        self.inbounds[key].backlog = Some(backlog);
        if !at_once {
            self.queue_reread(key);
        }
        at_once
    }

    /// Fails the connection if bytes that the handler has handed back arrived before TLS was started. Those bytes must
    /// not pass for bytes received within TLS.
    pub(in crate::reactor) fn fail_input_before_tls(&mut self, key: usize) -> bool {
        let before = self.inbounds[key].transport.is_handshaking();
        if before {
            let error = io::Error::new(io::ErrorKind::InvalidData, "input arrived before the TLS handshake");
            self.hub.mark_failed(key, error);
        }
        before
    }

    /// Schedules reading from the connection in the next turn, without an event.
    pub(in crate::reactor) fn queue_reread(&mut self, key: usize) {
        let inbound = &mut self.inbounds[key];
        if !inbound.reread_queued {
            inbound.reread_queued = true;
            self.reader.push_reread(key);
        }
    }
}
