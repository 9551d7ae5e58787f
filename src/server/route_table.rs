//! Routes: from host, path and method of a request to its target.

use std::{borrow::Cow, rc::Rc};

use http::{HeaderValue, Method, StatusCode, header};

use super::{
    reply::Reply,
    site::{Endpoint, Found},
};
use crate::{
    http::{Request, request::Params, route_error::RouteError},
    url::percent,
};

/// Which requests of a pattern a target takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Methods {
    One(Method),
    /// Every method that has no target of its own.
    Any,
    /// Requests that ask for a WebSocket. Other `GET`s of the pattern have a target of their own, or are refused.
    WebSocket,
}

/// Targets by host, path and method.
pub(crate) struct RouteTable<T> {
    paths: matchit::Router<usize>,
    /// Prefixes whose targets answer what has no path of its own.
    prefixes: matchit::Router<usize>,
    patterns: Vec<Pattern<T>>,
    hosts: Vec<(String, RouteTable<T>)>,
    fallback: Option<T>,
}

struct Pattern<T> {
    text: String,
    /// The text is a prefix, and the pattern stands for what is below, too.
    is_prefix: bool,
    targets: Vec<(Methods, T)>,
}

/// Result of a look-up.
#[derive(Debug)]
pub(crate) enum Lookup<'r, T> {
    Target(&'r T, Params),
    /// The path exists, but not with this method: 405, or the answer to `OPTIONS`. The value is that of `Allow`.
    Methods(String),
    Nothing,
    /// The path is not UTF-8.
    Malformed,
}

impl<T> RouteTable<T> {
    pub(crate) fn new() -> Self {
        let (paths, prefixes) = (matchit::Router::new(), matchit::Router::new());
        RouteTable { paths, prefixes, patterns: Vec::new(), hosts: Vec::new(), fallback: None }
    }

    /// Adds a target. A pattern is a path with parameters: `/rooms/{room}`, and `/files/{*path}` for a rest.
    pub(crate) fn add(&mut self, pattern: &str, methods: Methods, target: T) -> Result<(), RouteError> {
        check_pattern(pattern)?;
        if let Some(known) = self.patterns.iter_mut().find(|known| known.text == pattern && !known.is_prefix) {
            return known.add(pattern, methods, target);
        }
        self.paths.insert(pattern, self.patterns.len()).map_err(|error| refused(pattern, &error.to_string()))?;
        let targets = vec![(methods, target)];
        self.patterns.push(Pattern { text: pattern.to_owned(), is_prefix: false, targets });
        Ok(())
    }

    /// Adds a target for a path without a slash at its end, and for all paths below, as far as they have none.
    pub(crate) fn add_below(&mut self, prefix: &str, methods: Methods, target: T) -> Result<(), RouteError> {
        if let Some(known) = self.patterns.iter_mut().find(|known| known.text == prefix && known.is_prefix) {
            return known.add(prefix, methods, target);
        }
        let all = [prefix.to_owned(), format!("{prefix}/"), format!("{prefix}/{{*path}}")];
        for pattern in all.iter().filter(|pattern| !pattern.is_empty()) {
            check_pattern(pattern)?;
            self.prefixes.insert(pattern, self.patterns.len()).map_err(|error| refused(prefix, &error.to_string()))?;
        }
        let targets = vec![(methods, target)];
        self.patterns.push(Pattern { text: prefix.to_owned(), is_prefix: true, targets });
        Ok(())
    }

    /// Uses other routes for a host, such as `api.example.com`, or for all its subdomains: `*.example.com`.
    pub(crate) fn add_host(&mut self, host: &str, routes: RouteTable<T>) -> Result<(), RouteError> {
        let name = host.to_ascii_lowercase();
        let is_named = !name.is_empty() && !name.trim_start_matches("*.").contains(['*', '/', '@', ' ']);
        let is_without_port = without_port(&name) == name;
        match () {
            () if !is_named => Err(refused(host, "not the name of a host")),
            () if !is_without_port => Err(refused(host, "a host is named without its port")),
            () if !routes.hosts.is_empty() => Err(refused(host, "a host has no hosts of its own")),
            () if self.hosts.iter().any(|(known, _)| *known == name) => Err(refused(host, "the host is set twice")),
            () => {
                self.hosts.push((name, routes));
                Ok(())
            }
        }
    }

