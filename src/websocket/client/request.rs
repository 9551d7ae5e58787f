//! The part of a client's request that the application decides.

use std::{cell::RefCell, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    protocol::handshake,
    url::{UrlError, parse_target},
};

/// A request that a client is about to write, for [`Client::on_request`](crate::Client::on_request).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandshakeRequest {
    /// The headers of the application: those of [`Client::header`](crate::Client::header) and
    /// [`origin`](crate::Client::origin). The same rules hold for changes: `Host` and `Origin` replace the client's own
    /// values, and headers that belong to the handshake are left out.
    pub headers: HeaderMap,
    pub(super) target: String,
}

impl HandshakeRequest {
    /// Path and query of the URL.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Sets path and query. Host, port and scheme of the URL remain.
    ///
    /// # Errors
    ///
    /// [`UrlError`] if the target has an octet that a URL does not allow, or a fragment. The target remains.
    pub fn set_target(&mut self, target: &str) -> Result<(), UrlError> {
        self.target = parse_target(target)?;
        Ok(())
    }
}

/// The headers that the application has set.
#[derive(Debug, Default, Clone)]
pub(in crate::websocket) struct GivenHeaders {
    pub(super) headers: HeaderMap,
    /// Replaces the authority of the URL.
    pub(super) host: Option<HeaderValue>,
    pub(super) origin: Option<HeaderValue>,
}

impl GivenHeaders {
    /// Adds a header, unless it belongs to the handshake.
    pub(super) fn add(&mut self, name: HeaderName, value: HeaderValue) {
        match name {
            header::ORIGIN => self.origin = Some(value),
            header::HOST => self.host = Some(value),
            _ if handshake::is_reserved(&name) => {
                log::warn!(target: "ws_reactor::websocket", "header {name} belongs to the handshake and is left out");
            }
            _ => {
                self.headers.append(name, value);
            }
        }
    }

    fn all(&self) -> HeaderMap {
        let mut all = self.headers.clone();
        for (name, value) in [(header::ORIGIN, &self.origin), (header::HOST, &self.host)] {
            if let Some(value) = value {
                all.insert(name, value.clone());
            }
        }
        all
    }

    fn from_all(all: &HeaderMap) -> Self {
        let mut given = GivenHeaders::default();
        for (name, value) in all {
            given.add(name.clone(), value.clone());
        }
        given
    }
}

type Change = Box<dyn FnMut(&mut HandshakeRequest)>;

/// The application's change of each request. The connections of a client share it.
#[derive(Default)]
pub(in crate::websocket) struct OnRequest(Option<RefCell<Change>>);

impl OnRequest {
    pub(super) fn new(change: impl FnMut(&mut HandshakeRequest) + 'static) -> Self {
        OnRequest(Some(RefCell::new(Box::new(change))))
    }

    /// The headers and the target of the next request. `None` if the application changes nothing.
    pub(super) fn change(&self, given: &GivenHeaders, target: &str) -> Option<(GivenHeaders, String)> {
        let change = self.0.as_ref()?;
        let mut request = HandshakeRequest { headers: given.all(), target: target.to_owned() };
        change.borrow_mut()(&mut request);
        Some((GivenHeaders::from_all(&request.headers), request.target))
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnRequest")
    }
}
