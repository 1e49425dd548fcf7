//! One direction, pure core: who may use whom, read from the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use regex::Regex;

/// Rust files below `src` whose path begins with one of these, with their code only: no comments,
/// no tests.
fn sources(beginnings: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = inside(&root, &path);
            if name.ends_with(".rs") && beginnings.iter().any(|beginning| name.starts_with(beginning)) {
                found.push((name, code(&fs::read_to_string(&path).expect("a source file"))));
            }
        }
    }
    assert!(!found.is_empty(), "no file begins with any of {beginnings:?}");
    found.sort();
    found
}

fn inside(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).expect("below src");
    inside.to_str().expect("a plain name").to_owned()
}

fn code(text: &str) -> String {
    let without_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
    without_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn must_not_use(beginnings: &[&str], except: &[&str], forbidden: &[&str]) {
    let mut found = Vec::new();
    for word in forbidden {
        let pattern = Regex::new(&format!(r"(^|[^A-Za-z0-9_]){word}\b")).expect("a pattern");
        for (file, code) in sources(beginnings) {
            if except.contains(&file.as_str()) {
                continue;
            }
            for line in code.lines().filter(|line| pattern.is_match(line)) {
                found.push(format!("src/{file} uses {word}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What reaches outside the process, or asks for the time.
const OUTSIDE: &[&str] = &[
    "tokio",
    "reqwest",
    "sqlx",
    "lapin",
    "procfs",
    "py_spy",
    "libc",
    "indicatif",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "Instant",
    "SystemTime",
    r"Timestamp::now",
];

const PURE: &[&str] = &["timeline", "diagnosis", "compare", "report", "framework", "watch"];

#[test]
fn the_core_is_pure() {
    must_not_use(PURE, &["timeline/recording.rs"], OUTSIDE);
}

/// Its file access is its purpose; nothing else is.
#[test]
fn recordings_are_files_and_nothing_else() {
    let others: Vec<&str> = OUTSIDE
        .iter()
        .copied()
        .filter(|word| !matches!(*word, "std::fs" | "std::io"))
        .collect();
    must_not_use(&["timeline/recording.rs"], &[], &others);
}

/// What `trace` makes of an event is pure as well: it is measured and tested without a broker.
#[test]
fn a_trace_is_written_without_looking() {
    must_not_use(&["trace"], &[], OUTSIDE);
    must_not_use(
        &["trace"],
        &[],
        &[
            "crate::vantage",
            "crate::config",
            "crate::commands",
            "crate::diagnosis",
        ],
    );
}

#[test]
fn the_core_knows_nothing_of_where_events_come_from() {
    must_not_use(
        PURE,
        &[],
        &[
            "crate::vantage",
            "crate::config",
            "crate::commands",
            "crate::submit",
            "crate::supervise",
            "crate::guardian",
        ],
    );
}

#[test]
fn a_timeline_knows_neither_verdict_nor_report() {
    must_not_use(
        &["timeline", "framework"],
        &[],
        &["crate::diagnosis", "crate::compare", "crate::report"],
    );
}

#[test]
fn a_diagnosis_knows_no_report() {
    must_not_use(&["diagnosis"], &[], &["crate::report", "crate::compare"]);
    must_not_use(&["compare"], &[], &["crate::report"]);
}

/// Watchers say what they see. What it means is the diagnosis's business, and when it is over is the
/// run's.
#[test]
fn vantage_points_observe_and_do_not_judge() {
    must_not_use(
        &["vantage"],
        &[],
        &[
            "crate::report",
            "crate::commands",
            "crate::cli",
            "crate::diagnosis",
            "crate::supervise",
            "crate::run",
        ],
    );
}

/// It undoes what a run did, and needs no eyes for that.
#[test]
fn the_guardian_watches_nothing() {
    must_not_use(
        &["guardian"],
        &[],
        &[
            "crate::vantage",
            "crate::run",
            "crate::supervise",
            "crate::diagnosis",
        ],
    );
}

/// The broker's own ideas know of no task.
#[test]
fn the_broker_is_below_everything_that_watches_it() {
    must_not_use(
        &["rabbitmq", "http"],
        &[],
        &[
            "crate::vantage",
            "crate::guardian",
            "crate::framework",
            "crate::diagnosis",
            "crate::run",
        ],
    );
}

/// The probes of a watch say what they see; states and conditions are the model's.
#[test]
fn probes_of_a_watch_do_not_judge() {
    must_not_use(
        &["vantage/live"],
        &[],
        &[
            "watch::state",
            "watch::until",
            "watch::group",
            "watch::lines",
            "watch::QueueModel",
        ],
    );
    must_not_use(&["watch"], &[], &["crate::diagnosis", "crate::report"]);
}

#[test]
fn the_configuration_is_below_everything_that_reads_it() {
    must_not_use(
        &["config"],
        &[],
        &[
            "crate::vantage",
            "crate::diagnosis",
            "crate::report",
            "crate::commands",
            "crate::timeline",
        ],
    );
}

/// Printing is for commands: everything else returns its words. (The guardian answers its parent
/// through a pipe.)
#[test]
fn only_commands_print() {
    let everything_else = sources(&[""]).into_iter().filter(|(file, _)| {
        !file.starts_with("commands") && !matches!(file.as_str(), "main.rs" | "guardian/life.rs")
    });
    let pattern = Regex::new(r"\be?print(ln)?!|io::(stdout|stderr)\(").expect("a pattern");
    let found: Vec<String> = everything_else
        .flat_map(|(file, code)| {
            code.lines()
                .filter(|line| pattern.is_match(line))
                .map(|line| format!("src/{file}: {}", line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn main_is_a_paragraph() {
    let (_, main) = sources(&["main.rs"]).remove(0);
    assert!(
        main.lines().count() <= 60,
        "main.rs has {} lines",
        main.lines().count()
    );
}
