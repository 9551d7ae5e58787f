//! Requests of pages of other origins: CORS (WHATWG Fetch §3.2). Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    Request,
    origins::{OriginError, Origins, is_same_host},
};

/// Which pages of other origins may use routes, and how: one policy for WebSockets, event streams and HTTP. For
/// [`Routes::cors`](crate::Routes::cors).
///
/// ```
/// use ws_reactor::{Cors, EventStream, OriginError, Routes};
///
/// let cors = Cors::origins(["https://app.example.com", "https://*.example.org"])?.credentials(true);
/// let routes = Routes::new().event_stream("/news", |_, _| EventStream::topic("news")).cors(cors);
/// # Ok::<(), OriginError>(())
/// ```
///
/// - A preflight request (`OPTIONS` with `Access-Control-Request-Method`) is answered with 204, or with 403 if the
///   origin is not allowed; callbacks and routes do not see it.
/// - Each response to an allowed origin has `Access-Control-Allow-Origin`, those of errors and event streams included.
///   Other pages cannot read the responses, but simple requests are carried out:
///   [`refuse_others`](Self::refuse_others) refuses them.
/// - A WebSocket of another origin is refused with 403, as by [`Routes::origins`](crate::Routes::origins). Pages of the
///   server's own host may always open one.
///
/// A response that has `Access-Control-Allow-Origin` from the application is left as it is.
#[derive(Debug, Clone)]
#[must_use = "a policy has an effect only in routes"]
pub struct Cors {
    pub(crate) origins: Origins,
    credentials: bool,
    refuses_others: bool,
    /// `None`: those that are asked for.
    methods: Option<Vec<Method>>,
    headers: Option<Vec<HeaderName>>,
    exposed: Vec<HeaderName>,
    max_age: Option<Duration>,
}

impl Cors {
    /// Allows pages of these origins. The patterns are those of [`Server::origins`](crate::Server::origins).
    ///
    /// # Errors
    ///
    /// [`OriginError`]: a pattern that no origin can match, or no pattern at all.
    pub fn origins<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        Ok(Cors {
            origins: Origins::parse(patterns)?,
            credentials: false,
            refuses_others: false,
            methods: None,
            headers: None,
            exposed: Vec::new(),
            max_age: None,
        })
    }

    /// Sets whether browsers may send cookies and other credentials along. Default `false`. With the pattern `*`, any
    /// page may then act for the user.
    pub fn credentials(mut self, allowed: bool) -> Self {
        self.credentials = allowed;
        self
    }

    /// Sets whether requests of HTTP from pages of other origins are answered with 403. Default `false`: their pages
    /// cannot read the responses. Pages of the server's own host are never refused.
    pub fn refuse_others(mut self, refused: bool) -> Self {
        self.refuses_others = refused;
        self
    }

    /// Sets the methods that pages may use beside `GET`, `HEAD` and `POST`. Default: every method that is asked for.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Some(methods.into_iter().collect());
        self
    }

    /// Sets the headers that pages may set. Default: every header that is asked for.
    pub fn headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.headers = Some(headers.into_iter().collect());
        self
    }

    /// Sets the headers of responses that pages may read. Default: those that are always readable, such as
    /// `Content-Type`.
    pub fn exposed_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.exposed = headers.into_iter().collect();
        self
    }

    /// Sets the time for which browsers may keep the answer to a preflight request. Default: theirs, 5 s.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Returns `true` if the page of a request is of an allowed origin, or if the request is not a page's.
    pub(crate) fn allows(&self, request: &Request) -> bool {
        match request.origin() {
            Some(origin) => self.origins.allow(origin, request.host()),
            // An origin that is not ASCII is none that could be listed.
            None => !request.names_origin() || self.origins == Origins::Any,
        }
    }

    /// Returns `true` if the request is to be refused because of its origin.
    pub(crate) fn refuses(&self, request: &Request) -> bool {
        let is_own = |origin: &str| is_same_host(origin, request.host());
        self.refuses_others && !self.allows(request) && !request.origin().is_some_and(is_own)
    }

    /// The headers of the response to a request.
    pub(crate) fn response_headers(&self, request: &Request) -> HeaderMap {
        let mut headers = self.allowed_origin(request);
        if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) && !self.exposed.is_empty() {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, list(&self.exposed));
        }
        headers
    }

    /// The headers of the response to a preflight request. `None` if the origin is not allowed.
    pub(crate) fn preflight_headers(&self, request: &Request) -> Option<HeaderMap> {
        let mut headers = self.allowed_origin(request);
        headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        let asked = |name: HeaderName| request.headers().get(name).cloned();
        let methods = match &self.methods {
            Some(methods) => Some(list(methods)),
            None => asked(header::ACCESS_CONTROL_REQUEST_METHOD),
        };
        let allowed = match &self.headers {
            Some(headers) => Some(list(headers)),
            None => asked(header::ACCESS_CONTROL_REQUEST_HEADERS),
        };
        headers.extend(methods.map(|methods| (header::ACCESS_CONTROL_ALLOW_METHODS, methods)));
        headers.extend(allowed.map(|allowed| (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed)));
        if let Some(age) = self.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, age.as_secs().into());
        }
        headers.append(
            header::VARY,
            HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        Some(headers)
    }

    /// `Access-Control-Allow-Origin` and the headers that go with it; only `Vary` if the origin is not allowed.
    fn allowed_origin(&self, request: &Request) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.origins == Origins::Any && !self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return headers;
        }
        // Caches must not give the response of one origin to another.
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let origin = request.headers().get(header::ORIGIN).filter(|_| request.origin().is_some());
        if let Some(origin) = origin.filter(|_| self.allows(request)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        headers
    }
}

