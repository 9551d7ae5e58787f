//! The result of a run as text and as JSON, and its comparison with an earlier one.

use std::{fmt::Write, time::Duration};

use super::{
    dialect::quoted,
    figures::{Figures, Sample, percentile},
};

/// A figure of a run. Times are in microseconds.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) is_time: bool,
    pub(super) value: Option<f64>,
}

/// All figures that a run is judged and compared by.
pub(super) fn metrics(figures: &Figures) -> Vec<Metric> {
    let micros = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e6);
    let latency = |part| micros(percentile(&figures.latencies, part));
    let connect = |part| micros(percentile(&figures.connects, part));
    let (sent, received) = figures.rates();
    let times = [
        ("p50", latency(50.0)),
        ("p90", latency(90.0)),
        ("p99", latency(99.0)),
        ("p999", latency(99.9)),
        ("max", latency(100.0)),
        ("connect_p50", connect(50.0)),
        ("connect_p99", connect(99.0)),
        ("connect_max", connect(100.0)),
        ("pause_p99", micros(percentile(&figures.pauses, 99.0))),
        ("pause_max", micros(percentile(&figures.pauses, 100.0))),
    ];
    let counts = [
        ("opened", figures.opened as f64),
        ("sent", figures.sent as f64),
        ("received", figures.received as f64),
        ("received_bytes", figures.received_bytes as f64),
        ("sent_per_second", sent),
        ("received_per_second", received),
        ("expected", figures.latencies.len() as f64),
        ("errors", figures.error_count() as f64),
    ];
    let times = times.map(|(name, value)| Metric { name, is_time: true, value });
    let counts = counts.map(|(name, value)| Metric { name, is_time: false, value: Some(value) });
    times.into_iter().chain(counts).collect()
}

/// A time in a unit that gives three digits.
pub(super) fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// The line that is shown while the load runs.
pub(super) fn live(sample: &Sample, errors: u64) -> String {
    let latency = match (sample.p50, sample.p99) {
        (Some(p50), Some(p99)) => format!(", p50 {}, p99 {}", shown(p50), shown(p99)),
        _ => String::new(),
    };
    let errors = if errors > 0 { format!(", {errors} errors") } else { String::new() };
    format!("{} open, {} sent, {} received a second{latency}{errors}", sample.open, sample.sent, sample.received)
}

pub(super) fn text(figures: &Figures) -> String {
    let (sent, received) = figures.rates();
    let mut text = format!(
        "{} sessions opened; {} messages sent, {:.0} a second; {} received, {:.0} a second, {} bytes",
        figures.opened, figures.sent, sent, figures.received, received, figures.received_bytes
    );
    for (title, histogram) in [("connect", &figures.connects), ("latency", &figures.latencies)] {
        if histogram.is_empty() {
            continue;
        }
        let _ = write!(text, "\n{title:<8}");
        for part in [50.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            let time = percentile(histogram, part).unwrap_or_default();
            let _ =
                write!(text, "  {} {}", if part < 100.0 { format!("p{part}") } else { "max".to_owned() }, shown(time));
        }
    }
    for (kind, count) in &figures.errors {
        let _ = write!(text, "\nerror    {count} × {kind}");
    }
    if let (Some(p99), Some(max)) = (percentile(&figures.pauses, 99.0), percentile(&figures.pauses, 100.0)) {
        let _ = write!(text, "\npauses of the load itself: p99 {}, max {}", shown(p99), shown(max));
    }
    if figures.is_overloaded() {
        text += "\nINVALID  the load generator was late itself: the latencies are not those of the server";
    }
    text
}

/// One object: the metrics by name, the errors by kind, and the seconds.
pub(super) fn json(figures: &Figures) -> String {
    let mut json = String::from("{");
    for Metric { name, is_time, value } in metrics(figures) {
        let unit = if is_time { "_us" } else { "" };
        let value = value.map_or("null".to_owned(), |value| format!("{value:.1}"));
        let _ = write!(json, "\"{name}{unit}\":{value},");
    }
    let errors: Vec<String> = figures.errors.iter().map(|(kind, n)| format!("{}:{n}", quoted(kind))).collect();
    let micros =
        |time: Option<Duration>| time.map_or("null".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e6));
    let seconds: Vec<String> = figures
        .samples
        .iter()
        .map(|Sample { open, sent, received, p50, p99 }| {
            format!("[{open},{sent},{received},{},{}]", micros(*p50), micros(*p99))
        })
        .collect();
    let _ = write!(
        json,
        "\"valid\":{},\"errors_by_kind\":{{{}}},\"seconds\":[{}]}}",
        !figures.is_overloaded(),
        errors.join(","),
        seconds.join(",")
    );
    json
}

/// The metrics of this run beside those of an earlier one, from its JSON.
pub(super) fn comparison(figures: &Figures, earlier: &str) -> String {
    let mut table = format!("{:<20} {:>14} {:>14} {:>8}", "", "earlier", "now", "ratio");
    for Metric { name, is_time, value } in metrics(figures) {
        let key = format!("\"{name}{}\":", if is_time { "_us" } else { "" });
        let before = earlier.split_once(&key).and_then(|(_, rest)| rest.split([',', '}']).next()?.parse::<f64>().ok());
        let (Some(before), Some(now)) = (before, value) else { continue };
        let ratio = if before == 0.0 { "–".to_owned() } else { format!("{:.2}", now / before) };
        let unit = if is_time { " µs" } else { "" };
        let _ = write!(table, "\n{:<20} {before:>14.1} {now:>14.1} {ratio:>8}", format!("{name}{unit}"));
    }
    table
}
