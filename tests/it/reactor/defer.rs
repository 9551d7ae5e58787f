//! Work on other threads.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{DeferError, Hub, Reactor, ReactorConfig, Turn, net::sim::Sim};

use crate::support::silence_deliberate_panics;

/// Results in the order of their arrival.
#[derive(Default, Clone)]
struct Results(Rc<RefCell<Vec<Result<u32, String>>>>);

impl Results {
    fn receiver(&self) -> impl FnOnce(&mut Hub, Result<u32, DeferError>) + 'static {
        let results = self.clone();
        move |_, result| results.0.borrow_mut().push(result.map_err(|error| error.to_string()))
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

fn turn_until(reactor: &mut Reactor, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "it does not come to hold");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn result_of_a_work_arrives_on_the_loop_from_another_thread() {
    let mut reactor = Reactor::new().unwrap();
    let (here, results) = (thread::current().id(), Results::default());
    let elsewhere = move || u32::from(thread::current().id() != here);
    for _ in 0..100 {
        reactor.hub().defer(elsewhere, results.receiver());
    }
    assert_eq!((reactor.hub().deferred_works(), results.len()), (100, 0));
    turn_until(&mut reactor, || results.len() == 100);
    assert_eq!(&*results.0.borrow(), &vec![Ok(1); 100]);
    assert_eq!(reactor.hub().deferred_works(), 0);
}

#[test]
fn panic_of_a_work_is_its_result_and_a_panic_of_its_receiver_costs_nothing_else() {
    silence_deliberate_panics();
    let mut reactor = Reactor::new().unwrap();
    let results = Results::default();
    reactor.hub().defer(|| -> u32 { panic!("deliberate: no {}", "luck") }, results.receiver());
    reactor.hub().defer(|| (), |_, _| panic!("deliberate: a receiver panics"));
    reactor.hub().defer(|| 7, results.receiver());
    turn_until(&mut reactor, || results.len() == 2);
    let mut seen = results.0.borrow().clone();
    seen.sort();
    assert_eq!(seen, [Ok(7), Err("the work panicked: deliberate: no luck".to_owned())]);
    let until = Instant::now() + Duration::from_secs(10);
    while reactor.hub().stats().panics == 0 {
        assert!(Instant::now() < until, "the receiver is not called");
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
}

#[test]
fn works_beyond_the_queue_are_refused_and_the_others_done_in_order() {
    // One for the thread, and two that wait.
    let config = ReactorConfig::new().defer_threads(1).defer_queue(2);
    let mut reactor = Reactor::with_config(config).unwrap();
    let results = Results::default();
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let first = move || {
        begin.send(()).unwrap();
        ended.recv().unwrap();
        0
    };
    reactor.hub().defer(first, results.receiver());
    begun.recv().unwrap();
    for number in 1..=4 {
        reactor.hub().defer(move || number, results.receiver());
    }
    turn_until(&mut reactor, || results.len() == 2);
    let full = Err("too many works are under way".to_owned());
    assert_eq!(&*results.0.borrow(), &[full.clone(), full.clone()]);
    end.send(()).unwrap();
    turn_until(&mut reactor, || results.len() == 5);
    assert_eq!(&results.0.borrow()[2..], &[Ok(0), Ok(1), Ok(2)]);
}

#[test]
fn without_threads_a_work_is_done_on_the_loop_in_the_same_turn_order_each_time() {
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new().defer_threads(0));
    let (here, results) = (thread::current().id(), Results::default());
    for number in 0..3 {
        let work = move || if thread::current().id() == here { number } else { 99 };
        reactor.hub().defer(work, results.receiver());
    }
    reactor.settle().unwrap();
    assert_eq!(&*results.0.borrow(), &[Ok(0), Ok(1), Ok(2)]);
}

/// A reactor with a work that ends when the returned sender is used, shutting down.
fn shutting_down(config: ReactorConfig, timeout: Duration) -> (Reactor, mpsc::Sender<()>, Results) {
    let mut reactor = Reactor::with_config(config).unwrap();
    let results = Results::default();
    let (end, ended) = mpsc::channel::<()>();
    reactor.hub().defer(move || ended.recv().map_or(0, |()| 1), results.receiver());
    reactor.hub().shutdown(timeout);
    (reactor, end, results)
}

#[test]
fn shutdown_waits_for_works() {
    let (mut reactor, end, results) = shutting_down(ReactorConfig::new(), Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(reactor.turn(Some(Duration::ZERO)).unwrap(), Turn::Running);
    }
    end.send(()).unwrap();
    while reactor.turn(Some(Duration::from_millis(10))).unwrap() == Turn::Running {}
    assert_eq!(&*results.0.borrow(), &[Ok(1)]);
}

#[test]
fn shutdown_that_does_not_wait_leaves_the_result_to_the_next_run() {
    let late = ReactorConfig::new().shutdown_awaits_deferred(false);
    for (config, timeout) in [(late, 60_000), (ReactorConfig::new(), 20)] {
        let (mut reactor, end, results) = shutting_down(config, Duration::from_millis(timeout));
        while reactor.turn(Some(Duration::from_millis(10))).unwrap() == Turn::Running {}
        assert_eq!(results.len(), 0);
        end.send(()).unwrap();
        let stopper = reactor.remote();
        let waiting = Rc::new(Cell::new(0));
        let polled = Rc::clone(&waiting);
        reactor.hub().add_periodic_timer(Duration::from_millis(1), move |hub| {
            polled.set(hub.deferred_works());
            if hub.deferred_works() == 0 {
                stopper.stop().unwrap();
            }
        });
        reactor.run().unwrap();
        assert_eq!((&*results.0.borrow(), waiting.get()), (&vec![Ok(1)], 0));
    }
}

#[test]
fn dropped_reactor_drops_the_receivers_and_waits_for_no_work() {
    let mut reactor = Reactor::new().unwrap();
    let results = Results::default();
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let work = move || {
        begin.send(()).unwrap();
        ended.recv().map_or(0, |()| 1)
    };
    reactor.hub().defer(work, results.receiver());
    begun.recv().unwrap();
    drop(reactor);
    assert_eq!(Rc::strong_count(&results.0), 1);
    // Its result reaches nobody.
    end.send(()).unwrap();
}

#[test]
fn shutdown_waits_for_works_that_are_done_on_the_loop_or_refused() {
    for config in [ReactorConfig::new().defer_threads(0), ReactorConfig::new().defer_threads(1).defer_queue(0)] {
        let mut reactor = Reactor::with_config(config).unwrap();
        let results = Results::default();
        reactor.hub().shutdown(Duration::from_secs(60));
        for number in 0..3 {
            reactor.hub().defer(move || number, results.receiver());
        }
        assert_eq!(reactor.hub().deferred_works(), 3);
        let until = Instant::now() + Duration::from_secs(10);
        while reactor.turn(Some(Duration::from_millis(10))).unwrap() == Turn::Running {
            assert!(Instant::now() < until, "the loop does not end");
        }
        assert_eq!((results.len(), reactor.hub().deferred_works()), (3, 0));
    }
}
