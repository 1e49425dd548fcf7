//! `taskdiag replay` and `taskdiag report`: a recording, diagnosed again with no service.

use super::{format_of, print_text, style, write_outputs};
use crate::cli::{Global, Replay};
use crate::diagnosis::diagnose;
use crate::error::Result;
use crate::report::Report;
use crate::timeline::recording;

pub fn run(args: &Replay, global: &Global) -> Result<u8> {
    for path in &args.output {
        format_of(path)?;
    }
    let timeline = recording::read(&args.recording)?;
    let verdict = diagnose(&timeline);
    let report = Report::new(&timeline, &verdict);
    print_text(&(args.format.render)(&report, style(global, args.verbose)))?;
    write_outputs(&report, &args.output, args.verbose)?;
    Ok(verdict.exit_code)
}
