//! The rarely used state of a connection, and the rule of output that waits.

use std::{io, mem, rc::Rc, time::Instant};

use super::{
    id::TimerId,
    outbox::{Outbox, Phase},
    output_rule::OutputRule,
};
use crate::{protocol::CloseReason, tls_info::TlsInfo};

/// State that few connections need, so that the others have no room for it.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// Why it ends, once it does.
    pub(super) ending: Option<CloseReason>,
    /// What the TLS handshake has shown, once it is done.
    pub(super) tls_info: Option<Rc<TlsInfo>>,
    /// Progress of output that waits for the peer.
    pub(super) rule: Option<OutputRule>,
    /// What is held above the high-water mark, as it was charged.
    pub(super) charged: usize,
    /// What went wrong with the transport, in its own words.
    pub(super) failure: Option<io::Error>,
    /// The newest pong, while the socket is blocked.
    pub(super) pong: Option<Box<[u8]>>,
    /// The timers that go with the connection.
    pub(super) timers: Vec<TimerId>,
}

impl Outbox {
    /// What the TLS handshake has shown.
    pub(super) fn tls_info(&self) -> Option<&Rc<TlsInfo>> {
        self.cold.as_ref()?.tls_info.as_ref()
    }

    pub(super) fn set_tls_info(&mut self, info: TlsInfo) {
        self.cold.get_or_insert_default().tls_info = Some(Rc::new(info));
    }

    pub(super) fn forget_tls_info(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.tls_info = None;
        }
    }

    /// Why it ends, once it does.
    pub(super) fn ending(&self) -> Option<&CloseReason> {
        self.cold.as_ref()?.ending.as_ref()
    }

    pub(super) fn ending_mut(&mut self) -> Option<&mut CloseReason> {
        self.cold.as_mut()?.ending.as_mut()
    }

    pub(super) fn set_ending(&mut self, ending: CloseReason) {
        self.cold.get_or_insert_default().ending = Some(ending);
    }

    pub(super) fn take_ending(&mut self) -> Option<CloseReason> {
        self.cold.as_mut()?.ending.take()
    }

    pub(super) fn failure(&mut self) -> &mut Option<io::Error> {
        &mut self.cold.get_or_insert_default().failure
    }

    /// Progress of output that waits for the peer; `None` while the socket takes all.
    pub(super) fn rule(&self) -> Option<&OutputRule> {
        if self.has_rule { self.cold.as_ref()?.rule.as_ref() } else { None }
    }

    pub(super) fn rule_mut(&mut self) -> Option<&mut OutputRule> {
        if self.has_rule { self.cold.as_mut()?.rule.as_mut() } else { None }
    }

    /// The socket is full, or nothing waits any more.
    pub(super) fn set_rule(&mut self, rule: Option<OutputRule>) {
        if rule.is_some() || self.has_rule {
            self.has_rule = rule.is_some();
            self.cold.get_or_insert_default().rule = rule;
        }
    }

    /// Whether nothing but the output keeps the connection from being read.
    pub(super) fn is_suspended(&self) -> bool {
        self.phase == Phase::Open && self.above_mark && !self.paused
    }

    /// Bytes that may be read at once. (Where there is no allowance at all, and it is read all the same, that is for the handshake of the transport.)
    pub(super) fn read_limit(&self) -> usize {
        match self.allowance() {
            allowance if allowance > 0 && self.is_suspended() => allowance,
            _ => usize::MAX,
        }
    }

    /// Bytes that may be read although the output is above its mark.
    pub(super) fn allowance(&self) -> usize {
        self.rule().map_or(0, OutputRule::allowance)
    }

    /// `bytes` were read although the output is above its mark.
    pub(super) fn use_allowance(&mut self, bytes: usize) {
        if let Some(rule) = self.rule_mut() {
            rule.use_allowance(bytes);
        }
    }

    /// When the output has to be looked at again.
    pub(super) fn rule_deadline(&self) -> Option<Instant> {
        Some(self.rule()?.next_deadline(self.config.output.stall_timeout, self.is_suspended()))
    }

    /// Notes what is held above the high-water mark, and says what it was before.
    pub(super) fn charge_with(&mut self, bytes: usize) -> usize {
        match &mut self.cold {
            None if bytes == 0 => 0,
            cold => mem::replace(&mut cold.get_or_insert_default().charged, bytes),
        }
    }

    /// Bytes that wait and that no other connection shares.
    pub(super) fn own_bytes(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.own_bytes());
        queued + self.compression.as_ref().map_or(0, |compression| compression.own_waiting())
    }
}
