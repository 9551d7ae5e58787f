//! The longest turns of a server while one connection does its worst, by CPU time of its thread.
//!
//!     cargo bench --bench turns [-- CASE...]
//!
//! For each case: number of turns, median, 99.9th percentile and maximum of their CPU time, and the phase that took
//! longest. All other connections wait for a turn. Time in which the system gave the core to others does not count.
//! Unix only (`CLOCK_THREAD_CPUTIME_ID`).

mod load;
#[path = "../process/mod.rs"]
mod process;
mod server;
#[path = "../websocket/mod.rs"]
mod websocket;

use std::env;

use load::Load;

/// What the clients of a case do.
struct Case {
    name: &'static str,
    title: &'static str,
    load: Load,
}

const CASES: [Case; 7] = [
    Case { name: "batches", title: "echo of 16 B, 10,000 in flight", load: load::batches },
    Case { name: "echo", title: "echo of 16 MiB", load: load::large_echo },
    Case { name: "deflate", title: "echo of 16 MiB with compression", load: load::compressed_echo },
    Case { name: "tls-echo", title: "echo of 16 MiB over TLS", load: load::tls_echo },
    Case { name: "publish", title: "a message to 10,000 subscribers", load: load::publish },
    Case { name: "closes", title: "10,000 connections that close at once", load: load::closes },
    Case { name: "handshakes", title: "200 TLS handshakes at a time", load: load::tls_handshakes },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(role) = process::role() {
        return Ok(server::serve(&role)?);
    }
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for Case { name, title, load } in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let (_server, addr) = process::start(name)?;
        println!("{title}: {}", load(addr)?);
    }
    Ok(())
}
