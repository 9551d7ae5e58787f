//! `PanicPolicy::Abort`: a panic aborts the process.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::{env, os::unix::process::ExitStatusExt, process::Command};

use ws_reactor::{PanicPolicy, Reactor, ReactorConfig};

const ROLE: &str = "WS_REACTOR_ABORTS";
const SIGABRT: i32 = 6;

#[test]
fn panic_aborts_the_process_with_policy_abort() {
    if env::var_os(ROLE).is_some() {
        let config = ReactorConfig::new().panic_policy(PanicPolicy::Abort);
        let mut reactor = Reactor::with_config(config).unwrap();
        reactor.hub().next_tick(|_| panic!("deliberate: the process aborts"));
        reactor.hub().next_tick(ws_reactor::Hub::stop);
        reactor.run().unwrap();
        return;
    }
    let name = "panic_aborts_the_process_with_policy_abort";
    let child = Command::new(env::current_exe().unwrap()).args(["--exact", name]).env(ROLE, "1").output().unwrap();
    assert_eq!(child.status.signal(), Some(SIGABRT), "{child:?}");
}
