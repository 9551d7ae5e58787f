//! Routes of a server, as the application sets them.

use std::rc::Rc;

use super::Factory;
use crate::{
    http::{
        HeaderValue, Method, Request,
        cors::Cors,
        header,
        origins::{OriginError, Origins},
        route_error::RouteError,
    },
    protocol::{Handshake, MessageLimits},
    reactor::{Hub, Latencies, Stats},
    server::{Endpoint, Files, Methods, Reply, RouteTable, Rules, Target, Upload},
    websocket::handler::Handler,
};

/// Routes of a [`Server`](crate::Server): what answers a request, by its host, path and method.
///
/// ```
/// use ws_reactor::{Callbacks, Reply, Routes, Server, http::StatusCode};
///
/// const PAGE: &str = "<!doctype html><script>new WebSocket('ws://' + location.host + '/rooms/lobby')</script>";
///
/// let routes = Routes::new()
///     .get("/", |_, _| Reply::html(PAGE))
///     .websocket("/rooms/{room}", |handshake| {
///         let room = handshake.request().param("room").to_owned();
///         Callbacks::new().on_open(move |ws, _| { ws.subscribe(&room); })
///     })
///     .post("/rooms/{room}", |request, hub| {
///         hub.publish(request.param("room"), request.text()?);
///         Ok::<_, Reply>(StatusCode::ACCEPTED)
///     })
///     .files("/static", "src");
/// let server = Server::routes(routes)?;
/// # Ok::<(), ws_reactor::Error>(())
/// ```
///
/// # Patterns
///
/// A pattern is a path. `{name}` stands for one segment, or for the part of a segment behind a fixed start; `{*name}`,
/// at the end, for the rest of the path, slashes included. Neither matches nothing. A fixed segment goes before a
/// parameter, and the order of the calls does not matter. `{{` and `}}` stand for braces. Percent escapes of a request
/// are decoded once; an escaped slash (`%2F`) divides no segments.
///
/// Files and fallbacks answer what no other route matches, those with the longer prefix first.
///
/// # Requests without a route
///
/// An unknown path is answered with 404 or by the [`fallback`](Self::fallback); another method on a known path with
/// 405 and `Allow`. `HEAD` is answered by the route of `GET`, without the body, and `OPTIONS` with 204 and `Allow`,
/// unless they have routes of their own. A plain `GET` of a path with only a WebSocket is answered with 426.
///
/// [`Server::on_request`](crate::Server::on_request) is called before the route.
#[derive(Default)]
#[must_use = "routes have an effect only in a server"]
pub struct Routes {
    routes: Vec<Route>,
    fallback: Option<Route>,
    hosts: Vec<(String, Routes)>,
    rules: Rules,
    error: Option<RouteError>,
}

struct Route {
    pattern: String,
    place: Place,
    methods: Methods,
    target: Rc<Target<Rc<Factory>>>,
    rules: Rules,
}

/// The paths that a pattern covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its paths.
    Path,
    /// Its path, unless that has a route.
    Alias,
    /// It and all paths below that have no route.
    Below,
}

/// Methods with a route of their own.
macro_rules! methods {
    ($($name:ident $method:ident,)*) => {
        $(
            #[doc = concat!("Answers `", stringify!($method), "` of a path. See [`method`](Self::method).")]
            pub fn $name<R: Into<Reply>>(
                self,
                pattern: &str,
                respond: impl Fn(&Request, &mut Hub) -> R + 'static,
            ) -> Self {
                self.method(Method::$method, pattern, respond)
            }
        )*
    };
}

impl Routes {
    /// Makes an empty set of routes.
    pub fn new() -> Self {
        Routes::default()
    }

    methods! {
        get GET,
        post POST,
        put PUT,
        patch PATCH,
        delete DELETE,
    }

    /// Answers a method of a path.
    ///
    /// `respond` is called once the request is complete, its body included (see
    /// [`max_body_bytes`](Self::max_body_bytes)), and returns anything that converts to a [`Reply`]. A panic in it is
    /// answered with 500, unless [`PanicPolicy`](crate::PanicPolicy) is to abort.
    pub fn method<R: Into<Reply>>(
        self,
        method: Method,
        pattern: &str,
        respond: impl Fn(&Request, &mut Hub) -> R + 'static,
    ) -> Self {
        self.respond(pattern, Methods::One(method), respond)
    }

