//! Fan-out: one connection sends a message, and the server sends it to all connections, the sender included.

use std::{
    io,
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use crate::{
    Options,
    echo::Voice,
    slice::{Slice, Watch, Work},
    speaker::{Batch, Parrot},
};

pub(crate) struct FanOut {
    poll: Poll,
    /// The first one sends. All receive its batch.
    listeners: Vec<Voice>,
    depth: u64,
    wait: Duration,
}

impl FanOut {
    pub(crate) fn connect(options: &Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let batch = Batch::new(options.content, &options.payload, options.depth, options.target.framed);
        let mut listeners = Vec::new();
        for index in 0..options.connections {
            let (mut pipe, _) = options.target.open("")?;
            pipe.register(&poll, index)?;
            listeners.push(Voice::new(pipe, Box::new(Parrot::new(&batch))));
        }
        Ok(FanOut { poll, listeners, depth: options.depth as u64, wait: options.wait })
    }
}

impl Work for FanOut {
    const UNIT: &'static str = "deliveries";

    fn settle(&mut self) -> io::Result<()> {
        self.listeners.iter_mut().try_for_each(|listener| listener.pipe.settle())
    }

    fn run(&mut self, time: Duration) -> io::Result<Slice> {
        let (mut slice, mut watch) = (Slice::new(), Watch::new());
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        let end = Instant::now() + time;
        while watch.look(&mut slice)? < end {
            let said = Instant::now();
            let mut missing = self.listeners.len();
            self.listeners[0].speak(usize::MAX)?;
            while missing > 0 {
                self.poll.poll(&mut events, Some(self.wait))?;
                if !self.wait.is_zero() {
                    watch.wake();
                }
                watch.look(&mut slice)?;
                for event in &events {
                    let index = event.token().0;
                    if index == 0 && self.listeners[0].is_speaking() {
                        self.listeners[0].speak(usize::MAX)?;
                    }
                    if self.listeners[index].hear(&mut buffer, usize::MAX)?.1 {
                        self.listeners[index].advance()?;
                        missing -= 1;
                        slice.count += self.depth;
                        let now = watch.look(&mut slice)?;
                        slice.record(now - said);
                    }
                }
            }
        }
        Ok(slice)
    }
}
