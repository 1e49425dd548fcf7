//! `taskdiag demo`: recorded runs that come with the binary.

use super::{export, print_text, print_words, runtime, style};
use crate::cli::{Demo, Global};
use crate::config::nearest;
use crate::diagnosis::diagnose;
use crate::error::{Error, Result, exit};
use crate::report::Report;
use crate::timeline::{Timeline, recording};

struct Run {
    /// Its folder in `fixtures/runs`.
    name: &'static str,
    recording: &'static str,
}

macro_rules! recorded {
    ($name:literal) => {
        Run {
            name: $name,
            recording: include_str!(concat!("../../fixtures/runs/", $name, "/timeline.jsonl")),
        }
    };
}

/// The most surprising first: what no log shows.
const RUNS: &[Run] = &[
    recorded!("row-rolled-back"),
    recorded!("no-consumer"),
    recorded!("unknown-actor"),
    recorded!("actor-raised"),
    recorded!("workers-busy"),
    recorded!("publisher-blocked"),
    recorded!("not-dispatched"),
    recorded!("succeeded"),
];

pub fn run(args: &Demo, global: &Global) -> Result<u8> {
    export::ready(&args.export, None)?;
    let run = match &args.run {
        Some(name) => RUNS
            .iter()
            .find(|run| run.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::UnknownDemo {
                name: name.clone(),
                nearest: nearest(name, RUNS.iter().map(|run| run.name.to_owned())),
            })?,
        None => &RUNS[0],
    };
    let report = report(run)?;
    let style = style(global, args.verbose);
    print_text(&(args.format.render)(&report, style))?;
    if args.run.is_none() && args.format.name == "terminal" {
        print_words(&others(run), global)?;
    }
    export::write(&report, args.format, &args.export, style)?;
    if args.export.otlp.is_some() {
        runtime()?.block_on(export::send(&report, &args.export));
    }
    Ok(exit::OK)
}

/// Below the first one: how to see the others.
fn others(shown: &Run) -> String {
    let names = RUNS.iter().map(|run| run.name).filter(|name| *name != shown.name);
    let names: Vec<&str> = names.collect();
    format!(
        "\nOne of {} recorded runs; `taskdiag demo NAME` shows another: {}\n",
        RUNS.len(),
        names.join(", ")
    )
}

fn report(run: &Run) -> Result<Report> {
    let timeline = timeline(run)?;
    Ok(Report::new(&timeline, &diagnose(&timeline)))
}

fn timeline(run: &Run) -> Result<Timeline> {
    let parsed = recording::parse(run.recording).map_err(|(line, seen)| Error::NotARecording {
        path: run.name.into(),
        line,
        seen,
    })?;
    Ok(parsed.masked(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_run_whose_cause_or_effect_is_its_name() {
        for run in RUNS {
            let cause = report(run).expect("a recording").verdict.cause.expect("a cause");
            let is_effect = cause.explains.iter().any(|effect| effect.id == run.name);
            assert!(cause.id == run.name || is_effect, "{}: {}", run.name, cause.id);
        }
    }
}
