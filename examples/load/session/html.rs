//! The result of a run as one HTML page with plots, without any other file.

use std::{fmt::Write, time::Duration};

use super::{
    figures::{Figures, Sample, percentile},
    report::{shown, text},
    scenario::Scenario,
};

const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --a: #1d4ed8; --b: #b45309; --quiet: #555b66; }
@media (prefers-color-scheme: dark) { :root { --a: #7aa8ff; --b: #fbbf24; --quiet: #a9afba; } }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
pre { white-space: pre-wrap; padding: 1rem; border: 1px solid #8886; border-radius: .5rem; }
svg { width: 100%; height: auto; } text { font-size: 12px; fill: var(--quiet); }
polyline.a { stroke: var(--a); } polyline.b { stroke: var(--b); } text.a { fill: var(--a); } text.b { fill: var(--b); }
polyline { fill: none; stroke-width: 2; } .grid { stroke: #8884; }";

/// Size of a plot, and the place of its axes.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 25.0;

/// A line of a plot: its name, its class, and its values.
type Line<'l> = (&'l str, &'l str, Vec<Option<f64>>);

pub(super) fn page(scenario: &Scenario, figures: &Figures) -> String {
    let seconds: Vec<String> = (1..=figures.samples.len()).map(|second| format!("{second} s")).collect();
    let per_second = |value: fn(&Sample) -> Option<f64>| figures.samples.iter().map(value).collect::<Vec<_>>();
    let micros = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e6);
    let parts = [50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0];
    let names: Vec<String> = parts.iter().map(|part| format!("{part} %")).collect();
    let latencies = parts.map(|part| micros(percentile(&figures.latencies, part))).to_vec();
    let count = |value: f64| format!("{value:.0}");
    let time = |value: f64| shown(Duration::from_secs_f64(value / 1e6));
    let plots = [
        (
            "Messages a second",
            plot(
                &seconds,
                &[
                    ("sent", "a", per_second(|sample| Some(sample.sent as f64))),
                    ("received", "b", per_second(|sample| Some(sample.received as f64))),
                ],
                count,
            ),
        ),
        (
            "Latency by second",
            plot(
                &seconds,
                &[
                    ("p50", "a", per_second(|sample| sample.p50.map(|time| time.as_secs_f64() * 1e6))),
                    ("p99", "b", per_second(|sample| sample.p99.map(|time| time.as_secs_f64() * 1e6))),
                ],
                time,
            ),
        ),
        ("Latency by percentile", plot(&names, &[("latency", "a", latencies)], time)),
        ("Open sessions", plot(&seconds, &[("open", "a", per_second(|sample| Some(sample.open as f64)))], count)),
    ];
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>Load on {url}</title>\n<style>\n{STYLE}\n</style>\n\
         <h1>Load on {url}</h1>\n<p>{} users, connected within {}, then {} of load.</p>\n<pre>{}</pre>\n",
        scenario.users,
        shown(scenario.ramp_up),
        shown(scenario.duration),
        escaped(&text(figures)),
        url = escaped(&scenario.url),
    );
    for (title, svg) in plots {
        if let Some(svg) = svg {
            let _ = write!(
                page,
                "<h2>{title}</h2>\n{}\n",
                svg.replacen("<svg", &format!("<svg aria-label=\"{title}\""), 1)
            );
        }
    }
    page + "</html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A plot of lines over the same places. `None` without a value.
fn plot(places: &[String], lines: &[Line<'_>], label: impl Fn(f64) -> String) -> Option<String> {
    let most = lines.iter().flat_map(|(.., values)| values.iter().flatten()).copied().reduce(f64::max)?;
    let most = rounded_up(most);
    let x = |index: usize| LEFT + (WIDTH - LEFT - 10.0) * index as f64 / (places.len().max(2) - 1) as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / most);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let (height, name) = (y(value), label(value));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {height:.1}H{WIDTH}\"/><text x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\">{name}</text>",
            LEFT - 6.0,
            height + 4.0
        );
    }
    let step = places.len().div_ceil(10);
    for (index, place) in places.iter().enumerate().step_by(step) {
        let _ =
            write!(svg, "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{place}</text>", x(index), HEIGHT - 5.0);
    }
    for (number, (name, class, values)) in lines.iter().enumerate() {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .filter_map(|(index, value)| Some(format!("{:.1},{:.1}", x(index), y((*value)?))))
            .collect();
        let _ = write!(
            svg,
            "<polyline class=\"{class}\" points=\"{}\"/><text class=\"{class}\" x=\"{:.0}\" y=\"14\">{name}</text>",
            points.join(" "),
            LEFT + 90.0 * number as f64
        );
    }
    Some(svg + "</svg>")
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|round| *round >= value).unwrap_or(value)
}
