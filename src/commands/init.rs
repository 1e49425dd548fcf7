//! `taskdiag init`: drafts a taskdiag.toml from what the project shows.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::{folded, print_text, print_words};
use crate::cli::{Global, Init};
use crate::error::{Error, Result, exit};
use crate::init::{InitResult, inspect};
use crate::timeline::scrub::printable;

const FILE: &str = "taskdiag.toml";

/// Without these no task can be sent and followed.
const NEEDED: &[&str] = &["api.url", "api.submit_path", "api.body", "broker.amqp_url"];

const NEEDED_TITLE: &str = "Still needed";

pub async fn run(args: &Init, global: &Global) -> Result<u8> {
    if !global.set.is_empty() {
        return Err(Error::Usage {
            message:
                "init writes down what it finds, and --set overrides what is written: it has no use here"
                    .into(),
            hint: "leave --set out, and change the drafted file, or give --set to the command that uses it"
                .into(),
        });
    }
    let here = std::env::current_dir().map_err(|source| Error::ReadConfig {
        path: PathBuf::from("."),
        source,
    })?;
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from(FILE));
    if !args.print && std::fs::symlink_metadata(&path).is_ok() {
        return Err(Error::Exists { path });
    }
    let result = inspect(&here).await;
    if let Some(why) = result.unsupported {
        return Err(Error::Unsupported { why });
    }
    let text = result.draft.render(&next(&result));
    if args.print {
        super::say(&summary(&result, None));
        print_text(&text)?;
        return Ok(exit::OK);
    }
    write(&path, &text)?;
    print_words(&summary(&result, Some(&path)), global)?;
    if global.config.is_none()
        && let Some(above) = here
            .ancestors()
            .skip(1)
            .map(|folder| folder.join(FILE))
            .find(|path| path.is_file())
    {
        super::warn(
            &format!("{} was used in this folder until now", above.display()),
            "the new file takes its place here; remove it if you did not mean that",
        );
    }
    Ok(exit::OK)
}

/// Never over a file that came to be in the meantime.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Exists {
            path: path.to_owned(),
        },
        _ => Error::Write {
            path: path.to_owned(),
            source,
        },
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// What to type next.
fn next(result: &InitResult) -> Vec<String> {
    let mut lines = Vec::new();
    if !result.exports.is_empty() {
        lines.push("taskdiag reads the environment, not .env. Next:".into());
        lines.extend(result.exports.iter().map(|line| format!("  {line}")));
    } else {
        lines.push("Next:".into());
    }
    lines.push("  taskdiag check".into());
    lines
}

fn summary(result: &InitResult, written: Option<&Path>) -> String {
    let found = result.draft.found();
    let missing = result.draft.missing();
    let mut text = match written {
        Some(path) => format!("{} is written.\n", path.display()),
        None => String::new(),
    };
    if found.is_empty() {
        text.push_str("\nNothing was found in this folder that says where an API, a broker or a database is: it is a template.\n");
    } else {
        let width = found.iter().map(|(key, ..)| key.len()).max().unwrap_or(0);
        let (guessed, found): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(key, ..)| result.draft.is_guess(key) || result.guesses.contains(key));
        for (title, values) in [("Found", found), ("Guessed: look at these first", guessed)] {
            if !values.is_empty() {
                text.push_str(&format!("\n{title}:\n"));
            }
            for (key, value, from) in &values {
                text.push_str(&format!("  {key:width$}  {}  ({from})\n", short(value)));
            }
        }
    }
    let width = missing.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let (needed, optional): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .partition(|(key, _)| NEEDED.contains(key) || result.draft.is_needed(key));
    for (title, keys) in [(NEEDED_TITLE, needed), ("Optional", optional)] {
        if !keys.is_empty() {
            text.push_str(&format!(
                "\n{title} ({}); an example stands in the file:\n",
                keys.len()
            ));
            for (key, what) in keys {
                text.push_str(&format!("  {key:width$}  {what}\n"));
                if title == NEEDED_TITLE {
                    for note in result.draft.notes(key).take(2) {
                        text.push_str(&format!("  {:width$}  - {}\n", "", shortened(&note, 160)));
                    }
                }
            }
        }
    }
    for (title, lines) in [("Asked", &result.contacted), ("Noticed", &result.complaints)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            for line in lines.iter().take(12) {
                text.push_str(&format!("  {line}\n"));
            }
            if lines.len() > 12 {
                text.push_str(&format!("  and {} more\n", lines.len() - 12));
            }
        }
    }
    // Commands stay as they are to be pasted.
    let mut text = folded(&text, std::io::stdout().is_terminal());
    text.push('\n');
    for line in next(result) {
        text.push_str(&format!("{line}\n"));
    }
    printable(&text)
}

fn short(value: &str) -> String {
    shortened(value, 70)
}

fn shortened(value: &str, most: usize) -> String {
    if value.chars().count() <= most {
        return value.to_owned();
    }
    let start: String = value.chars().take(most - 1).collect();
    format!("{start}…")
}
