//! Result of a TLS handshake, as plain data for every floor.

/// Result of the TLS handshake of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Negotiated TLS version, such as `TLSv1_3`.
    pub protocol: String,
    /// Negotiated cipher suite, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// Server name requested by the client (SNI, RFC 6066 §3), without a final dot. `None` on a client.
    pub server_name: Option<String>,
    /// Protocol negotiated by ALPN (RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// Certificate chain of the peer in DER, end-entity certificate first: the client's on a server, the server's on a
    /// client. Empty if the peer presented none.
    ///
    /// The chain was verified, except on a client with `TlsClientConfig::dangerously_trusting_everybody`.
    pub peer_certificates: Vec<Vec<u8>>,
    /// `true` if the handshake resumed an earlier session by a ticket. RFC 8446 §2.2.
    pub resumed: bool,
}