    /// The routes for a host: those of its name, else those of the nearest domain with subdomains.
    fn of_host(&self, host: &str) -> &RouteTable<T> {
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_below = |pattern: &str| {
            let suffix = pattern.strip_prefix('*');
            suffix.is_some_and(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
        };
        let exact = self.hosts.iter().find(|(known, _)| known == name);
        let below = || self.hosts.iter().filter(|(known, _)| is_below(known)).max_by_key(|(known, _)| known.len());
        exact.or_else(below).map_or(self, |(_, routes)| routes)
    }

    /// Sets the target of requests for which there is no path.
    pub(crate) fn set_fallback(&mut self, target: T) {
        self.fallback = Some(target);
    }

    /// Finds the target of a request. `host` is the host that it addresses, `path` the path as it came.
    pub(crate) fn find(&self, host: &str, path: &str, method: &Method, is_websocket: bool) -> Lookup<'_, T> {
        let routes = if self.hosts.is_empty() { self } else { self.of_host(host) };
        routes.find_path(path, method, is_websocket)
    }

    fn find_path(&self, path: &str, method: &Method, is_websocket: bool) -> Lookup<'_, T> {
        let Some(path) = normalized(path) else { return Lookup::Malformed };
        match (self.paths.at(&path).or_else(|_| self.prefixes.at(&path)), &self.fallback) {
            (Ok(matched), _) => {
                let params = matched.params.iter().map(|(name, value)| (name.to_owned(), unescaped(value)));
                self.patterns[*matched.value].find(method, is_websocket, Params(params.collect()))
            }
            (Err(_), Some(target)) => Lookup::Target(target, Params::default()),
            (Err(_), None) => Lookup::Nothing,
        }
    }
}

impl<S> RouteTable<Rc<Endpoint<S>>> {
    /// Finds the endpoint of a request, or the reply in place of one. Sets the parameters of the path.
    pub(crate) fn find_endpoint(&self, request: &mut Request) -> Found<S> {
        let host = if self.hosts.is_empty() { "" } else { request.host().unwrap_or_default() };
        let lookup = self.find(host, request.path(), request.method(), request.names_websocket());
        match lookup {
            Lookup::Target(endpoint, params) => {
                request.params = params;
                Found::Endpoint(Rc::clone(endpoint))
            }
            Lookup::Nothing if *request.method() == Method::OPTIONS && request.http().uri() == "*" => {
                Found::Reply(Reply::empty(StatusCode::NO_CONTENT))
            }
            Lookup::Nothing => Found::Reply(Reply::status(StatusCode::NOT_FOUND)),
            Lookup::Malformed => Found::Reply(Reply::text(StatusCode::BAD_REQUEST, "the path is not UTF-8")),
            Lookup::Methods(allow) => {
                let reply = match *request.method() {
                    Method::OPTIONS => Reply::empty(StatusCode::NO_CONTENT),
                    _ => Reply::status(StatusCode::METHOD_NOT_ALLOWED),
                };
                let allow = HeaderValue::try_from(allow).unwrap_or_else(|_| HeaderValue::from_static(""));
                Found::Reply(reply.header(header::ALLOW, allow))
            }
        }
    }
}

/// The error of a pattern.
fn refused(pattern: &str, reason: &str) -> RouteError {
    RouteError::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() }
}

/// Refuses patterns that would never match, or not as they are meant.
fn check_pattern(pattern: &str) -> Result<(), RouteError> {
    let mut segments = pattern.split('/').skip(1);
    match () {
        () if !pattern.starts_with('/') => Err(refused(pattern, "a pattern begins with a slash")),
        () if pattern.contains(['?', '#', '%', ' ']) => {
            Err(refused(pattern, "a pattern is a decoded path, without a query"))
        }
        () if segments.any(|segment| segment.starts_with(':') || segment.starts_with('*')) => {
            Err(refused(pattern, "a parameter is written {name}, and the rest of a path {*name}"))
        }
        () => Ok(()),
    }
}

impl<T> Pattern<T> {
    fn add(&mut self, pattern: &str, methods: Methods, target: T) -> Result<(), RouteError> {
        if self.targets.iter().any(|(other, _)| *other == methods) {
            let method = if let Methods::One(method) = methods { Some(method) } else { None };
            return Err(RouteError::Twice { pattern: pattern.to_owned(), method });
        }
        self.targets.push((methods, target));
        Ok(())
    }

