//! Redis on a simulated network in virtual time.

mod connections;
mod held;
mod history;
mod one_order;
mod played;
mod seeded;
