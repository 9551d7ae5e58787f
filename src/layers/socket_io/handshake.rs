//! The request and the `auth` of a client.

use std::{
    cell::OnceCell,
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, value::RawValue};

use crate::{http::Request, peer_addr::PeerAddr};

/// The `auth` object of a client. The text is parsed at the first use, because a parsed value may take a
/// hundred times its memory.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    json: Rc<str>,
    value: OnceCell<Value>,
}

impl Auth {
    /// The payload of a packet. `None` if it is no object, or longer than allowed.
    pub(super) fn parse(payload: &str, max_bytes: usize) -> Option<Self> {
        let json = if payload.is_empty() { "{}" } else { payload };
        let is_object = json.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(json).is_ok();
        (is_object && json.len() <= max_bytes).then(|| Auth { json: json.into(), value: OnceCell::new() })
    }

    pub(super) fn value(&self) -> &Value {
        // An object that is nested too deeply has no value.
        self.value.get_or_init(|| serde_json::from_str(&self.json).unwrap_or_else(|_| Value::Object(Map::new())))
    }

    /// The recovery id and the offset that a client asks for.
    pub(super) fn recovery(&self) -> Option<(String, String)> {
        #[derive(serde::Deserialize)]
        struct Recovery {
            pid: String,
            offset: String,
        }

        let Recovery { pid, offset } = serde_json::from_str(&self.json).ok()?;
        Some((pid, offset))
    }
}

/// The request that has opened the connection of a socket, and what its client sends along.
#[derive(Debug, Clone)]
pub struct Handshake {
    request: Rc<Request>,
    auth: Auth,
    issued: SystemTime,
}

impl Handshake {
    pub(super) fn new(request: &Rc<Request>, auth: Auth) -> Self {
        Handshake { request: Rc::clone(request), auth, issued: SystemTime::now() }
    }

    /// The first request of the connection: headers, cookies, query, address.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The client's `auth`: an object, empty if it sends none.
    pub fn auth(&self) -> &Value {
        self.auth.value()
    }

    /// When the socket was opened.
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// All as one object, with the fields of Node's `socket.handshake`: `headers`, `time`, `address`, `xdomain`,
    /// `secure`, `issued` in milliseconds, `url`, `query`, `auth`.
    pub fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for name in self.request.headers().keys() {
            let lines = self.request.headers().get_all(name).into_iter();
            let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
            headers.insert(name.as_str().to_owned(), lines.join(", ").into());
        }
        let query: Map<String, Value> =
            self.request.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
        let address = match self.request.peer_addr() {
            PeerAddr::Ip(address) => address.ip().to_string(),
            other => other.to_string(),
        };
        let url = self.request.http().uri().path_and_query().map_or("/", |target| target.as_str());
        let issued = self.issued.duration_since(UNIX_EPOCH).unwrap_or_default();
        serde_json::json!({
            "headers": headers,
            "time": httpdate::fmt_http_date(self.issued),
            "address": address,
            "xdomain": self.request.origin().is_some(),
            "secure": self.request.is_secure(),
            "issued": issued.as_millis() as u64,
            "url": url,
            "query": query,
            "auth": self.auth.value(),
        })
    }
}
