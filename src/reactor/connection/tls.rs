//! TLS handshakes: starting, queueing and timing out.

use std::{
    io::{self, IoSlice},
    mem,
};

#[cfg(feature = "tls")]
use crate::reactor::connection::outbound::Outbound;
use crate::{
    net::{
        Kernel,
        tls::{TlsAcceptor, TlsConnector},
        transport::Written,
    },
    reactor::{
        Hub, Reactor, connection::outbound::queue::MAX_SLICES, conversion::Conversion, id::ConnectionId, share::Share,
        turn_phase::TurnPhase,
    },
};

const NOT_TAKEN: &str = "output before TLS was not taken by the system";

impl Hub {
    /// Starts TLS as a client on an established connection, right after this callback, if `tls` is given. Output waits
    /// for the handshake.
    pub(crate) fn start_tls(&mut self, id: ConnectionId, tls: Option<&TlsConnector>, name: &str) {
        let start = |tls: &TlsConnector| (id, Conversion::TlsClient(tls.clone(), name.to_owned()));
        self.deferred.conversions.extend(tls.map(start));
    }

    /// Starts TLS as a server right after this callback. Output that waits now leaves before as plaintext. Bytes that
    /// the callback has handed on belong to TLS.
    #[cfg(feature = "tls")]
    pub(in crate::reactor) fn start_tls_as_server(&mut self, id: ConnectionId, tls: &TlsAcceptor) {
        let plain = self.outbound(id).map_or(0, Outbound::queued);
        self.deferred.conversions.push((id, Conversion::TlsServer(tls.clone(), plain)));
    }

    /// Without the feature there is no TLS to start.
    #[cfg(all(feature = "proxy-protocol", not(feature = "tls")))]
    pub(in crate::reactor) fn start_tls_as_server(&mut self, _: ConnectionId, tls: &TlsAcceptor) {
        match *tls {}
    }

    /// Forgets the TLS result of a proxy: the connection goes on to another peer.
    pub(crate) fn forget_tls_info(&mut self, id: ConnectionId) {
        if let Some(outbound) = self.outbounds.open_mut(id) {
            outbound.forget_tls_info();
        }
    }
}

impl<K: Kernel> Reactor<K> {
    /// Sets a deadline for the handshake of a transport, unless the handler has set one. A connection that is closing
    /// already gets the earlier deadline.
    pub(in crate::reactor) fn limit_tls_handshake(&mut self, key: usize) {
        let (inbound, outbound) = (&self.inbounds[key], &self.hub.outbounds[key]);
        let own = outbound.deadline.filter(|_| outbound.state.is_open());
        if !outbound.state.is_closed() && own.is_none() && inbound.transport.is_handshaking() {
            let deadline = self.hub.after(outbound.config.tls_handshake_timeout);
            let deadline = outbound.closing_deadline().map_or(deadline, |closing| closing.min(deadline));
            self.hub.set_deadline(outbound.id, Some(deadline));
            self.hub.outbounds[key].deadline_is_for_tls = true;
        }
    }

    /// Starts TLS as the client of the server `name`.
    pub(in crate::reactor) fn start_tls_client(&mut self, id: ConnectionId, tls: &TlsConnector, name: &str) {
        let Some(inbound) = self.inbounds.get_mut(id.key()) else { return };
        let started = inbound.transport.start_tls(tls, name);
        self.on_tls_started(id.key(), started);
    }

    /// Starts TLS as the server, behind `plain` bytes of the waiting output.
    pub(in crate::reactor) fn start_tls_server(&mut self, id: ConnectionId, tls: &TlsAcceptor, plain: usize) {
        let written = self.write_plain(id.key(), plain);
        let Some(inbound) = self.inbounds.get_mut(id.key()) else { return };
        let started = written.and_then(|()| inbound.transport.start_tls_as_server(tls));
        self.on_tls_started(id.key(), started);
    }

    /// Writes the first `bytes` of the waiting output, which the system has to take at once.
    fn write_plain(&mut self, key: usize, bytes: usize) -> io::Result<()> {
        let (Some(inbound), outbound) = (self.inbounds.get_mut(key), &mut self.hub.outbounds[key]) else {
            return Ok(());
        };
        let mut left = bytes;
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = outbound.slices(&self.reader.buffer, &mut slices);
            let Some(first) = slices[..count].first().filter(|_| !outbound.blocked) else {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, NOT_TAKEN));
            };
            let first = IoSlice::new(&first[..first.len().min(left)]);
            match inbound.transport.write(&mut self.kernel, &[first]) {
                Ok(Written { length, blocked, .. }) => {
                    self.hub.stats.bytes_out += length as u64;
                    outbound.count_written(length);
                    outbound.advance(length, &mut self.hub.pools);
                    (outbound.blocked, left) = (blocked, left - length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => outbound.blocked = true,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn on_tls_started(&mut self, key: usize, started: io::Result<()>) {
        let Some(inbound) = self.inbounds.get(key) else { return };
        if let Err(error) = started {
            self.hub.mark_failed(key, error);
        } else if inbound.backlog.is_some() {
            self.fail_input_before_tls(key);
        } else if inbound.readable {
            self.queue_reread(key);
        }
        self.limit_tls_handshake(key);
    }

    /// Queues the connection for a step of its TLS handshake.
    pub(in crate::reactor) fn queue_tls_step(&mut self, key: usize) {
        let inbound = &mut self.inbounds[key];
        if !inbound.tls_queued {
            inbound.tls_queued = true;
            self.reader.push_tls_step(key);
        }
    }

    /// Makes as many steps of TLS handshakes as the budget allows, oldest first.
    pub(in crate::reactor) fn run_tls_handshakes(&mut self) {
        self.reader.reset_tls_steps(self.config.tls_handshake_budget);
        let (mut any, mut share) = (false, Share::of_long(usize::MAX, 1));
        while share.take(&self.hub.time_slice)
            && let Some(key) = self.reader.pop_tls_step()
        {
            if let Some(inbound) = self.inbounds.get_mut(key)
                && mem::take(&mut inbound.tls_queued)
            {
                self.reader.tls_step_allowed = inbound.transport.is_handshaking();
                self.read_from(key);
                self.reader.tls_step_allowed = false;
                any = true;
            }
        }
        if any {
            self.end_phase(TurnPhase::TlsHandshakes);
        }
    }
}
