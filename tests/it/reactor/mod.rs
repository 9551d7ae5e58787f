//! The reactor: connections, output, turns, timers, topics, other threads.

#[cfg(target_os = "linux")]
mod busy_poll;
mod closing;
#[cfg(all(feature = "deflate", feature = "tls"))]
mod conflation;
mod crowds;
mod events;
mod fairness;
mod hand_over;
mod ids;
mod latencies;
mod latest;
mod listeners;
mod output;
mod output_limits;
mod panics;
mod pongs;
mod publish;
mod raw_streams;
mod recording;
mod remote;
mod remote_threads;
mod slow_turn;
mod stale_events;
mod stats;
mod text_runs;
mod time_slices;
mod timers;
mod turns;
