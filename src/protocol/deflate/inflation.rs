//! The inbound direction: compressed messages, inflated as their bytes arrive (RFC 7692 §7.2.2).

use std::{mem, rc::Rc};

use flate2::{FlushDecompress, Status};

use super::{
    DeflateParameters, SharedContexts,
    contexts::{Decompressor, History},
};
use crate::protocol::{error::ProtocolError, version::Side};

/// What the sender has cut off the end of each message (§7.2.1): the end of an empty block without compression. Behind it two empty blocks more, one with fixed codes and
/// one without compression. They mean nothing where a block may begin, and cannot stand anywhere else in a block without compression: so a message whose sender has left its own end on fails itself, not
/// the next.
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff];

/// The cut end, and an empty last block behind it. Where nothing has to be remembered, this shows that the message has ended where a block does.
const LAST_TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// How many bytes could have been inflated while a context is reset, roughly: a stream may be all ends, and nothing come out of it.
const RESET_BYTES: usize = 1024;

/// The state of a connection whose peer compresses.
#[derive(Debug)]
pub(crate) struct Inflation {
    contexts: SharedContexts,
    /// None without context takeover.
    history: Option<History>,
    /// Held from the first byte of a message to its end.
    context: Option<Decompressor>,
    /// Nothing was fed since a message has ended, or a block that says it is the last.
    at_rest: bool,
    /// How many bytes may still come out before others have their turn.
    allowance: usize,
}

impl Inflation {
    /// For what `side` receives.
    pub(crate) fn new(parameters: &DeflateParameters, side: Side, contexts: &SharedContexts) -> Self {
        let (window_bits, takeover) = parameters.of(side.other());
        let history = takeover.then(|| History::new(contexts.borrow_mut().enrol(), window_bits));
        Inflation { contexts: Rc::clone(contexts), history, context: None, at_rest: true, allowance: usize::MAX }
    }

    /// Allows so many bytes to come out from now on. What is begun with the last of them is finished: it may be 32 KiB more.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// Inflates what has come of a message, and hands what comes out to `take`. Says how much of `piece` was used: all of it, unless the allowance was used up before.
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

    /// The message has come whole: the rest of it comes out, however much that is; it is not much.
    pub(crate) fn finish(&mut self, take: impl FnMut(&[u8]) -> Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        // A message of no bytes at all has no block to end; nor has one that has said so itself.
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
                // Who cannot end a block otherwise says that it is the last, and begins anew (§7.2.3.4).
                zlib.reset(false);
                self.allowance = self.allowance.saturating_sub(RESET_BYTES);
                self.history.iter_mut().for_each(History::forget);
                self.at_rest = true;
            } else if length < room.len() && left {
                return Err(ProtocolError::InvalidDeflate);
            } else if length == room.len() && !left {
                // There may be more to come out of what was taken in.
                continue;
            }
            if !left || self.allowance == 0 {
                return Ok(used);
            }
        }
    }
}
