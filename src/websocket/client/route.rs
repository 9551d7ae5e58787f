//! The route from a client to its server: the URL, the proxy, and TLS with each.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    error::ConnectError,
    http::credentials::basic,
    net::{
        Endpoint,
        tls::{TlsConnector, default_client},
    },
    proxy::{Proxy, proxy_for},
    reactor::Target,
    url::{Url, UrlError},
    websocket::client::{ClientOptions, Via},
};

/// A route, checked and ready to dial.
#[derive(Debug, Clone)]
pub(in crate::websocket) struct Route {
    pub(in crate::websocket) url: Url,
    pub(in crate::websocket) proxy: Option<Proxy>,
    /// TLS with the server, and with the proxy.
    pub(in crate::websocket) tls: Option<TlsConnector>,
    pub(in crate::websocket) proxy_tls: Option<TlsConnector>,
}

impl Route {
    /// The route to `url`.
    pub(in crate::websocket) fn new(url: Url, options: &ClientOptions) -> Result<Self, ConnectError> {
        let refused = |url: String| move |source| ConnectError::Url { url, source };
        let proxy = match &options.via {
            _ if url.socket.is_some() => None,
            Via::Direct => None,
            Via::Proxy(proxy) => Some(proxy.clone()),
            Via::Environment => {
                let found = proxy_for(&url, |name| std::env::var(name).ok());
                found.map_err(|(proxy, source)| ConnectError::Url { url: proxy, source })?
            }
        };
        let tls = connector(url.secure, options.tls.as_ref()).map_err(refused(url.location()))?;
        let secure = proxy.as_ref().is_some_and(Proxy::is_secure);
        let proxy_tls = connector(secure, options.proxy_tls.as_ref());
        let proxy_tls =
            proxy_tls.map_err(refused(proxy.as_ref().map_or_else(String::new, |proxy| proxy.host.clone())))?;
        Ok(Route { url, proxy, tls, proxy_tls })
    }

    /// The target to connect to: the server, or the proxy.
    pub(in crate::websocket) fn target(&self) -> Target {
        match (&self.url.socket, &self.proxy) {
            (Some(socket), _) => Target::Address(Endpoint::Unix(socket.clone())),
            (None, Some(proxy)) => Target::new(&proxy.host, proxy.port),
            (None, None) => Target::new(&self.url.scoped_host(), self.url.port),
        }
    }

    /// The application's headers for this route. `home` is the URL they were set for; credentials are sent only there.
    pub(in crate::websocket) fn headers(&self, home: &Url, given: &HeaderMap) -> HeaderMap {
        let same_origin = self.url.same_origin(home);
        let secret = |name: &HeaderName, value: &HeaderValue| {
            value.is_sensitive()
                || matches!(*name, header::AUTHORIZATION | header::COOKIE | header::PROXY_AUTHORIZATION)
        };
        let mut headers = HeaderMap::with_capacity(given.len() + 1);
        for (name, value) in given.iter().filter(|(name, value)| same_origin || !secret(name, value)) {
            headers.append(name, value.clone());
        }
        let credentials = self.url.credentials.as_ref().or(home.credentials.as_ref().filter(|_| same_origin));
        if let Some(credentials) = credentials.filter(|_| !headers.contains_key(header::AUTHORIZATION)) {
            headers.insert(header::AUTHORIZATION, basic(credentials));
        }
        headers
    }

    /// The route that a redirect leads to. `None` if the response is not a redirect, or leads from `wss` to `ws`.
    pub(in crate::websocket) fn redirected(&self, response: &Response<()>, options: &ClientOptions) -> Option<Route> {
        let leads_on = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = response.headers().get(header::LOCATION).filter(|_| leads_on)?;
        let url = self.url.join(location.to_str().ok()?).ok()?;
        let weaker = self.url.secure && !url.secure;
        if weaker { None } else { Route::new(url, options).ok() }
    }
}

/// The TLS connector of a secure route: `given`, or the default one.
fn connector(secure: bool, given: Option<&TlsConnector>) -> Result<Option<TlsConnector>, UrlError> {
    if !secure {
        return Ok(None);
    }
    let missing = if cfg!(feature = "tls") { UrlError::NoRoots } else { UrlError::NoTls };
    given.cloned().or_else(default_client).map(Some).ok_or(missing)
}
