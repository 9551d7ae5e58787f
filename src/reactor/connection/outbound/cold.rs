//! The rarely used state of a connection, and access to its output rule.

use std::{io, mem, rc::Rc, time::Instant};

use crate::{
    protocol::CloseReason,
    reactor::{
        connection::{
            outbound::{Outbound, counts::Counts},
            output_rule::OutputRule,
        },
        id::TimerId,
    },
    tls_info::TlsInfo,
};

/// State that few connections need, kept out of the outbound half to save memory on the others.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Cold {
    /// Reason of the end, once the connection is ending.
    pub(in crate::reactor) ending: Option<CloseReason>,
    /// Result of the TLS handshake, once it is done.
    pub(in crate::reactor) tls_info: Option<Rc<TlsInfo>>,
    /// Progress of waiting output.
    pub(in crate::reactor) rule: Option<OutputRule>,
    /// Bytes above the high-water mark, as charged to `Excess`.
    pub(in crate::reactor) charged: usize,
    /// Error of the transport.
    pub(in crate::reactor) failure: Option<io::Error>,
    /// The newest pong, while the socket is blocked.
    pub(in crate::reactor) pong: Option<Box<[u8]>>,
    /// Timers that end with the connection.
    pub(in crate::reactor) timers: Vec<TimerId>,
    /// Counters, if the configuration asks for them.
    pub(in crate::reactor) counts: Option<Box<Counts>>,
}

impl Outbound {
    /// Result of the TLS handshake.
    pub(in crate::reactor) fn tls_info(&self) -> Option<&Rc<TlsInfo>> {
        self.cold.as_ref()?.tls_info.as_ref()
    }

    pub(in crate::reactor) fn set_tls_info(&mut self, info: TlsInfo) {
        self.cold.get_or_insert_default().tls_info = Some(Rc::new(info));
    }

    pub(in crate::reactor) fn forget_tls_info(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.tls_info = None;
        }
    }

    /// Reason of the end, once the connection is ending.
    pub(in crate::reactor) fn ending(&self) -> Option<&CloseReason> {
        self.cold.as_ref()?.ending.as_ref()
    }

    pub(in crate::reactor) fn ending_mut(&mut self) -> Option<&mut CloseReason> {
        self.cold.as_mut()?.ending.as_mut()
    }

    pub(in crate::reactor) fn set_ending(&mut self, ending: CloseReason) {
        self.cold.get_or_insert_default().ending = Some(ending);
    }

    pub(in crate::reactor) fn take_ending(&mut self) -> Option<CloseReason> {
        self.cold.as_mut()?.ending.take()
    }

    pub(in crate::reactor) fn failure(&mut self) -> &mut Option<io::Error> {
        &mut self.cold.get_or_insert_default().failure
    }

    /// Progress of waiting output; `None` while the socket takes all output.
    pub(in crate::reactor) fn rule(&self) -> Option<&OutputRule> {
        if self.has_rule { self.cold.as_ref()?.rule.as_ref() } else { None }
    }

    pub(in crate::reactor) fn rule_mut(&mut self) -> Option<&mut OutputRule> {
        if self.has_rule { self.cold.as_mut()?.rule.as_mut() } else { None }
    }

    /// Sets the rule when the socket is full, and removes it when no output waits.
    pub(in crate::reactor) fn set_rule(&mut self, rule: Option<OutputRule>) {
        if rule.is_some() || self.has_rule {
            self.has_rule = rule.is_some();
            self.cold.get_or_insert_default().rule = rule;
        }
    }

    /// Most bytes for one read. Without an allowance a read serves the handshake of the transport and is not limited.
    pub(in crate::reactor) fn read_limit(&self) -> usize {
        match self.allowance() {
            allowance if allowance > 0 && self.state.is_held_by_output() => allowance,
            _ => usize::MAX,
        }
    }

    /// Bytes that may be read although the output is above its mark.
    pub(in crate::reactor) fn allowance(&self) -> usize {
        self.rule().map_or(0, OutputRule::allowance)
    }

    /// Notes that `bytes` were read although the output is above its mark.
    pub(in crate::reactor) fn use_allowance(&mut self, bytes: usize) {
        if let Some(rule) = self.rule_mut() {
            rule.use_allowance(bytes);
        }
    }

    /// Time of the next check of the output.
    pub(in crate::reactor) fn rule_deadline(&self) -> Option<Instant> {
        Some(self.rule()?.next_deadline(self.config.output.stall_timeout, self.state.is_held_by_output()))
    }

    /// Sets the bytes charged above the high-water mark, and returns the previous value.
    pub(in crate::reactor) fn charge_with(&mut self, bytes: usize) -> usize {
        match &mut self.cold {
            None if bytes == 0 => 0,
            cold => mem::replace(&mut cold.get_or_insert_default().charged, bytes),
        }
    }

    /// Waiting bytes that no other connection shares.
    pub(in crate::reactor) fn own_bytes(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.own_bytes());
        queued + self.compression.as_ref().map_or(0, |compression| compression.own_waiting())
    }
}
