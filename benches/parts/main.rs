//! What the pure parts cost, one by one: unmasking, UTF-8, every framing, handshakes, timers, topics, compression.
//!
//!     RUSTFLAGS="--cfg measuring" CARGO_TARGET_DIR=target/measuring cargo bench --bench parts                      # time
//!     RUSTFLAGS="--cfg measuring" CARGO_TARGET_DIR=target/measuring cargo bench --bench parts -- --instructions   # by callgrind, the same every time
//!
//! With `--check FILE` the instructions are compared with those in the file, one part in a line, and more than 3 %
//! above one of them ends it with status 1; with `--write FILE` they are written. `--cfg measuring` opens the parts,
//! which users of the crate do not see.

#[cfg(measuring)]
mod instructions;

#[cfg(measuring)]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    if let Some(role) = instructions::role() {
        return instructions::work(&role);
    }
    if std::env::args().any(|word| word == "--instructions") {
        return instructions::count();
    }
    divan::main();
    Ok(std::process::ExitCode::SUCCESS)
}

#[cfg(measuring)]
#[divan::bench(args = ws_reactor::measuring::parts().into_iter().map(|part| part.name))]
fn part(bencher: divan::Bencher<'_, '_>, name: &String) {
    let part = ws_reactor::measuring::parts().into_iter().find(|part| part.name == *name);
    bencher.bench_local(part.expect("a part of that name").prepare());
}

#[cfg(not(measuring))]
fn main() {
    println!("the parts are opened by RUSTFLAGS=\"--cfg measuring\"; see benches/parts/main.rs");
}
