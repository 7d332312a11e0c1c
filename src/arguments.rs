//! The command line of the program (`usage.txt`): words and options, not yet judged.

use lexopt::Arg::{self, Long, Short, Value};
use lexopt::{Parser, ValueExt};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

#[derive(Default)]
pub(crate) struct Options {
    pub command: Option<String>,
    pub config: Option<PathBuf>,
    pub boards: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub follow: bool,
    pub quiet: bool,
    /// Seconds.
    pub wait: Option<u64>,
    /// Of `ctl`.
    pub words: Vec<String>,
}

/// An error says which argument is not known, or lacks its value.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Options, lexopt::Error> {
    let mut options = Options::default();
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = next(&mut parser, options.command.as_deref() == Some("ctl"))? {
        match argument {
            Long("config") => options.config = Some(parser.value()?.into()),
            Long("boards") => options.boards = Some(parser.value()?.into()),
            Long("socket") => options.socket = Some(parser.value()?.into()),
            Long("follow") | Short('f') => options.follow = true,
            Long("wait") => options.wait = Some(parser.value()?.parse()?),
            Long("quiet") | Short('q') => options.quiet = true,
            Long("help") | Short('h') => options.command = Some("help".into()),
            Long("version") | Short('V') => options.command = Some("version".into()),
            Value(word) if options.command.is_none() => options.command = Some(word.to_string_lossy().into()),
            Value(word) if options.command.as_deref() == Some("ctl") => {
                options.words.push(word.to_string_lossy().into())
            }
            Value(file) if options.command.as_deref() == Some("check") && options.config.is_none() => {
                options.config = Some(file.into());
            }
            Long(_) | Short(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}

/// Among the words of a command `-12` is a number.
fn next(parser: &mut Parser, is_command: bool) -> Result<Option<Arg<'_>>, lexopt::Error> {
    let is_number =
        |word: &OsStr| word.to_str().is_some_and(|word| word.starts_with('-') && word.parse::<f64>().is_ok());
    let number = parser.try_raw_args().filter(|_| is_command).and_then(|mut rest| rest.next_if(is_number));
    match number {
        Some(number) => Ok(Some(Value(number))),
        None => parser.next(),
    }
}
