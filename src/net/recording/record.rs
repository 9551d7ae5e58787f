//! The records of a recording, and their encoding.

use std::{fmt, io, net::SocketAddr, time::Duration};

use super::Cause;
use crate::peer_addr::PeerAddr;

/// A stream in a recording: an accepted one, or an attempt of an outgoing connection, with its number among these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamNumber {
    /// The accepted stream of this number, from 0 on.
    Accepted(u32),
    /// The attempt of this number, from 0 on.
    Attempt(u32),
}

impl fmt::Display for StreamNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamNumber::Accepted(number) => write!(formatter, "accepted {number}"),
            StreamNumber::Attempt(number) => write!(formatter, "attempt {number}"),
        }
    }
}

/// A part of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A turn begins. The records up to the next turn belong to it.
    Turn {
        /// Time of the turn ([`Hub::now`](crate::Hub::now)), since the start of the recording.
        at: Duration,
    },
    /// A connection was accepted.
    Accepted {
        /// Number of the listener, in the order in which they were opened.
        listener: u32,
        /// Address of the peer.
        peer: PeerAddr,
    },
    /// An attempt of an outgoing connection has succeeded or failed.
    Attempt {
        /// Number of the attempt, in the order in which they were made.
        number: u32,
        /// The system refused to begin.
        at_once: bool,
        /// The kind of the error, if it has failed.
        error: Option<io::ErrorKind>,
    },
    /// The resolver has answered. Answers are in the order of the look-ups that they belong to, if one follows the
    /// other.
    Resolved {
        /// Number of the look-up, in the order in which they were made.
        number: u32,
        /// The addresses, or the kind of the error.
        addresses: Result<Vec<SocketAddr>, io::ErrorKind>,
    },
    /// Bytes were read, after TLS decryption. Credentials in heads of HTTP are redacted.
    Input {
        /// Where from.
        stream: StreamNumber,
        /// The bytes of one read.
        bytes: Vec<u8>,
    },
    /// The peer has ended its side.
    End {
        /// The stream.
        stream: StreamNumber,
    },
    /// The stream is broken.
    Failed {
        /// The stream.
        stream: StreamNumber,
        /// Why.
        error: io::ErrorKind,
    },
    /// The system took only so many bytes of output in this turn. It takes all where there is no such record, and
    /// nothing in later turns until [`Writable`](Self::Writable).
    Room {
        /// The stream.
        stream: StreamNumber,
        /// Bytes, before TLS encryption.
        bytes: u64,
    },
    /// The system takes output again.
    Writable {
        /// The stream.
        stream: StreamNumber,
    },
    /// Bytes of the system's random generator, for masking keys and nonces.
    Random {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Another thread has sent a message, by [`Remote::send`](crate::Remote::send).
    Send {
        /// The stream of the connection.
        stream: StreamNumber,
        /// The message is text.
        is_text: bool,
        /// The payload.
        payload: Vec<u8>,
    },
    /// Another thread has published a message, by [`Remote::publish`](crate::Remote::publish).
    Publish {
        /// The topic.
        topic: String,
        /// The message is text.
        is_text: bool,
        /// The payload.
        payload: Vec<u8>,
    },
    /// Another thread has closed a connection, by [`Remote::close`](crate::Remote::close).
    Close {
        /// The stream of the connection.
        stream: StreamNumber,
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// Something that is not recorded: a command of another thread that is a function or has a value of the
    /// application, or one for a connection without a stream.
    Other {
        /// The kind of command, or `adopted socket`.
        name: String,
    },
    /// The recording ended before the reactor did.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// The kinds of errors with a name in a recording. All others become `Other`.
const KINDS: [io::ErrorKind; 22] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::NetworkDown,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::InvalidData,
    io::ErrorKind::TimedOut,
    io::ErrorKind::WriteZero,
    io::ErrorKind::Interrupted,
    io::ErrorKind::Unsupported,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::OutOfMemory,
    io::ErrorKind::Other,
];

fn kind_of(name: &str) -> io::ErrorKind {
    KINDS.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or(io::ErrorKind::Other)
}

fn outcome_from(name: &str) -> Option<io::ErrorKind> {
    (!name.is_empty()).then(|| kind_of(name))
}

fn outcome_name(error: Option<io::ErrorKind>) -> String {
    error.map_or(String::new(), |kind| format!("{kind:?}"))
}

/// Appends the contents of a record.
struct Contents<'o>(&'o mut Vec<u8>);

