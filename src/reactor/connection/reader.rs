//! State of reading, one for all connections: buffers, budgets, and the queues of connections to be read.

use std::collections::VecDeque;

use crate::{
    net::transport::Ciphertext,
    reactor::{config::ReactorConfig, connection::read_plan::ReadBudget},
};

/// Read buffers, budgets and queues of a reactor.
pub(in crate::reactor) struct Reader {
    /// The one buffer into which all connections are read.
    pub(in crate::reactor) buffer: Box<[u8]>,
    /// Buffer for encrypted input.
    pub(in crate::reactor) ciphertext: Ciphertext,
    /// Bytes that may still be read in this part of the turn.
    left: usize,
    /// Connections to be read in the next turn without waiting for an event, oldest first.
    rereads: Vec<usize>,
    /// Connections that wait for a step of their TLS handshake, oldest first.
    tls_steps: VecDeque<usize>,
    /// Steps of TLS handshakes that may still be made in this turn.
    tls_steps_left: usize,
    /// The connection being read may make a step of its TLS handshake.
    pub(in crate::reactor) tls_step_allowed: bool,
}

impl Reader {
    pub(in crate::reactor) fn new(config: &ReactorConfig) -> Self {
        let length = config.read_buffer_bytes.max(1);
        Reader {
            buffer: vec![0; length].into(),
            ciphertext: Ciphertext::beside(length),
            left: 0,
            rereads: Vec::new(),
            tls_steps: VecDeque::new(),
            tls_steps_left: 0,
            tls_step_allowed: false,
        }
    }

    /// Renews the budget for the next part of the turn. TLS handshakes and unfinished connections have parts of their
    /// own, so that a flood of events cannot starve them.
    pub(in crate::reactor) fn reset_budget(&mut self, bytes: usize) {
        self.left = bytes.max(1);
    }

    pub(in crate::reactor) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    pub(in crate::reactor) fn has_budget(&self) -> bool {
        self.left > 0
    }

    /// The budget of a connection of which `left` of `whole` bytes may still be read in this turn.
    #[inline]
    pub(in crate::reactor) fn budget(&self, left: usize, whole: usize) -> ReadBudget {
        ReadBudget {
            buffer: self.buffer.len(),
            left,
            spent: whole - left,
            turn_is_spent: self.left == 0,
            tls_step_allowed: self.tls_step_allowed,
        }
    }

    pub(in crate::reactor) fn push_reread(&mut self, key: usize) {
        self.rereads.push(key);
    }

    pub(in crate::reactor) fn push_tls_step(&mut self, key: usize) {
        self.tls_steps.push_back(key);
    }

    /// Renews the budget of TLS handshake steps for a turn.
    pub(in crate::reactor) fn reset_tls_steps(&mut self, steps: usize) {
        self.tls_steps_left = steps.max(1);
    }

    /// The next connection for a step of its TLS handshake, within the budget.
    pub(in crate::reactor) fn pop_tls_step(&mut self) -> Option<usize> {
        if self.tls_steps_left == 0 {
            return None;
        }
        let key = self.tls_steps.pop_front()?;
        self.tls_steps_left -= 1;
        Some(key)
    }

    /// Returns `true` if a connection may make a step of its TLS handshake now, because no other one waits for that.
    pub(in crate::reactor) fn take_tls_step(&mut self) -> bool {
        let allowed = self.tls_steps.is_empty() && self.tls_steps_left > 0;
        self.tls_steps_left -= usize::from(allowed);
        allowed
    }

    /// Number of connections that wait to be read again.
    pub(in crate::reactor) fn reread_count(&self) -> usize {
        self.rereads.len()
    }

    /// The connection in this place of the queue.
    pub(in crate::reactor) fn reread(&self, index: usize) -> usize {
        self.rereads[index]
    }

    /// Removes the first `count` connections of the queue.
    pub(in crate::reactor) fn remove_rereads(&mut self, count: usize) {
        if count > 0 {
            self.rereads.drain(..count);
        }
    }

    /// Returns `true` if no connection waits to be read.
    pub(in crate::reactor) fn is_idle(&self) -> bool {
        self.rereads.is_empty() && self.tls_steps.is_empty()
    }

    /// Frees unused capacity.
    pub(in crate::reactor) fn shrink(&mut self) {
        self.rereads.shrink_to_fit();
        self.tls_steps.shrink_to_fit();
    }
}
