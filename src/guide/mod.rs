//! Guide: one page per subject, with the behaviour that several types share.
//!
//! | first steps | operation | inside and beyond |
//! |---|---|---|
//! | [`getting_started`] | [`back_pressure`] | [`many_reactors`] |
//! | [`handlers`] | [`timeouts`] | [`many_machines`] |
//! | [`shared_state`] | [`latency`] | [`event_machine`] |
//! | [`topics`] | [`tls`] | [`recording`] |
//! | `http` | [`compression`] | [`migrating`] |
//! | [`client`] | `deployment` | `rails`, `socket_io`, `pusher` |
//! | [`testing`] | [`trouble`] | [`internals`] |

#[doc = include_str!("back_pressure.md")]
#[doc = include_str!("drawings/back_pressure.svg")]
#[doc = "\n\n"]
#[doc = include_str!("back_pressure_levels.md")]
pub mod back_pressure {}
#[doc = include_str!("client.md")]
pub mod client {}
#[doc = include_str!("compression.md")]
pub mod compression {}
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
#[doc = "```\n\n# systemd\n\n`app.service`:\n\n```ini"]
#[doc = include_str!("service/app.service")]
#[doc = "```\n\n`app.socket`:\n\n```ini"]
#[doc = include_str!("service/app.socket")]
#[doc = "```\n\n# Docker\n\n```dockerfile"]
#[doc = include_str!("service/Dockerfile")]
#[doc = "```\n\n# Prometheus\n\n```yaml"]
#[doc = include_str!("service/prometheus.yml")]
#[doc = "```\n\n`alerts.yml`:\n\n```yaml"]
#[doc = include_str!("service/alerts.yml")]
#[doc = "```"]
pub mod deployment {}
#[doc = include_str!("event_machine.md")]
pub mod event_machine {}
#[doc = include_str!("getting_started.md")]
pub mod getting_started {}
#[doc = include_str!("handlers.md")]
#[doc = include_str!("drawings/lifecycle.svg")]
#[doc = "\n\n"]
#[doc = include_str!("handlers_order.md")]
pub mod handlers {}
#[cfg(feature = "server")]
#[doc = include_str!("http.md")]
pub mod http {}
#[doc = include_str!("internals.md")]
pub mod internals {}
#[doc = include_str!("latency.md")]
pub mod latency {}
#[doc = include_str!("many_machines.md")]
pub mod many_machines {}
#[doc = include_str!("many_reactors.md")]
pub mod many_reactors {}
#[doc = include_str!("migrating.md")]
pub mod migrating {}
#[cfg(feature = "pusher")]
#[doc = include_str!("pusher.md")]
pub mod pusher {}
#[cfg(feature = "action-cable")]
#[doc = include_str!("rails.md")]
pub mod rails {}
#[doc = include_str!("recording.md")]
pub mod recording {}
#[doc = include_str!("shared_state.md")]
pub mod shared_state {}
#[cfg(feature = "socket-io")]
#[doc = include_str!("socket_io.md")]
pub mod socket_io {}
#[doc = include_str!("testing.md")]
pub mod testing {}
#[doc = include_str!("timeouts.md")]
pub mod timeouts {}
#[doc = include_str!("tls.md")]
pub mod tls {}
#[doc = include_str!("topics.md")]
pub mod topics {}
#[doc = include_str!("trouble.md")]
pub mod trouble {}
