//! Bodies of responses: bytes, or a stream that is pulled while there is room.

use std::{
    fmt, io,
    task::{Context, Poll},
};
#[cfg(feature = "server")]
use std::{fs::File, io::Read};

use crate::{buffer::Bytes, http::connection::BodyLength};

/// Largest part of a body that is queued at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A body whose parts are made while the response is sent.
///
/// Parts are asked for only while less than [`pause_reading_bytes`](crate::OutputLimits::pause_reading_bytes) (64 KiB)
/// of output wait, so a slow reader costs no memory beyond that. A reader that stalls is closed as
/// [`OutputLimits`](crate::OutputLimits) describes.
///
/// The signature is that of the streams of async libraries: a channel of theirs can be polled here. It needs no
/// runtime.
///
/// ```
/// use std::{io, task::{Context, Poll}};
/// use ws_reactor::{BodyStream, Bytes, Reply};
///
/// /// Counts down.
/// struct Countdown(u32);
///
/// impl BodyStream for Countdown {
///     fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
///         self.0 = match self.0.checked_sub(1) {
///             Some(left) => left,
///             None => return Poll::Ready(None),
///         };
///         Poll::Ready(Some(Ok(format!("{}\n", self.0).into())))
///     }
/// }
///
/// let reply = Reply::stream(Countdown(10));
/// ```
pub trait BodyStream {
    /// The next part. `None`: the body is complete.
    ///
    /// `Pending`: there is none yet. The stream is polled again after the waker of `context` was woken, from any
    /// thread, and at times without that. Nothing is sent meanwhile, so a client that has gone is noticed with the next
    /// part only.
    ///
    /// # Errors
    ///
    /// The body cannot be completed. The connection is terminated, so that the client sees that the body is
    /// incomplete, and the error is passed to [`Server::on_error`](crate::Server::on_error).
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;

    /// Length of the whole body in bytes, sent as `Content-Length`. `None`, the default: unknown, and the body is
    /// sent in chunks, or in HTTP/1.0 up to the end of the connection.
    ///
    /// If the stream yields another number of bytes, the connection is terminated.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// Parts of an iterator.
pub(in crate::server) struct Parts<I>(pub(in crate::server) I);

impl<I: Iterator<Item: Into<Bytes>>> BodyStream for Parts<I> {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.0.next().map(|part| Ok(part.into())))
    }
}

/// Body of a response: empty, bytes, or a [`BodyStream`].
#[derive(Default)]
pub struct Body(pub(in crate::server) Source);

/// Where the rest of a body comes from.
#[derive(Default)]
pub(in crate::server) enum Source {
    #[default]
    Empty,
    Bytes(Bytes),
    /// A part of a file: the position is set, and the number of bytes given.
    #[cfg(feature = "server")]
    File(File, u64),
    /// The stream, and the number of bytes that it has announced and not yet given.
    Stream(Box<dyn BodyStream + Send>, Option<u64>),
}

/// A part of a body.
#[derive(Debug)]
pub(in crate::server) enum Part {
    Bytes(Bytes),
    Pending,
    End,
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Body::default()
    }

    /// A body whose parts are made while the response is sent.
    pub fn stream(stream: impl BodyStream + Send + 'static) -> Self {
        let length = stream.length();
        Body(Source::Stream(Box::new(stream), length))
    }

    #[cfg(feature = "server")]
    pub(in crate::server) fn file(file: File, length: u64) -> Self {
        Body(Source::File(file, length))
    }

    pub(in crate::server) fn length(&self) -> BodyLength {
        match &self.0 {
            Source::Empty => BodyLength::Known(0),
            Source::Bytes(bytes) => BodyLength::Known(bytes.len() as u64),
            #[cfg(feature = "server")]
            Source::File(_, left) => BodyLength::Known(*left),
            Source::Stream(_, length) => length.map_or(BodyLength::Unknown, BodyLength::Known),
        }
    }

    /// The bytes of a body that is so short that it is sent along with its head.
    pub(in crate::server) fn as_short(&self) -> Option<&[u8]> {
        match &self.0 {
            Source::Empty => Some(&[]),
            Source::Bytes(bytes) if bytes.len() <= CHUNK_BYTES / 4 => Some(bytes),
            _ => None,
        }
    }
}

