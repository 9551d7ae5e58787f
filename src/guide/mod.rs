//! Guide: one page per subject, with the behaviour that several types share.

#[doc = include_str!("timeouts.md")]
pub mod timeouts {}