impl Contents<'_> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend((text.len() as u32).to_le_bytes());
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn stream(&mut self, stream: StreamNumber) -> &mut Self {
        let (kind, number) = match stream {
            StreamNumber::Accepted(number) => (0, number),
            StreamNumber::Attempt(number) => (1, number),
        };
        self.0.push(kind);
        self.bytes(&number.to_le_bytes())
    }

    fn flag(&mut self, flag: bool) -> &mut Self {
        self.0.push(flag.into());
        self
    }
}

/// Takes the contents of a record apart. `None` if they are too short, or cannot be that.
struct Parts<'c>(&'c [u8]);

impl<'c> Parts<'c> {
    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.array().map(|[flag]| flag != 0)
    }

    fn text(&mut self) -> Option<&'c str> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn stream(&mut self) -> Option<StreamNumber> {
        let [kind] = self.array()?;
        let number = self.u32()?;
        match kind {
            0 => Some(StreamNumber::Accepted(number)),
            1 => Some(StreamNumber::Attempt(number)),
            _ => None,
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

/// The first record of some bytes, `None` if its kind is unknown, and what follows.
pub(super) type Split<'b> = (Option<Record>, &'b [u8]);

impl Record {
    /// Appends the record to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let kind_at = out.len();
        out.extend([0; 5]);
        let kind = self.encode_contents(&mut Contents(out));
        let length = (out.len() - kind_at - 5) as u32;
        out[kind_at] = kind;
        out[kind_at + 1..kind_at + 5].copy_from_slice(&length.to_le_bytes());
    }

    /// Appends the contents, and returns the kind.
    fn encode_contents(&self, out: &mut Contents<'_>) -> u8 {
        match self {
            Record::Turn { at } => (out.bytes(&(at.as_nanos() as u64).to_le_bytes()), 1).1,
            Record::Accepted { listener, peer } => (out.bytes(&listener.to_le_bytes()).text(&peer.to_string()), 2).1,
            Record::Attempt { number, at_once, error } => {
                (out.bytes(&number.to_le_bytes()).flag(*at_once).text(&outcome_name(*error)), 3).1
            }
            Record::Resolved { number, addresses } => {
                let (error, found) = match addresses {
                    Ok(found) => (None, found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")),
                    Err(error) => (Some(*error), String::new()),
                };
                (out.bytes(&number.to_le_bytes()).text(&outcome_name(error)).text(&found), 4).1
            }
            Record::Input { stream, bytes } => (out.stream(*stream).bytes(bytes), 5).1,
            Record::End { stream } => (out.stream(*stream), 6).1,
            Record::Failed { stream, error } => (out.stream(*stream).text(&outcome_name(Some(*error))), 7).1,
            Record::Room { stream, bytes } => (out.stream(*stream).bytes(&bytes.to_le_bytes()), 8).1,
            Record::Writable { stream } => (out.stream(*stream), 9).1,
            Record::Random { bytes } => (out.bytes(bytes), 10).1,
            Record::Send { stream, is_text, payload } => (out.stream(*stream).flag(*is_text).bytes(payload), 11).1,
            Record::Publish { topic, is_text, payload } => (out.text(topic).flag(*is_text).bytes(payload), 12).1,
            Record::Close { stream, code, reason } => {
                (out.stream(*stream).bytes(&code.to_le_bytes()).text(reason), 13).1
            }
            Record::Other { name } => (out.text(name), 14).1,
            Record::Stopped { reason } => (out.text(reason), 15).1,
        }
    }

    /// Takes the first record from `bytes`. `None` if there is no whole record.
    pub(super) fn split_from(bytes: &[u8]) -> Result<Option<Split<'_>>, Cause> {
        let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some((contents, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return Ok(None);
        };
        let record = match kind {
            1..=15 => Some(Record::decode(*kind, &mut Parts(contents)).ok_or(Cause::Malformed(*kind))?),
            _ => None,
        };
        Ok(Some((record, rest)))
    }

    fn decode(kind: u8, parts: &mut Parts<'_>) -> Option<Record> {
        Some(match kind {
            1 => Record::Turn { at: Duration::from_nanos(parts.u64()?) },
            2 => {
                let (listener, peer) = (parts.u32()?, parts.text()?);
                let peer = if peer == "unix" { PeerAddr::Unix } else { PeerAddr::Ip(peer.parse().ok()?) };
                Record::Accepted { listener, peer }
            }
            3 => Record::Attempt { number: parts.u32()?, at_once: parts.flag()?, error: outcome_from(parts.text()?) },
            4 => {
                let (number, error, found) = (parts.u32()?, outcome_from(parts.text()?), parts.text()?);
                let addresses = match error {
                    Some(error) => Err(error),
                    None => Ok(found.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?),
                };
                Record::Resolved { number, addresses }
            }
            5 => Record::Input { stream: parts.stream()?, bytes: parts.rest() },
            6 => Record::End { stream: parts.stream()? },
            7 => Record::Failed { stream: parts.stream()?, error: kind_of(parts.text()?) },
            8 => Record::Room { stream: parts.stream()?, bytes: parts.u64()? },
            9 => Record::Writable { stream: parts.stream()? },
            10 => Record::Random { bytes: parts.rest() },
            11 => Record::Send { stream: parts.stream()?, is_text: parts.flag()?, payload: parts.rest() },
            12 => Record::Publish { topic: parts.text()?.into(), is_text: parts.flag()?, payload: parts.rest() },
            13 => {
                let (stream, code) = (parts.stream()?, parts.array().map(u16::from_le_bytes)?);
                Record::Close { stream, code, reason: parts.text()?.into() }
            }
            14 => Record::Other { name: parts.text()?.into() },
            _ => Record::Stopped { reason: parts.text()?.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_record() -> Vec<Record> {
        let (stream, other) = (StreamNumber::Accepted(3), StreamNumber::Attempt(7));
        let addresses = vec!["10.0.0.1:80".parse().unwrap(), "[::1]:443".parse().unwrap()];
        vec![
            Record::Turn { at: Duration::from_nanos(1_234_567_890) },
            Record::Accepted { listener: 1, peer: PeerAddr::Unix },
            Record::Accepted { listener: 0, peer: PeerAddr::Ip("[fe80::1%2]:80".parse().unwrap()) },
            Record::Attempt { number: 7, at_once: true, error: Some(io::ErrorKind::NetworkUnreachable) },
            Record::Attempt { number: 8, at_once: false, error: None },
            Record::Resolved { number: 0, addresses: Ok(addresses) },
            Record::Resolved { number: 1, addresses: Err(io::ErrorKind::NotFound) },
            Record::Input { stream, bytes: b"bytes".to_vec() },
            Record::End { stream: other },
            Record::Failed { stream, error: io::ErrorKind::ConnectionReset },
            Record::Room { stream, bytes: u64::MAX },
            Record::Writable { stream },
            Record::Random { bytes: vec![0, 255] },
            Record::Send { stream, is_text: true, payload: b"text".to_vec() },
            Record::Publish { topic: "news".into(), is_text: false, payload: vec![1] },
            Record::Close { stream: other, code: 1001, reason: "bye".into() },
            Record::Other { name: "run".into() },
            Record::Stopped { reason: "full".into() },
        ]
    }

    #[test]
    fn every_record_is_decoded_as_it_was_encoded_and_no_shorter_one_is_accepted() {
        for record in every_record() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let (decoded, rest) = Record::split_from(&bytes).unwrap().unwrap();
            assert_eq!((decoded.as_ref(), rest.len()), (Some(&record), 0));
            let has_bytes_at_its_end = matches!(
                record,
                Record::Input { .. } | Record::Random { .. } | Record::Send { .. } | Record::Publish { .. }
            );
            if !has_bytes_at_its_end {
                let contents = &bytes[5..bytes.len() - 1];
                assert_eq!(Record::decode(bytes[0], &mut Parts(contents)), None, "{record:?}");
            }
        }
    }

    #[test]
    fn every_kind_of_error_with_a_name_is_kept() {
        for kind in KINDS {
            assert_eq!(outcome_from(&outcome_name(Some(kind))), Some(kind));
        }
        assert_eq!(kind_of("SomethingNew"), io::ErrorKind::Other);
    }
}
