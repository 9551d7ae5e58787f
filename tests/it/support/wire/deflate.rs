//! permessage-deflate as clients do it, by an implementation that has nothing in common with the crate's.

use miniz_oxide::{
    DataFormat, MZFlush, MZStatus,
    deflate::{core::CompressorOxide, core::create_comp_flags_from_zip_params, stream::deflate},
    inflate::stream::{InflateState, inflate},
};

/// What is cut off each compressed message, and has to be put back (RFC 7692 §7.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Marks the first frame of a compressed message.
pub(crate) const RSV1: u8 = 0x40;

/// Both directions of a client's connection.
pub(crate) struct Deflate {
    compressor: CompressorOxide,
    keeps: bool,
    decompressor: Box<InflateState>,
    server_keeps: bool,
}

impl Deflate {
    /// With the contexts taken over that the answer of a server leaves to be taken over; `None` if it does not agree to
    /// anything. Its window is of 15 bits, so it offers to be told no smaller one.
    pub(crate) fn agreed(answer: &str) -> Option<Self> {
        let line = answer.lines().find(|line| line.starts_with("Sec-WebSocket-Extensions: permessage-deflate"))?;
        assert!(!line.contains("client_max_window_bits"), "not offered: {line}");
        Some(Deflate::new(!line.contains("client_no_context_takeover"), !line.contains("server_no_context_takeover")))
    }

    pub(crate) fn new(keeps: bool, server_keeps: bool) -> Self {
        // A negative window stands for a stream without a header.
        let compressor = CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0));
        Deflate { compressor, keeps, decompressor: InflateState::new_boxed(DataFormat::Raw), server_keeps }
    }

    /// The payload of a compressed message.
    pub(crate) fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        if !self.keeps {
            self.compressor.reset();
        }
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            let mut room = [0; 4096];
            let done = deflate(&mut self.compressor, &message[at..], &mut room, MZFlush::Sync);
            at += done.bytes_consumed;
            out.extend_from_slice(&room[..done.bytes_written]);
            if done.bytes_written < room.len() {
                break;
            }
        }
        assert!(out.ends_with(&TAIL), "a flush ends so");
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// The message that was compressed to `payload`.
    pub(crate) fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.server_keeps {
            self.decompressor.reset(DataFormat::Raw);
        }
        let (all, mut at, mut out) = ([payload, &TAIL].concat(), 0, Vec::new());
        loop {
            let mut room = [0; 4096];
            let done = inflate(&mut self.decompressor, &all[at..], &mut room, MZFlush::None);
            at += done.bytes_consumed;
            out.extend_from_slice(&room[..done.bytes_written]);
            match done.status {
                Ok(MZStatus::Ok) if at < all.len() || done.bytes_written == room.len() => {}
                Ok(MZStatus::Ok) => return out,
                Err(miniz_oxide::MZError::Buf) if at == all.len() => return out,
                other => panic!("the server's message is no DEFLATE: {other:?}"),
            }
        }
    }
}
