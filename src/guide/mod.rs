//! Guide: one page per subject, with the behaviour that several types share.

#[cfg(feature = "server")]
#[doc = include_str!("deployment.md")]
#[doc = "\n# nginx\n\n```nginx"]
#[doc = include_str!("proxies/nginx.conf")]
#[doc = "```\n\nOver a Unix socket:\n\n```nginx"]
#[doc = include_str!("proxies/nginx-unix.conf")]
#[doc = "```\n\n# HAProxy\n\n```text"]
#[doc = include_str!("proxies/haproxy.cfg")]
#[doc = "```\n\n# stunnel\n\n```text"]
#[doc = include_str!("proxies/stunnel.conf")]
#[doc = "```"]
pub mod deployment {}
#[doc = include_str!("event_machine.md")]
pub mod event_machine {}
#[cfg(feature = "server")]
#[doc = include_str!("http.md")]
pub mod http {}
#[doc = include_str!("latency.md")]
pub mod latency {}
#[doc = include_str!("many_machines.md")]
pub mod many_machines {}
#[doc = include_str!("many_reactors.md")]
pub mod many_reactors {}
#[cfg(feature = "pusher")]
#[doc = include_str!("pusher.md")]
pub mod pusher {}
#[cfg(feature = "action-cable")]
#[doc = include_str!("rails.md")]
pub mod rails {}
#[doc = include_str!("recording.md")]
pub mod recording {}
#[cfg(feature = "socket-io")]
#[doc = include_str!("socket_io.md")]
pub mod socket_io {}
#[doc = include_str!("timeouts.md")]
pub mod timeouts {}
