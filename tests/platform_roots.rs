//! The feature `platform-roots`: clients without TLS configuration trust the root certificates of the system.
#![cfg(feature = "platform-roots")]
#![allow(clippy::unwrap_used)]

use std::{env, fs, process::Command};

use played::{FixedResolver, Log, drain, echo, recording};
use ws_reactor::{Client, Reactor, ReactorConfig, net::sim::Sim};

#[path = "it/support/played.rs"]
mod played;
#[path = "it/support/secure.rs"]
mod secure;
#[path = "it/support/wire/mod.rs"]
mod wire;

const ROLE: &str = "WS_REACTOR_TRUSTS";
/// Overrides the location of the system's root certificates, as in OpenSSL.
const ROOTS: &str = "SSL_CERT_FILE";

#[test]
fn client_trusts_the_root_certificates_of_the_system_and_no_others() {
    if let Some(own) = env::var_os(ROLE) {
        return connect(own == "good");
    }
    let folder = env::temp_dir().join(format!("ws-reactor-roots-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let name = "client_trusts_the_root_certificates_of_the_system_and_no_others";
    // Each process generates its own server certificate, so the child process writes it to the file of roots.
    for (role, file) in [("good", "own.pem"), ("bad", "none.pem")] {
        let mut child = Command::new(env::current_exe().unwrap());
        child
            .args(["--exact", name, "--nocapture"])
            .env(ROLE, role)
            .env(ROOTS, folder.join(file))
            .env_remove("SSL_CERT_DIR");
        let child = child.output().unwrap();
        let passed = String::from_utf8_lossy(&child.stdout).contains("1 passed");
        assert!(child.status.success() && passed, "{role}: {}", String::from_utf8_lossy(&child.stderr));
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// In the child process: connects; `good` if the roots contain the certificate of the server.
fn connect(good: bool) {
    let roots = env::var_os(ROOTS).unwrap();
    if good {
        fs::write(&roots, &secure::LOCALHOST.certificate).unwrap();
    }
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.set_resolver(FixedResolver);
    reactor.listen("10.0.0.1:443", secure::server(echo())).unwrap();
    let log = Log::default();
    let connected = reactor.connect("wss://localhost/", Client::new(recording(&log)));
    if !good {
        let error = format!("{:#}", connected.unwrap_err());
        assert!(error.contains("wss needs roots to trust"), "{error}");
        return;
    }
    reactor.settle().unwrap();
    assert_eq!(drain(&log), ["open RFC 6455 None via 10.0.0.1:443"]);
}
