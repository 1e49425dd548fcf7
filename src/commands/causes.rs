//! `taskdiag causes`: the catalogue at a glance.

use super::{print_text, print_words, style};
use crate::cli::{Causes, Global, Plain};
use crate::diagnosis::{Cause, causes};
use crate::error::{Result, exit};

pub fn run(args: &Causes, global: &Global) -> Result<u8> {
    match args.format {
        Plain::Json => {
            let list: Vec<_> = causes::ALL
                .iter()
                .map(|cause| serde_json::json!({ "id": cause.id, "title": cause.title(), "keeps_from": cause.keeps_from, "scenario": cause.scenario }))
                .collect();
            let mut text = serde_json::to_string_pretty(&list).unwrap_or_default();
            text.push('\n');
            print_text(&text)?;
        }
        Plain::Terminal => {
            let mut table =
                crate::text::table(style(global, false).width, ["cause", "stops at", "what it is"]);
            for cause in causes::ALL {
                table.add_row([cause.id.to_owned(), keeps_from(cause), cause.title().to_owned()]);
            }
            let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
            print_words(&format!("{}\n", lines.join("\n")), global)?;
        }
    }
    Ok(exit::OK)
}

fn keeps_from(cause: &Cause) -> String {
    let stages = cause.keeps_from;
    match (stages.iter().min(), stages.iter().max()) {
        (Some(first), Some(last)) if stages.len() > 2 => format!("{} to {}", first.name(), last.name()),
        (None, _) => "-".into(),
        _ => {
            let mut stages = stages.to_vec();
            stages.sort_unstable();
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            names.join(", ")
        }
    }
}
