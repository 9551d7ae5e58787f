//! The reactor: ids, output, turns.

mod events;
mod ids;
mod output;
mod turns;
