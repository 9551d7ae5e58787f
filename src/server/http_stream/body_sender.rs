//! The body of a response that is sent in parts, while there is room for them.

use std::{sync::Arc, task::Context};

use super::waker::ConnectionWaker;
use crate::{
    buffer::{Bytes, LARGE_PAYLOAD_BYTES},
    error::Error,
    http::connection::HttpConnection,
    reactor::Stream,
    server::reply::body::{Part, Source},
};

/// Parts of a body made in one callback.
const MAX_PARTS: usize = 256;

/// Sends the bodies of a connection's responses, one after the other.
#[derive(Default)]
pub(super) struct BodySender {
    waker: Option<Arc<ConnectionWaker>>,
}

/// Progress of a body.
pub(super) enum Sending {
    /// The rest waits for room, or for the application.
    Waits,
    Complete,
    /// The body cannot be completed.
    Failed(Error),
}

impl BodySender {
    /// Sends parts of a body while there is room for them. Where there is none, `on_drain` follows.
    pub(super) fn send(&mut self, source: &mut Source, http: &HttpConnection, stream: &mut Stream<'_>) -> Sending {
        let id = stream.id();
        let connection = self.waker.get_or_insert_with(|| ConnectionWaker::new(stream.hub.remote(), id));
        let waker = connection.waker();
        for _ in 0..MAX_PARTS {
            if !stream.hub.has_room(id) {
                break;
            }
            match stream.guard(|_| source.next(&mut Context::from_waker(&waker))) {
                Ok(Ok(Part::Bytes(bytes))) => write_part(http, stream, bytes),
                Ok(Ok(Part::Pending)) => return Sending::Waits,
                Ok(Ok(Part::End)) => return Sending::Complete,
                Ok(Err(error)) => return Sending::Failed(Error::Io(error)),
                Err(message) => return Sending::Failed(Error::Panic(message)),
            }
        }
        stream.hub.await_drain(id);
        Sending::Waits
    }

    /// The connection was woken: a later wake-up is sent again.
    pub(super) fn on_wakeup(&self) {
        if let Some(waker) = &self.waker {
            waker.on_wakeup();
        }
    }
}

/// Queues a part of a body, a large one without a copy.
fn write_part(http: &HttpConnection, stream: &mut Stream<'_>, bytes: Bytes) {
    let (id, length) = (stream.id(), bytes.len());
    if length == 0 {
        return;
    }
    if length < LARGE_PAYLOAD_BYTES {
        return stream.hub.append(id, length, |out| http.write_body(&bytes, out));
    }
    let framing = http.chunk_framing(length);
    if let Some((before, _)) = &framing {
        stream.hub.append(id, before.len(), |out| out.extend_from_slice(before.as_bytes()));
    }
    stream.hub.append_shared(id, bytes);
    if let Some((_, after)) = framing {
        stream.hub.append(id, after.len(), |out| out.extend_from_slice(after));
    }
}
