//! The options of the examples that join processes by Redis.

use std::error::Error;

use ws_reactor::Reactor;
#[cfg(feature = "redis")]
use ws_reactor::Redis;

use super::Arguments;

/// Options for [`attach`].
pub(crate) const OPTIONS: [super::OptionHelp; 3] = [
    ("--redis URL", "Share the topics with other processes: redis://…, rediss://… or unix://…"),
    ("--redis-prefix PREFIX", "What the channels begin with [default: nothing]"),
    ("--redis-ca FILE", "Certificates (PEM) that a rediss:// URL is verified with"),
];

/// Attaches the Redis that was given, if any.
#[cfg(feature = "redis")]
pub(crate) fn attach(arguments: &Arguments, reactor: &mut Reactor) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Some(url) = arguments.all("--redis").pop() else { return Ok(()) };
    let redis = Redis::new(url).map_err(|error| format!("--redis: {error}"))?;
    let redis = redis.prefix(arguments.get("--redis-prefix", String::new()));
    let redis = match arguments.all("--redis-ca").pop() {
        Some(file) => with_roots(redis, file)?,
        None => redis,
    };
    reactor.hub().set_backplane(redis);
    Ok(())
}

#[cfg(not(feature = "redis"))]
pub(crate) fn attach(arguments: &Arguments, _: &mut Reactor) -> Result<(), Box<dyn Error + Send + Sync>> {
    match arguments.has("--redis") {
        true => Err("--redis needs the feature `redis`".into()),
        false => Ok(()),
    }
}

#[cfg(all(feature = "redis", feature = "tls"))]
fn with_roots(redis: Redis, file: &str) -> Result<Redis, Box<dyn Error + Send + Sync>> {
    let roots = ws_reactor::TlsClientConfig::trusting_pem_file(file);
    Ok(redis.tls(roots.map_err(|error| format!("--redis-ca: {error}"))?))
}

#[cfg(all(feature = "redis", not(feature = "tls")))]
fn with_roots(_: Redis, _: &str) -> Result<Redis, Box<dyn Error + Send + Sync>> {
    Err("--redis-ca needs the feature `tls`".into())
}
