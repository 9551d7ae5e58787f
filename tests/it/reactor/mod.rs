//! The reactor: connections, output, turns, timers, topics, other threads.

mod crowds;
mod events;
mod hand_over;
mod ids;
mod last_words;
mod latest;
mod output;
mod regressions;
mod remote;
mod remote_threads;
mod stale_events;
mod stats;
mod streams;
mod turns;
