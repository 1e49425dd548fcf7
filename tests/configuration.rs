//! The table of keys: what it says is accepted and read, and docs/configuration.md is made from it.
//!
//! `UPDATE=1 cargo test --test configuration` writes `docs/configuration.md` anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use taskdiag::config::Config;
use taskdiag::config::keys::{self, Key, Kind, SECTIONS, Section, Unset};

const FILE: &str = "docs/configuration.md";

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

const HEAD: &str = "\
# Configuration

Made from the table of keys in `src/config/keys/table.rs`; `UPDATE=1 cargo test --test configuration` writes it.

`taskdiag.toml` is looked for in the working directory and above it, or named with `--config`. Only what differs
from the defaults is needed, and `taskdiag init` drafts it. Each key can also be set by an environment variable
(`broker.queue` is `TASKDIAG_BROKER_QUEUE`) and by a flag (`--set broker.queue=emails`). Flags win over variables,
variables over the file.

- `${NAME}` and `${NAME:-default}` in the file are taken from the environment; `$${` is a literal `${`.
- Paths are relative to the file, without a file to the working directory.
- Durations have a unit: `500ms`, `10s`, `1m 30s`.
- In a variable or a flag a list or a table is written as in the file or in JSON: `--set 'worker.log=[\"a.log\", \"b.log\"]'`.
- An unknown key is an error that names the nearest known one.
";

fn table(section: &Section) -> String {
    let mut out = String::new();
    if !section.name.is_empty() {
        let _ = write!(out, "\n## [{}]\n\n{}", section.name, section.about);
        let needs: Vec<String> = section
            .needs
            .iter()
            .map(|key| format!("`{}`", keys::find(key).expect("a key").last()))
            .collect();
        // One alone is the section's subject, and its description says so.
        if let [others @ .., second, last] = needs.as_slice() {
            let others: String = others.iter().map(|key| format!("{key}, ")).collect();
            let _ = write!(out, " Needs {others}{second} and {last}.");
        }
        out.push('\n');
    }
    out.push_str("\n| key | what it is for | value | default | example |\n|---|---|---|---|---|\n");
    for key in section.keys {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | `{}` |",
            key.last(),
            key.about,
            key.kind.words(),
            default(key),
            key.example
        );
    }
    out
}

/// A value is set as code, a description is not.
fn default(key: &Key) -> String {
    match key.unset {
        Unset::Nothing => String::new(),
        Unset::Words(words) => words.into(),
        Unset::Value(value) => format!("`{value}`"),
    }
}

#[test]
fn the_document_is_current() {
    let made: String = std::iter::once(HEAD.to_owned())
        .chain(SECTIONS.iter().map(table))
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(FILE), &made).unwrap();
    }
    assert!(
        fs::read_to_string(path(FILE)).unwrap_or_default() == made,
        "{FILE} is not what the table of keys makes of it; `UPDATE=1 cargo test --test configuration` writes it"
    );
}

/// Each example in a file with nothing but what its section needs.
#[test]
fn every_example_is_accepted() {
    let folder = std::env::temp_dir().join(format!("taskdiag-configuration-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for named in ["task.json", "sample.pdf"] {
        fs::write(folder.join(named), "{}").unwrap();
    }
    let file = folder.join("taskdiag.toml");
    for section in SECTIONS {
        for key in section.keys {
            let mut text = if section.name.is_empty() {
                String::new()
            } else {
                format!("[{}]\n", section.name)
            };
            // A certificate goes with its key.
            let pair = ["broker.client_cert", "broker.client_key"];
            let partners = pair.iter().filter(|_| pair.contains(&key.name));
            let needed = section.needs.iter().chain(partners);
            let needed = needed.map(|need| keys::find(need).expect("a key"));
            let rows: BTreeMap<&str, &str> =
                needed.chain([key]).map(|row| (row.last(), row.example)).collect();
            // Its name has to stand in a path.
            if key.name == "api.path" {
                text.push_str("submit_path = \"/courses/{course}/jobs\"\n");
            }
            for (name, example) in rows {
                // Its variables are not set here.
                let _ = writeln!(text, "{name} = {}", example.replace("${", "$${"));
            }
            fs::write(&file, &text).unwrap();
            Config::of_file(&file)
                .unwrap_or_else(|error| panic!("{}: {error}; {}\n{text}", key.name, error.hint()));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// A row that no code reads would be a promise that nobody keeps.
#[test]
fn every_key_is_read() {
    let source: String = fs::read_dir(path("src/config"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .chain([path("src/config.rs")])
        .filter(|file| file.is_file() && !file.ends_with("keys.rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .map(|text| text.split("\nmod tests {").next().unwrap_or_default().to_owned())
        .collect();
    for key in keys::all() {
        // `api` and `worker` are read by one function where they have the same key.
        let shared = [
            format!("key(\"{}\")", key.last()),
            format!("{{section}}.{}\"", key.last()),
        ];
        assert!(
            source.contains(&format!("\"{}\"", key.name)) || shared.iter().any(|text| source.contains(text)),
            "{} is in the table, and nothing reads it",
            key.name
        );
    }
}

#[test]
fn names_are_unique_and_in_their_section() {
    let mut names: Vec<&str> = keys::all().map(|key| key.name).collect();
    for section in SECTIONS {
        for key in section.keys {
            let place = key.name.rsplit_once('.').map_or("", |(section, _)| section);
            assert_eq!(place, section.name, "{}", key.name);
            assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{}", key.name);
        }
        assert!(
            section.needs.iter().all(|key| section.holds(key)),
            "{}",
            section.name
        );
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_choice_has_its_example_among_its_words() {
    for key in keys::all() {
        if let Kind::Choice(words) = key.kind {
            assert!(words.contains(&key.example.trim_matches('"')), "{}", key.name);
        }
    }
}
