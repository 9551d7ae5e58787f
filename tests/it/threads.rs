//! Types that other threads use are `Send` or `Sync`: otherwise this file does not compile.

use ws_reactor::{
    CloseCode, CloseReason, ClosedBy, ConnectError, ConnectionId, Error, ListenError, ListenerId, OutputLimits,
    OwnedMessage, PollError, ReactorConfig, Remote, Reply, Responder, SendStatus, ServerConfig, Stats, StreamConfig,
    TimerId, Upgrade, Utf8Bytes, Version,
};

const fn is_send<T: Send>() {}
const fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn types_for_other_threads_are_send() {
    is_send_and_sync::<(Remote, ConnectionId, ListenerId, TimerId)>();
    is_send_and_sync::<(OwnedMessage, Utf8Bytes, CloseReason, CloseCode, ClosedBy, SendStatus, Version, Stats)>();
    is_send_and_sync::<(ReactorConfig, ServerConfig, StreamConfig, OutputLimits)>();
    is_send_and_sync::<(Error, ConnectError, ListenError, PollError)>();
    is_send::<(Responder, Reply, Upgrade)>();
}

#[cfg(feature = "tls")]
#[test]
fn tls_types_for_other_threads_are_send() {
    use ws_reactor::{TlsAcceptor, TlsClientConfig, TlsConfig, TlsConnector, TlsInfo};
    is_send_and_sync::<(TlsAcceptor, TlsConnector, TlsInfo)>();
    is_send::<(TlsConfig, TlsClientConfig)>();
}
