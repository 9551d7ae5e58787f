//! How long things take: turns, callbacks, commands of other threads, pings, and opening handshakes.

use std::{fmt::Write, time::Duration};

/// The durations measured by a reactor, from [`Hub::latencies`](crate::Hub::latencies).
///
/// Their number, sum and maximum are always measured. The feature `latency` adds their distribution, for
/// `Durations::quantile`; that takes 150 KB for each reactor, and 60 instructions for each turn.
///
/// ```
/// use std::time::Duration;
/// use ws_reactor::Reactor;
///
/// let mut reactor = Reactor::new()?;
/// reactor.hub().add_periodic_timer(Duration::from_secs(10), |hub| {
///     let turn = &hub.latencies().turn;
///     println!("{} turns, {:?} on average, {:?} at most", turn.count(), turn.mean(), turn.max());
///     hub.reset_latencies();
/// });
/// # Ok::<(), ws_reactor::Error>(())
/// ```
#[derive(Debug, Default, Clone)]
#[non_exhaustive]
pub struct Latencies {
    /// Turns of the loop, without the wait for events. Commands and timers wait at most for so long; a connection with
    /// input may wait for several turns, if many have input.
    pub turn: Durations,
    /// Callbacks of connections. Measured if [`ReactorConfig::time_callbacks`](crate::ReactorConfig::time_callbacks) or
    /// [`Reactor::on_slow_turn`](crate::Reactor::on_slow_turn) is set, because that reads the clock twice for each.
    ///
    /// A callback of a WebSocket stands for the messages of one read, with their decoding.
    pub callback: Durations,
    /// Commands of a [`Remote`](crate::Remote): from when another thread queued one to when the loop starts on those
    /// that wait.
    pub command_delay: Durations,
    /// Pings of [`ping_after`](field@crate::WebSocketConfig::ping_after): from the turn that queued the ping to the
    /// turn that received the pong. Not measured if a message arrived before the pong.
    pub ping: Durations,
    /// Opening handshakes: on the server from accept, on the client from the start of the connection with the
    /// resolution of its name, proxies and redirects included, to [`on_open`](crate::Handler::on_open).
    pub handshake: Durations,
}

impl Latencies {
    fn kinds(&self) -> [(&'static str, &'static str, &Durations); 5] {
        [
            ("turn", "Turns of the loop, without the wait for events.", &self.turn),
            ("callback", "Callbacks of connections.", &self.callback),
            ("command_delay", "Time in the queue of commands of other threads.", &self.command_delay),
            ("ping", "Round trips of pings.", &self.ping),
            ("handshake", "Opening handshakes.", &self.handshake),
        ]
    }

    /// Adds the durations of another reactor.
    pub fn merge(&mut self, other: &Latencies) {
        let Latencies { turn, callback, command_delay, ping, handshake } = other;
        self.turn.merge(turn);
        self.callback.merge(callback);
        self.command_delay.merge(command_delay);
        self.ping.merge(ping);
        self.handshake.merge(handshake);
    }

    /// The durations in the text format of Prometheus (version 0.0.4): for each kind a summary, such as
    /// `ws_reactor_turn_seconds`, and the maximum, as `ws_reactor_turn_seconds_max`. The quantiles 0.5, 0.9, 0.99 and
    /// 0.999 need the feature `latency`. `Routes::metrics` serves the text.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (kind, help, durations) in self.kinds() {
            let name = format!("ws_reactor_{kind}_seconds");
            let (sum, count, max) = (durations.sum().as_secs_f64(), durations.count(), durations.max().as_secs_f64());
            // Writing to a `String` does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
            for (quantile, value) in durations.quantiles() {
                let _ = writeln!(text, "{name}{{quantile=\"{quantile}\"}} {}", value.as_secs_f64());
            }
            let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
            let _ = writeln!(text, "# HELP {name}_max {help} Longest.\n# TYPE {name}_max gauge\n{name}_max {max}");
        }
        text
    }

    /// The durations as an object of JSON: for each kind, as `turn_seconds`, an object with `count`, `sum`, `max`, and
    /// with the feature `latency` `p50`, `p90`, `p99` and `p99.9`.
    pub fn to_json(&self) -> String {
        let kinds = self.kinds().map(|(kind, _, durations)| {
            let (sum, count, max) = (durations.sum().as_secs_f64(), durations.count(), durations.max().as_secs_f64());
            let quantiles: String = durations
                .quantiles()
                .map(|(quantile, value)| format!(",\"p{}\":{}", quantile * 100.0, value.as_secs_f64()))
                .collect();
            format!("\"{kind}_seconds\":{{\"count\":{count},\"sum\":{sum},\"max\":{max}{quantiles}}}")
        });
        format!("{{{}}}", kinds.join(","))
    }
}

/// Durations of one kind, since the start of the reactor or [`Hub::reset_latencies`](crate::Hub::reset_latencies).
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "latency"), derive(Default))]
pub struct Durations {
    count: u64,
    /// In nanoseconds: 584 years.
    sum: u64,
    max: u64,
    #[cfg(feature = "latency")]
    histogram: hdrhistogram::Histogram<u64>,
}

