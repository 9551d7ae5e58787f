//! What holds in every protocol version and in every callback.

mod behaviour;
mod matrix;
mod vectors;
mod versions;
