//! The decoder: bytes in; messages, pings, pongs and the close frame out.
//!
//! Decoding works in place on the caller's buffer. A message that lies whole in the buffer is unmasked there and lent
//! out. Only what is unfinished at the end of the buffer is copied, once. Decoding can resume at any byte, and its cost
//! is linear in the input, however the input is cut.

mod assembly;
mod partial;
mod text_run;

use self::{
    assembly::{Assembly, Kind},
    partial::PartialState,
};
pub(crate) use self::{partial::PartialStates, text_run::TextRun};
use crate::{
    buffer::{Blocks, SharedBlock},
    protocol::{
        deflate::Inflation,
        error::ProtocolError,
        framing::{FrameHeader, OpCode, ParsedHeader, hixie, hybi, hybi::WholeMessage, hybi_early},
        incoming::{CloseFrame, Incoming},
        limits::MessageLimits,
        mask::unmask,
        message::Message,
        version::{Framing, Side, Traits, Version},
    },
};

/// Result of one step of decoding.
#[derive(Debug)]
pub(crate) struct Decoded<'m> {
    /// Bytes of the input that were used.
    pub(crate) consumed: usize,
    /// The decoded item. `None` if all of the input was used and more is needed, or if the inflation allowance is
    /// exhausted and the rest of the input must be passed again.
    pub(crate) incoming: Option<Incoming<'m>>,
    /// The block that holds the message, unless the message lies in the input.
    pub(crate) block: Option<&'m SharedBlock>,
    /// Whole fragments of an unfinished message were decoded.
    pub(crate) fragments: bool,
}

impl<'m> Decoded<'m> {
    /// An item that ends at `consumed`, in the input unless it lies in `block`.
    #[inline(always)]
    fn item(consumed: usize, incoming: Incoming<'m>, block: Option<&'m SharedBlock>) -> Self {
        Decoded { consumed, incoming: Some(incoming), block, fragments: false }
    }

    /// No item yet.
    fn none(consumed: usize, fragments: bool) -> Self {
        Decoded { consumed, incoming: None, block: None, fragments }
    }
}

/// Decodes the input of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    version: Version,
    /// The version has the framing of RFC 6455.
    is_hybi: bool,
    /// `None` unless compression was negotiated.
    inflation: Option<Box<Inflation>>,
    /// `None` between messages: an idle connection needs no memory for unfinished input.
    unfinished: Option<Box<PartialState>>,
    side: Side,
    closed: bool,
    /// The turn of the last renewal of the inflation allowance.
    renewed: u32,
}

impl Decoder {
    /// A decoder for input received by `side`.
    pub(crate) fn new(version: Version, side: Side) -> Self {
        let is_hybi = version.traits().framing == Framing::Hybi;
        Decoder { version, is_hybi, inflation: None, unfinished: None, side, closed: false, renewed: u32::MAX }
    }

    /// Enables compressed messages.
    pub(crate) fn inflate_by(&mut self, inflation: Inflation) {
        self.inflation = Some(Box::new(inflation));
    }

    /// Returns `true` if compressed messages are enabled.
    pub(crate) fn inflates(&self) -> bool {
        self.inflation.is_some()
    }

    /// Allows `bytes` bytes of inflated output, once per turn. After that [`next`](Self::next) stops before the end of
    /// its input. `turn` is any number that differs from that of the turn before.
    pub(crate) fn renew_inflation(&mut self, turn: u32, bytes: usize) {
        if std::mem::replace(&mut self.renewed, turn) != turn {
            self.allow_inflating(bytes);
        }
    }

    /// Allows `bytes` bytes of inflated output until the next call. After that [`next`](Self::next) stops before the
    /// end of its input.
    pub(crate) fn allow_inflating(&mut self, bytes: usize) {
        if let Some(inflation) = &mut self.inflation {
            inflation.allow(bytes);
        }
    }

    /// Bytes of the unfinished frame that are still missing.
    pub(crate) fn missing(&self) -> Option<usize> {
        self.unfinished.as_ref()?.frame.as_ref().map(|(header, received)| header.length as usize - received)
    }

