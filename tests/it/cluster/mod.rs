//! Groups of reactors.

mod commands;
mod group;
mod histories;
mod limits;
mod listeners;
mod running;
mod simulated;
mod threads;
