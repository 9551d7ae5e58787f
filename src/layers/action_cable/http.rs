//! The HTTP side of a cable: the check of connections, and broadcasts by other programs.

use std::borrow::Cow;

use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{CableHandle, packet};
use crate::{
    http::{
        HeaderValue, Request, StatusCode, header,
        origins::{OriginError, Origins, is_same_host},
    },
    reactor::Hub,
    server::{Reply, Upgrade},
};

/// The subprotocols that a client may ask for.
const SUBPROTOCOLS: [&str; 3] = ["actioncable-v1-json", EXTENDED, "actioncable-unsupported"];

/// The subprotocol of the extended protocol.
pub(super) const EXTENDED: &str = "actioncable-v1-ext-json";

/// The origins of pages that may connect.
pub(super) struct OriginRules {
    pub(super) any: bool,
    pub(super) same_host: bool,
    listed: Option<Origins>,
}

impl Default for OriginRules {
    fn default() -> Self {
        OriginRules { any: false, same_host: true, listed: None }
    }
}

impl OriginRules {
    pub(super) fn allow<S: AsRef<str>>(&mut self, patterns: impl IntoIterator<Item = S>) -> Result<(), OriginError> {
        self.listed = Some(Origins::parse(patterns)?);
        Ok(())
    }

    /// Decides on a request.
    pub(super) fn decide(&self, request: &Request) -> Reply {
        if !self.lets_in(request) {
            return not_found();
        }
        // As Rails does: the first one of the client's list. A client that gets none ends the connection itself.
        match offered(request).find(|name| SUBPROTOCOLS.contains(name)) {
            Some(name) => Upgrade::new().subprotocol(name).into(),
            None => Reply::pass(),
        }
    }

    fn lets_in(&self, request: &Request) -> bool {
        request.header("origin").map_or(self.any, |origin| self.allows(origin, request))
    }

    /// Decides on a request that gets an event stream. Browsers send no origin to the own one.
    pub(super) fn let_read(&self, request: &Request) -> bool {
        request.header("origin").is_none_or(|origin| self.allows(origin, request))
    }

    fn allows(&self, origin: &str, request: &Request) -> bool {
        self.any
            || self.same_host && is_own(origin, request)
            || self.listed.as_ref().is_some_and(|origins| origins.allow(origin, request.host()))
    }
}

/// The subprotocols that a client offers.
fn offered(request: &Request) -> impl Iterator<Item = &str> {
    let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The token among the subprotocols.
pub(super) fn token(request: &Request) -> Option<String> {
    offered(request).find_map(|name| name.strip_prefix("anycable-token.")).map(str::to_owned)
}

/// The session that a client wants again.
pub(super) fn restored_sid(request: &Request) -> Option<String> {
    let of_query = request.query_value("sid").map(Cow::into_owned);
    of_query.or_else(|| request.header("x-anycable-restore-sid").map(str::to_owned)).filter(|sid| !sid.is_empty())
}

/// Returns `true` if an origin has the host of the request and its scheme.
fn is_own(origin: &str, request: &Request) -> bool {
    let scheme = if request.is_secure() { "https://" } else { "http://" };
    origin.starts_with(scheme) && is_same_host(origin, request.host())
}

/// The answer of Rails to a request that is none for a cable.
pub(super) fn not_found() -> Reply {
    let text = HeaderValue::from_static("text/plain");
    Reply::bytes("Page not found").with_status(StatusCode::NOT_FOUND).header(header::CONTENT_TYPE, text)
}

/// A broadcast of another program: its stream, and JSON text.
fn posted(value: &Value) -> Option<(&str, &str)> {
    Some((value.get("stream")?.as_str()?, value.get("data")?.as_str().filter(|data| packet::is_json(data))?))
}

/// Publishes what a program has posted.
pub(super) fn broadcast(request: &Request, hub: &mut Hub, handle: &CableHandle, key: &str) -> Reply {
    let given = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if !given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(key.as_bytes()))) {
        return StatusCode::UNAUTHORIZED.into();
    }
    let Ok(body) = request.json::<Value>() else {
        return Reply::text(StatusCode::UNPROCESSABLE_ENTITY, "the body is no JSON");
    };
    let values = body.as_array().map_or(std::slice::from_ref(&body), Vec::as_slice);
    let Some(broadcasts) = values.iter().map(posted).collect::<Option<Vec<_>>>() else {
        return Reply::text(StatusCode::UNPROCESSABLE_ENTITY, "a broadcast has a stream, and JSON text as data");
    };
    for (stream, data) in broadcasts {
        handle.broadcast_json(hub, stream, data);
    }
    Reply::empty(StatusCode::CREATED)
}
