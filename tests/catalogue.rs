//! The catalogue of causes is complete and consistent, and the documents made from it are current.
//!
//! `UPDATE=1 cargo test --test catalogue` writes `docs/causes.md` anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use taskdiag::diagnosis::{Cause, Scenario, Stage, causes};

/// The sections of every page, in this order.
const HEADINGS: [&str; 5] = [
    "What it means",
    "How we know",
    "Confirm it by hand",
    "Fix it now",
    "Prevent it",
];

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn files(extension: &str) -> BTreeSet<String> {
    let top = path("src/diagnosis/causes");
    // Those that one framework alone can have lie in a folder of its name, beside a file of that name.
    let of_frameworks = taskdiag::framework::ALL
        .iter()
        .map(|framework| top.join(framework.name));
    let folders = std::iter::once(top.clone()).chain(of_frameworks.filter(|folder| folder.is_dir()));
    folders
        .flat_map(|folder| fs::read_dir(folder).expect("a folder of causes").flatten())
        .map(|entry| entry.path())
        .filter(|path| !path.with_extension("").is_dir())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            path.file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a plain name")
                .replace('_', "-")
        })
        .collect()
}

/// Files that hold several causes, each a line of a log and nothing else.
const TABLES: &[&str] = &["gave-up"];

#[test]
fn every_file_is_a_registered_cause() {
    let ids: BTreeSet<String> = causes::ALL.iter().map(|cause| cause.id.to_owned()).collect();
    assert_eq!(ids.len(), causes::ALL.len(), "ids are unique");
    let with_rows: BTreeSet<String> = TABLES.iter().map(|file| (*file).to_owned()).collect();
    let of_one: BTreeSet<String> = files("rs").difference(&with_rows).cloned().collect();
    assert!(of_one.is_subset(&ids), "{:?}", of_one.difference(&ids));
    assert_eq!(files("md"), ids, "each has its page beside it");
}

#[test]
fn ids_are_kebab_case() {
    for cause in causes::ALL {
        let kebab = cause.id.split('-').all(|word| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
        assert!(kebab, "{}", cause.id);
        assert!(causes::find(cause.id).is_some());
    }
}

#[test]
fn every_page_has_its_sections() {
    for cause in causes::ALL {
        let headings: Vec<&str> = cause
            .page
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        assert_eq!(headings, HEADINGS, "{}", cause.id);
        for heading in HEADINGS {
            assert!(!cause.section(heading).is_empty(), "{}: {heading}", cause.id);
        }
        let title = cause.title();
        assert!(
            !title.is_empty() && title.len() <= 60,
            "{}: title `{title}`",
            cause.id
        );
        assert!(!title.ends_with('.'), "{}: title `{title}`", cause.id);
    }
}

#[test]
fn every_cause_has_remedies() {
    for cause in causes::ALL {
        let mut frameworks = taskdiag::framework::ALL.iter();
        let framework = frameworks.find(|framework| cause.is_one_of(framework));
        let count = cause.remedies(framework.expect("it is somebody's")).len();
        assert!((2..=5).contains(&count), "{} has {count} remedies", cause.id);
    }
}

/// A name in braces that nothing fills in would reach the reader as it stands.
#[test]
fn every_placeholder_is_known() {
    let braces = regex::Regex::new(r"\{[a-z_]+\}").unwrap();
    for cause in causes::ALL {
        let plain = taskdiag::diagnosis::evidence::plain_placeholders(cause.page);
        // JSON and f-strings in examples are no placeholders of ours.
        let left: Vec<&str> = braces.find_iter(&plain).map(|found| found.as_str()).collect();
        assert!(left.is_empty(), "{}: {left:?}", cause.id);
    }
}

/// Earlier stages first: the order breaks ties, and the documents follow it.
#[test]
fn the_order_is_the_one_a_task_travels() {
    let mut furthest = Stage::Submitted;
    let mut contributing = false;
    for cause in causes::ALL {
        match cause.keeps_from.iter().min() {
            Some(first) => {
                assert!(
                    !contributing,
                    "{} stands below those that only contribute",
                    cause.id
                );
                assert!(
                    *first >= furthest || cause.keeps_from.iter().any(|stage| *stage >= furthest),
                    "{} keeps from {}, and stands below one that keeps from {}",
                    cause.id,
                    first.name(),
                    furthest.name()
                );
                furthest = furthest.max(*first);
            }
            None => contributing |= cause.id != "succeeded",
        }
    }
}

#[test]
fn only_what_can_be_entered_lacks_a_scenario() {
    for cause in causes::ALL {
        let before_entry = cause.keeps_from.iter().any(|stage| *stage <= Stage::Entered);
        // Not even submitted, or nobody knows whether it was entered.
        let tells_nothing_of_it = matches!(
            cause.id,
            "api-unreachable"
                | "api-timeout"
                | "api-answer-unrecognised"
                | "crash-before-entry"
                | "table-locked"
                | "worker-on-other-database"
        );
        assert_eq!(
            cause.scenario.is_some(),
            before_entry && !tells_nothing_of_it,
            "{}",
            cause.id
        );
        assert_ne!(
            cause.scenario,
            Some(Scenario::A),
            "{}: A is decided by entry",
            cause.id
        );
    }
}

#[test]
fn the_table_of_causes_is_current() {
    let target = path("docs/causes.md");
    let wanted = document();
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path("docs")).unwrap();
        fs::write(&target, &wanted).unwrap();
    }
    let found = fs::read_to_string(&target).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/causes.md is not what the catalogue makes of it; `UPDATE=1 cargo test --test catalogue` writes it"
    );
}

/// All of the catalogue as one document.
fn document() -> String {
    let mut text = String::from(
        "# The causes taskdiag can name\n\n\
         Generated from the catalogue in `src/diagnosis/causes`: do not edit.\n\
         `UPDATE=1 cargo test --test catalogue` writes it; `taskdiag explain CAUSE` prints one page.\n",
    );
    let mut group = String::new();
    for cause in causes::ALL {
        let heading = heading(cause);
        if heading != group {
            let _ = write!(
                text,
                "\n## {heading}\n\n| cause | scenario | in short |\n|---|---|---|\n"
            );
            group = heading;
        }
        let scenario = match (cause.scenario, cause.keeps_from.first()) {
            (Some(Scenario::A), _) => "A",
            (Some(Scenario::B), _) => "B",
            (Some(Scenario::C), _) => "C",
            (None, Some(Stage::Finished)) => "A",
            (None, _) if cause.id == "succeeded" => "A",
            (None, _) => "–",
        };
        let _ = writeln!(
            text,
            "| [`{0}`](#{0}) | {scenario} | {1} |",
            cause.id,
            cause.title()
        );
    }
    for cause in causes::ALL {
        let page = taskdiag::diagnosis::evidence::plain_placeholders(cause.page);
        let body = page.split_once('\n').map_or("", |(_, body)| body);
        // One level down: the causes are sections of this document.
        let body = body.replace("\n## ", "\n#### ");
        let _ = write!(
            text,
            "\n---\n\n### {}\n\n**{}**\n{}",
            cause.id,
            cause.title(),
            body.trim_end()
        );
        text.push('\n');
    }
    text
}

fn heading(cause: &Cause) -> String {
    match cause.keeps_from.first() {
        Some(Stage::Finished) => "What keeps an entered task from `finished`".into(),
        Some(stage) => format!("What keeps a task from `{}`", stage.name()),
        None if cause.id == "succeeded" => "What keeps an entered task from `finished`".into(),
        None => "What only contributes".into(),
    }
}
