//! What an option may be given.

use clap::{ValueEnum, builder::PossibleValue};

use crate::report::{self, Format};
use crate::watch::table::Column;

/// An option that was given says something: `--task ""` comes of a variable that is not set.
pub fn filled(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("it is empty; leave the option out, or see whether a variable is set".into()),
        false => Ok(text.to_owned()),
    }
}

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        &Column::ALL
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        report::FORMATS
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn an_option_that_says_nothing_is_refused() {
        let refused = |words: &[&str]| Cli::try_parse_from([&["taskdiag"], words].concat()).is_err();
        for empty in [
            ["diagnose", "--task", ""],
            ["diagnose", "--task", " "],
            ["diagnose", "--queue", ""],
            ["watch", "--queue", ""],
            ["watch", "--for", ""],
            ["trace", "--actor", ""],
            ["replay", "run.jsonl", "--task="],
            ["check", "--wait", ""],
        ] {
            assert!(refused(&empty), "{empty:?}");
        }
        assert!(!refused(&["diagnose", "--task", "nope"]));
    }

    /// They would be ignored.
    #[test]
    fn options_of_a_direct_message_need_one() {
        let refused = |words: &[&str]| Cli::try_parse_from([&["taskdiag"], words].concat()).is_err();
        assert!(refused(&["submit", "--queue", "x"]) && refused(&["submit", "--actor", "x"]));
        assert!(!refused(&["submit", "--direct", "--queue", "x", "--actor", "y"]));
    }
}
