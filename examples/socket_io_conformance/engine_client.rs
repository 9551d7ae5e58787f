//! The tests of `engine.io-client`.

use std::time::{Duration, SystemTime};

use ws_reactor::{
    Message, Routes,
    engine_io::{EngineIo, EngineIoHandler, EngineSession},
    http::{HeaderMap, HeaderValue, Request, header},
};

pub(crate) fn mount(routes: Routes) -> Routes {
    EngineIo::new()
        .ping_interval(Duration::from_millis(500))
        .max_payload(100)
        .allow_request(|request, hub, admission| match request.query_value("deny") {
            Some(_) => admission.deny("Forbidden"),
            None => admission.allow(hub),
        })
        .initial_headers(|_, headers| add_cookies(headers))
        .mount(routes, |session| {
            session.send("hi");
            Answers
        })
}

fn add_cookies(headers: &mut HeaderMap) {
    let now = httpdate::fmt_http_date(SystemTime::now());
    let cookies = [
        "1=1; Max-Age=86400",
        "2=2; Path=/; HttpOnly; Secure; SameSite=Strict",
        "3=3; Max-Age=0",
        &format!("4=4; Expires={now}"),
    ];
    for cookie in cookies {
        headers.append(header::SET_COOKIE, HeaderValue::from_str(cookie).expect("the cookie is ASCII"));
    }
}

struct Answers;

impl EngineIoHandler for Answers {
    fn on_message(&mut self, session: &mut EngineSession<'_>, message: Message<'_>) {
        match message {
            Message::Text("give binary") => session.send(&[0, 1, 2, 3, 4]),
            Message::Text("give utf8") => session.send("пойду спать всем спокойной ночи"),
            Message::Text("sendHeaders") => {
                let headers = headers(&session.request());
                session.send(&headers);
            }
            other => session.send(other),
        }
    }
}

/// The header fields of a request as a JSON object.
fn headers(request: &Request) -> String {
    let pairs = request.headers().iter();
    let pairs = pairs.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    serde_json::Value::Object(pairs.map(|(name, value)| (name, value.into())).collect()).to_string()
}
