//! Routes: from host, path and method to a reply or a WebSocket.

use std::{cell::Cell, rc::Rc};

use ws_reactor::{
    Error, MessageLimits, Reply, RouteError, Routes, Server, TestSocket, Upgrade, Version,
    http::{HeaderValue, Method, StatusCode, header},
    on_message,
};

use super::{answer, get, response, serving};
use crate::support::wire;

fn text(text: impl Into<String>) -> Reply {
    Reply::bytes(text.into())
}

#[test]
fn path_parameters_and_query_reach_the_route() {
    let routes = || {
        Routes::new()
            .get("/", |_, _| text("root"))
            .get("/rooms/{room}", |request, _| {
                text(format!("{} {:?}", request.param("room"), request.query_value("q").as_deref()))
            })
            .get("/rooms/lobby", |_, _| text("lobby"))
            .get("/a/{x}/b/{*rest}", |request, _| {
                text(request.params().map(|(n, v)| format!("{n}={v};")).collect::<String>())
            })
    };
    for (path, expected) in [
        ("/", "root"),
        ("/?x", "root"),
        ("/rooms/7", "7 None"),
        ("/rooms/a%2Fb%20c?q=1+2", "a/b c Some(\"1 2\")"),
        ("/rooms/lobby", "lobby"),
        ("/a/1/b/2/3", "x=1;rest=2/3;"),
        ("http://other/rooms/8", "8 None"),
    ] {
        assert_eq!(answer(routes(), &get(path)), (200, expected.to_owned()), "{path}");
    }
    for path in ["/rooms", "/rooms/", "/rooms/7/", "//", "/a/1/b", "/A"] {
        assert_eq!(answer(routes(), &get(path)), (404, "Not Found\n".to_owned()), "{path}");
    }
    assert_eq!(answer(routes(), &get("/rooms/%ff")).0, 400);
}

