//! Instructions in user space, counted by callgrind: the program runs a part few times and many times. The difference
//! of the counts is the cost of the part.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    process::{Command, ExitCode},
};

use ws_reactor::measuring::parts;

const ROLE: &str = "WS_REACTOR_PARTS_ROLE";

/// How many times a part runs in the short and in the long run. The short run includes the cost of filling caches,
/// pools and tables. Small parts run more often, so that random differences (hash keys, the clock) average out.
const RUNS: [usize; 2] = [50, 150];
const RUNS_OF_SMALL: [usize; 2] = [1000, 5000];
const SMALL_INSTRUCTIONS: f64 = 5000.0;

/// The tolerated increase over the recorded count: versions of the compiler and of dependencies differ by as much.
const TOLERANCE: f64 = 1.03;

/// The index of the part and the number of runs, if this is a process under callgrind.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

pub(crate) fn work(role: &str) -> Result<ExitCode, Box<dyn Error>> {
    let (index, times) = role.split_once(' ').ok_or("a role is two numbers")?;
    let mut work = parts().swap_remove(index.parse()?).prepare();
    (0..times.parse()?).for_each(|_| work());
    Ok(ExitCode::SUCCESS)
}

/// Counts the instructions of all parts. Compares them with the file of `--check`, and writes them to that of
/// `--write`.
pub(crate) fn count() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = env::args().collect();
    let file_of = |option: &str| words.iter().position(|word| word == option).and_then(|at| words.get(at + 1));
    let recorded = file_of("--check").map(fs::read_to_string).transpose()?;
    let recorded: Option<BTreeMap<&str, f64>> = recorded.as_ref().map(|text| text.lines().filter_map(entry).collect());
    let (mut lines, mut failed) = (String::new(), false);
    for (index, part) in parts().iter().enumerate() {
        let mut each = instructions(index, RUNS)?;
        if each < SMALL_INSTRUCTIONS {
            each = instructions(index, RUNS_OF_SMALL)?;
        }
        lines += &format!("{each:>12.1}  {}\n", part.name);
        let verdict = match recorded.as_ref().map(|recorded| recorded.get(part.name.as_str())) {
            None => String::new(),
            Some(None) => "  NOT RECORDED".to_owned(),
            Some(Some(before)) if each > before * TOLERANCE => format!("  MORE THAN BEFORE: {before:.1}"),
            // Either an improvement that has to be recorded, or the part does not do its work.
            Some(Some(before)) if each < before / 2.0 => format!("  LESS THAN HALF: {before:.1}"),
            Some(Some(before)) => format!("  ({:.3} of the recorded count)", each / before),
        };
        failed |= ["NOT RECORDED", "MORE THAN", "LESS THAN"].iter().any(|word| verdict.contains(word));
        println!("{each:>12.1}  {:<64}{verdict}", part.name);
    }
    let names: Vec<String> = parts().into_iter().map(|part| part.name).collect();
    for (missing, _) in recorded.iter().flatten().filter(|(name, _)| !names.iter().any(|known| known == *name)) {
        println!("{:>12}  {:<64}  THERE IS NO SUCH PART", "", missing);
        failed = true;
    }
    if let Some(file) = file_of("--write") {
        fs::write(file, lines)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Parses a line of the file: the count and the name of the part.
fn entry(line: &str) -> Option<(&str, f64)> {
    let (count, name) = line.trim().split_once("  ")?;
    Some((name, count.parse().ok()?))
}

/// The instructions of one run of the part.
fn instructions(index: usize, [few, many]: [usize; 2]) -> Result<f64, Box<dyn Error>> {
    let more = collected(index, many)?.saturating_sub(collected(index, few)?);
    Ok(more as f64 / (many - few) as f64)
}

/// The instructions of a process that runs the part `times` times.
fn collected(index: usize, times: usize) -> Result<u64, Box<dyn Error>> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(env::current_exe()?);
    let output = command.env(ROLE, format!("{index} {times}")).output()?;
    if !output.status.success() {
        return Err(format!("the part failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let line = log.lines().find_map(|line| line.split_once("Collected :")).ok_or("valgrind printed no count")?;
    Ok(line.1.trim().parse()?)
}
