//! Timers and ticks: the queue of timers, what each of them does, and firing those that are due.

mod fire;
pub(super) mod task;
pub(super) mod timers;
