//! What the messages say.

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

    /// A payload of so many bytes.
    pub(crate) fn payload(self, bytes: usize) -> Vec<u8> {
        match self {
            Content::Binary | Content::Text => (b'a'..=b'z').cycle().take(bytes).collect(),
            Content::Mixed => mixed(bytes),
        }
    }
}

fn mixed(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes);
    for character in "Ein Stück Text, ça va — 日本語も 😀 и русский, plain words as well; ".chars().cycle()
    {
        if text.len() + character.len_utf8() > bytes {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('.', bytes - text.len()));
    text.into_bytes()
}

/// Different texts of so many bytes, each like the answer of a service: objects with the same fields and other values.
pub(crate) fn json(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut state = 12345_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut text = |number: usize| {
        let mut text = String::from("{\"items\":[");
        while text.len() < bytes {
            let (id, name, price, cents, active) =
                (number * 100 + random(16) as usize, random(16_384), random(65_536), random(100), random(2) == 1);
            text += &format!("{{\"id\":{id},\"name\":\"user{name}\",\"price\":{price}.{cents},\"active\":{active}}},");
        }
        text.into_bytes()[..bytes].to_vec()
    };
    (0..count).map(&mut text).collect()
}
