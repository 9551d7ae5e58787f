//! Compression of responses.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, StatusCode, header};

use super::{Reply, ReplyKind};
use crate::{
    http::{Request, response},
    server::{Body, reply::body::Source},
};

impl Reply {
    /// Compresses the body by gzip, if the client accepts that: for text of some hundred bytes and more. RFC 9110
    /// §8.4.1.3.
    ///
    /// Only a body of bytes is compressed, at once and whole. A response that has a `Content-Encoding`, or a part of
    /// the content (206), stays as it is, and so do files, streams, upgrades and deferred replies. A strong `ETag`
    /// becomes a weak one. `Vary: Accept-Encoding` is added.
    ///
    /// ```
    /// use ws_reactor::{Reply, Routes};
    ///
    /// let routes = Routes::new().get("/log", |request, _| Reply::from("a line\n".repeat(1000)).gzip(request));
    /// ```
    pub fn gzip(self, request: &Request) -> Self {
        let bytes = match &self.0 {
            ReplyKind::Plain(plain) if is_whole(plain.status) => plain.body.as_bytes(),
            ReplyKind::Respond(response)
                if is_whole(response.status()) && !response.headers().contains_key(header::CONTENT_ENCODING) =>
            {
                response.body().as_bytes()
            }
            _ => None,
        };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return self };
        if !request.accepts_coding("gzip") {
            return self.header(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
        // A vector takes everything.
        let Ok(compressed) = encoder.write_all(bytes).and_then(|()| encoder.finish()) else { return self };
        let mut reply = self.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        if let ReplyKind::Respond(response) = &mut reply.0 {
            *response.body_mut() = compressed.into();
            // The bytes are others than those that a strong validator stands for. RFC 9110 §8.8.1.
            let strong = response.headers().get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
            let weak = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
            if let Some(tag) = weak {
                response.headers_mut().insert(header::ETAG, tag);
            }
        }
        reply.header(header::VARY, HeaderValue::from_static("Accept-Encoding"))
    }
}

/// Returns `true` if a response with this status has all of its content.
fn is_whole(status: StatusCode) -> bool {
    response::has_body(status) && !matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RESET_CONTENT)
}

impl Body {
    fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Source::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}
