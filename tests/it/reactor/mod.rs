//! The reactor: ids, output, turns.

mod ids;
mod output;
mod turns;
