//! What the documents say of keys, commands, tests and files is so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

const DOCUMENTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "BENCHMARKS.md"];

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn read(inside: &str) -> String {
    fs::read_to_string(path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
}

/// The README's configuration, from its fence to the next.
fn configuration() -> String {
    let readme = read("README.md");
    let (_, rest) = readme
        .split_once("```toml\nframework")
        .expect("the complete configuration");
    format!("framework{}", rest.split_once("```").expect("its end").0)
}

/// Every key there is, from the list that the configuration is checked against.
fn keys() -> Vec<String> {
    let source = read("src/config/layers.rs");
    let list = source
        .split_once("pub const KEYS")
        .and_then(|(_, rest)| rest.split_once("];"))
        .expect("the list of keys")
        .0;
    let quoted = Regex::new("\"([a-z_.]+)\"").unwrap();
    quoted
        .captures_iter(list)
        .map(|found| found[1].to_owned())
        .collect()
}

/// With the commented keys too, it is a configuration that taskdiag accepts.
#[test]
fn the_configuration_in_the_readme_is_accepted() {
    let folder = std::env::temp_dir().join(format!("taskdiag-documents-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("taskdiag.toml");
    let plain = configuration();
    // `body_file` stands instead of `body`.
    let commented = Regex::new("(?m)^# ([a-z_]+ = )").unwrap();
    let all = commented
        .replace_all(&plain, "$1")
        .replace("body_file = \"task.json\"", "");
    for text in [plain.as_str(), all.as_str()] {
        fs::write(&file, text).unwrap();
        taskdiag::config::Config::load(Some(&file), &[])
            .unwrap_or_else(|error| panic!("{error}; {}\n{text}", error.hint()));
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_key_is_in_the_readme() {
    let readme = read("README.md");
    let configuration = configuration();
    let keys = keys();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let (section, name) = key.split_once('.').unwrap_or(("", &key));
        let shown = configuration
            .split("\n[")
            .find(|part| part.starts_with(&format!("{section}]")) || section.is_empty())
            .is_some_and(|part| {
                part.lines()
                    .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")))
            });
        assert!(shown || readme.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn every_subcommand_is_in_the_readme() {
    let output = Command::new(env!("CARGO_BIN_EXE_taskdiag"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|rest| !rest.starts_with(char::is_whitespace))?
                .split_whitespace()
                .next()
        })
        .filter(|word| *word != "help")
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    let readme = read("README.md");
    for command in commands {
        assert!(readme.contains(&format!("`taskdiag {command}")), "{command}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    for document in DOCUMENTS {
        for found in link.captures_iter(&read(document)) {
            assert!(path(&found[1]).exists(), "{document} links to {}", &found[1]);
        }
    }
}

#[test]
fn every_file_and_test_of_the_architecture_exists() {
    let text = read("ARCHITECTURE.md");
    let named =
        Regex::new(r"`((?:src|tests|fixtures|docs)/[A-Za-z0-9_./]+)`(?:: ((?:`[a-z_0-9]+`(?:, )?)+))?")
            .unwrap();
    let mut count = 0;
    for found in named.captures_iter(&text) {
        assert!(path(&found[1]).exists(), "{}", &found[1]);
        let Some(tests) = found.get(2) else { continue };
        let source = read(&found[1]);
        for test in tests.as_str().split(", ").map(|word| word.trim_matches('`')) {
            assert!(source.contains(&format!("fn {test}(")), "{test} in {}", &found[1]);
            count += 1;
        }
    }
    assert!(count >= 10, "{count} tests are named");
    // One page.
    assert!(text.lines().count() <= 80, "{} lines", text.lines().count());
}

/// The number of causes that the README boasts of.
#[test]
fn the_catalogue_is_as_large_as_the_readme_says() {
    assert!(taskdiag::diagnosis::causes::ALL.len() > 70);
}
