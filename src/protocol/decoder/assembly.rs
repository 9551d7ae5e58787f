//! A message that arrives in pieces: copied once, and checked for UTF-8 as the pieces arrive.

use std::rc::Rc;

use crate::{
    buffer::{Block, Blocks, SharedBlock},
    protocol::{error::ProtocolError, message::Message, utf8::Utf8Stream},
};

/// The type of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// The unfinished message of a decoder, or the last finished message until [`release`](Self::release).
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    block: Option<SharedBlock>,
    utf8: Utf8Stream,
}

impl Assembly {
    /// Returns `true` if there is no message.
    pub(crate) fn is_idle(&self) -> bool {
        self.block.is_none()
    }

    /// Starts a message with an announced length of at least `announced` bytes.
    pub(crate) fn begin(&mut self, kind: Kind, announced: usize, blocks: &mut Blocks) {
        self.block = Some(match kind {
            Kind::Text => blocks.take_text(announced),
            Kind::Binary => blocks.take(announced),
        });
    }

    /// Appends a piece. `expected` is the largest possible length of the whole message: its length if known, else a
    /// limit or `usize::MAX`.
    pub(crate) fn push(&mut self, piece: &[u8], expected: usize) -> Result<(), ProtocolError> {
        let Some(block) = self.block.as_mut().and_then(Rc::get_mut) else { return Ok(()) };
        match block {
            Block::Text(text) => {
                // The piece may complete a character held back earlier.
                let (piece_bytes, expected) = (piece.len() + 3, expected.saturating_add(3));
                text.reserve_exact(growth(text.len(), text.capacity(), piece_bytes, expected));
                self.utf8.push(piece, text)
            }
            Block::Bytes(bytes) => {
                bytes.reserve_exact(growth(bytes.len(), bytes.capacity(), piece.len(), expected));
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Block::Frozen(_) | Block::OwnedBytes(_) | Block::OwnedText(_) => Ok(()),
        }
    }

    /// Completes the message.
    pub(crate) fn finish(&mut self) -> Result<(), ProtocolError> {
        self.utf8.finish()
    }

    /// The message as received so far.
    pub(crate) fn message(&self) -> Message<'_> {
        self.block.as_deref().map_or(Message::Binary(&[]), Message::from)
    }

    /// The block that holds the message.
    pub(crate) fn block(&self) -> Option<&SharedBlock> {
        self.block.as_ref()
    }

    /// Returns the block. Other owners of the message keep the block.
    pub(crate) fn release(&mut self, blocks: &mut Blocks) {
        if let Some(block) = self.block.take() {
            blocks.give(block);
        }
    }
}

/// Bytes to reserve beyond `length`: up to twice what has arrived, at most what is expected, and nothing if the piece
/// fits. So a peer that announces much and sends little costs at most twice what was sent.
fn growth(length: usize, capacity: usize, piece: usize, expected: usize) -> usize {
    let needed = length + piece;
    if needed <= capacity {
        return piece;
    }
    needed.max(needed.saturating_mul(2).min(expected)) - length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_length_is_not_allocated_before_its_bytes_arrive() {
        let (mut assembly, mut blocks) = (Assembly::default(), Blocks::default());
        assembly.begin(Kind::Binary, 60 << 20, &mut blocks);
        for _ in 0..100 {
            assembly.push(&[7; 100], 60 << 20).unwrap();
        }
        let Some(Block::Bytes(bytes)) = assembly.block().map(|block| &**block) else { panic!("octets") };
        assert_eq!(bytes.len(), 10_000);
        assert!(bytes.capacity() <= 20_000, "{}", bytes.capacity());
    }

    #[test]
    fn binary_message_of_known_length_is_allocated_exactly() {
        let (mut assembly, mut blocks) = (Assembly::default(), Blocks::default());
        assembly.begin(Kind::Binary, 1000, &mut blocks);
        for _ in 0..10 {
            assembly.push(&[7; 100], 1000).unwrap();
        }
        assert_eq!(assembly.block().map(|block| block.as_bytes().len()), Some(1000));
        let Some(Block::Bytes(bytes)) = assembly.block().map(|block| &**block) else { panic!("octets") };
        assert_eq!(bytes.capacity(), 1000);
    }

    #[test]
    fn text_message_of_known_length_has_room_for_one_more_character() {
        let (mut assembly, mut blocks) = (Assembly::default(), Blocks::default());
        assembly.begin(Kind::Text, 1000, &mut blocks);
        for _ in 0..10 {
            assembly.push(&[b'x'; 100], 1000).unwrap();
        }
        let Some(Block::Text(text)) = assembly.block().map(|block| &**block) else { panic!("text") };
        assert_eq!(text.len(), 1000);
        assert!(text.capacity() <= 1003, "{}", text.capacity());
    }

    #[test]
    fn buffer_doubles_up_to_the_expected_length() {
        assert_eq!(growth(0, 0, 100, 1000), 200, "twice the received length");
        assert_eq!(growth(100, 200, 100, 1000), 100, "the piece fits");
        assert_eq!(growth(900, 900, 50, 1000), 100, "no more than the expected length");
        assert_eq!(growth(900, 900, 200, 1000), 200, "at least the piece");
    }
}
