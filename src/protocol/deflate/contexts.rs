//! The compressors and decompressors of a reactor. Connections hold none between messages.
//!
//! With context takeover a connection keeps a [`History`]: one window of the last bytes. To compress, the connection
//! takes a compressor, feeds the history, and gives the compressor back. A compressor last used by the same connection
//! still knows the history. A compressor takes up to 370 KiB, a window of 12 bits 4 KiB: so all connections work in the
//! same memory, which stays in the processor's caches.

use std::{cell::RefCell, fmt, rc::Rc};

use flate2::{Compress, Compression, Decompress};

/// The contexts of one reactor, shared by its connections. The borrow is held across zlib, never across a callback.
pub(crate) type SharedContexts = Rc<RefCell<Contexts>>;

/// Free contexts, the last used one at the end, and buffers for their output.
#[derive(Default)]
pub(crate) struct Contexts {
    compressors: Vec<Compressor>,
    decompressors: Vec<Decompressor>,
    inflated: Vec<u8>,
    deflated: Vec<u8>,
    owners: u64,
    pub(super) compressed: u64,
}

/// Free contexts kept of each kind: a compressor for each window that clients may request, and one for messages between
/// the pieces of others.
const FREE_CONTEXTS: usize = 8;

/// Bytes inflated in one step.
const INFLATED_BYTES: usize = 16 * 1024;

/// Largest output buffer that is kept.
const DEFLATED_BYTES: usize = 256 * 1024;

/// The connection direction whose history a context knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(u64);

/// Fixed settings of a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeflateSetting {
    pub(super) level: u8,
    pub(super) window_bits: u8,
}

pub(super) struct Compressor {
    pub(super) zlib: Compress,
    setting: DeflateSetting,
    owner: Option<Owner>,
}

pub(super) struct Decompressor {
    pub(super) zlib: Decompress,
    owner: Option<Owner>,
}

impl Contexts {
    /// Returns `true` if nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        let buffers = self.inflated.capacity() + self.deflated.capacity();
        self.compressors.is_empty() && self.decompressors.is_empty() && buffers == 0
    }

    /// Frees what is not in use: contexts and buffers made during a burst lie above memory that was freed since. A
    /// connection whose history a context knew keeps it itself.
    pub(crate) fn trim(&mut self) {
        (self.compressors, self.decompressors) = (Vec::new(), Vec::new());
        (self.inflated, self.deflated) = (Vec::new(), Vec::new());
    }

    /// Registers a new owner of contexts.
    pub(super) fn enrol(&mut self) -> Owner {
        self.owners += 1;
        Owner(self.owners)
    }

    /// Takes a compressor that knows `history` and nothing else.
    pub(super) fn take_compressor(&mut self, setting: DeflateSetting, history: Option<&History>) -> Compressor {
        let owner = history.map(|history| history.owner);
        let fits = |free: &Compressor| free.setting == setting;
        let known = |free: &Compressor| fits(free) && owner.is_some() && free.owner == owner;
        if let Some(free) = self.compressors.iter().rposition(known) {
            return self.compressors.remove(free);
        }
        let mut compressor = match self.compressors.iter().rposition(fits) {
            Some(free) => self.compressors.remove(free),
            None => {
                let level = Compression::new(setting.level.into());
                let zlib = Compress::new_with_window_bits(level, false, setting.window_bits);
                Compressor { zlib, setting, owner: None }
            }
        };
        compressor.zlib.reset();
        if let Some(recent) = history.map(History::recent).filter(|recent| !recent.is_empty()) {
            let read = compressor.zlib.set_dictionary(recent);
            debug_assert!(read.is_ok(), "a fresh compressor takes a dictionary");
        }
        compressor
    }

    /// Takes a compressor back that knows the current history of `owner`.
    pub(super) fn give_compressor(&mut self, mut compressor: Compressor, owner: Option<Owner>) {
        compressor.owner = owner;
        if self.compressors.len() >= FREE_CONTEXTS {
            self.compressors.remove(0);
        }
        self.compressors.push(compressor);
    }

    /// Takes a decompressor that knows `history` and nothing else. Its window is the largest: zlib-rs allocates no less
    /// for a smaller one.
    pub(super) fn take_decompressor(&mut self, history: Option<&History>) -> Decompressor {
        let owner = history.map(|history| history.owner);
        let known = |free: &Decompressor| owner.is_some() && free.owner == owner;
        if let Some(free) = self.decompressors.iter().rposition(known) {
            return self.decompressors.remove(free);
        }
        let mut decompressor = match self.decompressors.pop() {
            Some(mut free) => {
                free.zlib.reset(false);
                free
            }
            None => Decompressor { zlib: Decompress::new(false), owner: None },
        };
        if let Some(recent) = history.map(History::recent).filter(|recent| !recent.is_empty()) {
            let read = decompressor.zlib.set_dictionary(recent);
            debug_assert!(read.is_ok(), "a fresh decompressor takes a dictionary");
        }
        decompressor
    }

    /// Takes a decompressor back that knows the current history of `owner`.
    pub(super) fn give_decompressor(&mut self, mut decompressor: Decompressor, owner: Option<Owner>) {
        decompressor.owner = owner;
        if self.decompressors.len() >= FREE_CONTEXTS {
            self.decompressors.remove(0);
        }
        self.decompressors.push(decompressor);
    }

    /// Messages compressed so far.
    pub(crate) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Takes the buffer for inflated bytes, which must be given back.
    pub(super) fn take_inflated(&mut self) -> Vec<u8> {
        match self.inflated.is_empty() {
            true => vec![0; INFLATED_BYTES],
            false => std::mem::take(&mut self.inflated),
        }
    }

    pub(super) fn give_inflated(&mut self, inflated: Vec<u8>) {
        self.inflated = inflated;
    }

    /// Takes an empty buffer for compressed bytes, which must be given back.
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

