//! Tokens: what an event is about.

/// A source of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Link(usize),
    Listener(usize),
}

impl From<Token> for usize {
    fn from(token: Token) -> usize {
        match token {
            Token::Link(key) => key << 1,
            Token::Listener(key) => key << 1 | 1,
        }
    }
}

impl From<usize> for Token {
    fn from(token: usize) -> Token {
        match token & 1 {
            0 => Token::Link(token >> 1),
            _ => Token::Listener(token >> 1),
        }
    }
}
