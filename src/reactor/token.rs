//! Tokens: sources of events.

/// Source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Inbound(usize),
    Listener(usize),
    Attempt(usize),
    Source(usize),
}

impl From<Token> for usize {
    fn from(token: Token) -> usize {
        match token {
            Token::Inbound(key) => key << 2,
            Token::Listener(key) => key << 2 | 1,
            Token::Attempt(key) => key << 2 | 2,
            Token::Source(key) => key << 2 | 3,
        }
    }
}

impl From<usize> for Token {
    fn from(token: usize) -> Token {
        match token & 3 {
            0 => Token::Inbound(token >> 2),
            1 => Token::Listener(token >> 2),
            2 => Token::Attempt(token >> 2),
            _ => Token::Source(token >> 2),
        }
    }
}
