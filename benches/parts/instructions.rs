//! Instructions in user space, counted by callgrind: the program runs a part so many times, and once more often; the
//! difference is the part's.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    process::{Command, ExitCode},
};

use ws_reactor::measuring::parts;

const ROLE: &str = "WS_REACTOR_PARTS_ROLE";

/// How often a part is run in the shorter and in the longer run: the first fills caches, pools and tables. Small parts
/// are run more often, so that what differs from time to time (keys of hashes, the clock) does not show.
const RUNS: [usize; 2] = [50, 150];
const RUNS_OF_SMALL: [usize; 2] = [1000, 5000];
const SMALL_INSTRUCTIONS: f64 = 5000.0;

/// What a count may be above the one that is known: other versions of the compiler and of dependencies differ by as
/// much.
const TOLERANCE: f64 = 1.03;

/// The part and the number of times, if this is the process that is counted.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

pub(crate) fn work(role: &str) -> Result<ExitCode, Box<dyn Error>> {
    let (index, times) = role.split_once(' ').ok_or("a role is two numbers")?;
    let mut work = parts().swap_remove(index.parse()?).prepare();
    (0..times.parse()?).for_each(|_| work());
    Ok(ExitCode::SUCCESS)
}

/// Counts all parts, and compares with what is known if that is wanted.
pub(crate) fn count() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = env::args().collect();
    let file_of = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
    let known = file_of("--check").map(fs::read_to_string).transpose()?;
    let known: Option<BTreeMap<&str, f64>> = known.as_ref().map(|text| text.lines().filter_map(entry).collect());
    let (mut lines, mut failed) = (String::new(), false);
    for (index, part) in parts().iter().enumerate() {
        let mut each = instructions(index, RUNS)?;
        if each < SMALL_INSTRUCTIONS {
            each = instructions(index, RUNS_OF_SMALL)?;
        }
        lines += &format!("{each:>12.1}  {}\n", part.name);
        let verdict = match known.as_ref().map(|known| known.get(part.name.as_str())) {
            None => String::new(),
            Some(None) => "  NOT KNOWN".to_owned(),
            Some(Some(before)) if each > before * TOLERANCE => format!("  MORE THAN BEFORE: {before:.1}"),
            // It has become so good that it ought to be known, or it does not do its work.
            Some(Some(before)) if each < before / 2.0 => format!("  LESS THAN HALF: {before:.1}"),
            Some(Some(before)) => format!("  ({:.3} of what is known)", each / before),
        };
        failed |= ["NOT KNOWN", "MORE THAN", "LESS THAN"].iter().any(|word| verdict.contains(word));
        println!("{each:>12.1}  {:<64}{verdict}", part.name);
    }
    let names: Vec<String> = parts().into_iter().map(|part| part.name).collect();
    for gone in known.iter().flatten().filter(|(name, _)| !names.iter().any(|known| known == *name)) {
        println!("{:>12}  {:<64}  THERE IS NO SUCH PART", "", gone.0);
        failed = true;
    }
    if let Some(file) = file_of("--write") {
        fs::write(file, lines)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A line of the file: the count, and the part's name.
fn entry(line: &str) -> Option<(&str, f64)> {
    let (count, name) = line.trim().split_once("  ")?;
    Some((name, count.parse().ok()?))
}

/// What one run takes.
fn instructions(index: usize, [few, many]: [usize; 2]) -> Result<f64, Box<dyn Error>> {
    let more = collected(index, many)?.saturating_sub(collected(index, few)?);
    Ok(more as f64 / (many - few) as f64)
}

/// What the process takes in all.
fn collected(index: usize, times: usize) -> Result<u64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
    let output = command.env(ROLE, format!("{index} {times}")).output()?;
    if !output.status.success() {
        return Err(format!("the part has failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected :")).ok_or("valgrind has counted nothing")?;
    Ok(line.1.trim().parse()?)
}
