//! The outbound direction: messages compressed, at once or piece by piece (RFC 7692 §7.2.1).

use std::{fmt, rc::Rc};

use flate2::FlushCompress;

use super::{DeflateConfig, DeflateParameters, SharedContexts, contexts::Compressor};
use crate::protocol::version::Side;

/// What every message ends with when it is flushed, and is left out (§7.2.1).
const TAIL_BYTES: usize = 4;

/// What can come out beyond what went in: the flush, and the header of every block that is stored because nothing was gained.
const OVERHEAD_BYTES: usize = 64;

/// How a connection compresses that keeps nothing between messages. Those that have the same may share what was compressed for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeflateSetting {
    level: u8,
    window_bits: u8,
}

/// The state of a connection that compresses.
pub(crate) struct Deflation {
    setting: DeflateSetting,
    takeover: bool,
    threshold_bytes: usize,
    contexts: SharedContexts,
    /// Held from the first byte of a message: to its end, or with context takeover for good.
    context: Option<Compressor>,
}

impl Deflation {
    /// For what `side` sends.
    pub(crate) fn new(
        parameters: &DeflateParameters,
        config: &DeflateConfig,
        side: Side,
        contexts: &SharedContexts,
    ) -> Self {
        let (window_bits, takeover) = match side {
            Side::Server => (parameters.server_max_window_bits, parameters.server_context_takeover),
            Side::Client => (parameters.client_max_window_bits, parameters.client_context_takeover),
        };
        Deflation {
            setting: DeflateSetting { level: config.level.clamp(1, 9), window_bits },
            takeover,
            threshold_bytes: config.threshold_bytes.max(1),
            contexts: Rc::clone(contexts),
            context: None,
        }
    }

    /// Whether a message of that length is to be compressed.
    pub(crate) fn wants(&self, length: usize) -> bool {
        length >= self.threshold_bytes
    }

    /// With whom it can share what was compressed; `None` if its messages refer to those before them.
    pub(crate) fn shares(&self) -> Option<DeflateSetting> {
        (!self.takeover).then_some(self.setting)
    }

    /// Compresses a piece of a message. The last piece has all of it come out, the others as much as the compressor lets go of.
    pub(crate) fn piece(&mut self, piece: &[u8], is_last: bool) -> Vec<u8> {
        let mut out = self.contexts.borrow_mut().take_deflated();
        let context = self.context.get_or_insert_with(|| {
            self.contexts.borrow_mut().take_compressor(self.setting.level, self.setting.window_bits)
        });
        let flush = if is_last { FlushCompress::Sync } else { FlushCompress::None };
        let mut used = 0;
        loop {
            // A flush that finds less room than it needs would be repeated.
            out.reserve((piece.len() - used) / 2 + OVERHEAD_BYTES);
            let before = context.zlib.total_in();
            let done = context.zlib.compress_vec(&piece[used..], &mut out, flush);
            debug_assert!(done.is_ok(), "the state of a compressor is of its own making");
            used += (context.zlib.total_in() - before) as usize;
            if out.len() < out.capacity() {
                break;
            }
        }
        if is_last {
            debug_assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
            out.truncate(out.len() - TAIL_BYTES);
            let mut contexts = self.contexts.borrow_mut();
            contexts.compressed += 1;
            if !self.takeover
                && let Some(context) = self.context.take()
            {
                contexts.give_compressor(context);
            }
        }
        out
    }

    /// Compresses a whole message. `None` if that gains nothing, and it may go as it is.
    pub(crate) fn message(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let out = self.piece(payload, true);
        if out.len() >= payload.len() && !self.takeover {
            self.recycle(out);
            return None;
        }
        Some(out)
    }

    /// Takes back a buffer that was given out.
    pub(crate) fn recycle(&self, deflated: Vec<u8>) {
        self.contexts.borrow_mut().give_deflated(deflated);
    }
}

impl fmt::Debug for Deflation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Deflation")
            .field("setting", &self.setting)
            .field("takeover", &self.takeover)
            .field("holds_context", &self.context.is_some())
            .finish_non_exhaustive()
    }
}
