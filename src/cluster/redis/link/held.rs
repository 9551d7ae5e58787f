//! Publications that subscribers in this process have not got. Pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

/// Messages that are held, by number.
#[derive(Debug)]
pub(super) struct Held<M> {
    messages: BTreeMap<u64, Waiting<M>>,
    /// Numbers in the order of publishing, by topic.
    topics: HashMap<Rc<str>, VecDeque<u64>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<M> {
    topic: Rc<str>,
    message: M,
    bytes: usize,
    /// It may be delivered, with this id of an event, once all earlier ones of the topic may.
    settled: Option<Option<u64>>,
}

/// A message whose turn has come, and its id of an event.
pub(super) type Due<M> = (M, Option<u64>);

impl<M> Held<M> {
    /// Holds a message. Its number is larger than all earlier ones.
    pub(super) fn insert(&mut self, number: u64, topic: &str, message: M, bytes: usize) {
        let known = self.topics.get_key_value(topic).map(|(topic, _)| Rc::clone(topic));
        let topic = known.unwrap_or_else(|| topic.into());
        self.topics.entry(Rc::clone(&topic)).or_default().push_back(number);
        self.bytes += bytes;
        self.messages.insert(number, Waiting { topic, message, bytes, settled: None });
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.messages.contains_key(&number)
    }

    /// Bytes of the messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes that a message may be delivered. Returns those of its topic whose turn has come.
    pub(super) fn settle(&mut self, number: u64, id: Option<u64>) -> Vec<Due<M>> {
        let Some(waiting) = self.messages.get_mut(&number) else { return Vec::new() };
        waiting.settled.get_or_insert(id);
        let topic = Rc::clone(&waiting.topic);
        self.take(&topic, |waiting| waiting.settled)
    }

    /// The messages of a topic.
    pub(super) fn take_topic(&mut self, topic: &str) -> Vec<Due<M>> {
        self.take(topic, |waiting| Some(waiting.settled.flatten()))
    }

    /// All messages, in the order of publishing.
    pub(super) fn take_all(&mut self) -> Vec<Due<M>> {
        self.topics.clear();
        self.bytes = 0;
        let all = std::mem::take(&mut self.messages).into_values();
        all.map(|waiting| (waiting.message, waiting.settled.flatten())).collect()
    }

    /// Takes the first messages of a topic, as long as there is a word on them.
    fn take(&mut self, topic: &str, word: impl Fn(&Waiting<M>) -> Option<Option<u64>>) -> Vec<Due<M>> {
        let Some(numbers) = self.topics.get_mut(topic) else { return Vec::new() };
        let mut due = Vec::new();
        while let Some(number) = numbers.front()
            && let Some(id) = self.messages.get(number).and_then(&word)
            && let Some(waiting) = self.messages.remove(number)
        {
            numbers.pop_front();
            self.bytes -= waiting.bytes;
            due.push((waiting.message, id));
        }
        if numbers.is_empty() {
            self.topics.remove(topic);
        }
        due
    }
}

impl<M> Default for Held<M> {
    fn default() -> Self {
        Held { messages: BTreeMap::new(), topics: HashMap::new(), bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_topic_keep_their_order_and_other_topics_do_not_wait() {
        let mut held = Held::default();
        for (number, topic) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            held.insert(number, topic, number, 10);
        }
        assert_eq!(held.settle(2, Some(7)), []);
        assert_eq!(held.settle(3, None), [(3, None)]);
        assert_eq!(held.settle(1, None), [(1, None), (2, Some(7))]);
        assert_eq!((held.settle(1, None), held.bytes(), held.contains(4)), (vec![], 10, true));
        held.insert(5, "b", 5, 1);
        assert_eq!(held.take_topic("a"), [(4, None)]);
        held.insert(6, "a", 6, 1);
        held.settle(6, Some(9));
        held.insert(7, "a", 7, 1);
        held.insert(8, "a", 8, 1);
        held.settle(8, Some(11));
        assert_eq!(held.take_all(), [(5, None), (7, None), (8, Some(11))]);
        assert_eq!((held.bytes(), held.topics.len()), (0, 0));
    }
}
