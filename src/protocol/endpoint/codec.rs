//! Decoder and encoder with buffers and compression of their own.

use std::fmt;

use crate::{
    buffer::Blocks,
    protocol::{
        CloseCode, Message, MessageLimits, Outgoing, ProtocolError, Version,
        decoder::Decoder,
        decoder::PartialStates,
        deflate::{Deflation, Inflation},
        encoder::Encoder,
        incoming::Incoming,
        mask::{MaskingKey, Masks},
        version::Side,
    },
};

/// Free buffers kept by a decoder between messages, in bytes: few, because most connections are idle.
const FREE_BYTES: usize = 4 * 1024;

/// Decodes the input of one connection. See the [module](crate::protocol) for an example.
#[derive(Debug)]
pub struct MessageDecoder {
    decoder: Decoder,
    limits: MessageLimits,
    blocks: Blocks,
    partials: PartialStates,
    failed: Option<ProtocolError>,
}

impl MessageDecoder {
    /// Makes the decoder of a server, for input from a client. Without compression: a decoder with compression comes
    /// from [`ServerHandshake`](super::ServerHandshake).
    pub fn server(version: Version, limits: MessageLimits) -> Self {
        MessageDecoder::new(version, Side::Server, limits, None)
    }

    /// Makes the decoder of a client, for input from a server. Without compression: a decoder with compression comes
    /// from [`ClientHandshake`](super::ClientHandshake).
    pub fn client(version: Version, limits: MessageLimits) -> Self {
        MessageDecoder::new(version, Side::Client, limits, None)
    }

    pub(super) fn new(version: Version, side: Side, limits: MessageLimits, inflation: Option<Inflation>) -> Self {
        let mut decoder = Decoder::new(version, side);
        if let Some(inflation) = inflation {
            decoder.inflate_by(inflation);
        }
        MessageDecoder {
            decoder,
            limits,
            blocks: Blocks::new(FREE_BYTES),
            partials: PartialStates::default(),
            failed: None,
        }
    }

    /// Decodes the next message or control frame. Returns how many bytes of `input` were used, and the item.
    ///
    /// Without an item all input was used, and more is needed: call with the next input. With an item, call again with
    /// the bytes that were not used.
    ///
    /// Decoding unmasks in place, so the used part of `input` is overwritten. A message that lies whole in `input` is
    /// not copied; the parts of an unfinished message are copied once. Input may be cut at any byte. Input after a
    /// close frame is ignored.
    ///
    /// The item borrows the decoder and the input. Handle it where it is decoded, as in the example of the
    /// [module](crate::protocol), or copy it: a function that decodes in a loop cannot return it.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol. Send [`MessageEncoder::fail`], and end the stream. Each further call returns the
    /// same error.
    pub fn decode<'m>(&'m mut self, input: &'m mut [u8]) -> Result<(usize, Option<Incoming<'m>>), ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.decoder.release(&mut self.blocks, &mut self.partials);
        // The message limit is the only bound here.
        self.decoder.allow_inflating(usize::MAX);
        match self.decoder.next(input, self.limits, &mut self.blocks, &mut self.partials) {
            Ok(decoded) => Ok((decoded.consumed, decoded.incoming)),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Changes the limits from the next frame on.
    pub fn set_limits(&mut self, limits: MessageLimits) {
        self.limits = limits;
    }
}

