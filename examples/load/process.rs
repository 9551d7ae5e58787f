//! Measurements of the server's process (Linux, `/proc`).

use std::{fs, io};

pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// A running process.
    pub(crate) fn new(pid: u32) -> io::Result<Self> {
        let process = Process(pid);
        process.cpu_nanos().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other(format!("--pid {pid}: there is no such process")),
            kind => io::Error::new(kind, format!("--pid {pid}: {error}")),
        })?;
        Ok(process)
    }

    /// CPU time of all threads, in nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread may have ended meanwhile.
            let Ok(status) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            sum += number(status.split_whitespace().next())?;
        }
        Ok(sum)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        Ok(self.field("smaps_rollup", "Rss:")? * 1024)
    }

    /// Voluntary context switches.
    pub(crate) fn wakeups(&self) -> io::Result<u64> {
        self.field("status", "voluntary_ctxt_switches:")
    }

    fn field(&self, file: &str, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0))?;
        number(text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()))
    }
}

fn number(word: Option<&str>) -> io::Result<u64> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