/// Longer durations count as this in the distribution.
#[cfg(feature = "latency")]
const LONGEST: u64 = 60_000_000_000;

#[cfg(feature = "latency")]
impl Default for Durations {
    fn default() -> Self {
        let histogram = hdrhistogram::Histogram::new_with_bounds(1, LONGEST, 2).expect("valid bounds");
        Durations { count: 0, sum: 0, max: 0, histogram }
    }
}

impl Durations {
    #[inline]
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = duration.as_nanos() as u64;
        self.count += 1;
        self.sum += nanos;
        self.max = self.max.max(nanos);
        #[cfg(feature = "latency")]
        self.histogram.saturating_record(nanos);
    }

    fn merge(&mut self, other: &Durations) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        #[cfg(feature = "latency")]
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest. Zero if there are none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The average. Zero if there are none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count).unwrap_or_default())
    }

    /// The duration that the share `quantile` of all does not exceed, within 1 %: `quantile(0.99)` is the 99th
    /// percentile. Zero if there are none.
    ///
    /// ```
    /// # use ws_reactor::Reactor;
    /// let mut reactor = Reactor::new()?;
    /// reactor.turn(Some(std::time::Duration::ZERO))?;
    /// let latencies = reactor.hub().latencies();
    /// println!("99.9 % of all turns take {:?} or less", latencies.turn.quantile(0.999));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    #[cfg(feature = "latency")]
    pub fn quantile(&self, quantile: f64) -> Duration {
        // A bucket of the histogram ends above its values.
        Duration::from_nanos(self.histogram.value_at_quantile(quantile).min(self.max))
    }

    /// The quantiles that metrics show.
    #[cfg(feature = "latency")]
    fn quantiles(&self) -> impl Iterator<Item = (f64, Duration)> {
        [0.5, 0.9, 0.99, 0.999].into_iter().map(|quantile| (quantile, self.quantile(quantile)))
    }

    #[cfg(not(feature = "latency"))]
    fn quantiles(&self) -> impl Iterator<Item = (f64, Duration)> {
        std::iter::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(micros: impl IntoIterator<Item = u64>) -> Durations {
        let mut durations = Durations::default();
        micros.into_iter().for_each(|micros| durations.record(Duration::from_micros(micros)));
        durations
    }

    #[test]
    fn durations_are_counted_and_summed() {
        let none = durations([]);
        assert_eq!((none.count(), none.mean(), none.max()), (0, Duration::ZERO, Duration::ZERO));
        let some = durations([10, 20, 60]);
        let micros = Duration::from_micros;
        assert_eq!((some.count(), some.sum(), some.mean(), some.max()), (3, micros(90), micros(30), micros(60)));
    }

    #[cfg(feature = "latency")]
    #[test]
    fn quantiles_are_within_one_percent() {
        let thousand = durations(1..=1000);
        for (quantile, micros) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000)] {
            let (found, expected) = (thousand.quantile(quantile).as_secs_f64() * 1e6, f64::from(micros));
            assert!((found / expected - 1.0).abs() < 0.01, "{quantile}: {found}");
        }
        let mut long = Durations::default();
        long.record(Duration::from_secs(3600));
        assert_eq!((long.max(), long.quantile(1.0) >= Duration::from_secs(60)), (Duration::from_secs(3600), true));
    }

    #[test]
    fn merged_durations_are_those_of_both() {
        let mut merged = Latencies { turn: durations([10, 20]), ..Latencies::default() };
        merged.merge(&Latencies { turn: durations([60]), ping: durations([5]), ..Latencies::default() });
        let all = durations([10, 20, 60]);
        assert_eq!((merged.turn.count(), merged.turn.sum(), merged.turn.max()), (all.count(), all.sum(), all.max()));
        assert_eq!((merged.ping.count(), merged.handshake.count()), (1, 0));
        #[cfg(feature = "latency")]
        assert_eq!(merged.turn.quantile(0.5), all.quantile(0.5));
    }

    #[test]
    fn metrics_have_every_kind() {
        let latencies = Latencies { ping: durations([1500, 500]), ..Latencies::default() };
        let (text, json) = (latencies.to_prometheus(), latencies.to_json());
        for (kind, ..) in latencies.kinds() {
            let debug = format!("{latencies:?}");
            assert!(debug.contains(&format!("{kind}: Durations")), "{kind} is the name of the field");
        }
        assert!(text.contains("\nws_reactor_ping_seconds_sum 0.002\nws_reactor_ping_seconds_count 2\n"), "{text}");
        assert!(text.contains("\nws_reactor_ping_seconds_max 0.0015\n"), "{text}");
        assert!(json.contains("\"ping_seconds\":{\"count\":2,\"sum\":0.002,\"max\":0.0015"), "{json}");
        assert_eq!(text.matches("# TYPE ").count(), 10);
        #[cfg(feature = "latency")]
        {
            assert!(text.contains("ws_reactor_ping_seconds{quantile=\"0.999\"} 0.0015\n"), "{text}");
            assert!(json.contains("\"p99.9\":0.0015}"), "{json}");
        }
    }
}
