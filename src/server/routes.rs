//! Routes: from host, path and method of a request to its target.

use std::{borrow::Cow, fmt};

use http::Method;

use crate::url::percent;

/// Two routes or an invalid pattern: an error of the application, found when the route is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is malformed, or matches the same paths as another one.
    Pattern {
        /// The pattern.
        pattern: String,
        /// The fault.
        reason: String,
    },
    /// The method has a route for this pattern already.
    Method {
        /// The pattern.
        pattern: String,
        /// The method.
        method: Method,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Pattern { pattern, reason } => write!(formatter, "route {pattern:?}: {reason}"),
            RouteError::Method { pattern, method } => write!(formatter, "route {pattern:?} has a {method} already"),
        }
    }
}

impl std::error::Error for RouteError {}

/// Which requests of a pattern a target takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Methods {
    One(Method),
    /// Every method that has no target of its own.
    Any,
}

/// Targets by host, path and method.
pub(crate) struct Routes<T> {
    paths: matchit::Router<usize>,
    patterns: Vec<Pattern<T>>,
    hosts: Vec<(String, Routes<T>)>,
    fallback: Option<T>,
}

struct Pattern<T> {
    text: String,
    targets: Vec<(Methods, T)>,
}

/// Result of a look-up.
#[derive(Debug)]
pub(crate) enum Found<'r, T> {
    /// `is_head`: a `HEAD` request is answered by the target of `GET`.
    Target {
        target: &'r T,
        params: Params,
        is_head: bool,
    },
    /// The path exists, but not with this method: 405, or the answer to `OPTIONS`. The value is that of `Allow`.
    Methods(String),
    Nothing,
}

/// Parameters of a path, decoded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<T> Routes<T> {
    pub(crate) fn new() -> Self {
        Routes { paths: matchit::Router::new(), patterns: Vec::new(), hosts: Vec::new(), fallback: None }
    }

    /// Adds a target. A pattern is a path with parameters: `/rooms/{room}`, and `/files/{*path}` for a rest.
    pub(crate) fn add(&mut self, pattern: &str, methods: Methods, target: T) -> Result<(), RouteError> {
        if !pattern.starts_with('/') {
            let reason = "a pattern begins with a slash".to_owned();
            return Err(RouteError::Pattern { pattern: pattern.to_owned(), reason });
        }
        if let Some(known) = self.patterns.iter_mut().find(|known| known.text == pattern) {
            if known.targets.iter().any(|(other, _)| *other == methods) {
                let method = if let Methods::One(method) = methods {
                    method
                } else {
                    Method::from_bytes(b"ANY").unwrap_or_default()
                };
                return Err(RouteError::Method { pattern: pattern.to_owned(), method });
            }
            known.targets.push((methods, target));
            return Ok(());
        }
        self.paths
            .insert(pattern, self.patterns.len())
            .map_err(|error| RouteError::Pattern { pattern: pattern.to_owned(), reason: error.to_string() })?;
        self.patterns.push(Pattern { text: pattern.to_owned(), targets: vec![(methods, target)] });
        Ok(())
    }

    /// Uses other routes for a host, such as `api.example.com`. Its port does not count.
    pub(crate) fn host(&mut self, host: &str, routes: Routes<T>) {
        self.hosts.push((host.to_ascii_lowercase(), routes));
    }

    /// Sets the target of requests for which there is no path.
    pub(crate) fn set_fallback(&mut self, target: T) {
        self.fallback = Some(target);
    }

    /// Adds all routes of `inner`, each behind a prefix.
    pub(crate) fn nest(&mut self, prefix: &str, inner: Routes<T>) -> Result<(), RouteError> {
        let prefix = prefix.trim_end_matches('/');
        for Pattern { text, targets } in inner.patterns {
            let rest = if text == "/" && !prefix.is_empty() { "" } else { &text };
            for (methods, target) in targets {
                self.add(&format!("{prefix}{rest}"), methods, target)?;
            }
        }
        Ok(())
    }

    /// Finds the target of a request. `host` is the value of `Host`, `path` the path as it came.
    pub(crate) fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_, T> {
        let name = without_port(host);
        if let Some((_, routes)) = self.hosts.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return routes.find_path(path, method);
        }
        self.find_path(path, method)
    }

    fn find_path(&self, path: &str, method: &Method) -> Found<'_, T> {
        let found = normalized(path).and_then(|path| {
            let matched = self.paths.at(&path).ok()?;
            let params = matched.params.iter().map(|(name, value)| (name.to_owned(), unescaped(value)));
            Some((&self.patterns[*matched.value], Params(params.collect())))
        });
        match (found, &self.fallback) {
            (Some((pattern, params)), _) => pattern.find(method, params),
            (None, Some(target)) => {
                Found::Target { target, params: Params::default(), is_head: *method == Method::HEAD }
            }
            (None, None) => Found::Nothing,
        }
    }
}

impl<T> Pattern<T> {
    fn find(&self, method: &Method, params: Params) -> Found<'_, T> {
        let of =
            |wanted: &Methods| self.targets.iter().find(|(methods, _)| methods == wanted).map(|(_, target)| target);
        let own = of(&Methods::One(method.clone()));
        let is_head = own.is_none() && *method == Method::HEAD;
        let get = if is_head { of(&Methods::One(Method::GET)) } else { None };
        match own.or(get).or_else(|| of(&Methods::Any)) {
            Some(target) => Found::Target { target, params, is_head: *method == Method::HEAD },
            None => Found::Methods(self.allow()),
        }
    }

    /// The value of `Allow`: `HEAD` and `OPTIONS` are answered without targets of their own.
    fn allow(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (methods, _) in &self.targets {
            if let Methods::One(method) = methods {
                names.push(method.as_str());
                if *method == Method::GET {
                    names.push("HEAD");
                }
            }
        }
        names.push("OPTIONS");
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}

