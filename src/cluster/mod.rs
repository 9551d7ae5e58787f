//! Several reactors as one.

mod group;
#[cfg(feature = "redis")]
mod redis;

#[cfg(all(feature = "redis", any(test, fuzzing)))]
pub(crate) use self::redis::check as check_redis;
#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisHandle, RedisStats, RedisUrlError};
#[cfg(feature = "socket-io-redis")]
pub(crate) use self::redis::{
    log::EntryId,
    pub_sub::{ChannelKind, PubSub, Receiver, ShardedPubSub, StreamEntry},
};
pub use group::{GroupError, ReactorGroup, SetupError};
