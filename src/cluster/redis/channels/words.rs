//! The commands of plain and of sharded pub/sub.

/// The commands of pub/sub.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster::redis) struct Words {
    pub(super) subscribe: &'static str,
    pub(super) unsubscribe: &'static str,
    pub(super) publish: &'static str,
    /// Redis may unsubscribe a channel by itself, because its slot has moved.
    pub(super) has_slots: bool,
}

impl Words {
    pub(in crate::cluster::redis) const PLAIN: Words =
        Words { subscribe: "SUBSCRIBE", unsubscribe: "UNSUBSCRIBE", publish: "PUBLISH", has_slots: false };
    pub(in crate::cluster::redis) const SHARDED: Words =
        Words { subscribe: "SSUBSCRIBE", unsubscribe: "SUNSUBSCRIBE", publish: "SPUBLISH", has_slots: true };
}
