//! A connection's bytes, plain or (later) encrypted, whichever kernel carries them.

use std::io::{self, IoSlice};

use super::kernel::Kernel;

/// A stream and what lies between it and its reader.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    /// The bytes as they are.
    Plain(S),
}

impl<S> Transport<S> {
    pub(crate) fn read<K: Kernel<Stream = S>>(&mut self, kernel: &mut K, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => kernel.read(stream, buffer),
        }
    }

    pub(crate) fn write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => kernel.write(stream, slices),
        }
    }

    pub(crate) fn shutdown_write<K: Kernel<Stream = S>>(&mut self, kernel: &mut K) -> io::Result<()> {
        match self {
            Transport::Plain(stream) => kernel.shutdown_write(stream),
        }
    }
}
