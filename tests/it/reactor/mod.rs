//! The reactor: ids, output, turns, hand-over of streams.

mod events;
mod hand_over;
mod ids;
mod latest;
mod output;
mod remote;
mod stats;
mod turns;
