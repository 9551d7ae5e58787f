//! A child process with its pipes.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use super::{Output, ProcessConfig, end_notice::EndNotice, lines::Lines};
use crate::{
    net::{Interest, PollSource, PollToken, Registry, pipe},
    send_status::SendStatus,
};

/// The stack of a thread that only waits.
const REAPER_STACK_BYTES: usize = 64 * 1024;

/// A child process with its pipes: one source of events.
pub(super) struct Running {
    /// `None` while this is dropped.
    child: Option<Child>,
    end_notice: EndNotice,
    pub(super) input: Input,
    pub(super) outputs: [Option<Piped>; 2],
    pub(super) is_paused: bool,
    pub(super) status: Option<ExitStatus>,
    /// Output read since the end of the process, in bytes.
    pub(super) read_since_end: usize,
    /// The process was killed or reaped, or somebody else has reaped it: nothing is left to do for it.
    is_reaped: bool,
    is_watched: bool,
    kill_on_drop: bool,
}

/// An output, until its end.
pub(super) struct Piped {
    pipe: pipe::Receiver,
    output: Output,
    /// `None` if output is delivered as it arrives.
    lines: Option<Lines>,
    /// It has bytes, or has not been read since an event.
    pub(super) is_ready: bool,
}

impl Piped {
    fn new(pipe: pipe::Receiver, output: Output, config: &ProcessConfig) -> io::Result<Self> {
        pipe.set_nonblocking(true)?;
        let lines = config.lines.then(|| Lines::new(config.max_line_bytes));
        Ok(Piped { pipe, output, lines, is_ready: true })
    }

    /// Reads once. Returns the length, and whether the output is still open.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> (usize, bool) {
        match self.pipe.read(buffer) {
            Ok(length @ 1..) => (length, true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                (0, true)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, true),
            // The end. A pipe has no other errors.
            Ok(0) | Err(_) => (0, false),
        }
    }

    /// Passes on what was read, and at the end of the output the last line.
    pub(super) fn deliver(&mut self, data: &[u8], is_last: bool, mut deliver: impl FnMut(Output, &[u8])) {
        let output = self.output;
        match &mut self.lines {
            Some(lines) => {
                lines.push(data, |line| deliver(output, line));
                if is_last {
                    lines.finish(|line| deliver(output, line));
                }
            }
            None if data.is_empty() => {}
            None => deliver(output, data),
        }
    }
}

/// The standard input, and what waits for it.
pub(super) struct Input {
    /// `None` if it is closed.
    pipe: Option<pipe::Sender>,
    waiting: VecDeque<u8>,
    most_bytes: usize,
    /// It is closed when nothing waits.
    is_closing: bool,
    awaits_drain: bool,
}

impl Input {
    /// Bytes that wait for the process.
    pub(super) fn buffered(&self) -> usize {
        self.waiting.len()
    }

    /// Returns `true`, once, if no input waits any more after a write was told to wait. Input that was closed is lost.
    pub(super) fn take_drain(&mut self) -> bool {
        let has_drained = self.awaits_drain && self.waiting.is_empty();
        self.awaits_drain &= !has_drained;
        has_drained
    }

    pub(super) fn write(&mut self, data: &[u8]) -> SendStatus {
        if self.pipe.is_none() || self.is_closing {
            return SendStatus::Closed;
        }
        // One write may exceed the bound, or it could never be taken.
        if self.waiting.len() >= self.most_bytes {
            self.awaits_drain = true;
            return SendStatus::Dropped;
        }
        self.waiting.extend(data);
        self.flush();
        if self.pipe.is_none() {
            return SendStatus::Closed;
        }
        let is_congested = self.waiting.len() >= self.most_bytes / 2 && !self.waiting.is_empty();
        self.awaits_drain |= is_congested;
        if is_congested { SendStatus::Congested } else { SendStatus::Queued }
    }

    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.flush();
    }

    /// Writes what waits. A process that does not read any more closes its input.
    pub(super) fn flush(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            if self.waiting.is_empty() {
                if self.is_closing {
                    self.pipe = None;
                }
                return;
            }
            match pipe.write(self.waiting.as_slices().0) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.pipe = None;
                    self.waiting.clear();
                }
            }
        }
    }
}

