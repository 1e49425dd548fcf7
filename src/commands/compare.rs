//! `taskdiag compare`: what differed between two recorded runs.

use std::path::Path;

use super::{print_text, print_words, read_recording, style};
use crate::cli::{Compare, Global, Plain};
use crate::compare;
use crate::diagnosis::diagnose;
use crate::error::{Result, exit};
use crate::timeline::scrub::printable;

pub fn run(args: &Compare, global: &Global) -> Result<u8> {
    let timelines = [&args.first, &args.second].map(|path| read_recording(path));
    let [first, second] = timelines;
    let timelines = [first?.masked(false), second?.masked(false)];
    let [one, other] = &timelines;
    if one.started_at == other.started_at && one.events == other.events {
        super::note(&[format!(
            "{} and {} are the same recording of one run: nothing can differ",
            name(&args.first),
            name(&args.second)
        )]);
    }
    let verdicts = [diagnose(&timelines[0]), diagnose(&timelines[1])];
    let names = [name(&args.first), name(&args.second)];
    let comparison =
        compare::compare([0, 1].map(|index| (names[index].as_str(), &timelines[index], &verdicts[index])));
    match args.format {
        Plain::Json => {
            let text = serde_json::to_string_pretty(&comparison).unwrap_or_default();
            let text = crate::timeline::scrub::printable_json(text);
            print_text(&format!("{text}\n"))?;
        }
        Plain::Terminal => {
            let width = style(global, false).width;
            print_words(&compare::render(&comparison, width, args.verbose), global)?;
        }
    }
    Ok(match args.exit_code && !comparison.same_verdict {
        true => exit::FAILED,
        false => exit::OK,
    })
}

fn name(path: &Path) -> String {
    printable(&path.display().to_string())
}
