//! HTTP/1.1, pure: bytes to requests and responses, and back.
//!
//! The vocabulary is that of the [`http`](https://docs.rs/http) crate, re-exported here.

pub(crate) mod body;
pub(crate) mod body_framing;
#[cfg(feature = "server")]
pub(crate) mod conditional;
// Without routes, no body of a request is asked for.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
pub(crate) mod connection;
#[cfg(feature = "server")]
pub(crate) mod cors;
pub(crate) mod credentials;
pub(crate) mod forwarded;
pub(crate) mod head;
pub(crate) mod origins;
mod query;
#[cfg(any(feature = "server", test, fuzzing))]
pub(crate) mod range;
pub(crate) mod request;
pub(crate) mod request_body;
pub(crate) mod response;
pub(crate) mod retry_after;
#[cfg(feature = "server")]
pub(crate) mod route_error;
pub(crate) mod token;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};

pub use self::{
    body_framing::BodyError,
    forwarded::ForwardedHeaders,
    head::{HeadError, HeadLimits},
    request::Request,
};
