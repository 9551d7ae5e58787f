//! Guide: one page per subject, with the behaviour that several types share.

#[cfg(feature = "server")]
#[doc = include_str!("deployment.md")]
pub mod deployment {}
#[cfg(feature = "server")]
#[doc = include_str!("http.md")]
pub mod http {}
#[doc = include_str!("timeouts.md")]
pub mod timeouts {}
