//! `taskdiag replay` and `taskdiag report`: a recording, diagnosed again with no service.

use super::{export, print_text, runtime, style};
use crate::cli::{Global, Replay};
use crate::diagnosis::diagnose;
use crate::error::Result;
use crate::report::Report;
use crate::timeline::recording;

pub fn run(args: &Replay, global: &Global) -> Result<u8> {
    export::ready(&args.export)?;
    let timeline = recording::read(&args.recording)?;
    let verdict = diagnose(&timeline);
    let report = Report::new(&timeline, &verdict);
    print_text(&(args.format.render)(&report, style(global, args.verbose)))?;
    export::write(&report, &args.export, args.verbose)?;
    if args.export.otlp.is_some() {
        runtime()?.block_on(export::send(&report, &args.export))?;
    }
    Ok(verdict.exit_code)
}
