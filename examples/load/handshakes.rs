//! Handshakes: connections that open and end.

use std::{
    io,
    time::{Duration, Instant},
};

use mio::{Events, Poll};

use crate::{
    Options,
    pipe::Pipe,
    slice::{Slice, Watch, Work},
    wire,
};

pub(crate) struct Handshakes<'a> {
    options: &'a Options,
    poll: Poll,
}

struct Opening {
    pipe: Pipe,
    began: Instant,
    answer: Vec<u8>,
}

impl<'a> Handshakes<'a> {
    pub(crate) fn new(options: &'a Options) -> io::Result<Self> {
        Ok(Handshakes { options, poll: Poll::new()? })
    }

    fn begin(&self, index: usize) -> io::Result<Opening> {
        let began = Instant::now();
        let mut pipe = self.options.target.begin("")?;
        pipe.register(&self.poll, index)?;
        Ok(Opening { pipe, began, answer: Vec::new() })
    }
}

impl Work for Handshakes<'_> {
    const UNIT: &'static str = "handshakes";

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn run(&mut self, time: Duration) -> io::Result<Slice> {
        let (mut slice, mut watch) = (Slice::new(), Watch::new());
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 16 * 1024];
        let end = Instant::now() + time;
        let mut slots = Vec::new();
        for index in 0..self.options.connections {
            slots.push(Some(self.begin(index)?));
        }
        let mut open = slots.len();
        while open > 0 {
            self.poll.poll(&mut events, Some(self.options.wait))?;
            if !self.options.wait.is_zero() {
                watch.wake();
            }
            watch.look(&mut slice)?;
            for event in &events {
                let index = event.token().0;
                let Some(opening) = &mut slots[index] else { continue };
                let answer = &mut opening.answer;
                opening.pipe.drain(&mut buffer, usize::MAX, |piece| {
                    answer.extend_from_slice(piece);
                    Ok(())
                })?;
                opening.pipe.flush()?;
                if !answer.ends_with(b"\r\n\r\n") {
                    continue;
                }
                wire::accepted(answer)?;
                let now = watch.look(&mut slice)?;
                slice.record(now - opening.began);
                slice.count += 1;
                if let Some(opened) = slots[index].take() {
                    opened.pipe.reset()?;
                }
                match now < end {
                    true => slots[index] = Some(self.begin(index)?),
                    false => open -= 1,
                }
            }
        }
        Ok(slice)
    }
}
