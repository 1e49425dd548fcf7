//! One direction, pure core: who may use whom, read from the source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
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

/// Without what is compiled for tests only: an item after `#[cfg(test)]`, to its end.
fn without_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // rustfmt puts the brace that closes an item where its attribute begins, and a blank line behind it.
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let ends = |at: usize| {
            let behind = lines.get(at + 1).map_or("", |next| next.trim());
            lines[at] == end && (behind.is_empty() || behind == "}")
        };
        let is_one_line = lines.get(at).is_some_and(|item| item.ends_with([';', ',']));
        let last = (at..lines.len()).find(|at| is_one_line || ends(*at));
        at = last.map_or(lines.len(), |last| last + 1);
    }
    kept
}

fn code(text: &str) -> String {
    without_tests(text)
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
            "crate::init",
        ],
    );
}

/// What a project's Python says is asked by the draft and by the watcher of changed files: it is below both.
#[test]
fn reading_python_is_below_who_asks_for_it() {
    must_not_use(
        &["python", "servers"],
        &[],
        &[
            "crate::init",
            "crate::vantage",
            "crate::config",
            "crate::commands",
            "crate::diagnosis",
        ],
    );
}

/// What a step showed is evidence; how it is laid out is none of its business.
#[test]
fn repeating_a_run_knows_no_report() {
    must_not_use(&["isolate", "run"], &[], &["crate::report", "crate::commands"]);
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

/// What an event shows is a `Fact`: nothing in a tuple says which number is the event's.
#[test]
fn evidence_is_no_tuple() {
    let pattern = Regex::new(r"\(\s*(u32|EventId)\s*,[^)]*").expect("a pattern");
    let found: Vec<String> = sources(&["diagnosis"])
        .iter()
        .flat_map(|(file, code)| {
            pattern
                .find_iter(code)
                .map(move |tuple| format!("src/{file}: {}", tuple.as_str()))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// That a premise is proved is said where its proof is looked for, and nowhere else.
#[test]
fn only_proofs_prove() {
    let pattern = Regex::new(r"State::Proved\([^_)]").expect("a pattern");
    let found: Vec<String> = sources(&["diagnosis"])
        .into_iter()
        .filter(|(file, _)| !file.starts_with("diagnosis/evidence/proofs"))
        .filter(|(_, code)| pattern.is_match(code))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Printing is for commands: everything else returns its words. (The guardian answers its parent
/// through a pipe.)
#[test]
fn only_commands_print() {
    let everything_else = sources(&[""]).into_iter().filter(|(file, _)| {
        !file.starts_with("commands") && !matches!(file.as_str(), "main.rs" | "guardian/main_loop.rs")
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

/// Whoever reads to an end that does not come fills the memory, and whoever opens a FIFO waits for ever:
/// `bounded` reads files, `http::body` bodies. The kernel's own files are short.
#[test]
fn every_read_is_bounded() {
    /// Where it is done, and where the limit stands beside it.
    const MAY: &[&str] = &[
        "bounded.rs",
        // `take` before it, on a file that `bounded` has opened.
        "commands/bundle.rs",
        "commands/child_output.rs",
        "guardian/main_loop.rs",
        "timeline/recording.rs",
        "vantage/log/reader.rs",
        "vantage/log/search.rs",
        "vantage/process/reads.rs",
        "vantage/process/view.rs",
        // `/proc` on a line of its own.
        "vantage/process/watched.rs",
        // Its own key, opened as such.
        "vantage/process/mask.rs",
        // A folder, to be locked.
        "guardian/left_behind.rs",
        // One, to see whether there is a descriptor left.
        "limits.rs",
    ];
    let pattern = Regex::new(
        r"\.(json|text|bytes)(::<[^>]*>)?\(\)\.await|fs::read(_to_string)?\(|File::open\(|read_to_(end|string)\(",
    )
    .expect("a pattern");
    let found: Vec<String> = sources(&[""])
        .into_iter()
        .filter(|(file, _)| !MAY.contains(&file.as_str()))
        .flat_map(|(file, code)| {
            code.lines()
                .filter(|line| pattern.is_match(line) && !line.contains("\"/proc/"))
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

/// Each file with the files that it imports by `use crate::…` or `use super::…`, tests left out. An
/// import leads to the file of the longest path of modules that it names.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let all = sources(&[""]);
    let files: BTreeSet<&str> = all.iter().map(|(file, _)| file.as_str()).collect();
    let import =
        Regex::new(r"(?m)^\s*(?:pub(?:\([a-z: ]+\))? )?use ((?:crate|super)::[^;]+);").expect("a pattern");
    let mut found = BTreeMap::new();
    for (file, code) in &all {
        let mut imported = BTreeSet::new();
        for path in import.captures_iter(code).flat_map(|capture| paths(&capture[1])) {
            if let Some(other) = file_of(&files, file, &path).filter(|other| other != file) {
                imported.insert(other);
            }
        }
        found.insert(file.clone(), imported);
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn paths(import: &str) -> Vec<String> {
    let Some((before, rest)) = import.split_once('{') else {
        let path = import.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let inner = rest.trim_end().strip_suffix('}').expect("a closed brace");
    let mut depth = 0;
    let parts = inner.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| paths(&format!("{before}{}", part.trim())))
        .collect()
}

fn file_of(files: &BTreeSet<&str>, importing: &str, path: &str) -> Option<String> {
    let mut at: Vec<&str> = importing.strip_suffix(".rs")?.split('/').collect();
    let mut found = None;
    for (n, name) in path.split("::").enumerate() {
        match name {
            "crate" => at.clear(),
            "super" => {
                at.pop();
            }
            _ if n == 0 => return None,
            _ => at.push(name),
        }
        let file = format!("{}.rs", at.join("/"));
        if files.contains(file.as_str()) {
            found = Some(file);
        }
    }
    found
}

fn reachable(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut open = vec![from];
    let mut found = BTreeSet::new();
    while let Some(file) = open.pop() {
        for next in &graph[file] {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

/// Files that import each other, directly or through others.
fn circles() -> BTreeSet<BTreeSet<String>> {
    let graph = imports();
    let reached: BTreeMap<&str, BTreeSet<String>> = graph
        .keys()
        .map(|file| (file.as_str(), reachable(&graph, file)))
        .collect();
    graph
        .keys()
        .filter(|file| reached[file.as_str()].contains(*file))
        .map(|file| {
            let circle = reached[file.as_str()].iter();
            circle
                .filter(|other| reached[other.as_str()].contains(file))
                .cloned()
                .collect()
        })
        .collect()
}

/// The largest circle of imports that is allowed. The aim is none.
const LARGEST_CIRCLE: usize = 3;

#[test]
fn imports_form_no_circle() {
    let mut large = circles();
    large.retain(|circle| circle.len() > LARGEST_CIRCLE);
    assert!(large.is_empty(), "these import each other: {large:?}");
}

#[test]
fn an_import_leads_to_its_file() {
    let files = BTreeSet::from(["a.rs", "a/b.rs", "a/b/c.rs", "d.rs"]);
    let of = |importing: &str, path: &str| file_of(&files, importing, path);
    assert_eq!(of("d.rs", "crate::a::b::Thing").as_deref(), Some("a/b.rs"));
    assert_eq!(of("a/b/c.rs", "super::Thing").as_deref(), Some("a/b.rs"));
    assert_eq!(of("a/b/c.rs", "super::super::Thing").as_deref(), Some("a.rs"));
    assert_eq!(of("a/b.rs", "super::b::c::Thing").as_deref(), Some("a/b/c.rs"));
    assert_eq!(
        paths("crate::a::{b::{C, d as e}, f}"),
        ["crate::a::b::C", "crate::a::b::d", "crate::a::f"]
    );
}

/// A file holds one subject, and a reader can hold it in mind.
const LONGEST_FILE: usize = 400;

/// Longer ones, each with its reason. Six at most.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "diagnosis/testing.rs",
        "the words that all tests of causes are written in",
    ),
    ("compare/tests.rs", "tests and nothing else"),
];

fn lines(code: &str) -> usize {
    code.lines().count()
}

/// The file's lines before its tests, comments and all.
fn length(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = fs::read_to_string(path).expect("a source file");
    lines(&without_tests(&text))
}

#[test]
fn files_are_short() {
    assert!(LONG_FILES.len() <= 6, "six long files at most");
    let allowed: Vec<&str> = LONG_FILES.iter().map(|(file, _)| *file).collect();
    let long: Vec<String> = sources(&[""])
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| length(file) > LONGEST_FILE)
        .collect();
    for file in &long {
        assert!(
            allowed.contains(&file.as_str()),
            "src/{file} has {} lines without its tests",
            length(file)
        );
    }
    for file in allowed {
        assert!(
            long.iter().any(|long| long == file),
            "src/{file} is short now: take it off the list"
        );
    }
}

/// A function longer than this does more than one thing.
const LONGEST_FUNCTION: usize = 100;

/// Longer ones that may stay, each with its reason. Four at most.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Each function outside tests as `file::name`, with its lines from its signature to its closing brace.
fn functions() -> Vec<(String, usize)> {
    let head =
        Regex::new(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)").expect("a pattern");
    let mut found = Vec::new();
    for (file, _) in sources(&[""]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&file);
        let text = fs::read_to_string(path).expect("a source file");
        let text = without_tests(&text);
        let all: Vec<&str> = text.lines().collect();
        for (at, line) in all.iter().enumerate() {
            let Some(capture) = head.captures(line) else {
                continue;
            };
            // rustfmt puts the brace that closes it where its signature begins.
            let end = format!("{}}}", &capture[1]);
            let after = all[at..].iter().position(|line| *line == end);
            found.push((
                format!("{file}::{}", &capture[2]),
                after.map_or(1, |after| after + 1),
            ));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    assert!(LONG_FUNCTIONS.len() <= 4, "four long functions at most");
    let allowed: Vec<&str> = LONG_FUNCTIONS.iter().map(|(name, _)| *name).collect();
    let long: Vec<(String, usize)> = functions()
        .into_iter()
        .filter(|(_, lines)| *lines > LONGEST_FUNCTION)
        .collect();
    for (name, lines) in &long {
        assert!(allowed.contains(&name.as_str()), "src/{name} has {lines} lines");
    }
    for name in allowed {
        assert!(
            long.iter().any(|(long, _)| long == name),
            "src/{name} is short now: take it off the list"
        );
    }
}

/// Names of types that say nothing to who knows RabbitMQ, Linux or Rust, and were replaced.
const FORBIDDEN_TYPES: &[&str] = &[
    "Ask",
    "Asked",
    "Blindness",
    "Board",
    "Bodies",
    "Counting",
    "Eye",
    "EyeState",
    "Family",
    "Fate",
    "Gate",
    "Habit",
    "Happened",
    "Happening",
    "Held",
    "Inlet",
    "Kept",
    "Knocks",
    "Ladder",
    "Leaves",
    "Leaving",
    "Left",
    "Look",
    "Looked",
    "Made",
    "Mark",
    "Motion",
    "Outlook",
    "Party",
    "Passage",
    "Pen",
    "Person",
    "Pick",
    "Prompt",
    "Room",
    "Rung",
    "Said",
    "Seen",
    "Shown",
    "Sieve",
    "Sight",
    "Spring",
    "Surroundings",
    "Taken",
    "Told",
    "Traced",
    "Tried",
    "Turned",
    "Untold",
    "Vigil",
    "Way",
    "Who",
    "Wishes",
    "Worked",
];

/// The same of functions and modules.
const FORBIDDEN_FUNCTIONS: &[&str] = &[
    "climb",
    "fate",
    "furnish",
    "gate",
    "ladder",
    "launched",
    "leaving",
    "life",
    "past_the_door",
    "pour",
    "prompt",
    "room",
    "seen",
    "sieve",
    "sight",
    "story",
    "telling",
    "within",
];

#[test]
fn replaced_names_stay_away() {
    let pattern = Regex::new(&format!(
        r"\b(struct|enum|trait|type) ({})\b|\b(fn|mod) ({})\b",
        FORBIDDEN_TYPES.join("|"),
        FORBIDDEN_FUNCTIONS.join("|")
    ))
    .expect("a pattern");
    let found: Vec<String> = sources(&[""])
        .iter()
        .flat_map(|(file, code)| {
            pattern
                .find_iter(code)
                .map(move |name| format!("src/{file}: {}", name.as_str()))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
