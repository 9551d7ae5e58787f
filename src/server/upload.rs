//! Request bodies that are not collected: an upload is passed on as it arrives.

use super::reply::Reply;
use crate::{
    http::Request,
    reactor::{ConnectionId, Hub},
};

/// Receives the body of a request part by part. Made by the factory of a
/// [`Routes::upload`](crate::Routes::upload) for each request.
///
/// A value that is dropped without `on_end` belongs to a request whose body did not arrive whole: the client has gone,
/// was too slow, or sent too much.
///
/// ```
/// use ws_reactor::{Reply, RequestBody, Routes, Upload};
///
/// /// Counts the lines of a body of any length.
/// #[derive(Default)]
/// struct Lines(usize);
///
/// impl Upload for Lines {
///     fn on_chunk(&mut self, _: &mut RequestBody<'_>, data: &[u8]) -> Result<(), Reply> {
///         self.0 += data.iter().filter(|byte| **byte == b'\n').count();
///         Ok(())
///     }
///
///     fn on_end(&mut self, _: &mut RequestBody<'_>) -> Reply {
///         Reply::bytes(format!("{}\n", self.0))
///     }
/// }
///
/// let routes = Routes::new().max_body_bytes(10 << 30).upload("/count", |_, _| Ok::<_, Reply>(Lines::default()));
/// ```
pub trait Upload {
    /// Takes a part of the body. Parts have any length, as they arrive.
    ///
    /// # Errors
    ///
    /// The reply to a request whose rest is not wanted. A rest of at most 64 KiB is discarded; otherwise the connection
    /// ends after the reply.
    fn on_chunk(&mut self, body: &mut RequestBody<'_>, data: &[u8]) -> Result<(), Reply>;

    /// Makes the reply, after the whole body. [`Reply::later`] defers it.
    fn on_end(&mut self, body: &mut RequestBody<'_>) -> Reply;
}

/// Makes the [`Upload`] of a request, or the reply if its body is not wanted.
pub(crate) type UploadFactory = dyn Fn(&Request, &mut Hub) -> Result<Box<dyn Upload>, Reply>;

/// Handle of a request during a callback of its [`Upload`].
#[derive(Debug)]
pub struct RequestBody<'a> {
    hub: &'a mut Hub,
    id: ConnectionId,
    received: u64,
}

impl<'a> RequestBody<'a> {
    pub(super) fn new(hub: &'a mut Hub, id: ConnectionId, received: u64) -> Self {
        RequestBody { hub, id, received }
    }

    /// Bytes of the body that have arrived so far, those of this part included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Id of the connection, for [`Remote::resume`](crate::Remote::resume).
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Stops reading the body after this part: the client has to wait, without a time-out. See [`Hub::pause`].
    pub fn pause(&mut self) {
        self.hub.pause(self.id);
    }

    /// Resumes reading; see [`Hub::resume`].
    pub fn resume(&mut self) {
        self.hub.resume(self.id);
    }

    /// Returns the [`Hub`].
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }
}
