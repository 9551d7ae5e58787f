//! TLS, as server and as client.

mod regressions;
mod tls;
