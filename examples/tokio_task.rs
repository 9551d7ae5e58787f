//! A reactor as a task of tokio, on the thread of the other tasks: the runtime waits for its descriptor (`AsyncFd`) and
//! its deadline, and then gives it a turn. The example `tokio_bridge` has the reactor on a thread of its own instead.
//!
//!     cargo run --release --example tokio_task -- [--listen ADDR] [--seconds N]
//!
//! Clients get the time every second, from a task of tokio, and their own messages in capitals.

mod arguments;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "A reactor as a task of tokio",
        &[
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
            ("--seconds N", "Time to run, in seconds [default: without end]"),
        ],
    );
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    arguments::run(|| task::serve(listen, arguments.get("--seconds", u64::MAX)))
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example needs the descriptor of the reactor, which Unix has");
}

#[cfg(unix)]
mod task {
    use std::{
        error::Error,
        time::{Duration, Instant},
    };

    use tokio::{
        io::{Interest, unix::AsyncFd},
        runtime, task,
        time::{sleep, timeout},
    };
    use ws_reactor::{Callbacks, Reactor, Remote, RemoteError, Server, Turn};

    pub(crate) fn serve(listen: String, seconds: u64) -> Result<(), Box<dyn Error>> {
        let mut reactor = Reactor::new()?;
        let server = Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.subscribe("time");
                })
                .on_message(|ws, message| {
                    ws.send(message.as_text().unwrap_or("text only").to_uppercase());
                })
        });
        let listening = reactor.listen(listen, server)?;
        eprintln!("listening on ws://{}", listening.addr);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        // A reactor stays on its thread, and so do the tasks of a `LocalSet`.
        task::LocalSet::new().block_on(&runtime, async {
            let clock = task::spawn_local(tell_time(reactor.remote(), seconds));
            run(reactor).await?;
            clock.await??;
            Ok(())
        })
    }

    /// Runs a reactor until its loop has ended.
    async fn run(reactor: Reactor) -> Result<(), Box<dyn Error>> {
        // SAFETY: the reactor, which `AsyncFd` owns from here on, keeps its descriptor as long as it lives.
        #[expect(unsafe_code, reason = "tokio has no safe way to wait for a descriptor")]
        let mut reactor = unsafe { AsyncFd::register_with_interest(reactor, Interest::READABLE) }?;
        while reactor.get_mut().turn(Some(Duration::ZERO))? == Turn::Running {
            match reactor.get_ref().next_deadline().map(|at| at.saturating_duration_since(Instant::now())) {
                // Work is left. Other tasks go first.
                Some(Duration::ZERO) => task::yield_now().await,
                // At the deadline the turn is due without an event.
                Some(due) => {
                    if let Ok(readable) = timeout(due, reactor.readable()).await {
                        readable?.clear_ready();
                    }
                }
                None => reactor.readable().await?.clear_ready(),
            }
        }
        Ok(())
    }

    /// A task of tokio that publishes, and ends the loop after some time.
    async fn tell_time(remote: Remote, seconds: u64) -> Result<(), RemoteError> {
        for second in 0..seconds {
            remote.publish("time", format!("{second} s"))?;
            sleep(Duration::from_secs(1)).await;
        }
        remote.shutdown(Duration::from_secs(5))
    }
}
