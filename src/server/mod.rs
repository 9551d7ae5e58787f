//! The server floor: HTTP requests on a stream, their routes and replies.

mod date;
#[cfg(any(feature = "server", test, fuzzing))]
mod file_path;
#[cfg(feature = "server")]
mod files;
mod http_stream;
mod preamble;
mod reply;
#[cfg(feature = "server")]
mod route_table;
mod site;
#[cfg(feature = "server")]
mod upload;

#[cfg(any(test, fuzzing))]
pub(crate) use self::file_path::relative_path;
pub use self::reply::{
    Reply,
    body::{Body, BodyStream},
    responder::Responder,
    upgrade::Upgrade,
};
#[cfg(feature = "server")]
pub(crate) use self::route_table::{Methods, RouteTable};
pub(crate) use self::{
    date::DateClock,
    http_stream::HttpStream,
    site::{Endpoint, Found, HttpConfig, Refusal, Rules, Site, Target},
};
#[cfg(feature = "server")]
pub use self::{
    files::Files,
    reply::{event_stream::EventStream, long_poll::LongPoll},
    upload::{RequestBody, Upload},
};
