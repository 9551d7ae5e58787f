//! Inbound compression: messages are inflated as their bytes arrive (RFC 7692 §7.2.2).

use std::{mem, rc::Rc};

use flate2::{FlushDecompress, Status};

use super::{
    DeflateParameters, SharedContexts,
    contexts::{Decompressor, History},
};
use crate::protocol::{error::ProtocolError, version::Side};

/// The end of each message, removed by the sender (§7.2.1): the end of an empty stored block. Two more empty blocks
/// follow, one with fixed codes and one stored. They mean nothing where a block may begin, and are invalid inside of a
/// stored block: so a message whose sender did not remove its end fails itself, not the next message.
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff];

/// The removed end, and an empty last block. Without context takeover this proves that the message ended at a block
/// boundary.
const LAST_TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// Rough cost of resetting a context, in inflated bytes: a stream may consist of ends only, with no output.
const RESET_BYTES: usize = 1024;

/// Inflation state of a connection.
#[derive(Debug)]
pub(crate) struct Inflation {
    contexts: SharedContexts,
    /// `None` without context takeover.
    history: Option<History>,
    /// Held from the first byte of a message to its end.
    context: Option<Decompressor>,
    /// No input since a message, or a block marked as the last, has ended.
    at_rest: bool,
    /// Bytes that may still be inflated before other connections are served.
    allowance: usize,
}

impl Inflation {
    /// Inflates the messages received by `side`.
    pub(crate) fn new(parameters: &DeflateParameters, side: Side, contexts: &SharedContexts) -> Self {
        let (window_bits, takeover) = parameters.of(side.other());
        let history = takeover.then(|| History::new(contexts.borrow_mut().enrol(), window_bits));
        Inflation { contexts: Rc::clone(contexts), history, context: None, at_rest: true, allowance: usize::MAX }
    }

    /// Allows `bytes` bytes of output from now on. A started step is finished, which may exceed the allowance by 32
    /// KiB.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// Inflates a piece of a message and hands the output to `take`. Returns the number of bytes used: the whole
    /// `piece`, unless the allowance was exhausted.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        take: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        if piece.is_empty() || self.allowance == 0 {
            return Ok(0);
        }
        self.inflate(piece, take)
    }

    /// Ends a message: the rest of the output is produced whatever the allowance, because the rest is small.
    pub(crate) fn finish(&mut self, take: impl FnMut(&[u8]) -> Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        // An empty message has no block to end, nor has a message with a block marked as the last.
        if !self.at_rest {
            let takeover = self.history.is_some();
            let tail = if takeover { TAIL } else { LAST_TAIL };
            let allowance = mem::replace(&mut self.allowance, usize::MAX);
            self.inflate(tail, take)?;
            self.allowance = allowance.saturating_sub(usize::MAX - self.allowance);
            if !takeover && !self.at_rest {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
        self.at_rest = true;
        if let Some(context) = self.context.take() {
            self.contexts.borrow_mut().give_decompressor(context, self.history.as_ref().map(History::owner));
        }
        Ok(())
    }

    fn inflate(
        &mut self,
        input: &[u8],
        take: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        let mut contexts = self.contexts.borrow_mut();
        let mut room = contexts.take_inflated();
        let mut context = match self.context.take() {
            Some(context) => context,
            None => contexts.take_decompressor(self.history.as_ref()),
        };
        drop(contexts);
        let used = self.inflate_by(&mut context, input, &mut room, take);
        self.contexts.borrow_mut().give_inflated(room);
        self.context = Some(context);
        used
    }

    fn inflate_by(
        &mut self,
        context: &mut Decompressor,
        input: &[u8],
        room: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        let zlib = &mut context.zlib;
        let mut used = 0;
        loop {
            self.at_rest = false;
            let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
            let status = zlib
                .decompress(&input[used..], room, FlushDecompress::Sync)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            used += (zlib.total_in() - before_in) as usize;
            let length = (zlib.total_out() - before_out) as usize;
            self.allowance = self.allowance.saturating_sub(length);
            take(&room[..length])?;
            if let Some(history) = &mut self.history {
                history.remember(&room[..length]);
            }
            let left = used < input.len();
            if status == Status::StreamEnd {
                // A sender that cannot flush otherwise marks its block as the last and begins a new stream (§7.2.3.4).
                zlib.reset(false);
                self.allowance = self.allowance.saturating_sub(RESET_BYTES);
                self.history.iter_mut().for_each(History::forget);
                self.at_rest = true;
            } else if length < room.len() && left {
                return Err(ProtocolError::InvalidDeflate);
            } else if length == room.len() && !left {
                // The decompressor may hold more output for the consumed input.
                continue;
            }
            if !left || self.allowance == 0 {
                return Ok(used);
            }
        }
    }
}
