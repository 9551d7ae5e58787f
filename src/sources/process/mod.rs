//! Child processes: their output, their input, and their end, on the loop.

mod end_notice;
mod lines;
mod running;
mod watcher;

use std::{
    any::Any,
    fmt, io,
    process::{Command, ExitStatus},
};

use self::{
    end_notice::EndNotice,
    running::Running,
    watcher::{Order, Watcher},
};
use crate::{
    net::{Interest, Kernel},
    reactor::{Hub, Reactor, SourceId},
    send_status::SendStatus,
    setters::setters,
};

/// Handler of a child process (EventMachine's `popen`). Start the process by [`Reactor::spawn`] or [`Hub::spawn`].
///
/// ```
/// use std::process::{Command, ExitStatus};
/// use ws_reactor::{Output, Process, ProcessConfig, ProcessHandler, Reactor};
///
/// struct Sorter;
///
/// impl ProcessHandler for Sorter {
///     fn on_output(&mut self, _: &mut Process<'_>, _: Output, line: &[u8]) {
///         println!("{}", String::from_utf8_lossy(line));
///     }
///
///     fn on_exit(&mut self, process: &mut Process<'_>, status: ExitStatus) {
///         assert!(status.success());
///         process.hub().stop();
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// let id = reactor.spawn(Command::new("sort"), ProcessConfig::default(), Sorter)?;
/// reactor.hub().write_stdin(id, b"b\na\n");
/// reactor.hub().close_stdin(id);
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[allow(unused_variables)]
pub trait ProcessHandler {
    /// Called with a line of output, without its end, or with a piece of output if
    /// [`ProcessConfig::lines`](field@ProcessConfig::lines) is off.
    fn on_output(&mut self, process: &mut Process<'_>, output: Output, data: &[u8]) {}

    /// Called when no input waits any more, because it has left or the process has closed its input, after a write
    /// returned [`Congested`](SendStatus::Congested) or [`Dropped`](SendStatus::Dropped).
    fn on_drain(&mut self, process: &mut Process<'_>) {}

    /// Called with a value of [`Hub::notify_source`], by which other handlers reach this one.
    fn on_event(&mut self, process: &mut Process<'_>, event: &dyn Any) {}

    /// Called when a [shutdown](Hub::shutdown) begins. The default does nothing: the loop does not wait for the
    /// process, which ends or goes on by itself.
    fn on_shutdown(&mut self, process: &mut Process<'_>) {}

    /// Called when the process cannot be watched: it is killed. Also when other code of the program has taken its exit
    /// status. No other method is called any more.
    fn on_error(&mut self, process: &mut Process<'_>, error: &io::Error) {}

    /// Called once, last, when the process has ended and its output was delivered. What a process that it has started
    /// writes later is lost.
    fn on_exit(&mut self, process: &mut Process<'_>, status: ExitStatus) {}
}

/// An output of a child process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// Configuration of a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ProcessConfig {
    /// `true` if output is delivered line by line. Default `true`.
    pub lines: bool,
    /// Longest line, in bytes; a longer one comes in pieces. Default 64 KiB.
    pub max_line_bytes: usize,
    /// Output read per turn, in bytes, before connections are served. Default 256 KiB.
    pub read_budget_bytes: usize,
    /// Input that may wait while the process does not read it, in bytes. Default 1 MiB. Beyond it, input is dropped. A
    /// single write may exceed it.
    pub stdin_bytes: usize,
    /// `true` if the process is killed when it is not watched any more before its end: it was deregistered, its handler
    /// has panicked, or the reactor was dropped. Default `false`: its input and output are closed, and a thread waits
    /// for its end.
    pub kill_on_drop: bool,
    /// `true` if the standard error is that of this program (EventMachine's behaviour). Default `false`: it is
    /// delivered.
    pub inherit_stderr: bool,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        ProcessConfig {
            lines: true,
            max_line_bytes: 64 * 1024,
            read_budget_bytes: 256 * 1024,
            stdin_bytes: 1024 * 1024,
            kill_on_drop: false,
            inherit_stderr: false,
        }
    }
}

impl ProcessConfig {
    /// The default configuration.
    pub fn new() -> Self {
        ProcessConfig::default()
    }

    setters! {
        lines: bool,
        max_line_bytes: usize,
        read_budget_bytes: usize,
        stdin_bytes: usize,
        kill_on_drop: bool,
        inherit_stderr: bool,
    }
}

/// Handle of a child process during a callback of its [`ProcessHandler`].
pub struct Process<'a> {
    hub: &'a mut Hub,
    running: &'a mut Running,
    id: SourceId,
}

impl Process<'_> {
    /// Writes to the standard input.
    ///
    /// [`Queued`](SendStatus::Queued): it has left, or waits for the process. [`Congested`](SendStatus::Congested):
    /// half of [`stdin_bytes`](field@ProcessConfig::stdin_bytes) or more waits. [`Dropped`](SendStatus::Dropped):
    /// too much waits. [`Closed`](SendStatus::Closed): the input is closed, by either side.
    pub fn write_stdin(&mut self, data: &[u8]) -> SendStatus {
        self.running.input.write(data)
    }

    /// Closes the standard input once what waits has left.
    pub fn close_stdin(&mut self) {
        self.running.input.close();
    }

    /// Input that the process has not taken, in bytes.
    pub fn buffered(&self) -> usize {
        self.running.input.buffered()
    }

    /// Stops reading output: the process waits when it has filled the pipes. For output that goes to a slow reader. Up
    /// to 64 KiB that were read already are still delivered. `on_exit` waits as well.
    pub fn pause(&mut self) {
        self.running.is_paused = true;
    }

    /// Resumes reading output.
    pub fn resume(&mut self) {
        self.running.is_paused = false;
    }

    /// Kills the process, and ends a pause. `on_exit` follows when its output was delivered.
    ///
    /// # Errors
    ///
    /// The system does not allow it, for example because the process has changed its user.
    pub fn kill(&mut self) -> io::Result<()> {
        self.running.kill()
    }

    /// Number of the process in the system.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Id of the process, by which the [`Hub`] addresses it.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// Returns the [`Hub`]: connections, topics, timers and the loop.
    pub fn hub(&mut self) -> &mut Hub {
        self.hub
    }
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").field("id", &self.id).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts a child process with pipes for its input and outputs. The handler is called from this turn or the next
    /// on.
    ///
    /// The command's own `stdin`, `stdout` and `stderr` are replaced. On Linux before 5.3 and on other systems the
    /// signal SIGCHLD is handled from the first process on. Other code of the program that waits for any child
    /// (`waitpid(-1)`) takes the exit status away.
    ///
    /// # Errors
    ///
    /// The program cannot be started, the system has no free descriptor, or this reactor is not on the operating
    /// system.
    pub fn spawn(
        &mut self,
        command: Command,
        config: ProcessConfig,
        handler: impl ProcessHandler + 'static,
    ) -> io::Result<SourceId> {
        self.check_sources_are_watched()?;
        let running = Running::start(command, &config, EndNotice::new()?)?;
        let watcher = Watcher::new(handler, config.read_budget_bytes);
        Ok(self.register(running, Interest::READABLE, watcher))
    }

    /// Writes to the standard input of a child process, in the course of this turn or the next. Returns `false` if the
    /// process has ended. What does not fit is dropped; [`Process::write_stdin`] says so.
    pub fn write_stdin(&mut self, id: SourceId, data: &[u8]) -> bool {
        self.notify_source(id, Order::Write(data.to_vec()))
    }

    /// Closes the standard input of a child process once what waits has left. Returns `false` if the process has ended.
    pub fn close_stdin(&mut self, id: SourceId) -> bool {
        self.notify_source(id, Order::CloseInput)
    }

    /// Stops reading the output of a child process; see [`Process::pause`]. Returns `false` if the process has ended.
    pub fn pause_process(&mut self, id: SourceId) -> bool {
        self.notify_source(id, Order::Pause)
    }

    /// Resumes reading the output of a child process. Returns `false` if the process has ended.
    pub fn resume_process(&mut self, id: SourceId) -> bool {
        self.notify_source(id, Order::Resume)
    }

    /// Kills a child process; see [`Process::kill`]. Returns `false` if the process has ended.
    pub fn kill_process(&mut self, id: SourceId) -> bool {
        self.notify_source(id, Order::Kill)
    }
}

impl<K: Kernel> Reactor<K> {
    /// Starts a child process; see [`Hub::spawn`].
    ///
    /// # Errors
    ///
    /// See [`Hub::spawn`].
    pub fn spawn(
        &mut self,
        command: Command,
        config: ProcessConfig,
        handler: impl ProcessHandler + 'static,
    ) -> io::Result<SourceId> {
        self.hub().check_sources_are_watched()?;
        let running = Running::start(command, &config, EndNotice::new()?)?;
        let watcher = Watcher::new(handler, config.read_budget_bytes);
        self.register(running, Interest::READABLE, watcher)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cell::RefCell, rc::Rc};

    use super::*;

    struct Ends(Rc<RefCell<Vec<Option<i32>>>>);

    impl ProcessHandler for Ends {
        fn on_exit(&mut self, process: &mut Process<'_>, status: ExitStatus) {
            self.0.borrow_mut().push(status.code());
            if self.0.borrow().len() == 3 {
                process.hub().stop();
            }
        }
    }

    #[test]
    fn ends_are_noticed_by_signals_where_processes_have_no_descriptors() {
        let (mut reactor, ends) = (Reactor::new().unwrap(), Rc::default());
        for code in 0..3 {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("read line; exit {code}")]);
            let (config, notice) = (ProcessConfig::new(), EndNotice::by_signals().unwrap());
            let running = Running::start(command, &config, notice).unwrap();
            let watcher = Watcher::new(Ends(Rc::clone(&ends)), config.read_budget_bytes);
            let id = reactor.register(running, Interest::READABLE, watcher).unwrap();
            reactor.hub().write_stdin(id, b"line\n");
        }
        reactor.run().unwrap();
        let mut ends = ends.take();
        ends.sort_unstable();
        assert_eq!(ends, [Some(0), Some(1), Some(2)]);
    }
}
