//! The part of HTTP that a WebSocket server needs, pure: request heads in, response heads out.
//!
//! The vocabulary is that of the [`http`](https://docs.rs/http) crate, re-exported here.

pub(crate) mod body;
pub(crate) mod head;
mod query;
mod request;
pub(crate) mod response;
pub(crate) mod url;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};

pub use self::{
    head::{HeadError, HeadLimits},
    request::Request,
    url::{UrlError, UrlPart},
};