/// Returns `true` if the request asks whether another one would be allowed.
pub(crate) fn is_preflight(request: &Request) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn list<T: AsRef<str>>(names: &[T]) -> HeaderValue {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_addr::PeerAddr;

    fn request(lines: &[(&str, &str)]) -> Request {
        let mut head = http::Request::new(());
        for (name, value) in lines {
            head.headers_mut().append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Request::new(head, PeerAddr::Unix, None, false)
    }

    fn lines(headers: &HeaderMap) -> String {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.join("; ")
    }

    #[test]
    fn response_names_the_origin_that_may_read_it() {
        let page = request(&[("origin", "https://a.example"), ("host", "api.example")]);
        let other = request(&[("origin", "https://evil.example"), ("host", "api.example")]);
        let any = Cors::origins(["*"]).unwrap();
        assert_eq!(lines(&any.response_headers(&page)), "access-control-allow-origin: *");
        let listed = Cors::origins(["https://a.example"]).unwrap().exposed_headers([header::ETAG, header::AGE]);
        assert_eq!(
            lines(&listed.response_headers(&page)),
            "access-control-allow-origin: https://a.example; access-control-expose-headers: etag, age; vary: Origin"
        );
        for silent in [&other, &request(&[])] {
            assert_eq!(lines(&listed.response_headers(silent)), "vary: Origin");
        }
        let with_cookies = any.credentials(true);
        assert_eq!(
            lines(&with_cookies.response_headers(&page)),
            "access-control-allow-credentials: true; access-control-allow-origin: https://a.example; vary: Origin"
        );
    }

    #[test]
    fn preflight_allows_what_is_asked_for_or_what_is_listed() {
        let asked = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-token"),
        ];
        let cors = Cors::origins(["https://a.example"]).unwrap();
        let headers = lines(&cors.preflight_headers(&request(&asked)).unwrap());
        assert!(
            headers.contains("access-control-allow-headers: x-token; access-control-allow-methods: PUT"),
            "{headers}"
        );
        let none = cors.clone().methods([]).headers([]).preflight_headers(&request(&asked)).unwrap();
        assert!(none["access-control-allow-methods"].is_empty() && none["access-control-allow-headers"].is_empty());
        let cors =
            cors.methods([Method::GET, Method::DELETE]).headers([header::ACCEPT]).max_age(Duration::from_secs(60));
        let headers = lines(&cors.preflight_headers(&request(&asked)).unwrap());
        for line in ["allow-headers: accept;", "allow-methods: GET, DELETE;", "max-age: 60;"] {
            assert!(headers.contains(line), "{headers}");
        }
        let other = [("origin", "https://evil.example"), asked[1]];
        assert!(cors.preflight_headers(&request(&other)).is_none());
    }

    #[test]
    fn others_are_refused_where_that_is_set_except_the_own_host() {
        let cors = Cors::origins(["https://a.example"]).unwrap();
        let of = |origin| request(&[("origin", origin), ("host", "api.example:8080")]);
        assert!(!cors.refuses(&of("https://evil.example")));
        let cors = cors.refuse_others(true);
        assert!(cors.refuses(&of("https://evil.example")) && cors.refuses(&of("null")));
        for origin in ["https://a.example", "http://api.example:8080", "https://api.example:8080"] {
            assert!(!cors.refuses(&of(origin)), "{origin}");
        }
        assert!(!cors.refuses(&request(&[])));
    }
}
