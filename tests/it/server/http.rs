//! HTTP requests and responses on the port of a WebSocket server.

use std::sync::Mutex;

use ws_reactor::{Reply, Server, TestSocket, http::StatusCode, on_message};

use crate::support::REQUEST;

fn server() -> Server {
    Server::new(|_| on_message(|ws, message| _ = ws.send(message)))
}

fn response(server: Server, request: &str) -> String {
    String::from_utf8(TestSocket::request(server, request).received_bytes()).unwrap()
}

#[test]
fn head_is_answered_as_get_without_content() {
    let pages = || {
        server().on_request(|request, _| match request.path() {
            "/" => Reply::html("a page"),
            "/socket" => Reply::upgrade(),
            _ => Reply::status(StatusCode::NOT_FOUND),
        })
    };
    for path in ["/", "/socket", "/nowhere", "/healthcheck"] {
        let get = response(pages(), &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = response(pages(), &format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (lines, content) = get.split_once("\r\n\r\n").unwrap();
        assert!(!content.is_empty() && lines.contains(&format!("Content-Length: {}", content.len())), "{path}: {get}");
        assert_eq!(head, format!("{lines}\r\n\r\n"), "{path}");
    }
    let upgrade = String::from_utf8_lossy(REQUEST).replace("GET", "HEAD");
    assert!(response(server(), &upgrade).starts_with("HTTP/1.1 405 "), "a HEAD request opens no WebSocket");
}

#[test]
fn response_that_ends_the_connection_has_connection_close() {
    let request = |line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for sent in [
        request("GET /"),
        request("POST /"),
        request("GET /healthcheck"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let response = response(server(), &sent);
        let lines = response.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
        let closes = lines.lines().any(|line| line.starts_with("connection: ") && line.ends_with("close"));
        assert!(closes, "{sent:?}: {response}");
    }
}

#[test]
fn request_of_http_1_1_without_host_is_refused_with_400() {
    for (lines, status) in [("", "400"), ("Upgrade: h2c\r\n", "400"), ("Host: a\r\n", "426")] {
        let response = response(server(), &format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?}: {response}");
    }
}

#[test]
fn list_header_in_several_lines_is_one_list() {
    let request = String::from_utf8_lossy(REQUEST).into_owned();
    for lines in
        ["Upgrade: h2c\r\nUpgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", "Upgrade: h2c, websocket"]
    {
        let request = request.replace("Upgrade: websocket", lines);
        assert!(response(server(), &request).starts_with("HTTP/1.1 101 "), "{lines}");
    }
    let request = request.replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade");
    assert!(response(server(), &request).starts_with("HTTP/1.1 101 "));
}

#[test]
fn percent_sign_in_a_target_that_begins_no_escape_is_kept() {
    for target in ["/?discount=50%", "/50%?x", "/%2"] {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(String::new()));
        let log = std::rc::Rc::clone(&seen);
        let server = server().on_request(move |request, _| {
            *log.borrow_mut() = request.http().uri().to_string();
            Reply::upgrade()
        });
        let request = String::from_utf8_lossy(REQUEST).replace("GET / ", &format!("GET {target} "));
        assert!(response(server, &request).starts_with("HTTP/1.1 101 "), "{target}");
        assert_eq!(*seen.borrow(), target);
    }
    let twice = String::from_utf8_lossy(REQUEST).replace("GET / ", "GET /%%32e%%32e/ ");
    assert!(response(server(), &twice).starts_with("HTTP/1.1 400 "), "a second decoding would yield another path");
}

#[test]
fn on_request_may_use_the_hub_and_hand_values_to_the_handler() {
    #[derive(Clone)]
    struct User(&'static str);

    let server = Server::new(|handshake| {
        let name = handshake.extension::<User>().map_or("nobody", |user| user.0);
        assert!(handshake.extension::<u32>().is_none());
        ws_reactor::Callbacks::new().on_open(move |ws, handshake| {
            assert_eq!(handshake.extension::<User>().map(|user| user.0), Some("ann"));
            ws.send(name);
        })
    })
    .on_request(|request, hub| {
        assert_eq!(hub.stats().opened, 0);
        match request.query_string() {
            Some("token=sesame") => Ok(ws_reactor::Upgrade::new().extension(User("ann"))),
            _ => Err(StatusCode::UNAUTHORIZED),
        }
    });
    let mut socket = TestSocket::connect(server, "/?token=sesame");
    assert_eq!(socket.received(), ["ann".into()]);
}

#[test]
fn connection_that_on_request_closes_gets_no_handler() {
    let made = std::rc::Rc::new(std::cell::Cell::new(false));
    let seen = std::rc::Rc::clone(&made);
    let server = Server::new(move |_| {
        seen.set(true);
        on_message(|_, _| {})
    })
    .on_request(|_, hub| {
        let ids: Vec<_> = hub.connections().collect();
        ids.into_iter().for_each(|id| assert!(hub.terminate(id)));
        Reply::upgrade()
    });
    let mut socket = TestSocket::request(server, REQUEST);
    assert!(socket.is_closed() && !made.get());
    assert_eq!(socket.hub().stats().pending_handshakes, 0);
}

/// Collects the warnings of this process.
struct Warnings(Mutex<Vec<String>>);

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(format!("{} {} {}", record.level(), record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

#[test]
fn origin_that_is_not_allowed_gets_403_and_is_logged() {
    log::set_logger(&WARNINGS).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let response_to = |origin: &str| {
        let request = String::from_utf8_lossy(REQUEST).replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
        response(server().origins(["https://a.example/", "https://b.example:443"]).unwrap(), &request)
    };
    for allowed in ["https://a.example", "https://b.example", "HTTPS://A.EXAMPLE"] {
        assert!(response_to(allowed).starts_with("HTTP/1.1 101 "), "{allowed}");
    }
    assert!(response_to("https://stranger.example:8443").starts_with("HTTP/1.1 403 "));
    let warnings = WARNINGS.0.lock().unwrap();
    let logged: Vec<&String> = warnings.iter().filter(|warning| warning.contains("stranger")).collect();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].starts_with("WARN ws_reactor::websocket "), "{logged:?}");
    assert!(
        logged[0].ends_with("origin \"https://stranger.example:8443\" is not allowed (Server::origins)"),
        "{logged:?}"
    );
    assert!(!warnings.iter().any(|warning| warning.contains("a.example")), "{warnings:?}");
}
