//! A file that grows, such as a log, followed by WebSockets: each new line is a message to all. The file is watched by
//! inotify, a source of events beside the sockets. Linux.
//!
//!     cargo run --release --example watch_file -- FILE [--listen ADDR]
//!
//! Try it: `echo hello >> FILE` in one terminal, and `cargo run --release --example client -- ws://127.0.0.1:8080/` in
//! another.

#[cfg(target_os = "linux")]
mod arguments;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        error::Error,
        fs::File,
        io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom},
        os::fd::AsRawFd,
        path::Path,
    };

    use inotify::{Inotify, WatchMask};
    use ws_reactor::{
        Callbacks, Interest, PollSource, Reactor, Readiness, Server, Source, SourceHandler,
        mio::{Registry, Token, unix::SourceFd},
    };

    /// Lines published per turn, before connections are served.
    const LINES_PER_TURN: usize = 256;

    /// The events of a file, as a source of mio.
    struct Changes(Inotify);

    impl PollSource for Changes {
        fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> std::io::Result<()> {
            SourceFd(&self.0.as_raw_fd()).register(registry, token, interest)
        }

        fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> std::io::Result<()> {
            SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interest)
        }

        fn deregister(&mut self, registry: &Registry) -> std::io::Result<()> {
            SourceFd(&self.0.as_raw_fd()).deregister(registry)
        }
    }

    /// Publishes the lines that are added to a file.
    struct Follower {
        file: BufReader<File>,
        /// The beginning of a line that is not finished.
        line: String,
    }

    impl Follower {
        /// Reads from the present end of the file on.
        fn new(path: &Path) -> std::io::Result<Self> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::End(0))?;
            Ok(Follower { file: BufReader::new(file), line: String::new() })
        }
    }

    impl SourceHandler<Changes> for Follower {
        fn on_ready(&mut self, source: &mut Source<'_, Changes>, _: Readiness) {
            // Edge-triggered: the events are read until there are none. What they say is in the file.
            let mut events = [0; 1024];
            loop {
                match source.get_mut().0.read_events(&mut events) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        eprintln!("the file is not watched any more: {error}");
                        return source.deregister();
                    }
                }
            }
            for _ in 0..LINES_PER_TURN {
                match self.file.read_line(&mut self.line) {
                    Ok(_) if self.line.ends_with('\n') => {
                        source.hub().publish("lines", self.line.trim_end());
                        self.line.clear();
                    }
                    Ok(_) => return,
                    Err(error) => return eprintln!("{error}"),
                }
            }
            source.call_again();
        }
    }

    pub(crate) fn run(path: &Path, listen: &str) -> Result<(), Box<dyn Error>> {
        let mut reactor = Reactor::new()?;
        let server = Server::new(|_| Callbacks::new().on_open(|ws, _| _ = ws.subscribe("lines")));
        eprintln!("listening on ws://{}", reactor.listen(listen, server)?.addr);
        let follower = Follower::new(path)?;
        let inotify = Inotify::init()?;
        inotify.watches().add(path, WatchMask::MODIFY)?;
        reactor.register(Changes(inotify), Interest::READABLE, follower)?;
        Ok(reactor.run()?)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "A file that grows, followed by WebSockets",
        &[
            ("--file FILE", "The file, which has to exist"),
            ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ],
    );
    let file = arguments.all("--file").pop().unwrap_or_else(|| arguments.refuse("the file is missing")).to_owned();
    let listen = arguments.get("--listen", "127.0.0.1:8080".to_owned());
    arguments::run(|| linux::run(file.as_ref(), &listen))
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("inotify is a part of Linux");
}