/// Why nothing was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A close frame was encoded before: no message and no further close frame may follow. RFC 6455 §5.5.1. Pings and
    /// pongs may follow until the close frame of the peer.
    Closed,
    /// The version has no binary messages.
    NoBinary(Version),
    /// The version has no pings and pongs.
    NoPing(Version),
    /// An application may not send this close code. See [`CloseCode::is_sendable`].
    CloseCode(CloseCode),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Closed => formatter.write_str("a close frame was sent"),
            EncodeError::NoBinary(version) => write!(formatter, "{version} has no binary messages"),
            EncodeError::NoPing(version) => write!(formatter, "{version} has no pings and pongs"),
            EncodeError::CloseCode(code) => write!(formatter, "close code {code} may not be sent"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Encodes the output of one connection. Each method appends to the caller's buffer.
///
/// See the [module](crate::protocol) for an example.
#[derive(Debug)]
pub struct MessageEncoder {
    encoder: Encoder,
    masks: Option<Box<Masks>>,
    deflation: Option<Deflation>,
    /// Our close frame was encoded: no message may follow.
    closed: bool,
    /// The peer's close frame was answered, or the connection has failed: nothing may follow.
    ended: bool,
}

impl MessageEncoder {
    /// Makes the encoder of a server. Without compression: an encoder with compression comes from
    /// [`ServerHandshake`](super::ServerHandshake).
    pub fn server(version: Version) -> Self {
        MessageEncoder::new(version, Side::Server, None, None)
    }

    /// Makes the encoder of a client. Without compression: an encoder with compression comes from
    /// [`ClientHandshake`](super::ClientHandshake).
    ///
    /// `random` fills a buffer with unpredictable bytes, for the masking keys. RFC 6455 §10.3. It is called for 1 KiB
    /// at a time.
    pub fn client(version: Version, random: impl FnMut(&mut [u8]) + 'static) -> Self {
        MessageEncoder::new(version, Side::Client, Some(Masks::new(Box::new(random))), None)
    }

    /// A server has no masks.
    pub(super) fn new(version: Version, side: Side, masks: Option<Masks>, deflation: Option<Deflation>) -> Self {
        let masks = masks.map(Box::new);
        MessageEncoder { encoder: Encoder::new(version, side), masks, deflation, closed: false, ended: false }
    }

    /// Appends a message, compressed if compression was negotiated and the message is long enough.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], [`EncodeError::NoBinary`].
    pub fn message<'m>(&mut self, message: impl Into<Outgoing<'m>>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let outgoing = message.into();
        let message = outgoing.as_message();
        let key = self.begin_message(message)?;
        let deflation = self.deflation.as_mut().filter(|deflation| deflation.wants(message.len()));
        self.encoder.message_with(deflation, message, key, out);
        Ok(())
    }

    /// Appends a message without compression. See [`DeflateConfig`](crate::DeflateConfig) for secrets.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message).
    pub fn message_uncompressed<'m>(
        &mut self,
        message: impl Into<Outgoing<'m>>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let outgoing = message.into();
        let message = outgoing.as_message();
        let key = self.begin_message(message)?;
        self.encoder.message(message, key, out);
        Ok(())
    }

    /// Appends a ping. `data` is cut to 125 bytes. RFC 6455 §5.5.2.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], [`EncodeError::NoPing`].
    pub fn ping(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let key = self.begin_control()?;
        self.encoder.ping(data, key, out);
        Ok(())
    }

    /// Appends a pong that answers no ping; for answers see [`answer`](Self::answer). `data` is cut to 125 bytes. RFC
    /// 6455 §5.5.3.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn pong(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let key = self.begin_control()?;
        self.encoder.pong(data, key, out);
        Ok(())
    }

    /// Appends a close frame. No message can be encoded after it. RFC 6455 §5.5.1.
    ///
    /// Then decode until [`Incoming::Close`], and end the stream: a server at once, a client once the server has ended
    /// its side. [`CloseCode::NO_STATUS`] makes an empty frame. A reason over 123 bytes is cut at a character. Before
    /// hybi-06 the frame has neither code nor reason. In hixie-75 nothing is appended: end the stream at once.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], [`EncodeError::CloseCode`].
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !code.is_sendable() && code != CloseCode::NO_STATUS {
            return Err(EncodeError::CloseCode(code));
        }
        let (key, code) = (self.begin()?, Some(code).filter(|code| *code != CloseCode::NO_STATUS));
        self.closed = true;
        self.encoder.close(code, reason, key, out);
        Ok(())
    }

    /// Appends the answer that the protocol requires: a pong to a ping, a close frame to a close frame. RFC 6455 §5.5.
    ///
    /// Messages and pongs have no answer, nor has the answer to a close frame of this end. The answer to a close frame
    /// repeats its code; a server ends the stream once the answer has left.
    pub fn answer(&mut self, incoming: &Incoming<'_>, out: &mut Vec<u8>) {
        match incoming {
            Incoming::Ping(data) => _ = self.pong(data, out),
            Incoming::Close(frame) => {
                if let Ok(key) = self.begin() {
                    self.encoder.close_answer(frame.body, key, out);
                }
                (self.closed, self.ended) = (true, true);
            }
            Incoming::Message(_) | Incoming::Pong(_) => {}
        }
    }

    /// Appends the close frame for an error of the decoder, unless a close frame was sent before. RFC 6455 §7.1.7.
    ///
    /// The frame has [`ProtocolError::close_code`] and [`ProtocolError::close_reason`]. Before hybi-06 it has neither;
    /// in hixie-75 nothing is appended. End the stream after it.
    pub fn fail(&mut self, error: ProtocolError, out: &mut Vec<u8>) {
        if let Ok(key) = self.begin() {
            self.encoder.close(Some(error.close_code()), &error.close_reason(), key, out);
        }
        (self.closed, self.ended) = (true, true);
    }

    /// Returns `true` after this end has encoded a close frame.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.encoder.version()
    }

    fn begin_message(&mut self, message: Message<'_>) -> Result<MaskingKey, EncodeError> {
        let key = self.begin()?;
        if self.encoder.supports(message) { Ok(key) } else { Err(EncodeError::NoBinary(self.version())) }
    }

    fn begin_control(&mut self) -> Result<MaskingKey, EncodeError> {
        match self.version().supports_ping() {
            _ if self.ended => Err(EncodeError::Closed),
            true => Ok(self.key()),
            false => Err(EncodeError::NoPing(self.version())),
        }
    }

    /// The masking key of the next frame, unless our close frame was encoded.
    fn begin(&mut self) -> Result<MaskingKey, EncodeError> {
        if self.closed { Err(EncodeError::Closed) } else { Ok(self.key()) }
    }

    /// The masking key of the next frame. A server's key is not used.
    fn key(&mut self) -> MaskingKey {
        self.masks.as_mut().map_or([0; 4], |masks| masks.key())
    }
}