/// The last bytes of one direction of a connection, as far back as messages may refer.
#[derive(Debug)]
pub(super) struct History {
    owner: Owner,
    window_bytes: usize,
    bytes: Vec<u8>,
}

impl History {
    pub(super) fn new(owner: Owner, window_bits: u8) -> Self {
        History { owner, window_bytes: 1 << window_bits, bytes: Vec::new() }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Appends payload bytes. Slightly more than a window is kept, so that most messages move nothing.
    pub(super) fn remember(&mut self, message: &[u8]) {
        let message = &message[message.len().saturating_sub(self.window_bytes)..];
        let most = self.window_bytes + self.window_bytes / 8;
        let needed = self.bytes.len() + message.len();
        if needed > most {
            self.bytes.drain(..needed - self.window_bytes);
        }
        let needed = self.bytes.len() + message.len();
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact((2 * needed).min(most) - self.bytes.len());
        }
        self.bytes.extend_from_slice(message);
    }

    /// Begins a new stream, without references to earlier bytes.
    pub(super) fn forget(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn recent(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(self.window_bytes)..]
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Decompressor").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Compressor")
            .field("setting", &self.setting)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_the_last_window_of_all_messages() {
        for step in [1, 7, 100, 300, 511, 512, 513, 2000] {
            let (mut history, mut all) = (History::new(Owner(1), 9), Vec::new());
            for round in 0..50_usize {
                let length = step * (1 + round % 3) / 2;
                let message: Vec<u8> = (0..length).map(|index| (round * 31 + index * 7) as u8).collect();
                history.remember(&message);
                all.extend_from_slice(&message);
                assert_eq!(history.recent(), &all[all.len().saturating_sub(512)..], "{step} bytes, round {round}");
                assert!(history.bytes.capacity() <= 512 + 64, "{}", history.bytes.capacity());
            }
            history.forget();
            assert!(history.recent().is_empty());
        }
    }

    #[test]
    fn context_keeps_its_state_only_for_the_owner_that_used_it_last() {
        let mut contexts = Contexts::default();
        let setting = DeflateSetting { level: 1, window_bits: 12 };
        let (one, other) = (History::new(contexts.enrol(), 12), History::new(contexts.enrol(), 12));
        let mut compressor = contexts.take_compressor(setting, Some(&one));
        compressor.zlib.compress_vec(b"said", &mut Vec::with_capacity(99), flate2::FlushCompress::Sync).unwrap();
        contexts.give_compressor(compressor, Some(one.owner));
        let compressor = contexts.take_compressor(setting, Some(&one));
        assert_eq!(compressor.zlib.total_in(), 4, "the same owner continues the stream");
        contexts.give_compressor(compressor, Some(one.owner));
        let compressor = contexts.take_compressor(setting, Some(&other));
        assert_eq!(compressor.zlib.total_in(), 0, "another owner starts a new stream");
        contexts.give_compressor(compressor, Some(other.owner));
        assert_eq!(contexts.take_compressor(setting, Some(&one)).zlib.total_in(), 0);
    }

    #[test]
    fn pool_keeps_at_most_the_limit_of_free_contexts() {
        let mut contexts = Contexts::default();
        let setting = DeflateSetting { level: 1, window_bits: 9 };
        let taken: Vec<_> = (0..20).map(|_| contexts.take_compressor(setting, None)).collect();
        taken.into_iter().for_each(|compressor| contexts.give_compressor(compressor, None));
        let taken: Vec<_> = (0..20).map(|_| contexts.take_decompressor(None)).collect();
        taken.into_iter().for_each(|decompressor| contexts.give_decompressor(decompressor, None));
        assert_eq!((contexts.compressors.len(), contexts.decompressors.len()), (FREE_CONTEXTS, FREE_CONTEXTS));
    }
}
