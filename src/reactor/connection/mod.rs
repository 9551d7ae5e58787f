//! Connections: their two halves, reading, writing, and their end.

mod adoption;
mod charge;
pub(super) mod closing_timer;
mod compact_addr;
mod deadlines;
pub(super) mod encoding;
pub(super) mod excess;
pub(super) mod file_transfer;
pub(super) mod group_excess;
mod idle;
pub(super) mod inbound;
pub(super) mod inbounds;
mod lifetime;
pub(super) mod outbound;
pub(super) mod outbounds;
pub(super) mod output_rule;
pub(super) mod ping_mark;
mod read;
mod read_plan;
pub(super) mod reader;
pub(super) mod reason;
pub(super) mod relaying;
pub(super) mod state;
mod tls;
mod write;