    /// Decodes the next item. Call again with the unconsumed input until the result has no item. A change of the limits
    /// applies from the next frame on.
    ///
    /// After an error the connection has failed, and the decoder must not be called again.
    #[inline(always)]
    pub(crate) fn next<'m>(
        &'m mut self,
        input: &'m mut [u8],
        limits: MessageLimits,
        blocks: &mut Blocks,
        partials: &mut PartialStates,
    ) -> Result<Decoded<'m>, ProtocolError> {
        match self.whole_message(input, limits) {
            Some(whole) => {
                let message = self.message(&whole, input)?;
                Ok(Decoded::item(whole.end, Incoming::Message(message), None))
            }
            None => self.next_slow(input, limits, blocks, partials),
        }
    }

    /// The simple message at the start of the input, if it is complete, as most are. [`next`](Self::next) decodes it as
    /// well, but its result passes through memory: a caller with a loop over short messages asks here first.
    #[inline(always)]
    pub(crate) fn whole_message(&self, input: &[u8], limits: MessageLimits) -> Option<WholeMessage> {
        if !self.is_between_messages() {
            return None;
        }
        hybi::whole_message(input, self.side).filter(|whole| whole.end - whole.start <= limits.frame())
    }

    /// The message that [`whole_message`](Self::whole_message) has found.
    #[inline(always)]
    pub(crate) fn message<'m>(&self, whole: &WholeMessage, input: &'m mut [u8]) -> Result<Message<'m>, ProtocolError> {
        whole.message(input, self.side)
    }

    /// Simple text messages in a row, at most `max_messages`, from the start of the input. For input whose first
    /// message [can begin](TextRun::can_begin) a run.
    #[inline(always)]
    pub(crate) fn text_run(&self, input: &mut [u8], limits: MessageLimits, max_messages: usize) -> TextRun {
        TextRun::take(input, self.side, limits, max_messages)
    }

    #[inline(never)]
    fn next_slow<'m>(
        &'m mut self,
        input: &'m mut [u8],
        limits: MessageLimits,
        blocks: &mut Blocks,
        partials: &mut PartialStates,
    ) -> Result<Decoded<'m>, ProtocolError> {
        if input.is_empty() {
            return Ok(Decoded::none(0, false));
        }
        let Decoder { version, inflation, unfinished, side, closed, .. } = self;
        let unfinished = unfinished.get_or_insert_with(|| partials.take());
        unfinished.release(blocks);
        if unfinished.hixie == hixie::Frames::Between {
            unfinished.hixie_limit = limits.frame();
        }
        let run = DecodeRun { traits: version.traits(), limits, inflation, unfinished, side: *side, closed };
        match run.traits.framing {
            Framing::Hixie => run.decode_hixie(input, blocks),
            Framing::MoreBit | Framing::MaskedFrame | Framing::Hybi => run.decode_hybi(input, blocks),
        }
    }

    /// Frees the memory of the last message, after the message was handled.
    #[inline]
    pub(crate) fn release(&mut self, blocks: &mut Blocks, partials: &mut PartialStates) {
        if self.unfinished.is_some() {
            self.release_unfinished(blocks, partials);
        }
    }

    #[inline(never)]
    fn release_unfinished(&mut self, blocks: &mut Blocks, partials: &mut PartialStates) {
        if let Some(mut unfinished) = self.unfinished.take() {
            unfinished.release(blocks);
            match unfinished.is_nothing() {
                true => partials.give(unfinished),
                false => self.unfinished = Some(unfinished),
            }
        }
    }

    /// Returns `true` if nothing is unfinished, and the framing is that of RFC 6455.
    #[inline]
    fn is_between_messages(&self) -> bool {
        self.is_hybi && self.unfinished.as_ref().is_none_or(|unfinished| unfinished.is_nothing()) && !self.closed
    }
}

/// A running decoder, with everything that decoding needs.
struct DecodeRun<'m> {
    traits: &'static Traits,
    limits: MessageLimits,
    inflation: &'m mut Option<Box<Inflation>>,
    unfinished: &'m mut PartialState,
    side: Side,
    closed: &'m mut bool,
}

