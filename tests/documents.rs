//! What the documents say of keys, commands, tests and files is so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alone::taskdiag;
use clap::Parser;
use regex::Regex;
use taskdiag::cli::Cli;
use taskdiag::timeline::Source;

/// Every document there is.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(path(folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}/{name}").trim_start_matches('/').to_owned());
            }
        }
    }
    found.sort();
    found
}

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn read(inside: &str) -> String {
    fs::read_to_string(path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
}

/// The complete configuration, from its fence to the next.
fn configuration() -> String {
    let example = read("docs/example.md");
    let (_, rest) = example
        .split_once("```toml\nframework")
        .expect("the complete configuration");
    format!("framework{}", rest.split_once("```").expect("its end").0)
}

/// With the commented keys too, it is a configuration that taskdiag accepts.
#[test]
fn the_complete_configuration_is_accepted() {
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
        taskdiag::config::Config::of_file(&file)
            .unwrap_or_else(|error| panic!("{error}; {}\n{text}", error.hint()));
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_key_is_in_the_example() {
    let example = read("docs/example.md");
    let configuration = configuration();
    for key in taskdiag::config::keys::all().map(|key| key.name) {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let shown = configuration
            .split("\n[")
            .find(|part| part.starts_with(&format!("{section}]")) || section.is_empty())
            .is_some_and(|part| {
                part.lines()
                    .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")))
            });
        assert!(shown || example.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn every_subcommand_is_in_the_guide() {
    let output = taskdiag().arg("--help").output().unwrap();
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
    let guide = read("docs/guide.md");
    for command in commands {
        assert!(guide.contains(&format!("`taskdiag {command}")), "{command}");
    }
}

/// The commands of taskdiag in a document's blocks of code.
fn commands_of(text: &str) -> Vec<String> {
    let command = Regex::new(r"^[ -]*(taskdiag .+)$").unwrap();
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            is_code = matches!(info, "sh" | "yaml");
        } else if let Some(command) = command.captures(line).filter(|_| is_code) {
            let words = command[1].split("  #").next().unwrap().trim_end();
            found.push(words.to_owned());
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut commands = 0;
    for document in documents() {
        for command in commands_of(&read(&document)) {
            let words = shell_words::split(&command).unwrap();
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{document}: {command}: {error}"));
            commands += 1;
        }
    }
    assert!(commands >= 20, "{commands}");
}

/// What needs no service is run as it stands, with recordings of those names.
#[test]
fn commands_that_need_no_service_are_run() {
    let folder = std::env::temp_dir().join(format!("taskdiag-commands-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (name, run) in [
        ("run.jsonl", "row-rolled-back"),
        ("good.jsonl", "succeeded"),
        ("bad.jsonl", "no-consumer"),
    ] {
        fs::copy(
            path(&format!("fixtures/runs/{run}/timeline.jsonl")),
            folder.join(name),
        )
        .unwrap();
    }
    let offline = [
        "demo",
        "replay",
        "report",
        "compare",
        "explain",
        "causes",
        "completions",
    ];
    let mut run = BTreeSet::new();
    for document in documents() {
        for command in commands_of(&read(&document)) {
            let words = shell_words::split(&command).unwrap();
            let what = offline
                .iter()
                .find(|what| words.get(1).is_some_and(|word| word == *what));
            let Some(what) = what else { continue };
            let mut taskdiag = alone::taskdiag();
            let output = taskdiag
                .args(&words[1..])
                .env("HOME", &folder)
                .current_dir(&folder)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 10 | 20)) && !said.contains("error:"),
                "{document}: {command}: {code:?}\n{said}"
            );
            run.insert(*what);
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(run.len() >= 4, "{run:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)#:|\s]+)(#[^)]*)?\)").unwrap();
    for document in documents() {
        let folder = path(&document).parent().unwrap().to_owned();
        for found in link.captures_iter(&read(&document)) {
            assert!(
                folder.join(&found[1]).exists(),
                "{document} links to {}",
                &found[1]
            );
        }
    }
}

/// `` `src/file.rs` `` exists, and in `` `src/file.rs`: `one`, `two` `` it holds these words; how many words.
/// What stands in capitals in a file's name is for the reader to replace.
fn must_name_what_exists(document: &str) -> usize {
    let named = Regex::new(
        r"`((?:src|tests|fixtures|docs|benches|\.ci|\.github)/[A-Za-z0-9_./-]*|justfile|[a-z]+\.toml)`(?:: ((?:`[A-Za-z_0-9]+`(?:, )?)+))?",
    )
    .unwrap();
    let mut words = 0;
    for found in named.captures_iter(&read(document)) {
        let file = &found[1];
        let own = ["taskdiag.toml", "expected.toml"];
        if own.contains(&file) || file.contains("ITS") {
            continue;
        }
        assert!(path(file).exists(), "{document} names {file}");
        let Some(named) = found.get(2) else { continue };
        let source = read(file);
        for word in named.as_str().split(", ").map(|word| word.trim_matches('`')) {
            let whole = Regex::new(&format!(r"\b{word}\b")).unwrap();
            assert!(whole.is_match(&source), "{document} names {word} in {file}");
            words += 1;
        }
    }
    words
}

#[test]
fn the_architecture_is_one_page_and_names_what_exists() {
    let words = must_name_what_exists("ARCHITECTURE.md");
    assert!(words >= 10, "{words} tests are named");
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 80, "{lines} lines");
}

#[test]
fn every_promise_names_tests_that_exist() {
    let words = must_name_what_exists("docs/promises.md");
    assert!(words >= 40, "{words} tests are named");
}

#[test]
fn who_contributes_is_led_to_what_exists() {
    must_name_what_exists("CONTRIBUTING.md");
    // Words of the code in the how-tos that are not tied to a file.
    let text = read("CONTRIBUTING.md");
    for (word, file) in [
        ("CAUSE", "src/diagnosis/causes/no_consumer.rs"),
        ("check", "src/diagnosis/causes/no_consumer.rs"),
        ("ALL", "src/diagnosis/causes.rs"),
        ("FORMAT", "src/report/github.rs"),
        ("FORMATS", "src/report.rs"),
        ("Report", "src/report.rs"),
        ("HOSTILE", "tests/runs/mod.rs"),
        ("Tap", "src/vantage.rs"),
    ] {
        assert!(text.contains(&format!("`{word}`")), "{word} is in no how-to");
        let whole = Regex::new(&format!(r"\b{word}\b")).unwrap();
        assert!(whole.is_match(&read(file)), "{word} is not in {file} any more");
    }
}

#[test]
fn every_source_has_its_row() {
    let text = read("docs/sources.md");
    for source in Source::all() {
        let row = format!("| `{source}`");
        assert!(text.contains(&row), "docs/sources.md has no row for {source}");
    }
}

/// Commands of the justfile, each with its recipe. (`just` itself need not be installed.)
fn recipes() -> Vec<(String, Vec<String>)> {
    let head = Regex::new(r"^([a-z][a-z-]*)((?: \*?[A-Z]+(?:=\S+)?)*):$").unwrap();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in read("justfile").lines() {
        if let Some(command) = line.strip_prefix("    ") {
            found.last_mut().expect("a recipe").1.push(command.to_owned());
        } else if let Some(head) = head.captures(line) {
            let takes = &head[2];
            found.push((format!("{}{takes}", &head[1]), Vec::new()));
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "justfile: {line}");
        }
    }
    found
}

#[test]
fn every_recipe_of_the_justfile_can_be_run() {
    let parameter = Regex::new(r"\{\{ ([A-Z]+) \}\}").unwrap();
    let script = Regex::new(r"^(?:[A-Z_]+=\S+ )?((?:\.ci|fixtures|benches)/[a-z]+)").unwrap();
    let test = Regex::new(r"--test ([a-z]+)").unwrap();
    let recipes = recipes();
    assert!(recipes.len() >= 15, "{}", recipes.len());
    let usage = read("fixtures/lab");
    for (head, commands) in &recipes {
        assert!(!commands.is_empty(), "{head} does nothing");
        for command in commands {
            for found in parameter.captures_iter(command) {
                assert!(head.contains(&found[1]), "{head} does not take {}", &found[1]);
            }
            if let Some(found) = script.captures(command) {
                assert!(path(&found[1]).is_file(), "{head}: {}", &found[1]);
            }
            if let Some(rest) = command.strip_prefix("fixtures/lab ") {
                let word = rest.split(' ').next().unwrap();
                assert!(usage.contains(&format!("        {word}) cmd_")), "{head}: {word}");
            }
            for found in test.captures_iter(command) {
                let file = format!("tests/{}.rs", &found[1]);
                assert!(path(&file).is_file(), "{head}: {file}");
            }
            if command.contains("cargo quick") {
                assert!(read(".cargo/config.toml").contains("\nquick = "), "{head}");
            }
        }
    }
}

/// What a test or a script can be told by a variable is said where all incantations stand.
#[test]
fn every_incantation_is_in_the_justfile() {
    let justfile = read("justfile");
    let told = Regex::new(r"\b([A-Z_]+=[^ `]+) cargo test").unwrap();
    let mut count = 0;
    for entry in fs::read_dir(path("tests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !name.ends_with(".rs") || name == "documents.rs" {
            continue;
        }
        for found in told.captures_iter(&read(&format!("tests/{name}"))) {
            let variable = found[1].split('=').next().unwrap();
            assert!(justfile.contains(&format!("{variable}=")), "{name}: {variable}");
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

/// Jobs run the scripts that everybody can run; actions are pinned to a commit.
#[test]
fn workflows_run_what_exists() {
    let script = Regex::new(r"\.ci/[a-z]+").unwrap();
    let pinned = Regex::new(r"uses: [a-z-]+/[a-z-]+@[0-9a-f]{40} # v").unwrap();
    let mut scripts = Vec::new();
    for name in ["ci.yml", "nightly.yml", "release.yml"] {
        let text = read(&format!(".github/workflows/{name}"));
        scripts.extend(script.find_iter(&text).map(|found| found.as_str().to_owned()));
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            assert!(pinned.is_match(line), "{name}: {line}");
        }
    }
    for wanted in [".ci/run", ".ci/nightly", ".ci/release"] {
        assert!(scripts.iter().any(|script| script == wanted), "{wanted}");
    }
    for script in scripts {
        assert!(path(&script).is_file(), "{script}");
    }
}

/// Where the project lives is said in Cargo.toml (`repository`), and nowhere else.
#[test]
fn the_address_stands_in_one_place() {
    let own = Regex::new(r"(github|gitlab|codeberg)\.(com|org)/[A-Za-z0-9_-]+/taskdiag").unwrap();
    for document in documents() {
        assert!(!own.is_match(&read(&document)), "{document}");
    }
}

/// The README is read standing.
#[test]
fn the_readme_is_short() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 900, "{words} words");
}

/// Recordings and tests are for those who build from the repository, save the recordings of `taskdiag demo`.
#[test]
fn a_package_holds_no_recording_but_those_of_the_demo() {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(path(""))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let files = String::from_utf8(output.stdout).unwrap();
    assert!(files.lines().any(|file| file == "src/main.rs"), "{files}");
    let demo = read("src/commands/demo.rs");
    let is_of_demo = |file: &str| {
        let run = file
            .strip_prefix("fixtures/runs/")
            .and_then(|rest| rest.split('/').next());
        run.is_some_and(|run| demo.contains(&format!("recorded!(\"{run}\")")))
    };
    for file in files.lines().filter(|file| !is_of_demo(file)) {
        let outside = ["fixtures/", "tests/", "benches/", ".ci/", ".github/"];
        let is_outside = outside.iter().any(|folder| file.starts_with(folder));
        assert!(!is_outside && !file.ends_with(".jsonl"), "{file}");
    }
}

/// The number of causes that the README boasts of.
#[test]
fn the_catalogue_is_as_large_as_the_readme_says() {
    assert!(taskdiag::diagnosis::causes::ALL.len() > 70);
}
