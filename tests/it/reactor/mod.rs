//! The reactor: ids, output, turns.

mod events;
mod ids;
mod latest;
mod output;
mod remote;
mod stats;
mod turns;
