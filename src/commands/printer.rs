//! Lines on stderr, above the spinner if there is one.

use std::io::Write;

use indicatif::ProgressBar;

/// Prints lines above the spinner, from wherever they come.
#[derive(Clone)]
pub struct Printer(pub(super) Option<ProgressBar>);

impl Printer {
    pub fn line(&self, text: &str) {
        let print = || {
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.0 {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }
}
