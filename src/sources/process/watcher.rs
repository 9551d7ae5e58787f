//! The events of a child process.

use std::{any::Any, io, mem};

use super::{Process, ProcessHandler, running::Running};
use crate::{
    net::Readiness,
    reactor::{Source, SourceHandler},
};

/// Bytes of one read, as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// What other handlers have requested.
pub(super) enum Order {
    Write(Vec<u8>),
    CloseInput,
}

/// The source handler of a process.
pub(super) struct Watcher<H> {
    handler: H,
    buffer: Vec<u8>,
    budget: usize,
}

impl<H: ProcessHandler> Watcher<H> {
    /// Reads at most `budget` bytes per turn.
    pub(super) fn new(handler: H, budget: usize) -> Self {
        Watcher { handler, buffer: vec![0; READ_BYTES], budget: budget.max(1) }
    }

    fn call(&mut self, source: &mut Source<'_, Running>, call: impl FnOnce(&mut H, &mut Process<'_>)) {
        let id = source.id();
        let (hub, running) = source.parts();
        call(&mut self.handler, &mut Process { hub, running, id });
    }

    /// Does what can be done now: input, output, and the end.
    fn advance(&mut self, source: &mut Source<'_, Running>) {
        let running = source.get_mut();
        running.look_for_end();
        running.input.flush();
        if running.input.take_drain() {
            self.call(source, H::on_drain);
        }
        if self.read(source)
            && let Some(status) = source.get_mut().status
            && !source.is_removed()
        {
            // Another process may hold the outputs open.
            for mut piped in mem::take(&mut source.get_mut().outputs).into_iter().flatten() {
                self.call(source, |handler, process| {
                    piped.deliver(&[], true, |output, data| handler.on_output(process, output, data));
                });
            }
            self.call(source, |handler, process| handler.on_exit(process, status));
            source.deregister();
        }
    }

    /// Reads both outputs within the budget. Returns `true` if nothing is left to read now.
    fn read(&mut self, source: &mut Source<'_, Running>) -> bool {
        let mut left = self.budget;
        for index in 0..2 {
            while source.get_mut().outputs[index].as_ref().is_some_and(|piped| piped.is_ready) {
                if source.get_mut().is_paused || source.is_removed() {
                    return false;
                }
                if left == 0 {
                    source.call_again();
                    return false;
                }
                left -= self.read_once(source, index).min(left);
            }
        }
        true
    }

    /// Reads an output once, and delivers what was read. Returns its length.
    fn read_once(&mut self, source: &mut Source<'_, Running>, index: usize) -> usize {
        let Some(mut piped) = source.get_mut().outputs[index].take() else { return 0 };
        let (length, is_open) = piped.read(&mut self.buffer);
        let id = source.id();
        let (hub, running) = source.parts();
        let (mut process, handler) = (Process { hub, running, id }, &mut self.handler);
        piped.deliver(&self.buffer[..length], !is_open, |output, data| handler.on_output(&mut process, output, data));
        if is_open {
            running.outputs[index] = Some(piped);
        }
        length
    }
}

impl<H: ProcessHandler> SourceHandler<Running> for Watcher<H> {
    fn on_ready(&mut self, source: &mut Source<'_, Running>, readiness: Readiness) {
        if readiness.readable {
            source.get_mut().mark_ready();
        }
        self.advance(source);
    }

    fn on_event(&mut self, source: &mut Source<'_, Running>, event: &dyn Any) {
        match event.downcast_ref::<Order>() {
            Some(Order::Write(data)) => _ = source.get_mut().input.write(data),
            Some(Order::CloseInput) => source.get_mut().input.close(),
            None => self.call(source, |handler, process| handler.on_event(process, event)),
        }
        self.advance(source);
    }

    fn on_shutdown(&mut self, source: &mut Source<'_, Running>) {
        self.call(source, H::on_shutdown);
    }

    fn on_error(&mut self, source: &mut Source<'_, Running>, error: &io::Error) {
        self.call(source, |handler, process| handler.on_error(process, error));
    }
}
