//! Child processes inherit no descriptor.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, fs, time::Duration};

use ws_reactor::{Callbacks, Client, Reactor, Server};

/// The open descriptors and their targets.
fn descriptors() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let name = |path: std::path::PathBuf| fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), name(entry.path()))).collect()
}

/// `O_CLOEXEC` (open(2)).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

#[test]
fn descriptors_of_a_reactor_are_closed_on_exec() {
    let before = descriptors();
    let mut reactor = Reactor::new().unwrap();
    let listening = reactor.listen("127.0.0.1:0", Server::new(|_| Callbacks::new())).unwrap();
    reactor.connect(&format!("ws://{}/", listening.addr), Client::new(Callbacks::new())).unwrap();
    while reactor.hub().stats().opened < 2 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    let mut seen = 0;
    for (number, target) in descriptors() {
        if before.get(&number) == Some(&target) || !target.starts_with("socket:") && !target.starts_with("anon_inode:")
        {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert!(flags & CLOSE_ON_EXEC != 0, "{target} has flags {flags:o}");
        seen += 1;
    }
    // The poll, its waker, the listener, and both ends of the connection.
    assert_eq!(seen, 5);
}
