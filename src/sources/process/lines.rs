//! Output cut into lines.

/// Cuts bytes that arrive in pieces into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// The beginning of a line.
    begun: Vec<u8>,
    /// A piece of the line was delivered.
    in_pieces: bool,
    most_bytes: usize,
}

impl Lines {
    /// Lines of at most `most_bytes`: longer ones come in pieces.
    pub(super) fn new(most_bytes: usize) -> Self {
        Lines { begun: Vec::new(), in_pieces: false, most_bytes: most_bytes.max(1) }
    }

    /// Calls `line` with each complete line, without its `\n` or `\r\n`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], &mut line);
            let begun = std::mem::take(&mut self.begun);
            let rest = begun.strip_suffix(b"\r").unwrap_or(&begun);
            if !(std::mem::take(&mut self.in_pieces) && rest.is_empty()) {
                line(rest);
            }
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, &mut line);
    }

    /// Calls `line` with what is left at the end of the output.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.begun);
        if !rest.is_empty() {
            line(&rest);
        }
    }

    fn extend(&mut self, mut bytes: &[u8], line: &mut impl FnMut(&[u8])) {
        while self.begun.len() + bytes.len() > self.most_bytes {
            let (now, later) = bytes.split_at(self.most_bytes - self.begun.len());
            self.begun.extend_from_slice(now);
            line(&self.begun);
            self.begun.clear();
            self.in_pieces = true;
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the pieces.
    fn lines(most_bytes: usize, pieces: &[&str]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::new(most_bytes), Vec::new());
        let mut note = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        pieces.iter().for_each(|piece| lines.push(piece.as_bytes(), &mut note));
        lines.finish(&mut note);
        found
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = "one\ntwo\r\n\nfour\rstill four\nlast";
        let expected = ["one", "two", "", "four\rstill four", "last"];
        assert_eq!(lines(100, &[text]), expected);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(lines(100, &bytes.iter().map(String::as_str).collect::<Vec<_>>()), expected);
        for cut in 0..text.len() {
            assert_eq!(lines(100, &[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        assert_eq!(lines(100, &["ends\n"]), ["ends"], "nothing follows the last line");
    }

    #[test]
    fn line_over_the_limit_comes_in_pieces() {
        assert_eq!(lines(4, &["12345678\n"]), ["1234", "5678"]);
        assert_eq!(lines(4, &["123", "456789", "\nab\n"]), ["1234", "5678", "9", "ab"]);
        assert_eq!(lines(4, &["1234\r\n\nab\n"]), ["1234", "", "ab"], "no line of the end alone");
        assert_eq!(lines(0, &["ab\n"]), ["a", "b"], "zero counts as one");
    }
}