    /// Answers every method of a path that has no route of its own, except `CONNECT`, which is refused with 400. See
    /// [`method`](Self::method).
    pub fn any<R: Into<Reply>>(self, pattern: &str, respond: impl Fn(&Request, &mut Hub) -> R + 'static) -> Self {
        self.respond(pattern, Methods::Any, respond)
    }

    fn respond<R: Into<Reply>>(
        self,
        pattern: &str,
        methods: Methods,
        respond: impl Fn(&Request, &mut Hub) -> R + 'static,
    ) -> Self {
        self.add(pattern, methods, Target::Respond(Box::new(move |request, hub| respond(request, hub).into())))
    }

    /// Accepts WebSockets on a path. `factory` makes the handler of each, as in [`Server::new`](crate::Server::new);
    /// [`Handshake::request`](crate::Handshake::request) has the parameters of the path.
    ///
    /// The path may have routes of HTTP beside.
    pub fn websocket<H: Handler + 'static>(self, pattern: &str, factory: impl Fn(&Handshake) -> H + 'static) -> Self {
        let factory: Rc<Factory> = Rc::new(move |handshake| Box::new(factory(handshake)));
        self.add(pattern, Methods::WebSocket, Target::Socket(factory))
    }

    /// Answers `GET` of a path with events. `respond` returns an [`EventStream`](crate::EventStream), a `Result` with
    /// one, or any other reply. The path may have a WebSocket beside.
    ///
    /// ```
    /// use ws_reactor::{EventStream, Routes, http::StatusCode};
    ///
    /// let routes = Routes::new().event_stream("/rooms/{room}/events", |request, _| match request.param("room") {
    ///     "secret" => Err(StatusCode::FORBIDDEN),
    ///     room => Ok(EventStream::topic(room)),
    /// });
    /// ```
    pub fn event_stream<R: Into<Reply>>(
        self,
        pattern: &str,
        respond: impl Fn(&Request, &mut Hub) -> R + 'static,
    ) -> Self {
        self.get(pattern, respond)
    }

    /// Answers `GET` of a path with the [counters](crate::Stats) and the [durations](crate::Latencies) of the reactor,
    /// for monitoring: in the text format of Prometheus, and with `?format=json` as one object of JSON. In a
    /// [group](crate::ReactorGroup) they are those of all reactors together.
    ///
    /// ```
    /// use ws_reactor::Routes;
    ///
    /// let routes = Routes::new().metrics("/metrics");
    /// ```
    pub fn metrics(self, pattern: &str) -> Self {
        self.get(pattern, |request, hub| {
            let is_json = request.query_value("format").is_some_and(|format| format == "json");
            if hub.group_size() == 1 {
                return metrics_reply(&hub.stats(), hub.latencies(), is_json);
            }
            let (reply, responder) = Reply::later();
            hub.ask_group(
                |hub| (hub.stats(), hub.latencies().clone()),
                move |_, answers| {
                    let mut latencies = Latencies::default();
                    answers.iter().for_each(|(_, of_one)| latencies.merge(of_one));
                    let stats = answers.into_iter().map(|(stats, _)| stats).sum();
                    // The client may have left.
                    let _ = responder.respond(metrics_reply(&stats, &latencies, is_json));
                },
            );
            reply
        })
    }

    /// Takes the bodies of `POST` and `PUT` requests of a path as they arrive, up to
    /// [`max_body_bytes`](Self::max_body_bytes). `factory` makes the [`Upload`] of each
    /// request, or the reply if its body is not wanted; a client that has sent `Expect: 100-continue` does not send it
    /// then.
    pub fn upload<U: Upload + 'static, R: Into<Reply>>(
        self,
        pattern: &str,
        factory: impl Fn(&Request, &mut Hub) -> Result<U, R> + 'static,
    ) -> Self {
        let target: Rc<Target<Rc<Factory>>> = Rc::new(Target::Upload(Box::new(move |request, hub| {
            factory(request, hub).map(|upload| Box::new(upload) as Box<dyn Upload>).map_err(Into::into)
        })));
        [Method::POST, Method::PUT]
            .into_iter()
            .fold(self, |routes, method| routes.add_shared(pattern, Methods::One(method), Rc::clone(&target)))
    }

    /// Serves files below a path: of a folder, given by its path, or [other `Files`](Files).
    pub fn files(mut self, prefix: &str, files: impl Into<Files>) -> Self {
        match files.into().resolved() {
            Ok(files) => self.routes.push(Route {
                pattern: prefix.trim_end_matches('/').to_owned(),
                place: Place::Below,
                methods: Methods::One(Method::GET),
                target: Rc::new(Target::Files(files)),
                rules: Rules::default(),
            }),
            Err(error) => _ = self.error.get_or_insert(error),
        }
        self
    }

    /// Answers requests whose path has no route, with any method, in place of 404. See [`method`](Self::method).
    pub fn fallback<R: Into<Reply>>(mut self, respond: impl Fn(&Request, &mut Hub) -> R + 'static) -> Self {
        let target = Target::Respond(Box::new(move |request, hub| respond(request, hub).into()));
        self.fallback = Some(Route {
            pattern: String::new(),
            place: Place::Below,
            methods: Methods::Any,
            target: Rc::new(target),
            rules: Rules::default(),
        });
        self
    }

    /// Adds routes behind a prefix, with their rules.
    ///
    /// Their `/` is the prefix itself, with and without a slash at its end. Their fallback answers the prefix and the
    /// paths below. Their hosts are added, too.
    ///
    /// ```
    /// use ws_reactor::{Reply, Routes, http::StatusCode};
    ///
    /// let uploads = Routes::new().max_body_bytes(100 << 20).put("/{name}", |_, _| StatusCode::CREATED);
    /// let routes = Routes::new().get("/", |_, _| Reply::html("hello")).scope("/uploads", uploads);
    /// ```
    pub fn scope(mut self, prefix: &str, routes: Routes) -> Self {
        let prefix = prefix.trim_end_matches('/');
        let Routes { routes, fallback, hosts, rules, error } = routes;
        for mut route in routes.into_iter().chain(fallback) {
            route.rules = route.rules.or(&rules);
            if route.place == Place::Path && route.pattern == "/" && !prefix.is_empty() {
                let (pattern, place) = (format!("{prefix}/"), Place::Alias);
                let (target, rules) = (Rc::clone(&route.target), route.rules.clone());
                self.routes.push(Route { pattern, place, methods: route.methods.clone(), target, rules });
                route.pattern.clear();
            }
            route.pattern.insert_str(0, prefix);
            self.routes.push(route);
        }
        for (host, mut routes) in hosts {
            routes.rules = routes.rules.or(&rules);
            self.hosts.push((host, Routes::new().scope(prefix, routes)));
        }
        self.error = self.error.or(error);
        self
    }

    /// Uses other routes for requests to a host, in place of all of these: `api.example.com`, or all its subdomains
    /// with `*.example.com`. Port, case and a dot at the end do not count. The rules of these routes hold for the other
    /// ones, too, where those say nothing.
    pub fn host(mut self, host: &str, routes: Routes) -> Self {
        self.hosts.push((host.to_owned(), routes));
        self
    }

    /// Sets a callback that decides each request to these routes, as [`Server::on_request`](crate::Server::on_request)
    /// does for all requests: [`Reply::pass`] goes on, any other reply is the answer. It is called after that of the
    /// server and those of the routes around these, and before the body arrives.
    ///
    /// The place for access rules: a callback of the server that compares paths has to decode them as the routes do.
    ///
    /// ```
    /// use ws_reactor::{Reply, Routes, Upgrade, http::StatusCode};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// let admin = Routes::new()
    ///     .on_request(|request, _| match request.header("authorization") {
    ///         Some("Bearer sesame") => Ok(Upgrade::new().extension(User("ann".to_owned()))),
    ///         _ => Err(StatusCode::UNAUTHORIZED),
    ///     })
    ///     .get("/", |request, _| match request.extension::<User>() {
    ///         Some(User(name)) => Reply::html(format!("hello {name}")),
    ///         None => StatusCode::UNAUTHORIZED.into(),
    ///     });
    /// let routes = Routes::new().get("/", |_, _| Reply::html("hello")).scope("/admin", admin);
    /// ```
    pub fn on_request<R: Into<Reply>>(mut self, reply: impl Fn(&Request, &mut Hub) -> R + 'static) -> Self {
        self.rules.callbacks.push(Rc::new(move |request, hub| reply(request, hub).into()));
        self
    }

    /// Sets the largest body of a request to these routes. Default:
    /// [`ServerConfig::max_body_bytes`](field@crate::ServerConfig::max_body_bytes), 1 MiB.
    ///
    /// A longer body is answered with 413, before it arrives if its length is known.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.rules.max_body_bytes = Some(bytes);
        self
    }

    /// Sets the message limits of the WebSockets of these routes. Default: the server's.
    pub fn limits(mut self, limits: MessageLimits) -> Self {
        self.rules.limits = Some(limits);
        self
    }

    /// Accepts WebSockets of these routes only from pages of these origins. Default: the server's. See
    /// [`Server::origins`](crate::Server::origins).
    ///
    /// # Errors
    ///
    /// [`OriginError`]: a pattern that no origin can match, or no pattern at all.
    pub fn origins<S: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginError> {
        self.rules.origins = Some(Rc::new(Origins::parse(patterns)?));
        Ok(self)
    }

    /// Lets pages of other origins use these routes: a policy for WebSockets, event streams and HTTP. Default: none, so
    /// that browsers keep responses from pages of other origins, and WebSockets follow
    /// [`Server::origins`](crate::Server::origins).
    ///
    /// For requests without a route, such as those answered with 404, the policy of the outermost routes counts.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.rules.origins = Some(Rc::new(cors.origins.clone().or_same_host()));
        self.rules.cors = Some(Rc::new(cors));
        self
    }

    fn add(self, pattern: &str, methods: Methods, target: Target<Rc<Factory>>) -> Self {
        self.add_shared(pattern, methods, Rc::new(target))
    }

    fn add_shared(mut self, pattern: &str, methods: Methods, target: Rc<Target<Rc<Factory>>>) -> Self {
        let (place, rules) = (Place::Path, Rules::default());
        self.routes.push(Route { pattern: pattern.to_owned(), place, methods, target, rules });
        self
    }

    /// The policy for requests without a route.
    pub(super) fn cors_policy(&self) -> Option<Rc<Cors>> {
        self.rules.cors.clone()
    }

    /// The table of these routes.
    pub(super) fn into_table(self) -> Result<RouteTable<Rc<Endpoint<Rc<Factory>>>>, RouteError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut table = RouteTable::new();
        let rules = self.rules;
        let endpoint = |route: &Route| {
            let segments = route.pattern.matches('/').count();
            Rc::new(Endpoint { target: Rc::clone(&route.target), rules: route.rules.or(&rules), segments })
        };
        for route in &self.routes {
            match route.place {
                Place::Path => table.add(&route.pattern, route.methods.clone(), endpoint(route))?,
                Place::Below => table.add_below(&route.pattern, route.methods.clone(), endpoint(route))?,
                Place::Alias => {}
            }
        }
        for alias in self.routes.iter().filter(|route| route.place == Place::Alias) {
            // The path may have a route of its own.
            let _ = table.add(&alias.pattern, alias.methods.clone(), endpoint(alias));
        }
        if let Some(fallback) = &self.fallback {
            table.set_fallback(endpoint(fallback));
        }
        for (host, mut routes) in self.hosts {
            routes.rules = routes.rules.or(&rules);
            table.add_host(&host, routes.into_table()?)?;
        }
        Ok(table)
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut set = formatter.debug_list();
        for Route { pattern, methods, .. } in &self.routes {
            set.entry(&format_args!("{methods:?} {pattern}"));
        }
        set.finish()
    }
}

/// Counters and durations, as one object of JSON or for Prometheus.
fn metrics_reply(stats: &Stats, latencies: &Latencies, is_json: bool) -> Reply {
    let (text, content_type) = match is_json {
        true => {
            let (counters, durations) = (stats.to_json(), latencies.to_json());
            (format!("{},{}", counters.trim_end_matches('}'), &durations[1..]), "application/json")
        }
        false => {
            let text = stats.to_prometheus() + &latencies.to_prometheus();
            (text, "text/plain; version=0.0.4; charset=utf-8")
        }
    };
    Reply::bytes(text)
        .header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
