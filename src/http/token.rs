//! Tokens (RFC 9110 §5.6.2).

/// Octets that may occur in a token, by their value. A table, because lists of many members are checked octet by octet.
const TOKEN_OCTETS: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = (octet as u8).is_ascii_alphanumeric();
        octet += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
};

/// Returns `true` if the octet may occur in a token.
#[inline]
pub(crate) fn is_token_octet(octet: u8) -> bool {
    TOKEN_OCTETS[usize::from(octet)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_letters_digits_and_fifteen_marks() {
        let octets: Vec<u8> = (0..=255).filter(|octet| is_token_octet(*octet)).collect();
        assert_eq!(octets.len(), 26 + 26 + 10 + 15);
        assert!(octets.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)));
    }
}