impl Source {
    /// The next part.
    pub(in crate::server) fn next(&mut self, context: &mut Context<'_>) -> io::Result<Part> {
        match self {
            Source::Empty => Ok(Part::End),
            Source::Bytes(bytes) if bytes.is_empty() => Ok(Part::End),
            Source::Bytes(bytes) => Ok(Part::Bytes(bytes.split_to(bytes.len().min(CHUNK_BYTES)))),
            #[cfg(feature = "server")]
            Source::File(_, 0) => Ok(Part::End),
            #[cfg(feature = "server")]
            Source::File(file, left) => {
                let wanted = (*left).min(CHUNK_BYTES as u64);
                let mut bytes = Vec::with_capacity(wanted as usize);
                file.take(wanted).read_to_end(&mut bytes)?;
                if bytes.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
                }
                *left -= bytes.len() as u64;
                Ok(Part::Bytes(bytes.into()))
            }
            Source::Stream(stream, left) => {
                let part = match stream.poll_chunk(context) {
                    Poll::Pending => return Ok(Part::Pending),
                    Poll::Ready(part) => part.transpose()?,
                };
                match (part, left) {
                    (Some(bytes), Some(left)) => {
                        *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| wrong_length("more"))?;
                        Ok(Part::Bytes(bytes))
                    }
                    (Some(bytes), None) => Ok(Part::Bytes(bytes)),
                    (None, Some(1..)) => Err(wrong_length("fewer")),
                    (None, _) => Ok(Part::End),
                }
            }
        }
    }
}

fn wrong_length(amount: &str) -> io::Error {
    io::Error::other(format!("a body has {amount} bytes than its length"))
}

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Body").field(&self.length()).finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(Source::Bytes(bytes))
    }
}

/// Conversions by way of `Bytes`.
macro_rules! from {
    ($($type:ty),*) => {
        $(
            impl From<$type> for Body {
                fn from(bytes: $type) -> Self {
                    Body(Source::Bytes(Bytes::from(bytes)))
                }
            }
        )*
    };
}

from!(Vec<u8>, String, &'static [u8], &'static str);

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        Body::from(&bytes[..])
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Body::empty()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Yields its parts, and announces a length.
    struct Announced(Vec<&'static str>, u64);

    impl BodyStream for Announced {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
            Poll::Ready(self.0.pop().map(|part| Ok(part.into())))
        }

        fn length(&self) -> Option<u64> {
            Some(self.1)
        }
    }

    /// All bytes of a body, in parts.
    fn parts(body: Body) -> io::Result<Vec<Vec<u8>>> {
        let (mut source, mut context, mut parts) = (body.0, Context::from_waker(Waker::noop()), Vec::new());
        loop {
            match source.next(&mut context)? {
                Part::Bytes(bytes) => parts.push(bytes.to_vec()),
                Part::Pending => panic!("pending"),
                Part::End => return Ok(parts),
            }
        }
    }

    #[test]
    fn bytes_are_yielded_in_parts_of_64_kib() {
        let body = Body::from(vec![7; 2 * CHUNK_BYTES + 1]);
        assert_eq!(body.length(), BodyLength::Known(2 * CHUNK_BYTES as u64 + 1));
        let lengths: Vec<usize> = parts(body).unwrap().iter().map(Vec::len).collect();
        assert_eq!(lengths, [CHUNK_BYTES, CHUNK_BYTES, 1]);
        assert!(parts(Body::empty()).unwrap().is_empty() && parts("".into()).unwrap().is_empty());
    }

    #[test]
    fn stream_with_another_length_than_announced_is_an_error() {
        for (length, sound) in [(5, true), (4, false), (6, false)] {
            let body = Body::stream(Announced(vec!["de", "abc"], length));
            assert_eq!(body.length(), BodyLength::Known(length));
            assert_eq!(parts(body).is_ok(), sound, "{length}");
        }
        assert_eq!(parts(Body::stream(Parts(["a", "b"].into_iter()))).unwrap(), [b"a", b"b"]);
    }

    #[cfg(feature = "server")]
    #[test]
    fn file_that_has_become_shorter_is_an_error() {
        let path = std::env::temp_dir().join(format!("ws-reactor-body-{}", std::process::id()));
        std::fs::write(&path, "content").unwrap();
        for (length, expected) in [(7, Some("content")), (3, Some("con")), (8, None)] {
            let read = parts(Body(Source::File(File::open(&path).unwrap(), length))).ok();
            assert_eq!(read.map(|parts| parts.concat()).as_deref(), expected.map(str::as_bytes), "{length}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