impl Running {
    /// Starts a process.
    pub(super) fn start(mut command: Command, config: &ProcessConfig, end_notice: EndNotice) -> io::Result<Self> {
        let stderr = if config.inherit_stderr { Stdio::inherit() } else { Stdio::piped() };
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let mut running = Running {
            child: Some(child),
            end_notice,
            input: Input {
                pipe: None,
                waiting: VecDeque::new(),
                most_bytes: config.stdin_bytes.max(1),
                is_closing: false,
                awaits_drain: false,
            },
            outputs: [None, None],
            is_paused: false,
            status: None,
            read_since_end: 0,
            is_reaped: false,
            is_watched: false,
            kill_on_drop: config.kill_on_drop,
        };
        // From here on, an error ends the process.
        if let Some(child) = &running.child {
            running.end_notice.watch(child)?;
        }
        running.open_pipes(config)?;
        Ok(running)
    }

    fn open_pipes(&mut self, config: &ProcessConfig) -> io::Result<()> {
        let Some(Child { stdin, stdout, stderr, .. }) = &mut self.child else { return Ok(()) };
        let stdin = stdin.take().map(pipe::Sender::from);
        if let Some(stdin) = &stdin {
            stdin.set_nonblocking(true)?;
        }
        self.input.pipe = stdin;
        let stdout = stdout.take().map(|pipe| Piped::new(pipe.into(), Output::Stdout, config)).transpose()?;
        let stderr = stderr.take().map(|pipe| Piped::new(pipe.into(), Output::Stderr, config)).transpose()?;
        self.outputs = [stdout, stderr];
        Ok(())
    }

    /// Has the outputs read again.
    pub(super) fn mark_ready(&mut self) {
        self.outputs.iter_mut().flatten().for_each(|piped| piped.is_ready = true);
    }

    /// Notes the end of the process, if it is one of the children that have ended.
    ///
    /// # Errors
    ///
    /// Other code has taken the exit status.
    pub(super) fn look_for_end(&mut self) -> io::Result<()> {
        if self.status.is_none() && self.end_notice.may_have_ended() {
            let ended = self.child.as_mut().map_or(Ok(None), Child::try_wait);
            self.status = ended.inspect_err(|_| self.is_reaped = true)?;
            if self.status.is_some() {
                self.is_reaped = true;
                // What it has written before its end is there.
                self.mark_ready();
            }
        }
        Ok(())
    }

    /// Kills the process, and goes on reading until its end.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.is_paused = false;
        self.child.as_mut().map_or(Ok(()), Child::kill)
    }

    /// Number of the process in the system.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }
}

impl PollSource for Running {
    fn register(&mut self, registry: &Registry, token: PollToken, _: Interest) -> io::Result<()> {
        self.end_notice.register(registry, token, Interest::READABLE)?;
        for output in self.outputs.iter_mut().flatten() {
            output.pipe.register(registry, token, Interest::READABLE)?;
        }
        self.input.pipe.as_mut().map_or(Ok(()), |pipe| pipe.register(registry, token, Interest::WRITABLE))?;
        self.is_watched = true;
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: PollToken, _: Interest) -> io::Result<()> {
        // What is watched never changes.
        Ok(())
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.end_notice.deregister(registry)?;
        for output in self.outputs.iter_mut().flatten() {
            output.pipe.deregister(registry)?;
        }
        self.input.pipe.as_mut().map_or(Ok(()), |pipe| pipe.deregister(registry))
    }
}

impl Drop for Running {
    /// A process that nobody watches any more is reaped by a thread, which waits for its end.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take().filter(|_| !self.is_reaped) else { return };
        if self.kill_on_drop || !self.is_watched {
            // A process that cannot be killed goes on.
            let _ = child.kill();
        }
        if let Ok(None) = child.try_wait() {
            let reaper = thread::Builder::new().name("ws-reactor reaper".to_owned()).stack_size(REAPER_STACK_BYTES);
            // Without a thread the process stays a zombie until this one ends.
            let _ = reaper.spawn(move || child.wait());
        }
    }
}
