//! The compressors and decompressors of a reactor, and the buffers they write to.

use std::{cell::RefCell, fmt, rc::Rc};

use flate2::{Compress, Compression, Decompress};

/// One reactor's, shared by its connections. Nobody holds the borrow across anything but zlib.
pub(crate) type SharedContexts = Rc<RefCell<Contexts>>;

/// Contexts that no connection holds at the moment, kept for the next that needs one, and room for what comes out of them.
#[derive(Default)]
pub(crate) struct Contexts {
    compressors: Vec<Compressor>,
    decompressors: Vec<Decompress>,
    inflated: Vec<u8>,
    deflated: Vec<u8>,
    /// Messages compressed so far.
    pub(super) compressed: u64,
}

/// Free contexts kept, of either kind. Without context takeover one is enough unless messages come in pieces.
const FREE_CONTEXTS: usize = 4;

/// How much is inflated at a time.
const INFLATED_BYTES: usize = 16 * 1024;

/// Up to here the buffer for what is deflated is kept.
const DEFLATED_BYTES: usize = 256 * 1024;

/// A compressor with its settings, which it cannot change.
pub(super) struct Compressor {
    pub(super) zlib: Compress,
    level: u8,
    window_bits: u8,
}

impl Contexts {
    /// A compressor that remembers nothing.
    pub(super) fn take_compressor(&mut self, level: u8, window_bits: u8) -> Compressor {
        let fits = |free: &Compressor| (free.level, free.window_bits) == (level, window_bits);
        match self.compressors.iter().position(fits) {
            Some(free) => {
                let mut compressor = self.compressors.swap_remove(free);
                compressor.zlib.reset();
                compressor
            }
            None => {
                let zlib = Compress::new_with_window_bits(Compression::new(level.into()), false, window_bits);
                Compressor { zlib, level, window_bits }
            }
        }
    }

    pub(super) fn give_compressor(&mut self, compressor: Compressor) {
        if self.compressors.len() < FREE_CONTEXTS {
            self.compressors.push(compressor);
        }
    }

    /// A decompressor that remembers nothing. Its window is the largest: a smaller one would save nothing, for zlib-rs allots the same for all.
    pub(super) fn take_decompressor(&mut self) -> Decompress {
        match self.decompressors.pop() {
            Some(mut decompressor) => {
                decompressor.reset(false);
                decompressor
            }
            None => Decompress::new(false),
        }
    }

    pub(super) fn give_decompressor(&mut self, decompressor: Decompress) {
        if self.decompressors.len() < FREE_CONTEXTS {
            self.decompressors.push(decompressor);
        }
    }

    /// Room for what is inflated next.
    pub(super) fn inflated(&mut self) -> &mut [u8] {
        if self.inflated.is_empty() {
            self.inflated = vec![0; INFLATED_BYTES];
        }
        &mut self.inflated
    }

    /// Messages compressed so far.
    pub(crate) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// An empty buffer for what is deflated, to be given back.
    pub(super) fn take_deflated(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.deflated)
    }

    pub(super) fn give_deflated(&mut self, mut deflated: Vec<u8>) {
        if deflated.capacity() <= DEFLATED_BYTES {
            deflated.clear();
            self.deflated = deflated;
        }
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Contexts")
            .field("compressors", &self.compressors.len())
            .field("decompressors", &self.decompressors.len())
            .finish_non_exhaustive()
    }
}
