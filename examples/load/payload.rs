//! Contents of the messages.

use crate::wire::{BINARY, TEXT};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Content {
    Binary,
    /// ASCII only.
    Text,
    /// Text of one to four bytes for each character.
    Mixed,
}

impl Content {
    /// The first octet of its frames.
    pub(crate) fn first_octet(self) -> u8 {
        if self == Content::Binary { BINARY } else { TEXT }
    }

    /// A payload of `bytes` bytes.
    pub(crate) fn payload(self, bytes: usize) -> Vec<u8> {
        match self {
            Content::Binary | Content::Text => (b'a'..=b'z').cycle().take(bytes).collect(),
            Content::Mixed => mixed(bytes),
        }
    }
}

fn mixed(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes);
    let sample = "Ein Stück Text, ça va — 日本語も 😀 и русский, plain words as well; ";
    for character in sample.chars().cycle() {
        if text.len() + character.len_utf8() > bytes {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('.', bytes - text.len()));
    text.into_bytes()
}
