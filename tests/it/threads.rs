//! Types that may move to other threads: a change that takes this from one of them does not compile.

use ws_reactor::{
    CloseCode, CloseReason, ClosedBy, ConnectError, ConnectionId, Error, ListenError, ListenerId, OutputLimits,
    OwnedMessage, PollError, ReactorConfig, Remote, Reply, Responder, SendStatus, ServerConfig, Stats, StreamConfig,
    TimerId, Upgrade, Utf8Bytes, Version,
};

const fn goes_to_other_threads<T: Send>() {}
const fn is_shared_by_threads<T: Send + Sync>() {}

#[test]
fn types_for_other_threads_are_send() {
    is_shared_by_threads::<(Remote, ConnectionId, ListenerId, TimerId)>();
    is_shared_by_threads::<(OwnedMessage, Utf8Bytes, CloseReason, CloseCode, ClosedBy, SendStatus, Version, Stats)>();
    is_shared_by_threads::<(ReactorConfig, ServerConfig, StreamConfig, OutputLimits)>();
    is_shared_by_threads::<(Error, ConnectError, ListenError, PollError)>();
    goes_to_other_threads::<(Responder, Reply, Upgrade)>();
}

#[cfg(feature = "tls")]
#[test]
fn tls_configurations_are_shared_by_threads() {
    use ws_reactor::{TlsAcceptor, TlsClientConfig, TlsConfig, TlsConnector, TlsInfo};
    is_shared_by_threads::<(TlsAcceptor, TlsConnector, TlsInfo)>();
    goes_to_other_threads::<(TlsConfig, TlsClientConfig)>();
}
