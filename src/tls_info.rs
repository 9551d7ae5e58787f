//! What is known of a connection that came over TLS: plain data, for every floor.

/// What the TLS handshake of a connection has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version of TLS agreed upon, such as `TLSv1_3`.
    pub protocol: String,
    /// The cipher suite agreed upon, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// The name that the client asked for (SNI, RFC 6066 §3). Only servers are told.
    pub server_name: Option<String>,
    /// The protocol agreed upon by ALPN (RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// The certificates that the client, or for a client the server, has shown and that were verified, its own first, in DER. Empty if it has shown none.
    pub client_certificates: Vec<Vec<u8>>,
    /// The keys are those of an earlier connection, resumed by a ticket (RFC 8446 §2.2).
    pub resumed: bool,
}
