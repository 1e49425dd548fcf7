//! `taskdiag replay` and `taskdiag report`: a recording, diagnosed again with no service.

use super::{export, print_text, read_recording, runtime, style};
use crate::cli::{Global, Replay};
use crate::diagnosis::diagnose;
use crate::error::{Error, Result};
use crate::framework::is_same_id;
use crate::report::Report;
use crate::timeline::{EventKind, Timeline};

pub fn run(args: &Replay, global: &Global) -> Result<u8> {
    export::ready(&args.export, None)?;
    let mut timeline = read_recording(&args.recording)?;
    if let Some(task) = &args.task {
        timeline = following(timeline, task)?;
    }
    let timeline = timeline.masked(args.show_args);
    let verdict = diagnose(&timeline);
    let report = Report::new(&timeline, &verdict);
    let style = style(global, args.verbose);
    print_text(&(args.format.render)(&report, style))?;
    export::write(&report, args.format, &args.export, style)?;
    if args.export.otlp.is_some() {
        runtime()?.block_on(export::send(&report, &args.export));
    }
    Ok(verdict.exit_code)
}

/// The story of one task in a recording of `trace`.
fn following(timeline: Timeline, task: &str) -> Result<Timeline> {
    if !timeline.setup.trace {
        return Err(Error::Usage {
            message: "this recording is of one task, and --task is for recordings of trace".into(),
            hint: "leave --task out".into(),
        });
    }
    let given = timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Given { task_id } => Some(task_id),
        _ => None,
    });
    if given.is_some_and(|given| is_same_id(given, task)) {
        return Ok(timeline);
    }
    Ok(timeline.following(task))
}
