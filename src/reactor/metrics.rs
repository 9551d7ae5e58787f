//! Counters of a reactor as text, for monitoring.

use std::fmt::Write;

use super::stats::Stats;

/// A value with its name and what it counts.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    /// A present value.
    Gauge(f64),
    /// A value that only grows. Its name ends in `_total` in Prometheus' format.
    Counter(u64),
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Metric {
    Metric { name, help, value: Value::Gauge(value) }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric { name, help, value: Value::Counter(value) }
}

impl Stats {
    fn metrics(&self) -> Vec<Metric> {
        vec![
            gauge("connections", "Current connections.", self.connections as f64),
            gauge("pending_handshakes", "Current unfinished opening handshakes.", self.pending_handshakes as f64),
            gauge("buffered_bytes", "Bytes that wait to be written.", self.buffered_bytes as f64),
            counter("accepted", "Connections accepted.", self.accepted),
            counter("connected", "Outgoing connections established.", self.connected),
            counter("opened", "WebSockets opened.", self.opened),
            counter("requests", "HTTP requests.", self.requests),
            counter("refused", "Requests refused.", self.refused),
            counter("turned_away", "Connections closed right after accept.", self.turned_away),
            counter("timed_out", "Connections ended by a time-out or as slow readers.", self.timed_out),
            counter("protocol_errors", "Connections ended by a violation of the protocol.", self.protocol_errors),
            counter("panics", "Panics of user code.", self.panics),
            counter("messages_in", "Messages received.", self.messages_in),
            counter("messages_out", "Messages queued, one per receiver.", self.messages_out),
            counter("compressions", "Messages compressed.", self.compressions),
            counter("bytes_in", "Bytes read.", self.bytes_in),
            counter("bytes_out", "Bytes written.", self.bytes_out),
            counter("dropped", "Messages not queued because of a limit.", self.dropped),
            counter("conflated", "Messages replaced by a later one.", self.conflated),
            counter("group_refused", "Messages that another reactor does not get.", self.group_refused),
            counter("turns", "Turns of the loop.", self.turns),
        ]
    }

    /// The counters in the text format of Prometheus (version 0.0.4), named `ws_reactor_…`. Those that only grow end in
    /// `_total`. `Routes::metrics` serves the text.
    ///
    /// ```
    /// let text = ws_reactor::Reactor::new()?.hub().stats().to_prometheus();
    /// assert!(text.contains("\nws_reactor_connections 0\n"));
    /// # Ok::<(), ws_reactor::Error>(())
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for Metric { name, help, value } in self.metrics() {
            // Writing to a `String` does not fail.
            let _ = match value {
                Value::Gauge(value) => write!(
                    text,
                    "# HELP ws_reactor_{name} {help}\n# TYPE ws_reactor_{name} gauge\nws_reactor_{name} {value}\n"
                ),
                Value::Counter(value) => write!(
                    text,
                    "# HELP ws_reactor_{name}_total {help}\n# TYPE ws_reactor_{name}_total counter\n\
                     ws_reactor_{name}_total {value}\n"
                ),
            };
        }
        text
    }

    /// The counters as an object of JSON, by the names of the fields.
    pub fn to_json(&self) -> String {
        let members: Vec<String> = self
            .metrics()
            .into_iter()
            .map(|Metric { name, value, .. }| match value {
                Value::Gauge(value) => format!("\"{name}\":{value}"),
                Value::Counter(value) => format!("\"{name}\":{value}"),
            })
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_a_metric() {
        let stats = Stats { buffered_bytes: 1500, bytes_in: u64::MAX, ..Stats::default() };
        let (text, json) = (stats.to_prometheus(), stats.to_json());
        // The fields as `Debug` names them.
        let debug = format!("{stats:?}");
        let fields = debug.trim_start_matches("Stats { ").split(", ").filter_map(|field| field.split_once(": "));
        let mut count = 0;
        for (name, _) in fields {
            assert!(text.contains(&format!("ws_reactor_{name}")), "{name}");
            assert!(json.contains(&format!("\"{name}")), "{name}");
            count += 1;
        }
        assert_eq!((stats.metrics().len(), text.matches("# TYPE ").count()), (count, count));
        assert!(text.contains("\nws_reactor_bytes_in_total 18446744073709551615\n"), "{text}");
        assert!(json.contains("\"buffered_bytes\":1500,"), "{json}");
    }
}
