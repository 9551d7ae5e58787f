//! Command lines of the examples.

#[allow(dead_code)]
pub(crate) mod redis;
#[allow(dead_code)]
pub(crate) mod shutdown;

use std::{fmt::Display, process::ExitCode, str::FromStr};

use clap::{Arg, ArgAction, ArgMatches, Command};

/// An option: `--name` or `--name VALUE`, and its help text.
pub(crate) type OptionHelp = (&'static str, &'static str);

/// The options that were given.
pub(crate) struct Arguments {
    given: ArgMatches,
    command: Command,
}

impl Arguments {
    /// Reads the command line. Words that are no options are the values of the first options that take one, in order.
    /// An invalid command line ends the program with status 2.
    pub(crate) fn read(about: &'static str, options: &[OptionHelp]) -> Self {
        let mut command =
            Command::new(env!("CARGO_CRATE_NAME")).about(about).arg(Arg::new("words").num_args(0..).hide(true));
        for (form, help) in options {
            let (name, value) = form.split_once(' ').unwrap_or((form, ""));
            let name = name.trim_start_matches("--");
            let arg = Arg::new(name).long(name).help(*help);
            command = command.arg(match value {
                "" => arg.action(ArgAction::SetTrue),
                value => arg.value_name(value).action(ArgAction::Append).allow_hyphen_values(true),
            });
        }
        let given = command.clone().get_matches_from(named(&command, options));
        Arguments { given, command }
    }

    /// Returns `true` if an option was given.
    #[allow(dead_code)]
    pub(crate) fn has(&self, option: &str) -> bool {
        let name = option.trim_start_matches("--");
        self.given.value_source(name) == Some(clap::parser::ValueSource::CommandLine)
    }

    /// All values of an option that may be given more than once.
    pub(crate) fn all(&self, option: &str) -> Vec<&str> {
        let values = self.given.get_many::<String>(option.trim_start_matches("--"));
        values.map(|values| values.map(String::as_str).collect()).unwrap_or_default()
    }

    /// The last value of an option, or its default. A value that does not parse ends the program with status 2.
    #[allow(dead_code)]
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, option: &str, default: T) -> T {
        let Some(value) = self.all(option).pop() else { return default };
        value.parse().unwrap_or_else(|error| self.refuse(format!("{option} {value:?}: {error}")))
    }

    /// Ends the program with status 2, for options that exclude each other or have invalid values.
    pub(crate) fn refuse(&self, why: impl Display) -> ! {
        self.command.clone().error(clap::error::ErrorKind::ValueValidation, why).exit()
    }
}

/// The command line with its words as options: `client URL` is `client --url URL`.
fn named(command: &Command, options: &[OptionHelp]) -> Vec<String> {
    let mut unnamed = options.iter().filter(|(form, _)| form.contains(' ')).map(|(form, _)| form.split(' ').next());
    let mut line = std::env::args();
    let mut named: Vec<String> = line.next().into_iter().collect();
    while let Some(word) = line.next() {
        let takes_value = |name: &str| {
            command.get_arguments().any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values())
        };
        match word.strip_prefix("--") {
            Some(name) if takes_value(name) => {
                named.push(word);
                named.extend(line.next());
            }
            None if !word.starts_with('-') => {
                named.extend(unnamed.next().flatten().map(str::to_owned));
                named.push(word);
            }
            _ => named.push(word),
        }
    }
    named
}

/// Logs what `RUST_LOG` says. Default: errors, and the loss and the return of Redis.
#[allow(dead_code)]
pub(crate) fn log() {
    let default = env_logger::Env::default().default_filter_or("error,ws_reactor::redis=info");
    env_logger::Builder::from_env(default).init();
}

/// Runs a program to its end. An error is one line, its sources included, and status 1.
pub(crate) fn run<E: Into<Box<dyn std::error::Error>>>(program: impl FnOnce() -> Result<(), E>) -> ExitCode {
    let Err(error) = program() else { return ExitCode::SUCCESS };
    let error = error.into();
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        line += &format!(": {next}");
        source = next.source();
    }
    eprintln!("{line}");
    ExitCode::FAILURE
}
