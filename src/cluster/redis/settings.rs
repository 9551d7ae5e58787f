//! The settings of a Redis.

use std::{
    hash::{BuildHasher, RandomState},
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    channels::{Bounds, Channels, Words},
    log::Log,
    url::RedisUrl,
};
#[cfg(feature = "tls")]
use crate::net::tls::TlsConnector;
use crate::{
    protocol::Message,
    reactor::{Hub, OutputLimits, StreamConfig},
};

/// Called after an outage, with the topics whose messages may be missing, and the time since when.
pub(super) type OnGap = Rc<dyn Fn(&mut Hub, &[Rc<str>], Instant)>;

/// Called with the channel and the message that another program has published.
pub(super) type OnMessage = Rc<dyn Fn(&mut Hub, &str, Message<'_>)>;

/// Bound of the wait before the first attempt, and of every wait.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));

/// Time that Redis has to end its side of a connection that is closed.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of a Redis.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) url: RedisUrl,
    pub(super) prefix: String,
    /// The name of the connections in `CLIENT LIST`.
    pub(super) name: String,
    /// Version 3 of the protocol is spoken.
    pub(super) is_resp3: bool,
    pub(super) connect_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) bounds: Bounds,
    /// The key of the stream of histories, and the number of events in it.
    pub(super) history: Option<(String, usize)>,
    /// Publications are delivered when they come back.
    pub(super) has_one_order: bool,
    /// Channels are those of sharded pub/sub.
    pub(super) is_sharded: bool,
    pub(super) on_gap: Option<OnGap>,
    /// Patterns of channels, and what is called with their messages.
    pub(super) patterns: Vec<(String, OnMessage)>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConnector>,
}

impl Settings {
    /// The channels of a process that has none yet.
    pub(super) fn channels(&self) -> Channels {
        let (words, patterns) = match self.is_sharded {
            // One of the nodes subscribes the patterns.
            true => (Words::SHARDED, Vec::new()),
            false => (Words::PLAIN, self.pattern_names()),
        };
        Channels::new(self.prefix.as_str().into(), self.bounds, patterns, words)
    }

    /// The patterns of channels.
    pub(super) fn pattern_names(&self) -> Vec<String> {
        self.patterns.iter().map(|(pattern, _)| pattern.clone()).collect()
    }

    /// The stream of histories.
    pub(super) fn log(&self) -> Option<Log> {
        let random = RandomState::new().hash_one(&self.name);
        let log =
            |(key, max_events): &(String, usize)| Log::new(key.clone(), *max_events, self.ping_interval / 2, random);
        self.history.as_ref().filter(|_| !self.is_sharded).map(log)
    }

    /// The configuration of a connection.
    pub(super) fn stream_config(&self) -> StreamConfig {
        // Commands beyond the bound are not written at all.
        let output = OutputLimits { limit_bytes: usize::MAX, high_water_bytes: usize::MAX, ..OutputLimits::default() };
        StreamConfig::new()
            .connect_timeout(self.connect_timeout)
            .tls_handshake_timeout(self.connect_timeout)
            .closing_timeout(CLOSING_TIMEOUT)
            .output(output)
    }

    /// The wait before the next attempt, after so many that have failed: random, within a bound that doubles.
    pub(super) fn wait(&self, failures: u32, hub: &mut Hub) -> Duration {
        let (first, most) = BACKOFF;
        let bound = first.saturating_mul(1 << failures.min(16)).min(most);
        let mut random = [0; 4];
        hub.random(&mut random);
        // Half of it at least, so that a Redis which closes each connection at once costs little.
        let part = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
        bound.mul_f64(0.5 + part / 2.0)
    }
}
