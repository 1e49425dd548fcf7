//! Lines on stderr, above the spinner if there is one.

use std::io::Write;

use indicatif::ProgressBar;

/// Prints lines above the spinner, from wherever they come.
#[derive(Clone)]
pub struct Printer(pub(super) Option<ProgressBar>);

impl Printer {
    /// A line that stays.
    pub fn line(&self, text: &str) {
        let print = || {
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.0 {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    /// A line of progress: on a terminal it is erased with the spinner, elsewhere it stays.
    pub fn step(&self, text: &str) {
        match &self.0 {
            Some(spinner) => spinner.set_prefix(format!("{}{text}\n", spinner.prefix())),
            None => self.line(text),
        }
    }
}
