//! permessage-deflate of a client, by an implementation independent of the one in the crate.

use miniz_oxide::{
    DataFormat, MZFlush, MZStatus,
    deflate::{core::CompressorOxide, core::create_comp_flags_from_zip_params, stream::deflate},
    inflate::stream::{InflateState, inflate},
};

/// The octets that end a flush: removed from each compressed message, and added again to inflate it (RFC 7692 §7.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The reserved bit that marks the first frame of a compressed message.
pub(crate) const RSV1: u8 = 0x40;

/// The compression state of a client's connection, in both directions.
pub(crate) struct Deflate {
    compressor: CompressorOxide,
    client_takeover: bool,
    decompressor: Box<InflateState>,
    server_takeover: bool,
}

impl Deflate {
    /// With the context takeover that the response of a server allows; `None` if the response agrees to no compression.
    /// The window has 15 bits, so the offer of the client must not contain `client_max_window_bits`.
    pub(crate) fn from_response(response: &str) -> Option<Self> {
        let line = response.lines().find(|line| line.starts_with("Sec-WebSocket-Extensions: permessage-deflate"))?;
        assert!(!line.contains("client_max_window_bits"), "not offered: {line}");
        Some(Deflate::new(!line.contains("client_no_context_takeover"), !line.contains("server_no_context_takeover")))
    }

    pub(crate) fn new(client_takeover: bool, server_takeover: bool) -> Self {
        // A negative window means a raw stream without a zlib header.
        let compressor = CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0));
        Deflate { compressor, client_takeover, decompressor: InflateState::new_boxed(DataFormat::Raw), server_takeover }
    }

    /// The payload of a compressed message.
    pub(crate) fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        if !self.client_takeover {
            self.compressor.reset();
        }
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            let mut chunk = [0; 4096];
            let done = deflate(&mut self.compressor, &message[at..], &mut chunk, MZFlush::Sync);
            at += done.bytes_consumed;
            out.extend_from_slice(&chunk[..done.bytes_written]);
            if done.bytes_written < chunk.len() {
                break;
            }
        }
        assert!(out.ends_with(&TAIL), "a flush ends with the tail");
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// The message compressed in `payload`.
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.server_takeover {
            self.decompressor.reset(DataFormat::Raw);
        }
        let (input, mut at, mut out) = ([payload, &TAIL].concat(), 0, Vec::new());
        loop {
            let mut chunk = [0; 4096];
            let done = inflate(&mut self.decompressor, &input[at..], &mut chunk, MZFlush::None);
            at += done.bytes_consumed;
            out.extend_from_slice(&chunk[..done.bytes_written]);
            match done.status {
                Ok(MZStatus::Ok) if at < input.len() || done.bytes_written == chunk.len() => {}
                Ok(MZStatus::Ok) => return out,
                Err(miniz_oxide::MZError::Buf) if at == input.len() => return out,
                other => panic!("the server's message is not valid DEFLATE: {other:?}"),
            }
        }
    }
}
