//! Command lines of the examples: options with a value or without, checked.

use std::{collections::BTreeMap, fmt::Display, process::exit, str::FromStr};

/// The options that were given, with all their values; one without a value has an empty one.
pub(crate) struct Arguments(BTreeMap<String, Vec<String>>);

impl Arguments {
    /// Reads the command line. `known` are the options, as `--name` or `--name VALUE`. Words that are no options stand for the first of them, in order, if those have
    /// values. Anything else ends the program with status 2.
    pub(crate) fn read(known: &[&str]) -> Self {
        let program = env!("CARGO_CRATE_NAME");
        let usage = known.iter().fold(format!("usage: {program}"), |usage, option| usage + &format!(" [{option}]"));
        let mut given: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        let mut unnamed = known.iter().filter(|form| form.contains(' '));
        while let Some(option) = words.next() {
            if option == "--help" || option == "-h" {
                println!("{usage}");
                exit(0);
            }
            if !option.starts_with('-') {
                let form = unnamed.next().unwrap_or_else(|| fail(&format!("unknown argument {option:?}; {usage}")));
                given.entry(form.split(' ').next().unwrap_or_default().to_owned()).or_default().push(option);
                continue;
            }
            let form = known.iter().find(|form| form.split(' ').next() == Some(&option));
            let form = form.unwrap_or_else(|| fail(&format!("unknown argument {option:?}; {usage}")));
            let value = match form.contains(' ') {
                true => words.next().unwrap_or_else(|| fail(&format!("{option} needs a value; {usage}"))),
                false => String::new(),
            };
            given.entry(option).or_default().push(value);
        }
        Arguments(given)
    }

    /// Whether an option was given.
    #[allow(dead_code)]
    pub(crate) fn has(&self, option: &str) -> bool {
        self.0.contains_key(option)
    }

    /// All values of an option that may be given more than once.
    pub(crate) fn all(&self, option: &str) -> &[String] {
        self.0.get(option).map_or(&[], Vec::as_slice)
    }

    /// The last value of an option, or what it is by default. A value that does not parse ends the program with status 2.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, option: &str, default: T) -> T {
        let Some(value) = self.all(option).last() else { return default };
        value.parse().unwrap_or_else(|error| fail(&format!("{option} {value:?}: {error}")))
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    exit(2)
}

/// Runs a server to its end; an error is one line and status 1.
pub(crate) fn run<E: Display>(serve: impl FnOnce() -> Result<(), E>) -> std::process::ExitCode {
    match serve() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
