//! Child processes.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    process::{Command, ExitStatus},
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{Output, Process, ProcessConfig, ProcessHandler, Reactor, ReactorConfig, SendStatus, net::sim::Sim};

/// Notes what a process does.
#[derive(Default, Clone)]
struct Notes {
    output: Rc<RefCell<Vec<(Output, String)>>>,
    status: Rc<Cell<Option<ExitStatus>>>,
    drains: Rc<Cell<u32>>,
    bytes: Rc<Cell<usize>>,
}

/// An order of the test.
enum Order {
    Resume,
    Kill,
    Fill(usize, Rc<Cell<Option<SendStatus>>>),
}

struct Noting {
    notes: Notes,
    /// Output after which reading pauses.
    pause_after: Option<usize>,
    keeps_output: bool,
}

impl ProcessHandler for Noting {
    fn on_output(&mut self, process: &mut Process<'_>, output: Output, data: &[u8]) {
        assert!(self.notes.status.get().is_none(), "output after the end");
        self.notes.bytes.set(self.notes.bytes.get() + data.len());
        if self.keeps_output {
            self.notes.output.borrow_mut().push((output, String::from_utf8_lossy(data).into_owned()));
        }
        if self.pause_after.is_some_and(|most| self.notes.bytes.get() >= most) {
            process.pause();
        }
    }

    fn on_drain(&mut self, _: &mut Process<'_>) {
        self.notes.drains.set(self.notes.drains.get() + 1);
    }

    fn on_event(&mut self, process: &mut Process<'_>, event: &dyn Any) {
        match event.downcast_ref().expect("an order of the test") {
            Order::Resume => {
                self.pause_after = None;
                process.resume();
            }
            Order::Kill => process.kill().unwrap(),
            Order::Fill(bytes, status) => status.set(Some(process.write_stdin(&vec![b'x'; *bytes]))),
        }
    }

    fn on_exit(&mut self, _: &mut Process<'_>, status: ExitStatus) {
        assert!(self.notes.status.replace(Some(status)).is_none(), "a second end");
    }
}

impl Notes {
    fn handler(&self) -> Noting {
        Noting { notes: self.clone(), pause_after: None, keeps_output: true }
    }

    fn lines(&self, of: Output) -> Vec<String> {
        let output = self.output.borrow();
        output.iter().filter(|(output, _)| *output == of).map(|(_, line)| line.clone()).collect()
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn turn_until(reactor: &mut Reactor, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "it does not come to hold");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn lines_of_both_outputs_arrive_and_then_the_exit_status() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let script = "echo one; echo wrong >&2; printf 'two\\r\\nunfinished'; exit 7";
    let id = reactor.spawn(shell(script), ProcessConfig::new(), notes.handler()).unwrap();
    turn_until(&mut reactor, || notes.status.get().is_some());
    assert_eq!(notes.lines(Output::Stdout), ["one", "two", "unfinished"]);
    assert_eq!(notes.lines(Output::Stderr), ["wrong"]);
    assert_eq!(notes.status.get().and_then(|status| status.code()), Some(7));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(!reactor.hub().is_registered(id) && !reactor.hub().write_stdin(id, b"late"));
    assert_eq!(Rc::strong_count(&notes.output), 1, "the handler is dropped");
}

#[test]
fn input_reaches_the_process_and_its_end_ends_it() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let hub = reactor.hub();
    let id = hub.spawn(Command::new("sort"), ProcessConfig::new(), notes.handler()).unwrap();
    assert!(hub.write_stdin(id, b"b\nc\n") && hub.write_stdin(id, b"a\n") && hub.close_stdin(id));
    turn_until(&mut reactor, || notes.status.get().is_some_and(|status| status.success()));
    assert_eq!(notes.lines(Output::Stdout), ["a", "b", "c"]);
}

#[test]
fn many_processes_at_once_each_end_with_their_own_status() {
    let mut reactor = Reactor::new().unwrap();
    let notes: Vec<Notes> = (0..20).map(|_| Notes::default()).collect();
    for (code, notes) in notes.iter().enumerate() {
        reactor.spawn(shell(&format!("exit {code}")), ProcessConfig::new(), notes.handler()).unwrap();
    }
    turn_until(&mut reactor, || notes.iter().all(|notes| notes.status.get().is_some()));
    for (code, notes) in notes.iter().enumerate() {
        assert_eq!(notes.status.get().and_then(|status| status.code()), Some(code as i32));
    }
}

#[test]
fn paused_process_waits_and_loses_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let handler = Noting { pause_after: Some(100_000), keeps_output: false, ..notes.handler() };
    let config = ProcessConfig::new().lines(false);
    let id = reactor.spawn(shell("head -c 4000000 /dev/zero"), config, handler).unwrap();
    turn_until(&mut reactor, || notes.bytes.get() >= 100_000);
    for _ in 0..5 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert!(notes.bytes.get() < 250_000 && notes.status.get().is_none(), "{} bytes", notes.bytes.get());
    assert!(reactor.hub().notify_source(id, Order::Resume));
    turn_until(&mut reactor, || notes.status.get().is_some());
    assert_eq!(notes.bytes.get(), 4_000_000);
}

#[test]
fn input_is_bounded_while_the_process_does_not_read_it() {
    let mut reactor = Reactor::new().unwrap();
    let (notes, status) = (Notes::default(), Rc::new(Cell::new(None)));
    let script = "sleep 1; wc -c";
    let id = reactor.spawn(shell(script), ProcessConfig::new().stdin_bytes(200_000), notes.handler()).unwrap();
    let mut fill = |bytes: usize| {
        assert!(reactor.hub().notify_source(id, Order::Fill(bytes, Rc::clone(&status))));
        turn_until(&mut reactor, || status.get().is_some());
        status.take().unwrap()
    };
    // The pipe takes 64 KiB.
    assert_eq!(fill(1000), SendStatus::Queued);
    assert_eq!(fill(290_000), SendStatus::Congested, "one write may exceed the bound");
    assert_eq!(fill(1), SendStatus::Dropped);
    turn_until(&mut reactor, || notes.drains.get() == 1);
    assert!(reactor.hub().close_stdin(id));
    turn_until(&mut reactor, || notes.status.get().is_some());
    assert_eq!(notes.lines(Output::Stdout), ["291000"]);
}

