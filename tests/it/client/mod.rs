//! Clients: dialing, routes to the server, the opening handshake, reconnects, and the blocking client.

mod blocking;
mod dialing;
mod messages;
mod opening;
mod panics;
mod proxies;
mod raw_streams;
mod reconnect;
mod redirects;
#[cfg(target_os = "linux")]
mod socket_options;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix_sockets;

#[cfg(feature = "tls")]
use crate::support::secure;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use crate::support::played::{
    FakeServer, FixedResolver, Log, ManualResolver, SERVER, URL, drain, echo, reactor, reactor_serving, recording,
};
use ws_reactor::{
    Attempt, Callbacks, Client, ClientConfig, CloseCode, CloseReason, ConnectError, ConnectionId, Error, Handler,
    Handshake, Hub, Message, Reactor, ReactorConfig, Reconnect, Reply, Retry, SendStatus, Server, Stream, StreamConfig,
    StreamHandler, Upgrade, Version, WebSocket,
    net::{Answer, Resolver, sim::Sim},
    on_message,
};
#[cfg(feature = "tls")]
use ws_reactor::{TlsClientConfig, TlsConfig, TlsConnector};

/// Reconnects without a wait.
fn without_backoff() -> Reconnect {
    Reconnect::new().initial_backoff(Duration::ZERO).max_backoff(Duration::ZERO)
}

/// The configuration of a server that presents a certificate.
#[cfg(feature = "tls")]
fn presenting(pem: &secure::Pem) -> TlsConfig {
    TlsConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes()).unwrap()
}

/// The configuration of a client that trusts only one certificate.
#[cfg(feature = "tls")]
fn trusting(pem: &secure::Pem) -> TlsClientConfig {
    TlsClientConfig::trusting_pem(pem.certificate.as_bytes()).unwrap()
}

/// A connector that accepts any certificate.
#[cfg(feature = "tls")]
fn without_verification() -> TlsConnector {
    TlsClientConfig::dangerously_trusting_everybody().into()
}
