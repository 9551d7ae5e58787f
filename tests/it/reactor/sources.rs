//! Sources of events of the application, on the operating system.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd,
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    Hub, Interest, PollSource, Reactor, ReactorConfig, Readiness, Source, SourceHandler, Turn,
    mio::{
        Registry, Token,
        unix::{SourceFd, pipe},
    },
    net::sim::Sim,
};

use crate::support::silence_deliberate_panics;

/// Reads a pipe, a few bytes for each call, and notes what happens.
#[derive(Default, Clone)]
struct Reader {
    read: Rc<RefCell<Vec<u8>>>,
    calls: Rc<Cell<u32>>,
    events: Rc<RefCell<Vec<u32>>>,
    shutdowns: Rc<Cell<u32>>,
    errors: Rc<RefCell<Vec<ErrorKind>>>,
}

impl<S: Read> SourceHandler<S> for Reader {
    fn on_ready(&mut self, source: &mut Source<'_, S>, _: Readiness) {
        self.calls.set(self.calls.get() + 1);
        let mut buffer = [0; 4];
        match source.get_mut().read(&mut buffer) {
            Ok(0) => source.deregister(),
            Ok(length) => {
                assert_ne!(&buffer[..length], b"boom", "deliberate: a handler panics");
                self.read.borrow_mut().extend_from_slice(&buffer[..length]);
                source.call_again();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    fn on_event(&mut self, _: &mut Source<'_, S>, event: &dyn Any) {
        self.events.borrow_mut().extend(event.downcast_ref::<u32>());
    }

    fn on_shutdown(&mut self, _: &mut Source<'_, S>) {
        self.shutdowns.set(self.shutdowns.get() + 1);
    }

    fn on_error(&mut self, source: &mut Source<'_, S>, error: &io::Error) {
        self.errors.borrow_mut().push(error.kind());
        // A request of a handler whose source cannot be watched is idle.
        source.set_interest(Interest::WRITABLE);
        source.call_again();
    }
}

/// A descriptor, as a source.
struct Descriptor(File);

impl PollSource for Descriptor {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

impl Read for Descriptor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fn turns(reactor: &mut Reactor, count: usize) {
    for _ in 0..count {
        assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Running);
    }
}

#[test]
fn source_is_called_until_it_is_empty_and_dropped_at_its_end() {
    let mut reactor = Reactor::new().unwrap();
    let (mut sender, receiver) = pipe::new().unwrap();
    let reader = Reader::default();
    let id = reactor.register(receiver, Interest::READABLE, reader.clone()).unwrap();
    sender.write_all(b"0123456789").unwrap();
    turns(&mut reactor, 1);
    assert_eq!(&*reader.read.borrow(), b"0123", "a call for each turn");
    assert_eq!(reactor.next_deadline().map(|at| at <= reactor.hub().now()), Some(true), "the next turn does not wait");
    turns(&mut reactor, 6);
    assert_eq!(&*reader.read.borrow(), b"0123456789");
    assert_eq!(reader.calls.get(), 4, "the last call finds nothing");
    assert_eq!(reactor.next_deadline(), None);
    drop(sender);
    turns(&mut reactor, 3);
    assert!(!reactor.hub().is_registered(id) && !reactor.hub().deregister(id));
    assert_eq!(Rc::strong_count(&reader.read), 1, "the handler is dropped");
    assert!(!reactor.hub().notify_source(id, 1_u32));
}

#[test]
fn callback_registers_a_source_that_gets_events_and_is_removed_by_another() {
    let mut reactor = Reactor::new().unwrap();
    let (mut sender, receiver) = pipe::new().unwrap();
    let reader = Reader::default();
    let (handler, registered) = (reader.clone(), Rc::new(Cell::new(None)));
    let of_call = Rc::clone(&registered);
    reactor.hub().next_tick(move |hub| of_call.set(Some(hub.register(receiver, Interest::READABLE, handler))));
    turns(&mut reactor, 1);
    let id = registered.get().unwrap();
    sender.write_all(b"abc").unwrap();
    assert!(reactor.hub().notify_source(id, 1_u32) && reactor.hub().notify_source(id, 2_u32));
    turns(&mut reactor, 2);
    assert_eq!((&*reader.read.borrow(), &*reader.events.borrow()), (&b"abc".to_vec(), &vec![1, 2]));
    // An event that was queued before the removal is not delivered.
    assert!(reactor.hub().notify_source(id, 3_u32) && reactor.hub().deregister(id));
    turns(&mut reactor, 2);
    assert_eq!(&*reader.events.borrow(), &[1, 2]);
    assert_eq!(Rc::strong_count(&reader.read), 1);
    assert!(sender.write_all(b"nobody reads").is_err());
}

#[test]
fn source_that_the_system_does_not_watch_is_an_error_and_is_removed() {
    let mut reactor = Reactor::new().unwrap();
    let reader = Reader::default();
    let file = || Descriptor(File::open(file!()).unwrap());
    let refused = reactor.register(file(), Interest::READABLE, reader.clone()).unwrap_err();
    assert!(reader.errors.borrow().is_empty() && Rc::strong_count(&reader.read) == 1);
    let id = reactor.hub().register(file(), Interest::READABLE, reader.clone());
    turns(&mut reactor, 2);
    assert_eq!(&*reader.errors.borrow(), &[refused.kind()]);
    assert!(!reactor.hub().is_registered(id));
    turns(&mut reactor, 1);
    assert_eq!((Rc::strong_count(&reader.read), reader.calls.get()), (1, 0));

    let mut simulated = Reactor::on(Sim::new(), ReactorConfig::default());
    let refused = simulated.register(pipe::new().unwrap().1, Interest::READABLE, reader).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[test]
fn panic_of_a_handler_costs_its_source_and_nothing_else() {
    silence_deliberate_panics();
    let mut reactor = Reactor::new().unwrap();
    let (mut bad, receiver) = pipe::new().unwrap();
    let faulty = Reader::default();
    let id = reactor.register(receiver, Interest::READABLE, faulty.clone()).unwrap();
    let (mut good, receiver) = pipe::new().unwrap();
    let sound = Reader::default();
    reactor.register(receiver, Interest::READABLE, sound.clone()).unwrap();
    bad.write_all(b"boom").unwrap();
    good.write_all(b"fine").unwrap();
    turns(&mut reactor, 3);
    assert_eq!(reactor.hub().stats().panics, 1);
    assert!(!reactor.hub().is_registered(id));
    assert_eq!((Rc::strong_count(&faulty.read), &*sound.read.borrow()), (1, &b"fine".to_vec()));
}

#[test]
fn changed_interest_reports_what_is_ready() {
    struct Writer(Rc<Cell<bool>>);

    impl SourceHandler<pipe::Sender> for Writer {
        fn on_ready(&mut self, _: &mut Source<'_, pipe::Sender>, readiness: Readiness) {
            self.0.set(readiness.writable);
        }

        fn on_event(&mut self, source: &mut Source<'_, pipe::Sender>, _: &dyn Any) {
            source.set_interest(Interest::WRITABLE);
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let (sender, _receiver) = pipe::new().unwrap();
    let writable = Rc::new(Cell::new(false));
    let id = reactor.register(sender, Interest::READABLE, Writer(Rc::clone(&writable))).unwrap();
    turns(&mut reactor, 2);
    assert!(!writable.get());
    assert!(reactor.hub().notify_source(id, ()));
    turns(&mut reactor, 2);
    assert!(writable.get());
}

#[test]
fn shutdown_calls_the_handlers_and_waits_for_no_source() {
    let mut reactor = Reactor::new().unwrap();
    let (mut sender, receiver) = pipe::new().unwrap();
    let reader = Reader::default();
    reactor.register(receiver, Interest::READABLE, reader.clone()).unwrap();
    reactor.hub().shutdown(Duration::from_secs(60));
    reactor.run().unwrap();
    assert_eq!(reader.shutdowns.get(), 1);
    // The source is there in the next run.
    sender.write_all(b"late").unwrap();
    reactor.hub().add_timer(Duration::from_millis(20), Hub::stop);
    reactor.run().unwrap();
    assert_eq!(&*reader.read.borrow(), b"late");
}

#[test]
fn source_that_asks_again_while_it_has_events_is_called_once_in_a_turn() {
    /// Asks again at each call, and notes the turns.
    #[derive(Clone, Default)]
    struct Asking(Rc<RefCell<Vec<u64>>>);

    impl SourceHandler<pipe::Receiver> for Asking {
        fn on_ready(&mut self, source: &mut Source<'_, pipe::Receiver>, _: Readiness) {
            let turn = source.hub().stats().turns;
            self.0.borrow_mut().push(turn);
            source.call_again();
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let (mut sender, receiver) = pipe::new().unwrap();
    let asking = Asking::default();
    reactor.register(receiver, Interest::READABLE, asking.clone()).unwrap();
    for _ in 0..50 {
        sender.write_all(b"x").unwrap();
        turns(&mut reactor, 1);
    }
    let calls = asking.0.borrow();
    assert!(calls.is_sorted_by(|one, other| one < other), "{calls:?}");
}

#[test]
fn panic_of_a_source_itself_is_an_error_of_its_registration() {
    /// Cannot be registered.
    struct Broken;

    impl PollSource for Broken {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            panic!("deliberate: a source panics")
        }

        fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }

        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            panic!("deliberate: a source panics")
        }
    }

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    silence_deliberate_panics();
    let mut reactor = Reactor::new().unwrap();
    let reader = Reader::default();
    assert!(reactor.register(Broken, Interest::READABLE, reader.clone()).is_err());
    reactor.hub().register(Broken, Interest::READABLE, reader.clone());
    turns(&mut reactor, 2);
    assert_eq!((&*reader.errors.borrow(), Rc::strong_count(&reader.read)), (&vec![ErrorKind::Other], 1));
}

#[test]
fn source_that_leaves_at_shutdown_is_gone_when_the_loop_has_ended() {
    struct Leaving;

    impl SourceHandler<pipe::Receiver> for Leaving {
        fn on_ready(&mut self, _: &mut Source<'_, pipe::Receiver>, _: Readiness) {}

        fn on_shutdown(&mut self, source: &mut Source<'_, pipe::Receiver>) {
            source.deregister();
        }
    }

    let mut reactor = Reactor::new().unwrap();
    let (mut sender, receiver) = pipe::new().unwrap();
    reactor.register(receiver, Interest::READABLE, Leaving).unwrap();
    reactor.hub().shutdown(Duration::from_secs(60));
    reactor.run().unwrap();
    assert!(sender.write_all(b"x").is_err(), "nobody reads");
}
