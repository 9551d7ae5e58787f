//! The last event of each cache channel. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// The last event of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CachedEvent {
    pub(super) channel: String,
    pub(super) name: String,
    /// JSON text.
    pub(super) data: String,
}

impl CachedEvent {
    fn bytes(&self) -> usize {
        size_of::<Entry>() + 2 * self.channel.len() + self.name.len() + self.data.len()
    }
}

#[derive(Debug)]
struct Entry {
    event: CachedEvent,
    /// `None`: never.
    ends: Option<Instant>,
    serial: u64,
}

/// The last events of an app, for a time and up to a size.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    max_bytes: usize,
    entries: HashMap<String, Entry>,
    /// Channels in the order of their events.
    order: BTreeMap<u64, String>,
    bytes: usize,
    last_serial: u64,
}

impl Cache {
    pub(super) fn new(ttl: Duration, max_bytes: usize) -> Self {
        Cache { ttl, max_bytes, entries: HashMap::new(), order: BTreeMap::new(), bytes: 0, last_serial: 0 }
    }

    /// Keeps an event. The oldest ones are dropped beyond the size.
    pub(super) fn put(&mut self, event: CachedEvent, now: Instant) {
        self.insert(event, self.ttl, now);
    }

    /// Keeps an event of another node, unless the channel has one: that is the same or newer.
    pub(super) fn restore(&mut self, event: CachedEvent, left: Duration, now: Instant) {
        if self.get(&event.channel, now).is_none() {
            self.insert(event, left.min(self.ttl), now);
        }
    }

    fn insert(&mut self, event: CachedEvent, ttl: Duration, now: Instant) {
        self.remove(&event.channel);
        if event.bytes() > self.max_bytes {
            return;
        }
        self.last_serial += 1;
        self.bytes += event.bytes();
        self.order.insert(self.last_serial, event.channel.clone());
        let key = event.channel.clone();
        self.entries.insert(key, Entry { event, ends: now.checked_add(ttl), serial: self.last_serial });
        while self.bytes > self.max_bytes
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, channel: &str) {
        if let Some(entry) = self.entries.remove(channel) {
            self.order.remove(&entry.serial);
            self.bytes -= entry.event.bytes();
        }
    }

    /// The event of a channel, and the time for which it is still kept.
    pub(super) fn get(&self, channel: &str, now: Instant) -> Option<(&CachedEvent, Duration)> {
        let entry = self.entries.get(channel)?;
        let left = entry.ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(now));
        (!left.is_zero()).then_some((&entry.event, left))
    }

    /// Drops the events whose time has ended.
    pub(super) fn expire(&mut self, now: Instant) {
        let expired = |cache: &Self| {
            let (_, oldest) = cache.order.first_key_value()?;
            cache.get(oldest, now).is_none().then(|| oldest.clone())
        };
        while let Some(channel) = expired(self) {
            self.remove(&channel);
        }
    }

    /// All events, the oldest first, each with the time for which it is still kept.
    fn all(&self, now: Instant) -> impl Iterator<Item = (&CachedEvent, Duration)> {
        self.order.values().filter_map(move |channel| self.get(channel, now))
    }

    /// All events in parts of about a number of bytes, each event with the milliseconds for which it is still kept.
    pub(super) fn parts(&self, bytes: usize, now: Instant) -> Vec<Vec<(CachedEvent, u64)>> {
        let mut parts: Vec<Vec<(CachedEvent, u64)>> = Vec::new();
        let mut left = 0;
        for (event, time) in self.all(now) {
            let cost = event.bytes();
            if cost > left {
                parts.push(Vec::new());
                left = bytes;
            }
            left = left.saturating_sub(cost);
            let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            parts.last_mut().into_iter().for_each(|part| part.push((event.clone(), time_ms)));
        }
        parts
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(1800);

    fn event(channel: &str, data: &str) -> CachedEvent {
        CachedEvent { channel: channel.to_owned(), name: "e".to_owned(), data: data.to_owned() }
    }

    fn data<'c>(cache: &'c Cache, channel: &str, now: Instant) -> Option<&'c str> {
        cache.get(channel, now).map(|(event, _)| &*event.data)
    }

    #[test]
    fn last_event_is_kept_for_its_time() {
        let (mut cache, now) = (Cache::new(TTL, 10_000), Instant::now());
        cache.put(event("a", "1"), now);
        cache.put(event("b", "1"), now);
        cache.put(event("a", "2"), now + TTL / 2);
        assert_eq!((data(&cache, "a", now), cache.len()), (Some("2"), 2));
        cache.expire(now + TTL);
        assert_eq!((data(&cache, "b", now), data(&cache, "a", now + TTL)), (None, Some("2")));
        cache.expire(now + 2 * TTL);
        assert_eq!((cache.len(), cache.bytes, cache.order.len()), (0, 0, 0));
    }

    #[test]
    fn oldest_events_are_dropped_beyond_the_size() {
        let (mut cache, now) = (Cache::new(TTL, 10_000), Instant::now());
        let long = "x".repeat(2_500);
        ["a", "b", "c", "d"].iter().for_each(|channel| cache.put(event(channel, &long), now));
        let kept: Vec<_> = cache.all(now).map(|(event, _)| &*event.channel).collect();
        assert_eq!(kept, ["b", "c", "d"]);
        assert!(cache.bytes <= 10_000);
        cache.put(event("e", &"x".repeat(20_000)), now);
        assert_eq!((cache.len(), data(&cache, "e", now)), (3, None));
    }

    #[test]
    fn parts_have_all_events_in_their_order() {
        let (mut cache, now) = (Cache::new(TTL, 1 << 20), Instant::now());
        (0..10).for_each(|number| cache.put(event(&number.to_string(), &"x".repeat(900)), now));
        let parts = cache.parts(2500, now + TTL / 3);
        assert!((5..=10).contains(&parts.len()));
        let channels: Vec<String> = parts
            .into_iter()
            .flatten()
            .map(|(event, left_ms)| {
                assert_eq!(left_ms, 1_200_000);
                event.channel
            })
            .collect();
        assert_eq!(channels, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert!(Cache::new(TTL, 100).parts(10, now).is_empty());
    }

    #[test]
    fn longest_time_is_for_ever() {
        let (mut cache, now) = (Cache::new(Duration::MAX, 10_000), Instant::now());
        cache.put(event("a", "1"), now);
        cache.expire(now + 1000 * TTL);
        assert_eq!(data(&cache, "a", now + 1000 * TTL), Some("1"));
    }

    #[test]
    fn event_of_another_node_replaces_none() {
        let (mut cache, now) = (Cache::new(TTL, 10_000), Instant::now());
        cache.put(event("a", "own"), now);
        ["a", "b"].iter().for_each(|channel| cache.restore(event(channel, "other"), TTL / 2, now));
        assert_eq!((data(&cache, "a", now), data(&cache, "b", now)), (Some("own"), Some("other")));
        assert_eq!(data(&cache, "b", now + TTL / 2), None);
    }
}