#[test]
fn method_without_a_route_gets_405_and_options_the_list() {
    let routes = || {
        Routes::new()
            .get("/both", |_, _| text("got"))
            .post("/both", |_, _| text("posted"))
            .websocket("/socket", |_| on_message(|_, _| {}))
            .method(Method::from_bytes(b"REPORT").unwrap(), "/report", |_, _| text("reported"))
            .delete("/gone", |_, _| StatusCode::NO_CONTENT)
    };
    let ask = |method: &str, path: &str| response(routes(), &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let not_allowed = |allow: &str| {
        format!(
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nAllow: {allow}\r\n\
             Content-Length: 19\r\n\r\nMethod Not Allowed\n"
        )
    };
    assert_eq!(ask("PUT", "/both"), not_allowed("GET, HEAD, OPTIONS, POST"));
    assert_eq!(ask("POST", "/socket"), not_allowed("GET, HEAD, OPTIONS"));
    assert_eq!(ask("OPTIONS", "/both"), "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, OPTIONS, POST\r\n\r\n");
    assert_eq!(ask("OPTIONS", "*"), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(ask("OPTIONS", "/nothing").get(..12), Some("HTTP/1.1 404"));
    assert_eq!(
        ask("HEAD", "/both"),
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n"
    );
    assert!(ask("REPORT", "/report").ends_with("reported"));
    assert_eq!(ask("DELETE", "/gone"), "HTTP/1.1 204 No Content\r\n\r\n");
    assert!(ask("GET", "/socket").starts_with("HTTP/1.1 426 "));
    assert!(ask("TRACE", "/both").starts_with("HTTP/1.1 405 "));
}

#[test]
fn scope_has_a_prefix_and_rules_of_its_own() {
    let routes = || {
        let inner = Routes::new().post("/", |_, _| text("in")).get("/{x}", |request, _| text(request.param("x")));
        let small = Routes::new().max_body_bytes(3).post("/", |_, _| text("small")).scope("/inner", inner);
        let other = Routes::new().fallback(|request, _| text(request.path()).with_status(StatusCode::GONE));
        Routes::new().post("/", |_, _| text("out")).scope("/small/", small).scope("/{team}/old", other)
    };
    let post = |path: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        answer(routes(), &(head + body))
    };
    assert_eq!(post("/", "12345"), (200, "out".to_owned()));
    assert_eq!(post("/small", "123"), (200, "small".to_owned()));
    assert_eq!(post("/small", "1234").0, 413);
    assert_eq!(post("/small/inner", "1234").0, 413);
    assert_eq!(post("/small/inner", "123"), (200, "in".to_owned()));
    assert_eq!(answer(routes(), &get("/small/inner/y")), (200, "y".to_owned()));
    assert_eq!(answer(routes(), &get("/red/old/page")), (410, "/red/old/page".to_owned()));
    assert_eq!(answer(routes(), &get("/elsewhere")).0, 404);
}

#[test]
fn root_of_a_scope_is_its_prefix_with_and_without_a_slash() {
    let routes = || {
        let inner = Routes::new().get("/", |_, _| "root").fallback(|_, _| "fallback");
        let own = Routes::new().get("/", |_, _| "first");
        Routes::new().scope("/x", inner).scope("/y", own).get("/y/", |_, _| "second").fallback(|_, _| "outer")
    };
    for (path, expected) in [
        ("/x", "root"),
        ("/x/", "root"),
        ("/x/y/z", "fallback"),
        ("/xy", "outer"),
        ("/y", "first"),
        ("/y/", "second"),
        ("/", "outer"),
    ] {
        assert_eq!(answer(routes(), &get(path)), (200, expected.to_owned()), "{path}");
    }
}

#[test]
fn callback_of_a_scope_decides_its_requests_however_the_path_is_written() {
    let routes = || {
        let admin = Routes::new()
            .on_request(|request, _| match request.query_value("key").as_deref() {
                Some("sesame") => {
                    Ok(Upgrade::new().extension(7_u32).header(header::VARY, HeaderValue::from_static("Key")))
                }
                _ => Err(StatusCode::UNAUTHORIZED),
            })
            .get("/", |request, _| request.extension::<u32>().unwrap().to_string())
            .get("/files", |_, _| Reply::file("Cargo.toml"))
            .websocket("/socket", |handshake| {
                let number = handshake.extension::<u32>().copied().unwrap();
                on_message(move |ws, _| _ = ws.send(format!("{number}")))
            })
            .scope(
                "/inner",
                Routes::new()
                    .on_request(|request, _| match request.extension::<u32>() {
                        Some(7) => Reply::pass(),
                        _ => Reply::status(StatusCode::IM_A_TEAPOT),
                    })
                    .get("/", |_, _| "inner"),
            );
        Routes::new().get("/", |_, _| "open").scope("/admin", admin)
    };
    assert_eq!(answer(routes(), &get("/")), (200, "open".to_owned()));
    for path in ["/admin", "/%61dmin", "/admin/", "/admin/inner", "/%61dmin/socket", "/admin/files"] {
        assert_eq!(answer(routes(), &get(path)).0, 401, "{path}");
        let allowed = response(routes(), &get(&format!("{path}?key=sesame")));
        assert!(!allowed.starts_with("HTTP/1.1 401 ") && !allowed.starts_with("HTTP/1.1 418 "), "{allowed}");
        assert!(allowed.contains("\r\nVary: Key\r\n") || path.ends_with("socket"), "{allowed}");
    }
    assert_eq!(answer(routes(), &get("/admin?key=sesame")), (200, "7".to_owned()));
    assert_eq!(answer(routes(), &get("/admin/inner?key=sesame")), (200, "inner".to_owned()));
    let mut socket = TestSocket::connect(serving(routes()), "/admin/socket?key=sesame");
    socket.send("?");
    assert_eq!(socket.received(), ["7".into()]);
}

#[test]
fn host_chooses_among_sets_of_routes() {
    let routes = || {
        let api = Routes::new().get("/", |_, _| text("api"));
        let scoped = Routes::new().host("deep.example.com", Routes::new().get("/", |_, _| text("deep")));
        Routes::new().get("/", |_, _| text("any")).host("api.example.com", api).scope("/s", scoped)
    };
    for (host, expected) in [("api.example.com", "api"), ("API.example.com:81", "api"), ("x", "any"), ("", "any")] {
        assert_eq!(answer(routes(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).1, expected, "{host}");
    }
    assert_eq!(answer(routes(), "GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n").1, "api");
    assert_eq!(answer(routes(), "GET /s HTTP/1.1\r\nHost: deep.example.com\r\n\r\n").1, "deep");
    assert_eq!(answer(routes(), "GET / HTTP/1.0\r\n\r\n").1, "any");
    let domains = || {
        let named = |name: &'static str| Routes::new().get("/", move |_, _| name);
        Routes::new()
            .max_body_bytes(1)
            .get("/", |_, _| "any")
            .host("*.b.test", named("wild"))
            .host("*.c.b.test", named("nearer").post("/", |_, _| "posted"))
            .host("a.b.test", named("exact"))
    };
    for (host, expected) in [
        ("a.b.test", "exact"),
        ("A.b.test.", "exact"),
        ("x.b.test", "wild"),
        ("x.c.b.test:80", "nearer"),
        ("b.test", "any"),
    ] {
        assert_eq!(answer(domains(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).1, expected, "{host}");
    }
    let long = "POST / HTTP/1.1\r\nHost: x.c.b.test\r\nContent-Length: 2\r\n\r\nxx";
    assert_eq!(answer(domains(), long).0, 413, "the rules around hold");
}

#[test]
fn fallback_answers_paths_without_a_route() {
    let routes = || {
        Routes::new()
            .get("/known", |_, _| text("known"))
            .fallback(|request, _| text(format!("nothing at {}", request.path())).with_status(StatusCode::NOT_FOUND))
    };
    assert_eq!(answer(routes(), &get("/x/y")), (404, "nothing at /x/y".to_owned()));
    assert_eq!(answer(routes(), "PUT /x HTTP/1.1\r\nHost: a\r\n\r\n"), (404, "nothing at /x".to_owned()));
    assert_eq!(answer(routes(), "PUT /known HTTP/1.1\r\nHost: a\r\n\r\n").0, 405);
}

#[test]
fn conflicting_or_invalid_routes_are_errors_when_they_are_set() {
    let reply = |_: &ws_reactor::Request, _: &mut ws_reactor::Hub| StatusCode::OK;
    let socket = |_: &ws_reactor::Handshake| on_message(|_, _| {});
    for (routes, expected) in [
        (Routes::new().get("/a", reply).get("/a", reply), "route \"/a\" is set twice for GET"),
        (Routes::new().any("/a", reply).any("/a", reply), "route \"/a\" is set twice"),
        (Routes::new().websocket("/a", socket).websocket("/a", socket), "route \"/a\" is set twice"),
        (Routes::new().get("a", reply), "route \"a\": a pattern begins with a slash"),
        (Routes::new().files("/", "/no/such/folder"), "files in \"/no/such/folder\": "),
        (Routes::new().scope("/s", Routes::new().files("/", "/no/such/folder")), "files in \"/no/such/folder\": "),
        (
            Routes::new().get("/x", reply).scope("/", Routes::new().get("/x", reply)),
            "route \"/x\" is set twice for GET",
        ),
        (Routes::new().host("h", Routes::new().get("/{", reply)), "route \"/{\": "),
        (Routes::new().host("h", Routes::new()).host("H", Routes::new()), "route \"H\": the host is set twice"),
        (Routes::new().host("h:80", Routes::new()), "route \"h:80\": a host is named without its port"),
        (Routes::new().host("", Routes::new()), "route \"\": not the name of a host"),
        (Routes::new().host("h", Routes::new().host("i", Routes::new())), "route \"h\": a host has no hosts"),
        (Routes::new().get("/a/:id", reply), "route \"/a/:id\": a parameter is written {name}"),
        (Routes::new().get("/a/*", reply), "route \"/a/*\": a parameter is written {name}"),
        (Routes::new().get("/a?x=1", reply), "route \"/a?x=1\": a pattern is a decoded path"),
        (Routes::new().get("/a%20b", reply), "route \"/a%20b\": a pattern is a decoded path"),
        (Routes::new().files("/s", "src").files("/s/", "src"), "route \"/s\" is set twice for GET"),
    ] {
        let error = Server::routes(routes).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(Error::from(error.clone()).to_string().starts_with(expected), "{error}");
    }
    let conflict = Routes::new().get("/{a}", reply).get("/{b}", reply);
    assert!(matches!(Server::routes(conflict), Err(RouteError::Pattern { .. })));
    assert!(Routes::new().origins(["example.com"]).is_err());
}

#[test]
fn websocket_routes_have_parameters_origins_and_limits() {
    let server = || {
        let rooms = Routes::new()
            .origins(["https://a.example"])
            .unwrap()
            .limits(MessageLimits::new().max_message_bytes(5))
            .websocket("/{room}", |handshake| {
                let room = handshake.request().param("room").to_owned();
                on_message(move |ws, _| _ = ws.send(room.as_str()))
            });
        serving(Routes::new().scope("/rooms", rooms).websocket("/open", |_| on_message(|_, _| {})))
    };
    let mut socket = TestSocket::connect(server(), "/rooms/red%20one");
    socket.send("short");
    assert_eq!(socket.received(), ["red one".into()]);
    socket.send("longer");
    assert!(
        matches!(&socket.received()[..], [ws_reactor::Received::Close(Some((code, _)))] if u16::from(*code) == 1009)
    );
    let from = |path: &str, origin: &str| {
        let request = wire::request(Version::Rfc6455, path, &format!("Origin: {origin}\r\n"));
        let answer = TestSocket::request(server(), request).received_bytes();
        String::from_utf8_lossy(&answer[9..12]).into_owned()
    };
    assert_eq!(from("/rooms/x", "https://a.example"), "101");
    assert_eq!(from("/rooms/x", "https://b.example"), "403");
    assert_eq!(from("/open", "https://b.example"), "101");
    assert_eq!(from("/nowhere", "https://b.example"), "404");
}

#[test]
fn on_request_comes_before_the_route_and_hands_values_to_it() {
    #[derive(Clone)]
    struct User(String);

    let calls = Rc::new(Cell::new(0));
    let server = || {
        let (before, count) = (Rc::clone(&calls), Rc::clone(&calls));
        let routes = Routes::new()
            .get("/me/{x}", move |request, _| {
                count.set(count.get() + 1);
                text(format!("{} {}", request.extension::<User>().unwrap().0, request.param("x")))
            })
            .websocket("/socket", |handshake| {
                let name = handshake.extension::<User>().unwrap().0.clone();
                on_message(move |ws, _| _ = ws.send(name.as_str()))
            });
        serving(routes).on_request(move |request, _| {
            assert_eq!(before.get(), 0);
            let user = request.query_value("user").ok_or(StatusCode::UNAUTHORIZED)?;
            Ok::<_, StatusCode>(Upgrade::new().extension(User(user.into_owned())))
        })
    };
    let ask = |path: &str| {
        let answer = TestSocket::request(server(), get(path)).received_bytes();
        String::from_utf8(answer).unwrap()
    };
    assert!(ask("/me/1").starts_with("HTTP/1.1 401 ") && calls.get() == 0);
    assert!(ask("/nowhere").starts_with("HTTP/1.1 401 "));
    assert!(ask("/nowhere?user=ann").starts_with("HTTP/1.1 404 "));
    assert!(ask("/me/1?user=ann").ends_with("\r\n\r\nann 1"));
    calls.set(0);
    let mut socket = TestSocket::connect(server(), "/socket?user=bob");
    socket.send("who?");
    assert_eq!(socket.received(), ["bob".into()]);
}

#[test]
fn replies_have_the_shape_that_they_promise() {
    let routes = || {
        Routes::new()
            .get("/status", |_, _| StatusCode::IM_A_TEAPOT)
            .get("/result", |request, _| {
                match request.query_string() {
                    None => Ok("<p>".to_owned()),
                    Some(_) => Err(StatusCode::CONFLICT),
                }
                .map(Reply::html)
            })
            .get("/redirect", |_, _| Reply::redirect("/a b\r\nSet-Cookie: x"))
            .get("/reset", |_, _| StatusCode::RESET_CONTENT)
            .get("/header", |_, _| {
                Reply::bytes(&b"x"[..])
                    .header(header::CONTENT_TYPE, HeaderValue::from_static("a/b"))
                    .header(header::SET_COOKIE, HeaderValue::from_static("c=1"))
                    .header(header::SET_COOKIE, HeaderValue::from_static("d=2"))
                    .header(header::CONTENT_LENGTH, HeaderValue::from_static("77"))
            })
            .get("/response", |_, _| ws_reactor::http::Response::builder().status(299).body("custom").unwrap())
            .get("/continue", |_, _| StatusCode::CONTINUE)
    };
    assert_eq!(answer(routes(), &get("/status")).0, 418);
    assert_eq!(answer(routes(), &get("/result")), (200, "<p>".to_owned()));
    assert_eq!(answer(routes(), &get("/result?x")).0, 409);
    assert_eq!(
        response(routes(), &get("/redirect")),
        "HTTP/1.1 303 See Other\r\nLocation: /a%20b%0D%0ASet-Cookie:%20x\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(response(routes(), &get("/reset")), "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        response(routes(), &get("/header")),
        "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: c=1\r\nSet-Cookie: d=2\r\nContent-Length: 1\r\n\r\nx"
    );
    assert_eq!(response(routes(), &get("/response")), "HTTP/1.1 299 \r\nContent-Length: 6\r\n\r\ncustom");
    assert_eq!(answer(routes(), &get("/continue")).0, 500, "an interim response would leave the client waiting");
}

#[test]
fn route_publishes_to_websockets() {
    let routes = Routes::new()
        .websocket("/topics/{topic}", |handshake| {
            let topic = handshake.request().param("topic").to_owned();
            ws_reactor::Callbacks::new().on_open(move |ws, _| _ = ws.subscribe(&topic))
        })
        .post("/topics/{topic}", |request, hub| {
            hub.publish(request.param("topic"), request.text()?);
            Ok::<_, Reply>(StatusCode::ACCEPTED)
        });
    let mut reactor = ws_reactor::Reactor::on(ws_reactor::net::sim::Sim::new(), Default::default());
    let addr = reactor.listen("10.0.0.1:80", serving(routes)).unwrap().addr;
    let [subscriber, publisher] = [0; 2].map(|_| reactor.kernel_mut().connect(addr).unwrap());
    reactor.kernel_mut().send(subscriber, &wire::request(Version::Rfc6455, "/topics/news", ""));
    reactor.settle().unwrap();
    reactor.kernel_mut().received(subscriber);
    let post = b"POST /topics/news HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    reactor.kernel_mut().send(publisher, post);
    reactor.settle().unwrap();
    assert_eq!(reactor.kernel_mut().received(subscriber), b"\x81\x05hello");
    assert!(reactor.kernel_mut().received(publisher).starts_with(b"HTTP/1.1 202 "));
}
