//! Redirects: which are followed, and which headers go with them.

use super::*;
use ws_reactor::http::{HeaderValue, Response, StatusCode};

/// Starts an echo server that redirects requests for `/home`, and returns the log of its requests.
fn listen_redirecting(reactor: &mut Reactor<Sim>, address: &str, status: StatusCode, to: &'static str) -> Log {
    let requests = Log::default();
    let recorded = Rc::clone(&requests);
    let server = echo().on_request(move |request, _| {
        let header = |name: &str| request.header(name).unwrap_or("-").to_owned();
        let headers = ["authorization", "cookie", "x-secret", "x-public"].map(header).join(" ");
        recorded.borrow_mut().push(format!("{} at {}: {headers}", request.path(), header("host")));
        match request.path() == "/home" {
            true => {
                let mut response = Response::new(b"elsewhere".to_vec());
                *response.status_mut() = status;
                response.headers_mut().insert("location", to.parse().unwrap());
                Reply::from(response)
            }
            false => Upgrade::new().into(),
        }
    });
    reactor.listen(address, server).unwrap();
    requests
}

/// A client with credentials and with one header that is not secret.
fn with_credentials(handler: Callbacks) -> Client {
    let mut secret: HeaderValue = "token".parse().unwrap();
    secret.set_sensitive(true);
    Client::new(handler)
        .header("x-secret".parse().unwrap(), secret)
        .header("x-public".parse().unwrap(), "all".parse().unwrap())
        .header("cookie".parse().unwrap(), "a=b".parse().unwrap())
}

#[test]
fn redirects_are_followed_and_credentials_are_sent_only_to_their_own_origin() {
    for (status, to, redirected) in [
        (301, "/there", "/there at a.example: Basic dTpw a=b token all"),
        (302, "//a.example/x/../y", "/y at a.example: Basic dTpw a=b token all"),
        (303, "http://A.example:80/there?x", "/there at A.example: Basic dTpw a=b token all"),
        (307, "ws://b.example/there", "/there at b.example: - - - all"),
        (308, "http://v:q@b.example/there", "/there at b.example: Basic djpx - - all"),
        (308, "http://a.example:81/there", "/there at a.example:81: - - - all"),
    ] {
        let mut reactor = reactor();
        let log = Log::default();
        let status = StatusCode::from_u16(status).unwrap();
        let requests = listen_redirecting(&mut reactor, SERVER, status, to);
        let other_port = listen_redirecting(&mut reactor, "10.0.0.1:81", status, to);
        let id =
            reactor.connect("ws://u:p@a.example/home", with_credentials(recording(&log)).follow_redirects(1)).unwrap();
        reactor.settle().unwrap();
        let events = drain(&log);
        assert!(events.len() == 1 && events[0].starts_with("open RFC 6455 None via 10.0.0.1:8"), "{to}: {events:?}");
        let requests = [drain(&requests), drain(&other_port)].concat();
        assert_eq!(requests, ["/home at a.example: Basic dTpw a=b token all", redirected], "{to}");
        // The id remains valid.
        assert!(reactor.hub().send(id, "hello").is_queued());
        reactor.settle().unwrap();
        assert_eq!(drain(&log), ["message hello"]);
    }
}

#[test]
fn redirect_that_is_not_followed_is_reported_as_a_refusal() {
    for (limit, status, to) in [
        (0, 302, "/there"),
        (3, 302, "/home"),
        (9, 302, "ftp://a.example/"),
        (9, 302, "ws+unix:/run/secret.sock"),
        (9, 302, "http://"),
        (9, 300, "/there"),
        (9, 304, "/there"),
    ] {
        let mut reactor = reactor();
        let log = Log::default();
        let requests = listen_redirecting(&mut reactor, SERVER, StatusCode::from_u16(status).unwrap(), to);
        reactor.connect("ws://a.example/home", with_credentials(recording(&log)).follow_redirects(limit)).unwrap();
        reactor.settle().unwrap();
        let events = drain(&log);
        assert!(
            events[0].starts_with(&format!("error the server responded with {status}")) && events.len() == 2,
            "{events:?}"
        );
        assert_eq!(drain(&requests).len(), if to == "/home" { 4 } else { 1 }, "{to}");
        assert_eq!(reactor.hub().stats().connections, 0);
    }
}

#[test]
fn redirected_client_reconnects_to_its_original_url() {
    let mut reactor = reactor();
    let requests = listen_redirecting(&mut reactor, SERVER, StatusCode::FOUND, "ws://b.example/there");
    let client = with_credentials(Callbacks::new()).follow_redirects(1).reconnect(Reconnect::default());
    reactor.connect("ws://a.example/home", client).unwrap();
    reactor.settle().unwrap();
    assert_eq!(drain(&requests).len(), 2);
    // The server's end of the second connection.
    let last = reactor.kernel_mut().peers().last().unwrap();
    reactor.kernel_mut().reset(last);
    reactor.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(drain(&requests), ["/home at a.example: - a=b token all", "/there at b.example: - - - all"]);
}

#[cfg(feature = "tls")]
#[test]
fn redirect_from_https_to_http_is_not_followed() {
    let server_pem = secure::self_signed(&["a.example"]);
    for (to, opens) in [("http://a.example/there", false), ("https://a.example/there", true)] {
        let mut reactor = reactor();
        let requests = listen_redirecting(&mut reactor, SERVER, StatusCode::FOUND, "https://a.example/home");
        let server = echo().tls(presenting(&server_pem)).on_request(move |request, _| {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", to.parse().unwrap());
            if request.path() == "/home" { Reply::from(response) } else { Upgrade::new().into() }
        });
        reactor.listen("10.0.0.1:443", server).unwrap();
        let log = Log::default();
        let client = with_credentials(recording(&log)).follow_redirects(5).tls(trusting(&server_pem));
        reactor.connect("ws://a.example/home", client).unwrap();
        reactor.settle().unwrap();
        assert_eq!(drain(&log)[0].starts_with("open"), opens, "{to}");
        assert_eq!(drain(&requests).len(), 1);
    }
}