/// The host of a `Host` header.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        // The colons of an IPv6 address are in brackets.
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// A path whose escapes are decoded, except those of `/` and `%`, so that a parameter may contain a slash. `None` if the
/// result is not UTF-8.
fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let kept = path.replace("%25", "%2525").replace("%2F", "%252F").replace("%2f", "%252F");
    String::from_utf8(percent::decoded(&kept)).ok().map(Cow::Owned)
}

/// A parameter without the escapes that [`normalized`] has left.
fn unescaped(value: &str) -> String {
    value.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(all: &[(&str, &str)]) -> Routes<&'static str> {
        let mut routes = Routes::new();
        for (method, pattern) in all {
            let methods = if *method == "*" { Methods::Any } else { Methods::One(method.parse().unwrap()) };
            let target: &'static str = Box::leak(format!("{method} {pattern}").into_boxed_str());
            routes.add(pattern, methods, target).unwrap();
        }
        routes
    }

    fn find(routes: &Routes<&'static str>, request: &str) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        match routes.find("a", path, &method.parse().unwrap()) {
            Found::Target { target, params, .. } => {
                let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{target} {}", params.join(" ")).trim_end().to_owned()
            }
            Found::Methods(allow) => format!("405 {allow}"),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn path_and_method_choose_the_target() {
        let routes = routes(&[
            ("GET", "/"),
            ("GET", "/rooms/{room}"),
            ("POST", "/rooms/{room}"),
            ("GET", "/rooms/lobby"),
            ("GET", "/files/{*path}"),
            ("*", "/echo"),
            ("PUT", "/echo"),
            ("POST", "/only"),
        ]);
        for (request, target) in [
            ("GET /", "GET /"),
            ("HEAD /", "GET /"),
            ("GET /rooms/7", "GET /rooms/{room} room=7"),
            ("POST /rooms/7", "POST /rooms/{room} room=7"),
            ("GET /rooms/lobby", "GET /rooms/lobby"),
            ("POST /rooms/lobby", "405 GET, HEAD, OPTIONS"),
            ("DELETE /rooms/7", "405 GET, HEAD, OPTIONS, POST"),
            ("OPTIONS /rooms/7", "405 GET, HEAD, OPTIONS, POST"),
            ("GET /files/a/b.css", "GET /files/{*path} path=a/b.css"),
            ("PATCH /echo", "* /echo"),
            ("HEAD /echo", "* /echo"),
            ("PUT /echo", "PUT /echo"),
            ("HEAD /only", "405 OPTIONS, POST"),
            ("GET /nothing", "404"),
            ("GET /rooms", "404"),
            ("GET /rooms/", "404"),
            ("GET /rooms/7/", "404"),
            ("get /", "405 GET, HEAD, OPTIONS"),
        ] {
            assert_eq!(find(&routes, request), target, "{request}");
        }
    }

    #[test]
    fn escapes_are_decoded_once_and_an_escaped_slash_does_not_divide() {
        let routes = routes(&[("GET", "/rooms/{room}"), ("GET", "/café")]);
        for (request, target) in [
            ("GET /caf%C3%A9", "GET /café"),
            ("GET /caf%c3%a9", "GET /café"),
            ("GET /rooms/a%2Fb", "GET /rooms/{room} room=a/b"),
            ("GET /rooms/a%2fb", "GET /rooms/{room} room=a/b"),
            ("GET /rooms/100%25", "GET /rooms/{room} room=100%"),
            ("GET /rooms/%252F", "GET /rooms/{room} room=%2F"),
            ("GET /rooms/a%20b", "GET /rooms/{room} room=a b"),
            ("GET /r%6foms/a", "GET /rooms/{room} room=a"),
            ("GET /rooms/%ff", "404"),
        ] {
            assert_eq!(find(&routes, request), target, "{request}");
        }
    }

    #[test]
    fn host_has_routes_of_its_own() {
        let mut all = routes(&[("GET", "/")]);
        all.host("API.example.com", routes(&[("GET", "/v1")]));
        let is_found = |host, path| matches!(all.find(host, path, &Method::GET), Found::Target { .. });
        for host in ["api.example.com", "api.example.com:8080", "Api.Example.COM"] {
            assert!(is_found(host, "/v1") && !is_found(host, "/"), "{host}");
        }
        for host in ["example.com", "[::1]", "[::1]:80", ""] {
            assert!(!is_found(host, "/v1") && is_found(host, "/"), "{host}");
        }
    }

    #[test]
    fn nested_routes_are_behind_their_prefix() {
        let mut all = routes(&[("GET", "/")]);
        all.nest("/api/", routes(&[("GET", "/"), ("GET", "/rooms/{room}")])).unwrap();
        assert_eq!(find(&all, "GET /api"), "GET /");
        assert_eq!(find(&all, "GET /api/rooms/7"), "GET /rooms/{room} room=7");
        assert_eq!(find(&all, "GET /rooms/7"), "404");
        all.set_fallback("fallback");
        assert_eq!(find(&all, "GET /rooms/7"), "fallback");
    }

    #[test]
    fn conflicting_or_malformed_routes_are_errors() {
        let mut all = routes(&[("GET", "/rooms/{room}")]);
        for (method, pattern, error) in [
            ("GET", "/rooms/{room}", "has a GET already"),
            ("GET", "/rooms/{other}", "/rooms/{other}"),
            ("GET", "rooms", "begins with a slash"),
            ("GET", "/rooms/{", "/rooms/{"),
        ] {
            let refused = all.add(pattern, Methods::One(method.parse().unwrap()), "x").unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }
}
