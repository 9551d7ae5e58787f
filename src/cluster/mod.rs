//! Several reactors as one.

mod group;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisHandle, RedisStats, RedisUrlError};
pub use group::{GroupError, ReactorGroup, SetupError};
