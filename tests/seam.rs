//! What is known of a framework stands in `src/framework`, and nowhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// The words by which Dramatiq would be known: its name, and the ends of its queues' names; and Celery: its name, those
/// of its libraries, and its workers' queues.
const WORDS: [&str; 7] = ["dramatiq", ".dq", ".xq", "celery", "kombu", "billiard", "pidbox"];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Tests speak of Dramatiq, and so may comments: these explain, and decide nothing.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let without_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
    without_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn only_the_framework_knows_the_framework() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut found = Vec::new();
    let frameworks: Vec<&str> = taskdiag::framework::ALL
        .iter()
        .map(|framework| framework.name)
        .collect();
    for path in &files {
        let name = path
            .strip_prefix(&source)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/");
        let is_test = ["/tests.rs", "testing.rs", "scrub/notations.rs"]
            .iter()
            .any(|end| name.ends_with(end));
        // The default and the examples of a configuration are written for somebody who reads them.
        let is_written_for_people = name.starts_with("config/keys/");
        // Causes that only one framework can have stand in a folder of its name.
        let is_its_own = frameworks
            .iter()
            .any(|framework| name.starts_with(&format!("diagnosis/causes/{framework}")));
        if is_test || is_written_for_people || is_its_own || name.starts_with("framework") {
            continue;
        }
        let text = fs::read_to_string(path).expect("a source file");
        for line in code(&text) {
            let lower = line.to_lowercase();
            // The list of causes names that folder.
            let names_its_own = name == "diagnosis/causes.rs"
                && frameworks.iter().any(|framework| {
                    let line = line.trim();
                    line.starts_with(&format!("{framework}::"))
                        || line.ends_with(&format!(" mod {framework};"))
                });
            if names_its_own {
                continue;
            }
            if WORDS.iter().any(|word| lower.contains(word)) {
                found.push(format!("src/{name}: {}", line.trim()));
            }
        }
    }
    assert!(files.len() > 100, "the sources were not found");
    assert!(
        found.is_empty(),
        "ask a row of `framework::ALL` instead:\n{}",
        found.join("\n")
    );
}