    fn find(&self, method: &Method, is_websocket: bool, params: Params) -> Lookup<'_, T> {
        let of =
            |wanted: &Methods| self.targets.iter().find(|(methods, _)| methods == wanted).map(|(_, target)| target);
        let socket = of(&Methods::WebSocket);
        let own = of(&Methods::One(method.clone()));
        let get = || if *method == Method::HEAD { of(&Methods::One(Method::GET)) } else { None };
        let target = match socket.filter(|_| is_websocket) {
            Some(socket) => Some(socket),
            // Without a route of its own, a `GET` is told that this is a WebSocket.
            None => own
                .or_else(get)
                .or_else(|| of(&Methods::Any))
                .or_else(|| socket.filter(|_| matches!(*method, Method::GET | Method::HEAD))),
        };
        match target {
            Some(target) => Lookup::Target(target, params),
            None => Lookup::Methods(self.allow()),
        }
    }

    /// The value of `Allow`: `HEAD` and `OPTIONS` are answered without targets of their own.
    fn allow(&self) -> String {
        let mut names: Vec<&str> = vec!["OPTIONS"];
        for (methods, _) in &self.targets {
            match methods {
                Methods::One(method) if *method != Method::GET => names.push(method.as_str()),
                Methods::One(_) | Methods::WebSocket => names.extend(["GET", "HEAD"]),
                Methods::Any => {}
            }
        }
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

/// A path whose escapes are decoded, except those of `/` and `%`, so that a parameter may contain a slash. `None` if
/// the result is not UTF-8.
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

    fn routes(all: &[(&str, &str)]) -> RouteTable<String> {
        let mut routes = RouteTable::new();
        for (method, pattern) in all {
            let methods = match *method {
                "*" => Methods::Any,
                "WS" => Methods::WebSocket,
                method => Methods::One(method.parse().unwrap()),
            };
            routes.add(pattern, methods, format!("{method} {pattern}")).unwrap();
        }
        routes
    }

    fn find(routes: &RouteTable<String>, request: &str) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let (method, is_websocket) = match method {
            "WS" => ("GET", true),
            method => (method, false),
        };
        match routes.find("a", path, &method.parse().unwrap(), is_websocket) {
            Lookup::Target(target, params) => {
                let params: Vec<String> = params.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{target} {}", params.join(" ")).trim_end().to_owned()
            }
            Lookup::Methods(allow) => format!("405 {allow}"),
            Lookup::Nothing => "404".to_owned(),
            Lookup::Malformed => "400".to_owned(),
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
            ("GET /rooms/%ff", "400"),
        ] {
            assert_eq!(find(&routes, request), target, "{request}");
        }
    }

    #[test]
    fn host_has_routes_of_its_own() {
        let mut all = routes(&[("GET", "/")]);
        all.add_host("API.example.com", routes(&[("GET", "/v1")])).unwrap();
        let is_found = |host, path| matches!(all.find(host, path, &Method::GET, false), Lookup::Target(..));
        for host in ["api.example.com", "api.example.com:8080", "Api.Example.COM"] {
            assert!(is_found(host, "/v1") && !is_found(host, "/"), "{host}");
        }
        for host in ["example.com", "[::1]", "[::1]:80", ""] {
            assert!(!is_found(host, "/v1") && is_found(host, "/"), "{host}");
        }
    }

    #[test]
    fn websocket_shares_its_path_with_other_methods() {
        let routes = routes(&[("WS", "/only"), ("WS", "/both"), ("*", "/both"), ("WS", "/room"), ("POST", "/room")]);
        for (request, target) in [
            ("WS /only", "WS /only"),
            ("GET /only", "WS /only"),
            ("POST /only", "405 GET, HEAD, OPTIONS"),
            ("WS /both", "WS /both"),
            ("GET /both", "* /both"),
            ("POST /both", "* /both"),
            ("WS /room", "WS /room"),
            ("POST /room", "POST /room"),
            ("PUT /room", "405 GET, HEAD, OPTIONS, POST"),
        ] {
            assert_eq!(find(&routes, request), target, "{request}");
        }
    }

    #[test]
    fn fallback_takes_paths_without_a_route() {
        let mut all = routes(&[("GET", "/")]);
        all.set_fallback("fallback".to_owned());
        assert_eq!(find(&all, "GET /nothing"), "fallback");
        assert_eq!(find(&all, "POST /"), "405 GET, HEAD, OPTIONS");
    }

    #[test]
    fn conflicting_or_malformed_routes_are_errors() {
        let mut all = routes(&[("GET", "/rooms/{room}")]);
        for (method, pattern, error) in [
            ("GET", "/rooms/{room}", "is set twice for GET"),
            ("GET", "/rooms/{other}", "/rooms/{other}"),
            ("GET", "rooms", "begins with a slash"),
            ("GET", "/rooms/{", "/rooms/{"),
        ] {
            let refused =
                all.add(pattern, Methods::One(method.parse().unwrap()), "x".to_owned()).unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }
}
