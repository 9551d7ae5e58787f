//! Several reactors as one.

mod group;

pub use group::{GroupError, ReactorGroup, SetupError};
