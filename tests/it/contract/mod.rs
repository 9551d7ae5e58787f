//! What holds in every protocol version and in every callback.

mod behaviour;
mod matrix;
mod timers;
mod vectors;
mod versions;
