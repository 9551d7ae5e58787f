//! The body of a request, collected or passed on as it arrives.

use crate::{
    buffer::Bytes,
    http::Request,
    reactor::Stream,
    server::{
        reply::Reply,
        site::{Endpoint, Target},
        upload::{RequestBody, Upload},
    },
};

/// Receives the body of one request.
pub(super) struct BodyReceiver {
    sink: Sink,
    /// Bytes that have arrived.
    received: u64,
}

enum Sink {
    Collected(Vec<u8>),
    Uploaded(Box<dyn Upload>),
}

impl BodyReceiver {
    /// Collects the body.
    pub(super) fn collecting() -> Self {
        BodyReceiver { sink: Sink::Collected(Vec::new()), received: 0 }
    }

    /// Passes the body on.
    pub(super) fn uploading(upload: Box<dyn Upload>) -> Self {
        BodyReceiver { sink: Sink::Uploaded(upload), received: 0 }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes a part of the body. Returns the reply if the rest is not wanted, and the message of a panic.
    pub(super) fn take(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> Result<Option<Reply>, String> {
        self.received += data.len() as u64;
        let (id, received) = (stream.id(), self.received);
        match &mut self.sink {
            Sink::Collected(body) => {
                body.extend_from_slice(data);
                Ok(None)
            }
            Sink::Uploaded(upload) => {
                let taken = stream.guard(|hub| upload.on_chunk(&mut RequestBody::new(hub, id, received), data));
                taken.map(Result::err)
            }
        }
    }

    /// Makes the reply to the complete request. Returns the message of a panic.
    pub(super) fn finish<S>(
        self,
        stream: &mut Stream<'_>,
        request: &mut Request,
        endpoint: &Endpoint<S>,
    ) -> Result<Reply, String> {
        let (id, received) = (stream.id(), self.received);
        match (self.sink, &*endpoint.target) {
            (Sink::Collected(body), Target::Respond(respond)) => {
                request.body = Bytes::from(body);
                stream.guard(|hub| respond(request, hub))
            }
            (Sink::Uploaded(mut upload), _) => {
                stream.guard(|hub| upload.on_end(&mut RequestBody::new(hub, id, received)))
            }
            (Sink::Collected(_), _) => Err("only a route with a reply collects bodies".to_owned()),
        }
    }
}
