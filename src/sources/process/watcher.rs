//! The events of a child process.

use std::{any::Any, io, mem};

use super::{
    Process, ProcessHandler,
    running::{Piped, Running},
};
use crate::{
    net::Readiness,
    reactor::{Source, SourceHandler},
};

/// Bytes of one read, as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// Largest pipe that a process may make without privileges.
const MOST_IN_A_PIPE: usize = 1024 * 1024;

/// What other handlers have requested.
pub(super) enum Order {
    Write(Vec<u8>),
    CloseInput,
    Pause,
    Resume,
    Kill,
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
        if let Err(error) = source.get_mut().look_for_end() {
            self.call(source, |handler, process| handler.on_error(process, &error));
            return source.deregister();
        }
        self.advance_input(source);
        let is_read = self.read(source);
        // Callbacks may have written.
        self.advance_input(source);
        if is_read
            && let Some(status) = source.get_mut().status
            && !source.is_removed()
        {
            // Another process may hold the outputs open.
            for mut piped in mem::take(&mut source.get_mut().outputs).into_iter().flatten() {
                self.deliver(source, &mut piped, 0, true);
            }
            if !source.is_removed() {
                self.call(source, |handler, process| handler.on_exit(process, status));
                source.deregister();
            }
        }
    }

    fn advance_input(&mut self, source: &mut Source<'_, Running>) {
        let input = &mut source.get_mut().input;
        input.flush();
        if input.take_drain() && !source.is_removed() {
            self.call(source, H::on_drain);
        }
    }

    /// Reads both outputs within the budget, a read of each in turn. Returns `true` if nothing is left to read now.
    fn read(&mut self, source: &mut Source<'_, Running>) -> bool {
        let mut left = self.budget;
        loop {
            let mut is_read = true;
            for index in 0..2 {
                let running = source.get_mut();
                if !running.outputs[index].as_ref().is_some_and(|piped| piped.is_ready) {
                    continue;
                }
                if running.is_paused || source.is_removed() {
                    return false;
                }
                if left == 0 || !source.has_budget() {
                    source.call_again();
                    return false;
                }
                is_read = false;
                left -= self.read_once(source, index).min(left);
            }
            let running = source.get_mut();
            // What the process has written before its end fits a pipe. More comes from others.
            if is_read || running.status.is_some() && running.read_since_end > 2 * MOST_IN_A_PIPE {
                return true;
            }
        }
    }

    /// Reads an output once, and delivers what was read. Returns its length.
    fn read_once(&mut self, source: &mut Source<'_, Running>, index: usize) -> usize {
        let Some(mut piped) = source.get_mut().outputs[index].take() else { return 0 };
        let (length, is_open) = piped.read(&mut self.buffer);
        if source.get_mut().status.is_some() {
            source.get_mut().read_since_end += length;
        }
        self.deliver(source, &mut piped, length, !is_open);
        if is_open {
            source.get_mut().outputs[index] = Some(piped);
        }
        length
    }

    /// Passes on `length` bytes of the buffer, as long as the source is there.
    fn deliver(&mut self, source: &mut Source<'_, Running>, piped: &mut Piped, length: usize, is_last: bool) {
        let id = source.id();
        let (hub, running) = source.parts();
        let (mut process, handler) = (Process { hub, running, id }, &mut self.handler);
        piped.deliver(&self.buffer[..length], is_last, |output, data| {
            if process.hub.is_registered(id) {
                handler.on_output(&mut process, output, data);
            }
        });
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
            Some(Order::Pause) => source.get_mut().is_paused = true,
            Some(Order::Resume) => source.get_mut().is_paused = false,
            // A process that cannot be killed goes on.
            Some(Order::Kill) => _ = source.get_mut().kill(),
            None => self.call(source, |handler, process| handler.on_event(process, event)),
        }
        self.advance(source);
    }

    fn on_shutdown(&mut self, source: &mut Source<'_, Running>) {
        self.call(source, H::on_shutdown);
        self.advance(source);
    }

    fn on_error(&mut self, source: &mut Source<'_, Running>, error: &io::Error) {
        self.call(source, |handler, process| handler.on_error(process, error));
    }
}