#[test]
fn killed_process_ends_and_its_child_does_not_keep_it() {
    use std::os::unix::process::ExitStatusExt;

    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    // The child of the shell inherits the pipes, and outlives it.
    let script = "sleep 3 & echo begun; wait";
    let id = reactor.spawn(shell(script), ProcessConfig::new(), notes.handler()).unwrap();
    turn_until(&mut reactor, || !notes.output.borrow().is_empty());
    let began = Instant::now();
    assert!(reactor.hub().notify_source(id, Order::Kill));
    turn_until(&mut reactor, || notes.status.get().is_some());
    assert_eq!(notes.status.get().and_then(|status| status.signal()), Some(9));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn process_is_killed_with_its_reactor_if_that_is_wanted() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let config = ProcessConfig::new().kill_on_drop(true);
    reactor.spawn(shell("echo $$; exec sleep 30"), config, notes.handler()).unwrap();
    turn_until(&mut reactor, || !notes.output.borrow().is_empty());
    let pid = notes.lines(Output::Stdout)[0].clone();
    drop(reactor);
    wait_until_gone(&pid);
}

#[test]
fn program_that_does_not_exist_and_a_simulated_reactor_are_errors() {
    let mut reactor = Reactor::new().unwrap();
    let spawned = reactor.spawn(Command::new("/nonexistent"), ProcessConfig::new(), Notes::default().handler());
    assert_eq!(spawned.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let mut simulated = Reactor::on(Sim::new(), ReactorConfig::default());
    let spawned = simulated.spawn(Command::new("/nonexistent"), ProcessConfig::new(), Notes::default().handler());
    assert_eq!(spawned.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn killed_process_ends_also_while_it_is_paused() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let handler = Noting { pause_after: Some(1), keeps_output: false, ..notes.handler() };
    let config = ProcessConfig::new().lines(false);
    let id = reactor.spawn(shell("head -c 10000000 /dev/zero; exec sleep 30"), config, handler).unwrap();
    turn_until(&mut reactor, || notes.bytes.get() > 0);
    // The handler pauses at each output; a kill goes on all the same.
    assert!(reactor.hub().notify_source(id, Order::Resume) && reactor.hub().pause_process(id));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    assert!(reactor.hub().kill_process(id));
    turn_until(&mut reactor, || notes.status.get().is_some());
}

/// Waits until the system has forgotten a process, zombies included.
fn wait_until_gone(pid: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while Command::new("kill").args(["-0", pid]).output().unwrap().status.success() {
        assert!(Instant::now() < until, "the process is still there");
    }
}

#[test]
fn process_that_is_not_watched_any_more_is_no_zombie() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let id = reactor.spawn(shell("echo $$; read end"), ProcessConfig::new(), notes.handler()).unwrap();
    turn_until(&mut reactor, || !notes.output.borrow().is_empty());
    let pid = notes.lines(Output::Stdout)[0].clone();
    // Its input ends with the source, and so does the process.
    assert!(reactor.hub().deregister(id));
    reactor.turn(Some(Duration::ZERO)).unwrap();
    wait_until_gone(&pid);
}

#[test]
fn handler_that_leaves_in_the_middle_of_the_output_is_not_called_again() {
    struct Leaving(Notes);

    impl ProcessHandler for Leaving {
        fn on_output(&mut self, process: &mut Process<'_>, output: Output, data: &[u8]) {
            self.0.output.borrow_mut().push((output, String::from_utf8_lossy(data).into_owned()));
            let id = process.id();
            process.hub().deregister(id);
        }

        fn on_exit(&mut self, _: &mut Process<'_>, _: ExitStatus) {
            panic!("the handler has left");
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    reactor.spawn(shell("printf 'a\\nb\\nc'"), ProcessConfig::new(), Leaving(notes.clone())).unwrap();
    turn_until(&mut reactor, || Rc::strong_count(&notes.output) == 1);
    assert_eq!((notes.lines(Output::Stdout), reactor.hub().stats().panics), (vec!["a".to_owned()], 0));
}

#[test]
fn output_of_a_process_that_outlives_its_parent_does_not_keep_the_exit_back() {
    let mut reactor = Reactor::new().unwrap();
    let notes = Notes::default();
    let handler = Noting { keeps_output: false, ..notes.handler() };
    reactor.spawn(shell("yes & exit 3"), ProcessConfig::new(), handler).unwrap();
    turn_until(&mut reactor, || notes.status.get().is_some());
    assert_eq!(notes.status.get().and_then(|status| status.code()), Some(3));
}

#[cfg(target_os = "linux")]
#[test]
fn standard_error_is_that_of_the_program_if_asked_for() {
    let (mut reactor, notes) = (Reactor::new().unwrap(), Notes::default());
    let config = ProcessConfig::new().inherit_stderr(true);
    reactor.spawn(shell("readlink /proc/$$/fd/2"), config, notes.handler()).unwrap();
    turn_until(&mut reactor, || notes.status.get().is_some());
    let own = std::fs::read_link("/proc/self/fd/2").unwrap();
    assert_eq!(notes.lines(Output::Stdout), [own.to_str().unwrap()]);
    assert!(notes.lines(Output::Stderr).is_empty());
}
