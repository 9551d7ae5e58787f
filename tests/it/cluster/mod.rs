//! Groups of reactors.

mod simulated;
mod threads;
