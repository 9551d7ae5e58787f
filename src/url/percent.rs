//! Percent escapes (RFC 3986 §2.1).

/// Decodes percent escapes. Other octets stand for themselves.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
        let escape = match (first, behind) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        octets.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &behind[2..] } else { behind };
    }
    octets
}

/// Returns `true` if decoding the path yields another escape. A second decoding, by a server behind, would yield
/// another path.
pub(crate) fn decodes_to_an_escape(path: &str) -> bool {
    let octets = path.as_bytes();
    let is_escape = |octets: &[u8], at: usize| {
        let digits = octets.get(at + 1..at + 3);
        octets[at] == b'%' && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let lone = |at: &usize| octets[*at] == b'%' && !is_escape(octets, *at);
    (0..octets.len()).filter(lone).any(|at| is_escape(&decoded(&path[at..]), 0))
}
