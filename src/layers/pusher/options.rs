//! An app and its options.

use std::time::Duration;

use super::{
    api::EventLimits,
    sender::{WebhookUrl, WebhookUrlError},
    signature::Credentials,
};

/// An app: an id, a key, a secret, and its options. Add it by [`Pusher::app`](super::Pusher::app).
///
/// The limits of connections count in each process, those of channels and members in all processes together.
#[derive(Debug, Clone)]
#[must_use]
pub struct PusherApp {
    pub(super) id: String,
    pub(super) credentials: Credentials,
    pub(super) webhook: Option<WebhookUrl>,
    pub(super) events: EventLimits,
    pub(super) client_events_per_second: u32,
    pub(super) subscription_count: bool,
    pub(super) max_connections: usize,
    pub(super) max_channels: usize,
    pub(super) max_members: usize,
    pub(super) max_member_bytes: usize,
    pub(super) activity_timeout: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) cache_ttl: Duration,
    pub(super) max_cache_bytes: usize,
}

/// Sets a field.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        $(
            $(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            }
        )*
    };
}

impl PusherApp {
    /// An app with default options.
    pub fn new(id: impl Into<String>, key: impl Into<String>, secret: impl Into<String>) -> Self {
        PusherApp {
            id: id.into(),
            credentials: Credentials::new(key, secret),
            webhook: None,
            events: EventLimits::default(),
            client_events_per_second: 10,
            subscription_count: false,
            max_connections: usize::MAX,
            max_channels: 1000,
            max_members: 1000,
            max_member_bytes: 2048,
            activity_timeout: Duration::from_secs(120),
            pong_timeout: Duration::from_secs(30),
            cache_ttl: Duration::from_secs(30 * 60),
            max_cache_bytes: 64 * 1024 * 1024,
        }
    }

    /// Sets the URL to which all [events](super::PusherEvent) of the app are posted, as Pusher's webhooks: `http://…`.
    /// Default: none.
    ///
    /// Events are collected for half a second, up to 50 in a request. A request that is not answered with a status
    /// between 200 and 299 in 5 s is repeated after 1, 4, 15, 60 and 300 s, and then dropped; later events of this
    /// process wait for it. At most 8 MiB of events wait, half of them from clients; further ones are dropped, with a
    /// warning in the log.
    ///
    /// # Errors
    ///
    /// [`WebhookUrlError`] if the URL is not valid, or its scheme is not `http`.
    pub fn webhook(mut self, url: &str) -> Result<Self, WebhookUrlError> {
        self.webhook = Some(WebhookUrl::parse(url)?);
        Ok(self)
    }

    /// Sets the most bytes of the data of an event, from the application or from a client. Default 10 KiB. The HTTP API
    /// answers longer ones with 413, and the event of a client is dropped.
    pub fn max_event_bytes(mut self, bytes: usize) -> Self {
        self.events.data_bytes = bytes;
        self
    }

    options! {
        /// Sets the most events that a client may send in a second. Default 10. Further ones are dropped with error
        /// 4301. With 0, events of clients are turned off.
        client_events_per_second: u32,
        /// Sets whether subscribers are told the number of subscriptions of their channel, when it changes
        /// (`pusher:subscription_count`). Default `false`. Presence channels have no such count.
        subscription_count: bool,
        /// Sets the most connections in this process. Default: no limit. Further ones are closed with 4004.
        max_connections: usize,
        /// Sets the most subscriptions of a connection. Default 1,000. Further ones are refused, and so are requests
        /// beyond twice this number at once and 100 in a second.
        max_channels: usize,
        /// Sets the most users of a presence channel. Default 1,000. Further ones are refused.
        max_members: usize,
        /// Sets the most bytes of the `channel_data` of a member. Default 2 KiB. Longer ones are refused.
        max_member_bytes: usize,
        /// Sets the time without a message from a client after which the server sends a ping. Default 120 s. Clients
        /// are told the time in whole seconds, at least 1, and send a ping of their own after it.
        activity_timeout: Duration,
        /// Sets the time for the answer to a ping. Default 30 s. Connections without an answer are closed with 4201.
        pong_timeout: Duration,
        /// Sets the time for which the last event of a cache channel is kept. Default 30 minutes.
        cache_ttl: Duration,
        /// Sets the most bytes of the last events of all cache channels. Default 64 MiB. The oldest ones are dropped.
        max_cache_bytes: usize,
    }

    /// The activity time-out as clients are told it, in seconds.
    pub(super) fn activity_seconds(&self) -> u64 {
        self.activity_timeout.as_secs().max(1)
    }
}
