//! Servers joined by Redis, also with those of Node (feature `socket-io-redis`).

mod member;
mod message;
mod pub_sub;
mod recent;
mod restoring;
mod sharded;
mod streams;
mod wire;

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

pub use self::{
    pub_sub::{RedisAdapter, RedisNamespace},
    sharded::{ShardedRedisAdapter, ShardedRedisNamespace, SubscriptionMode},
    streams::{RedisStreamsAdapter, RedisStreamsNamespace},
};
use super::adapter::Answers;
use crate::{layers::engine_io::random_name, reactor::Hub};

/// A name of a server that no other one has.
fn new_uid() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// Questions of this server that are not answered, by their ids.
#[derive(Default)]
struct Asked(RefCell<HashMap<String, Answers>>);

impl Asked {
    /// Adds a question. Returns its id.
    fn add(&self, hub: &mut Hub, answers: &Answers) -> String {
        let id = random_name::<6>(hub);
        let mut asked = self.0.borrow_mut();
        asked.retain(|_, answers| !answers.is_finished());
        asked.insert(id.clone(), answers.clone());
        id
    }

    fn get(&self, id: &str) -> Option<Answers> {
        self.0.borrow().get(id).cloned()
    }
}
