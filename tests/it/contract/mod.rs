//! What holds in every version, for every callback.

mod behaviour;
mod matrix;
mod vectors;
mod versions;