impl<'m> DecodeRun<'m> {
    fn decode_hybi(mut self, input: &'m mut [u8], blocks: &mut Blocks) -> Result<Decoded<'m>, ProtocolError> {
        let (mut at, mut fragments) = (0, false);
        loop {
            if *self.closed {
                return Ok(Decoded::none(input.len(), fragments));
            }
            let (header, received) = match self.unfinished.frame {
                Some(unfinished) => unfinished,
                None => {
                    let Some(header) = self.next_header(input, &mut at)? else {
                        return Ok(Decoded::none(at, fragments));
                    };
                    self.admit(&header)?;
                    (header, 0)
                }
            };
            // An admitted length fits `usize`, because the frame limit does.
            let length = header.length as usize;
            let taken = (length - received).min(input.len() - at);
            let (start, end) = (at, at + taken);
            let whole = received + taken == length;
            at = end;
            if let Some(key) = header.masking_key {
                unmask(&mut input[start..end], key, received);
            }
            let gathered = self.unfinished.fragmented | header.compressed;
            if whole && received == 0 && (header.op_code.is_control() || header.fin && !gathered) {
                self.unfinished.frame = None;
                let incoming = self.incoming(header.op_code, &input[start..end])?;
                return Ok(Decoded::item(end, incoming, None));
            }
            if taken > 0 || whole {
                let kept = self.keep(&header, received, &input[start..end], blocks)?;
                if kept < taken {
                    // The rest is passed again, so its mask is restored.
                    let rest = start + kept;
                    if let Some(key) = header.masking_key {
                        unmask(&mut input[rest..end], key, received + kept);
                    }
                    self.unfinished.frame = Some((header, received + kept));
                    return Ok(Decoded::none(rest, fragments));
                }
            }
            if !whole {
                self.unfinished.frame = Some((header, received + taken));
                return Ok(Decoded::none(end, fragments));
            }
            self.unfinished.frame = None;
            if header.op_code.is_control() {
                *self.closed = header.op_code == OpCode::Close;
                let incoming = Incoming::control(self.traits.closing, header.op_code, &self.unfinished.control)?;
                return Ok(Decoded::item(end, incoming, None));
            }
            self.unfinished.fragmented = !header.fin;
            if header.fin {
                self.finish()?;
                let incoming = Incoming::Message(self.unfinished.assembly.message());
                return Ok(Decoded::item(end, incoming, self.unfinished.assembly.block()));
            }
            fragments = true;
        }
    }

    fn decode_hixie(self, input: &'m mut [u8], blocks: &mut Blocks) -> Result<Decoded<'m>, ProtocolError> {
        let limit = self.unfinished.hixie_limit;
        let mut at = 0;
        loop {
            if *self.closed {
                return Ok(Decoded::none(input.len(), false));
            }
            match self.unfinished.hixie.next(input, &mut at, limit)? {
                None => return Ok(Decoded::none(at, false)),
                Some(hixie::Step::Close) => {
                    *self.closed = true;
                    return Ok(Decoded::item(at, Incoming::Close(CloseFrame::default()), None));
                }
                Some(hixie::Step::Text { range, begins: true, ends: true }) => {
                    return Ok(Decoded::item(at, Incoming::Message(Message::checked_text(&input[range])?), None));
                }
                Some(hixie::Step::Text { range, begins, ends }) => {
                    if begins {
                        self.unfinished.assembly.begin(Kind::Text, range.len(), blocks);
                    }
                    self.unfinished.assembly.push(&input[range], usize::MAX)?;
                    if ends {
                        self.unfinished.assembly.finish()?;
                        let incoming = Incoming::Message(self.unfinished.assembly.message());
                        return Ok(Decoded::item(at, incoming, self.unfinished.assembly.block()));
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn parse_header(&self, bytes: &[u8]) -> ParsedHeader {
        match (self.traits.framing, self.side) {
            (Framing::Hybi, side) => {
                hybi::parse_header(bytes, side, self.traits.masking_demanded, self.inflation.is_some())
            }
            (Framing::MoreBit, _) => hybi_early::parse_header(bytes, false),
            (Framing::MaskedFrame, Side::Server) => hybi_early::parse_masked_header(bytes),
            (Framing::MaskedFrame, Side::Client) => hybi_early::parse_header(bytes, true),
            (Framing::Hixie, _) => Ok(None),
        }
    }

    /// Reads the header at `at`, and moves `at` behind the header. An incomplete header is kept.
    fn next_header(&mut self, input: &[u8], at: &mut usize) -> Result<Option<FrameHeader>, ProtocolError> {
        if self.unfinished.partial.length == 0
            && let Some((header, length)) = self.parse_header(&input[*at..])?
        {
            *at += length;
            return Ok(Some(header));
        }
        while let Some(octet) = input.get(*at) {
            *at += 1;
            self.unfinished.partial.bytes[usize::from(self.unfinished.partial.length)] = *octet;
            self.unfinished.partial.length += 1;
            let so_far = &self.unfinished.partial.bytes[..usize::from(self.unfinished.partial.length)];
            if let Some((header, _)) = self.parse_header(so_far)? {
                self.unfinished.partial.length = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Checks the order and the length of a frame, before its payload.
    fn admit(&self, header: &FrameHeader) -> Result<(), ProtocolError> {
        match header.op_code {
            OpCode::Close | OpCode::Ping | OpCode::Pong => return Ok(()),
            OpCode::Continuation if !self.unfinished.fragmented => return Err(ProtocolError::UnexpectedContinuation),
            OpCode::Text | OpCode::Binary if self.unfinished.fragmented => {
                return Err(ProtocolError::ExpectedContinuation);
            }
            _ => {}
        }
        let compressed = header.compressed | self.unfinished.compressed;
        let max_frame_bytes = if compressed { self.limits.compressed_frame() } else { self.limits.frame() };
        let max_message_bytes = self.limits.max_message_bytes;
        if header.length > max_frame_bytes as u64 {
            return Err(ProtocolError::TooBig { limit: max_frame_bytes, length: header.length });
        }
        if compressed {
            // Inflation finds the length.
            return Ok(());
        }
        let message = header.length + self.unfinished.assembly.message().len() as u64;
        if message > max_message_bytes as u64 {
            return Err(ProtocolError::TooBig { limit: max_message_bytes, length: message });
        }
        Ok(())
    }

    /// Copies a piece of an unfinished payload. Returns how much: all, unless the inflation allowance is exhausted.
    #[inline(never)]
    fn keep(
        &mut self,
        header: &FrameHeader,
        received: usize,
        piece: &[u8],
        blocks: &mut Blocks,
    ) -> Result<usize, ProtocolError> {
        let kind = match header.op_code {
            OpCode::Text => Some(Kind::Text),
            OpCode::Binary => Some(Kind::Binary),
            OpCode::Continuation => None,
            OpCode::Close | OpCode::Ping | OpCode::Pong => {
                self.unfinished.control.extend_from_slice(piece);
                return Ok(piece.len());
            }
        };
        if let Some(kind) = kind.filter(|_| self.unfinished.assembly.is_idle()) {
            self.unfinished.compressed = header.compressed;
            let length = header.length as usize;
            let announced = if header.compressed { length.saturating_mul(USUAL_RATIO) } else { length };
            self.unfinished.assembly.begin(kind, announced, blocks);
        }
        match &mut self.inflation {
            Some(inflation) if self.unfinished.compressed => {
                inflation.push(piece, |inflated| keep_inflated(&mut self.unfinished.assembly, inflated, self.limits))
            }
            _ => self.unfinished.assembly.push(piece, self.expected(header, received)).map(|()| piece.len()),
        }
    }

    /// Completes the kept message.
    #[inline(never)]
    fn finish(&mut self) -> Result<(), ProtocolError> {
        if let Some(inflation) = self.inflation.as_mut().filter(|_| std::mem::take(&mut self.unfinished.compressed)) {
            inflation.finish(|inflated| keep_inflated(&mut self.unfinished.assembly, inflated, self.limits))?;
        }
        self.unfinished.assembly.finish()
    }

    /// Length of the whole message, once its last frame has begun.
    fn expected(&self, header: &FrameHeader, received: usize) -> usize {
        match header.fin {
            true => self.unfinished.assembly.message().len() + header.length as usize - received,
            false => usize::MAX,
        }
    }

    /// Interprets a whole frame.
    fn incoming<'p>(&mut self, op_code: OpCode, payload: &'p [u8]) -> Result<Incoming<'p>, ProtocolError> {
        match op_code {
            OpCode::Text => Ok(Incoming::Message(Message::checked_text(payload)?)),
            OpCode::Binary | OpCode::Continuation => Ok(Incoming::Message(Message::Binary(payload))),
            OpCode::Close | OpCode::Ping | OpCode::Pong => {
                *self.closed = op_code == OpCode::Close;
                Incoming::control(self.traits.closing, op_code, payload)
            }
        }
    }
}

/// Rough compression ratio, to choose the free block for an inflated message.
const USUAL_RATIO: usize = 4;

/// Keeps inflated bytes, within the message limit.
fn keep_inflated(assembly: &mut Assembly, inflated: &[u8], limits: MessageLimits) -> Result<(), ProtocolError> {
    let (limit, length) = (limits.max_message_bytes, assembly.message().len() + inflated.len());
    if length > limit {
        return Err(ProtocolError::TooBig { limit, length: length as u64 });
    }
    assembly.push(inflated, limit)
}

#[cfg(test)]
mod tests;
