//! The log-in of a connection to Redis.

use std::collections::VecDeque;

use super::{
    resp::{Reply, Version, write_command},
    settings::Settings,
};

/// A command of the log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Login,
    Select,
    SetName,
    ClientId,
    Role,
}

/// The commands of the log-in that have no reply yet.
#[derive(Debug)]
pub(super) struct Login {
    steps: VecDeque<Step>,
    version: Version,
}

impl Login {
    pub(super) fn new(settings: &Settings) -> Self {
        let steps = [
            settings.is_resp3.then_some(Step::Hello),
            (settings.url.credentials.is_some() && !settings.is_resp3).then_some(Step::Login),
            (settings.url.database != 0).then_some(Step::Select),
            Some(Step::SetName),
            Some(Step::ClientId),
            settings.url.sentinels.is_some().then_some(Step::Role),
        ];
        let version = if settings.is_resp3 { Version::Resp3 } else { Version::Resp2 };
        Login { steps: steps.into_iter().flatten().collect(), version }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// All commands, to be written at once.
    pub(super) fn commands(&self, settings: &Settings) -> Vec<u8> {
        let mut out = Vec::new();
        let database = settings.url.database.to_string();
        let (user, password) = match &settings.url.credentials {
            Some((user, password)) => (user.as_deref(), password.as_bytes()),
            None => (None, &[][..]),
        };
        for step in &self.steps {
            let command: &[&[u8]] = match (step, user) {
                (Step::Hello, _) if settings.url.credentials.is_none() => &[b"HELLO", b"3"],
                (Step::Hello, user) => &[b"HELLO", b"3", b"AUTH", user.unwrap_or("default").as_bytes(), password],
                (Step::Login, Some(user)) => &[b"AUTH", user.as_bytes(), password],
                (Step::Login, None) => &[b"AUTH", password],
                (Step::Select, _) => &[b"SELECT", database.as_bytes()],
                (Step::SetName, _) => &[b"CLIENT", b"SETNAME", settings.name.as_bytes()],
                (Step::ClientId, _) => &[b"CLIENT", b"ID"],
                (Step::Role, _) => &[b"ROLE"],
            };
            write_command(command, &mut out);
        }
        out
    }

    /// Takes the reply to the next command. Returns the id that Redis has given the connection, if it is that.
    ///
    /// # Errors
    ///
    /// Why the log-in has failed.
    pub(super) fn take(&mut self, reply: &Reply<'_>) -> Result<Option<i64>, String> {
        let Some(step) = self.steps.pop_front() else { return Ok(None) };
        if let Reply::Error(error) = reply {
            // These commands are for convenience, and a user may lack the right.
            let may_fail = matches!(step, Step::SetName | Step::ClientId | Step::Role)
                && [&b"ERR"[..], b"NOPERM"].iter().any(|kind| error.starts_with(kind));
            if !may_fail {
                return Err(format!("{}", error.escape_ascii()));
            }
        }
        if step == Step::Role && reply.items().first().is_some_and(|role| role.as_bytes() != Some(b"master")) {
            // The Sentinels have not noticed yet.
            return Err("it is not the master".to_owned());
        }
        match (step, reply) {
            (Step::ClientId, Reply::Integer(id)) => Ok(Some(*id)),
            _ => Ok(None),
        }
    }
}
