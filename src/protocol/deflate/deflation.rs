//! Outbound compression: messages are compressed at once or piece by piece (RFC 7692 §7.2.1).

use std::rc::Rc;

use flate2::{Compress, FlushCompress};

use super::{
    DeflateConfig, DeflateParameters, DeflateSetting, MIN_WINDOW_BITS, SharedContexts,
    contexts::{Compressor, History},
};
use crate::protocol::version::Side;

/// The end of every flushed message, which is removed (§7.2.1).
const TAIL_BYTES: usize = 4;

/// Output beyond the length of the input: the flush, and the header of each stored block.
const OVERHEAD_BYTES: usize = 64;

/// With context takeover, a message up to this length is sent compressed even without a gain, because later messages
/// may refer to the message.
const MEMORABLE_BYTES: usize = 1024;

/// Compression state of a connection.
#[derive(Debug)]
pub(crate) struct Deflation {
    setting: DeflateSetting,
    threshold_bytes: usize,
    contexts: SharedContexts,
    /// `None` without context takeover.
    history: Option<History>,
    /// Held from the first byte of a message to its end.
    context: Option<Compressor>,
}

impl Deflation {
    /// Compresses the messages sent by `side`.
    pub(crate) fn new(
        parameters: &DeflateParameters,
        config: &DeflateConfig,
        side: Side,
        contexts: &SharedContexts,
    ) -> Self {
        let (window_bits, takeover) = parameters.of(side);
        Deflation {
            setting: DeflateSetting { level: config.level, window_bits },
            // zlib has no window of 8 bits, which a server may demand: messages are sent uncompressed then.
            threshold_bytes: if window_bits < MIN_WINDOW_BITS { usize::MAX } else { config.threshold_bytes.max(1) },
            contexts: Rc::clone(contexts),
            history: takeover.then(|| History::new(contexts.borrow_mut().enrol(), window_bits)),
            context: None,
        }
    }

    /// Returns `true` if a message of this length is compressed.
    pub(crate) fn wants(&self, length: usize) -> bool {
        length >= self.threshold_bytes
    }

    /// Connections with the same setting can share compressed messages. `None` with context takeover.
    pub(crate) fn shares(&self) -> Option<DeflateSetting> {
        self.history.is_none().then_some(self.setting)
    }

    /// Compresses a whole message. `None` if there is no gain and the message is to be sent uncompressed.
    pub(crate) fn message(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let (mut context, mut out) = self.take();
        compress(&mut context.zlib, payload, true, &mut out);
        let worth_it = out.len() < payload.len() || self.history.is_some() && payload.len() <= MEMORABLE_BYTES;
        if worth_it {
            self.remember(payload);
            self.give(context);
            return Some(out);
        }
        // The peer never receives what this context has compressed, so the history is lost.
        self.contexts.borrow_mut().give_compressor(context, None);
        self.recycle(out);
        None
    }

    /// Compresses a piece of a message. The last piece flushes the compressor; earlier ones give what the compressor
    /// releases.
    pub(crate) fn piece(&mut self, piece: &[u8], is_last: bool) -> Vec<u8> {
        let (mut context, mut out) = self.take();
        compress(&mut context.zlib, piece, is_last, &mut out);
        self.remember(piece);
        match is_last {
            true => self.give(context),
            false => self.context = Some(context),
        }
        out
    }

    /// Takes back an output buffer.
    pub(crate) fn recycle(&self, deflated: Vec<u8>) {
        self.contexts.borrow_mut().give_deflated(deflated);
    }

    fn take(&mut self) -> (Compressor, Vec<u8>) {
        let mut contexts = self.contexts.borrow_mut();
        let context = self.context.take();
        let context = context.unwrap_or_else(|| contexts.take_compressor(self.setting, self.history.as_ref()));
        (context, contexts.take_deflated())
    }

    fn remember(&mut self, message: &[u8]) {
        if let Some(history) = &mut self.history {
            history.remember(message);
        }
    }

    fn give(&self, context: Compressor) {
        let mut contexts = self.contexts.borrow_mut();
        contexts.compressed += 1;
        contexts.give_compressor(context, self.history.as_ref().map(History::owner));
    }
}

/// Appends the compressed `input` to `out`, and removes the end of a whole message.
fn compress(zlib: &mut Compress, input: &[u8], is_last: bool, out: &mut Vec<u8>) {
    let flush = if is_last { FlushCompress::Sync } else { FlushCompress::None };
    let mut used = 0;
    loop {
        // A flush with too little room would be repeated.
        out.reserve((input.len() - used) / 2 + OVERHEAD_BYTES);
        let before = zlib.total_in();
        let done = zlib.compress_vec(&input[used..], out, flush);
        debug_assert!(done.is_ok(), "the state of a compressor is of its own making");
        used += (zlib.total_in() - before) as usize;
        if out.len() < out.capacity() {
            break;
        }
    }
    if is_last {
        debug_assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - TAIL_BYTES);
    }
}
