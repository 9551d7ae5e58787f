//! The cost of each pure part: unmasking, UTF-8, every framing, handshakes, timers, topics, compression.
//!
//!     export RUSTFLAGS="--cfg measuring" CARGO_TARGET_DIR=target/measuring
//!     cargo bench --bench parts                      # time
//!     cargo bench --bench parts -- --instructions    # instructions counted by callgrind, reproducible
//!
//! `--write FILE` writes the instruction counts to the file, one part per line. `--check FILE` compares them with the
//! file, and exits with status 1 if a count is over 3 % above the recorded count or below half of it, or if the file
//! and the program have different parts. `--cfg measuring` makes the parts public for this program.

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
    println!("this bench needs RUSTFLAGS=\"--cfg measuring\"; see benches/parts/main.rs");
}
