//! The reactor: connections, output, turns, timers, topics, other threads.

#[cfg(target_os = "linux")]
mod busy_poll;
mod closing;
#[cfg(all(feature = "deflate", feature = "tls"))]
mod conflation;
mod crowds;
mod datagrams;
mod defer;
mod embedding;
mod events;
mod fairness;
mod files;
mod half_open;
mod hand_over;
mod idle;
mod ids;
mod latencies;
mod latest;
mod listeners;
mod output;
mod output_limits;
mod pair;
mod panics;
mod pongs;
#[cfg(all(unix, feature = "signals"))]
mod processes;
mod publish;
mod raw_streams;
mod recording;
mod relays;
mod remote;
mod remote_threads;
mod shutdowns;
#[cfg(all(unix, feature = "signals"))]
mod signals;
mod slow_turn;
#[cfg(unix)]
mod sources;
mod stale_events;
mod stats;
mod text_runs;
mod time_slices;
mod timers;
mod turns;
mod watches;
