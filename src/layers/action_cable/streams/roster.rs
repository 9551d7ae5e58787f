//! The presence of one stream: its members. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use super::super::extended::Person;

/// A session of someone: the process, and its number there.
pub(super) type Session = (Rc<str>, u64);

/// The people of a stream. Someone is present as long as there is a session.
#[derive(Default)]
pub(super) struct Roster {
    people: BTreeMap<String, Present>,
    /// The id of each session.
    sessions: HashMap<Session, String>,
}

struct Present {
    person: Person,
    sessions: usize,
}

/// A member that has joined or left.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) person: Person,
    pub(super) is_here: bool,
}

impl Roster {
    /// Adds a session, or changes it. The newest information about someone counts.
    pub(super) fn join(&mut self, session: Session, person: Person) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.sessions.get(&session).is_some_and(|id| *id != person.id) {
            changes.extend(self.leave(&session));
        }
        let is_new = self.sessions.insert(session, person.id.clone()).is_none();
        match self.people.get_mut(&person.id) {
            Some(present) => {
                present.sessions += usize::from(is_new);
                present.person = person;
            }
            None => {
                changes.push(Change { person: person.clone(), is_here: true });
                self.people.insert(person.id.clone(), Present { person, sessions: 1 });
            }
        }
        changes
    }

    /// Ends a session.
    pub(super) fn leave(&mut self, session: &Session) -> Option<Change> {
        let id = self.sessions.remove(session)?;
        let present = self.people.get_mut(&id)?;
        present.sessions -= 1;
        if present.sessions > 0 {
            return None;
        }
        self.people.remove(&id).map(|Present { person, .. }| Change { person, is_here: false })
    }

    /// Replaces the sessions of a process by those that it has.
    pub(super) fn replace(&mut self, node: &Rc<str>, sessions: Vec<(u64, Person)>) -> Vec<Change> {
        let known: HashSet<u64> = sessions.iter().map(|(session, _)| *session).collect();
        let gone: Vec<Session> =
            self.sessions.keys().filter(|(of, session)| of == node && !known.contains(session)).cloned().collect();
        let joined = |(session, person)| self.join((Rc::clone(node), session), person);
        let mut changes: Vec<Change> = sessions.into_iter().flat_map(joined).collect();
        changes.extend(gone.iter().filter_map(|session| self.leave(session)));
        changes
    }

    /// The sessions of a process.
    pub(super) fn sessions_of(&self, node: &str) -> Vec<(u64, Person)> {
        let own = self.sessions.iter().filter(|((of, _), _)| **of == *node);
        own.filter_map(|((_, session), id)| Some((*session, self.people.get(id)?.person.clone()))).collect()
    }

    /// Those who are present, in the order of their ids.
    pub(super) fn people(&self) -> impl ExactSizeIterator<Item = &Person> {
        self.people.values().map(|present| &present.person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(node: &str, number: u64) -> Session {
        (node.into(), number)
    }

    fn person(id: &str) -> Person {
        Person::new(id, &()).unwrap()
    }

    fn change(id: &str, is_here: bool) -> Change {
        Change { person: person(id), is_here }
    }

    #[test]
    fn someone_is_present_from_the_first_session_to_the_last() {
        let mut roster = Roster::default();
        assert_eq!(roster.join(session("a", 1), person("ann")), [change("ann", true)]);
        assert_eq!(roster.join(session("a", 2), person("ann")), []);
        assert_eq!(roster.join(session("a", 2), person("ann")), []);
        assert_eq!(roster.join(session("b", 1), person("bob")), [change("bob", true)]);
        assert_eq!(roster.people().len(), 2);
        assert_eq!(roster.leave(&session("a", 1)), None);
        assert_eq!(roster.leave(&session("a", 2)), Some(change("ann", false)));
        assert_eq!(roster.leave(&session("a", 2)), None);
        assert_eq!(roster.people().collect::<Vec<_>>(), [&person("bob")]);
    }

    #[test]
    fn session_may_become_someone_else() {
        let mut roster = Roster::default();
        roster.join(session("a", 1), person("ann"));
        assert_eq!(roster.join(session("a", 1), person("bob")), [change("ann", false), change("bob", true)]);
        let renamed = Person::new("bob", "Bob").unwrap();
        assert_eq!(roster.join(session("a", 2), renamed.clone()), []);
        assert_eq!(roster.people().collect::<Vec<_>>(), [&renamed]);
    }

    #[test]
    fn sessions_of_a_process_are_replaced() {
        let mut roster = Roster::default();
        roster.join(session("a", 1), person("ann"));
        roster.join(session("b", 1), person("ann"));
        roster.join(session("b", 2), person("bob"));
        let changes = roster.replace(&"b".into(), vec![(3, person("cid")), (2, person("bob"))]);
        assert_eq!(changes, [change("cid", true)]);
        assert_eq!(roster.replace(&"b".into(), vec![]).len(), 2);
        assert_eq!(roster.sessions_of("a"), [(1, person("ann"))]);
        assert_eq!(roster.replace(&"a".into(), vec![]), [change("ann", false)]);
        assert!(roster.people.is_empty() && roster.sessions.is_empty());
    }
}
