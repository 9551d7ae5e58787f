//! The requests of webhooks, by plain HTTP: one at a time, each on a connection of its own.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    events::PusherEvent,
    signature::Credentials,
    webhooks::{Batch, Queue},
};
use crate::{
    http::{HeadLimits, Uri, head::HeadReader},
    protocol::CloseReason,
    reactor::{Hub, Stream, StreamConfig, StreamHandler, TimerId},
};

/// Time for a request and its response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The URL of a webhook.
#[derive(Debug, Clone)]
pub(super) struct WebhookUrl {
    /// The URL as it was given, for the log.
    text: String,
    /// Host and port to connect to.
    address: String,
    /// The head of a request, as far as it is the same for all.
    head: String,
}

impl WebhookUrl {
    pub(super) fn parse(text: &str) -> Result<Self, WebhookUrlError> {
        let url: Uri = text.parse().map_err(|_| WebhookUrlError::Invalid)?;
        if url.scheme_str() != Some("http") {
            return Err(WebhookUrlError::Scheme);
        }
        let authority = url.authority().ok_or(WebhookUrlError::Invalid)?;
        if authority.as_str().contains('@') {
            return Err(WebhookUrlError::Credentials);
        }
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(WebhookUrl {
            text: text.to_owned(),
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            head: format!(
                "POST {slash}{target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: ws-reactor\r\n\
                 Content-Type: application/json\r\nConnection: close\r\n"
            ),
        })
    }
}

/// A URL to which no webhook can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebhookUrlError {
    /// The scheme is not `http`. A proxy on this host can pass requests on by `https`.
    Scheme,
    /// There is a user in the URL.
    Credentials,
    /// The URL is malformed.
    Invalid,
}

impl fmt::Display for WebhookUrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WebhookUrlError::Scheme => "the scheme of a webhook is http",
            WebhookUrlError::Credentials => "the URL of a webhook has no user",
            WebhookUrlError::Invalid => "the URL of a webhook is malformed",
        })
    }
}

impl std::error::Error for WebhookUrlError {}

/// Sends the events of an app.
pub(super) struct WebhookSender {
    url: WebhookUrl,
    credentials: Credentials,
    queue: RefCell<Queue>,
    is_sending: Cell<bool>,
    /// Events are not collected any more.
    is_hurried: Cell<bool>,
    timer: Cell<Option<TimerId>>,
}

impl WebhookSender {
    pub(super) fn new(url: WebhookUrl, credentials: Credentials) -> Self {
        WebhookSender {
            url,
            credentials,
            queue: RefCell::default(),
            is_sending: Cell::default(),
            is_hurried: Cell::default(),
            timer: Cell::default(),
        }
    }

    /// Adds an event.
    pub(super) fn push(self: &Rc<Self>, hub: &mut Hub, event: &PusherEvent) {
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let is_queued = self.queue.borrow_mut().push(event, hub.now(), time_ms);
        if !is_queued && hub.may_warn() {
            log::warn!(target: super::LOG, "dropped an event for the webhook {}: too many wait", self.url.text);
        }
        if self.is_hurried.get() {
            self.queue.borrow_mut().hurry(hub.now());
        }
        self.schedule(hub);
    }

    /// Sends the events that are being collected, and each further one, at once.
    pub(super) fn hurry(self: &Rc<Self>, hub: &mut Hub) {
        self.is_hurried.set(true);
        self.queue.borrow_mut().hurry(hub.now());
        self.schedule(hub);
    }

    /// Events and batches that wait, and those that were dropped.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let queue = self.queue.borrow();
        (queue.len(), queue.dropped)
    }

    /// Sends the next batch when it is due, unless a request is on its way.
    fn schedule(self: &Rc<Self>, hub: &mut Hub) {
        if self.is_sending.get() {
            return;
        }
        if let Some(timer) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        let Some(due) = self.queue.borrow().deadline() else { return };
        let sender = Rc::downgrade(self);
        let timer = hub.add_timer(due.saturating_duration_since(hub.now()), move |hub| {
            if let Some(sender) = sender.upgrade() {
                sender.timer.set(None);
                sender.send(hub);
            }
        });
        self.timer.set(Some(timer));
    }

    fn send(self: &Rc<Self>, hub: &mut Hub) {
        let next = self.queue.borrow_mut().next(hub.now());
        let Some(batch) = next else { return self.schedule(hub) };
        self.is_sending.set(true);
        let config = StreamConfig::new().connect_timeout(TIMEOUT);
        let request =
            Request { sender: Rc::clone(self), batch: Some(batch), head: HeadReader::default(), status: None };
        if let Err(error) = hub.connect_stream_with(&self.url.address, config, request) {
            // The loop is ending.
            log::warn!(target: super::LOG, "webhook {}: {error}, dropped", self.url.text);
        }
    }

    /// A request has ended, with the status of its response if there was one.
    fn on_end(self: &Rc<Self>, hub: &mut Hub, batch: Batch, status: Option<u16>) {
        self.is_sending.set(false);
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.queue.borrow_mut().accepted(&batch);
        } else {
            let is_kept = self.queue.borrow_mut().refused(batch, hub.now());
            if hub.may_warn() {
                let answer = status.map_or_else(|| "no response".to_owned(), |status| format!("status {status}"));
                let next = if is_kept { "sent again later" } else { "dropped" };
                log::warn!(target: super::LOG, "webhook {}: {answer}, {next}", self.url.text);
            }
        }
        self.schedule(hub);
    }
}

/// A request on its connection.
struct Request {
    sender: Rc<WebhookSender>,
    batch: Option<Batch>,
    head: HeadReader,
    status: Option<u16>,
}

impl StreamHandler for Request {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        if let Some(batch) = &self.batch {
            let WebhookSender { url: WebhookUrl { head, .. }, credentials, .. } = &*self.sender;
            let (key, signature, length) = (&credentials.key, credentials.sign(&batch.body), batch.body.len());
            let end =
                format!("X-Pusher-Key: {key}\r\nX-Pusher-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n");
            [head, &end, &batch.body].iter().for_each(|part| _ = stream.write(part.as_bytes()));
            stream.set_timer(TIMEOUT);
        }
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        let mut data = &*data;
        loop {
            match self.head.read_response(data, &HeadLimits::default()) {
                Ok(Some((response, end))) if response.status().is_informational() => data = &data[end..],
                Ok(Some((response, _))) => self.status = Some(response.status().as_u16()),
                Ok(None) => return,
                Err(_) => return stream.terminate(),
            }
            if self.status.is_some() {
                return stream.terminate();
            }
        }
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        stream.terminate();
    }

    fn on_shutdown(&mut self, _: &mut Stream<'_>) {
        // The response is on its way.
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        if let Some(batch) = self.batch.take() {
            self.sender.on_end(stream.hub(), batch, self.status);
        }
    }
}
