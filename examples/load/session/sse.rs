//! A user of an event stream: a `GET` request, and the events of its response.

use std::{cell::RefCell, rc::Rc, time::Instant};

use ws_reactor::{CloseReason, Error, Stream, StreamHandler};

use super::{figures::Figures, scenario::Scenario};

pub(super) struct Reader {
    request: String,
    figures: Rc<RefCell<Figures>>,
    began: Instant,
    /// The text that the events contain, whose time of arrival counts.
    head: Vec<u8>,
    is_open: bool,
    /// The end of the last data, so that a line may be cut anywhere.
    rest: Vec<u8>,
}

/// Host with port, and path, of an `http` URL.
pub(super) fn place(url: &str) -> Result<(String, String), String> {
    let rest = url.strip_prefix("http://").ok_or("sse needs an http:// URL")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok((host, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

impl Reader {
    pub(super) fn new(number: usize, scenario: &Scenario, figures: &Rc<RefCell<Figures>>) -> Result<Self, String> {
        let (host, path) = place(&scenario.url)?;
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n");
        for (name, value) in &scenario.headers {
            request += &format!("{name}: {}\r\n", value.replace("{user}", &number.to_string()));
        }
        request += "\r\n";
        let figures = Rc::clone(figures);
        Ok(Reader { request, figures, began: Instant::now(), head: Vec::new(), is_open: false, rest: Vec::new() })
    }

    /// Takes the head of the response. Returns the bytes behind it once it is complete.
    fn read_head(&mut self, stream: &mut Stream<'_>, data: &[u8]) -> Option<Vec<u8>> {
        self.head.extend_from_slice(data);
        let end = self.head.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let body = self.head.split_off(end);
        let status = String::from_utf8_lossy(&self.head).lines().next().unwrap_or_default().to_owned();
        let mut figures = self.figures.borrow_mut();
        if status.split(' ').nth(1) != Some("200") {
            figures.error(format!("answered with {status:?}"));
            stream.terminate();
            return None;
        }
        figures.open += 1;
        figures.connected(self.began.elapsed());
        self.is_open = true;
        Some(body)
    }

    /// Counts the events: each ends with an empty line, and comments are none.
    fn count(&mut self, data: &[u8]) {
        let mut figures = self.figures.borrow_mut();
        figures.received_bytes += data.len() as u64;
        self.rest.extend(data.iter().filter(|byte| **byte != b'\r'));
        let mut at = 0;
        while let Some(end) = self.rest[at..].windows(2).position(|window| window == b"\n\n") {
            let event = &self.rest[at..at + end];
            figures.received += u64::from(event.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"data")));
            at += end + 2;
        }
        self.rest.drain(..at);
    }
}

impl StreamHandler for Reader {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.write(self.request.as_bytes());
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        match self.is_open {
            true => self.count(data),
            false => {
                if let Some(body) = self.read_head(stream, data) {
                    self.count(&body);
                }
            }
        }
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        self.figures.borrow_mut().error(format!("{error:#}"));
    }

    fn on_close(&mut self, _: &mut Stream<'_>, _: &CloseReason) {
        if std::mem::take(&mut self.is_open) {
            let mut figures = self.figures.borrow_mut();
            figures.open -= 1;
            figures.error("the stream ended");
        }
    }
}
