//! The record of what the peers of a test sent and received.

use std::{fmt, time::Duration};

/// Characters of an entry that are kept.
const EXCERPT: usize = 100;

/// Entries that are printed.
const PRINTED: usize = 100;

/// Events of the peers, in order.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    time: Duration,
    peer: String,
    what: String,
}

impl Conversation {
    /// Notes an event of a peer, `time` after the start.
    pub(super) fn note(&mut self, time: Duration, peer: &str, what: &impl fmt::Display) {
        let mut what = what.to_string();
        if let Some((cut, _)) = what.char_indices().nth(EXCERPT) {
            what.truncate(cut);
            what.push('…');
        }
        self.entries.push(Entry { time, peer: peer.to_owned(), what });
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let earlier = self.entries.len().saturating_sub(PRINTED);
        let shown = &self.entries[earlier..];
        let width = shown.iter().map(|entry| entry.peer.chars().count()).max().unwrap_or_default();
        if earlier > 0 {
            writeln!(formatter, "  … {earlier} earlier entries")?;
        }
        for Entry { time, peer, what } in shown {
            writeln!(formatter, "{:>10.3} s  {peer:<width$}  {what}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_times_and_columns() {
        let mut conversation = Conversation::default();
        conversation.note(Duration::ZERO, "ann", &"→ hi");
        conversation.note(Duration::from_millis(1500), "robert", &"← hi");
        assert_eq!(conversation.to_string(), "     0.000 s  ann     → hi\n     1.500 s  robert  ← hi\n");
    }

    #[test]
    fn long_entries_and_long_conversations_are_cut() {
        let mut conversation = Conversation::default();
        for _ in 0..150 {
            conversation.note(Duration::ZERO, "a", &"ä".repeat(500));
        }
        let text = conversation.to_string();
        assert!(text.starts_with("  … 50 earlier entries\n"));
        assert_eq!((text.lines().count(), text.lines().nth(1).unwrap().chars().count()), (101, 17 + 101));
    }
}
