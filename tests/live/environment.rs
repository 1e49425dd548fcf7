//! What the processes of a run run in, and what differed between two runs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::lab::Lab;
use crate::stack::Stack;
use crate::system::with_worker;
use crate::verdict::Verdict;
use crate::worker::healthy;

/// What `compare` prints of two runs: as a program reads it, and for people.
struct Comparison {
    json: Json,
    text: String,
}

impl Comparison {
    fn of(stack: &Stack, first: &Verdict, second: &Verdict) -> Self {
        let run = |format: &str| {
            let output = stack
                .taskdiag("compare")
                .args([&first.recording, &second.recording])
                .args(["--format", format])
                .output()
                .expect("taskdiag runs");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            String::from_utf8(output.stdout).expect("text")
        };
        let comparison = Self {
            json: serde_json::from_str(&run("json")).expect("JSON"),
            text: run("terminal"),
        };
        eprintln!("{}", comparison.text);
        comparison
    }

    fn rows(&self) -> &[Json] {
        self.json["differences"].as_array().expect("differences")
    }

    /// The first row of the table, as people see it.
    fn first_row(&self) -> &str {
        let mut lines = self
            .text
            .lines()
            .skip_while(|line| !line.contains("what differs"));
        lines.nth(1).unwrap_or_default()
    }

    fn not_compared(&self, reason: &str) -> Vec<&Json> {
        let all = self.json["not_compared"].as_array().expect("not_compared");
        all.iter()
            .filter(|skipped| {
                skipped["reason"]
                    .as_str()
                    .is_some_and(|text| text.contains(reason))
            })
            .collect()
    }
}

#[test]
fn two_runs_that_differ_in_one_variable() {
    let mut stack = with_worker("compare-variable", healthy());
    let first = stack.diagnose(&[]).expect("A", "succeeded", 0);
    stack.kill(stack.pid_of("api"));
    stack.api_with_fault("unknown-actor");
    let second = stack.diagnose(&[]).expect("B", "unknown-actor", 10);
    let comparison = Comparison::of(&stack, &first, &second);
    let row = &comparison.rows()[0];
    assert_eq!(row["subject"], "variable");
    assert_eq!(row["name"], "OPS_API_FAULT");
    assert_eq!(row["of"], serde_json::json!(["api"]));
    assert_eq!(row["values"][0]["state"], "absent");
    assert_eq!(row["values"][1]["state"], "masked");
    assert!(
        comparison.first_row().contains("OPS_API_FAULT"),
        "{}",
        comparison.text
    );
    // What is on both sides the same is no row.
    assert_eq!(comparison.rows().len(), 1, "{}", comparison.text);
    assert_eq!(comparison.json["same_verdict"], false);
}

#[test]
fn two_runs_of_the_same_system() {
    let mut stack = with_worker("compare-same", healthy());
    let first = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let second = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let comparison = Comparison::of(&stack, &first, &second);
    assert_eq!(comparison.rows(), &[] as &[Json], "{}", comparison.text);
    assert_eq!(comparison.json["same_verdict"], true);
    assert!(comparison.text.contains("No difference"), "{}", comparison.text);
    // Both were really looked at.
    for party in ["api", "worker"] {
        let known = fingerprint(&first, party);
        assert!(
            known["variables"]["DATABASE_URL"]["masked"].is_object(),
            "{known:#}"
        );
        assert!(
            known["distributions"].as_array().is_some_and(|list| list
                .iter()
                .any(|one| one["name"] == "dramatiq" && one["version"] == "2.2.1")),
            "{known:#}"
        );
        assert!(
            known["interpreter"]["version"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.")),
            "{known:#}"
        );
        assert_eq!(known["interpreter"]["prefix"], Lab::get().value("LAB_VENV"));
        assert_eq!(known["code"]["directory"], Lab::get().value("LAB_OPS_CORE"));
    }
}

/// The environment of the API or the worker, as the report has it.
fn fingerprint<'a>(verdict: &'a Verdict, party: &str) -> &'a Json {
    let all = verdict.json["environment"]["fingerprints"].as_array();
    all.and_then(|all| all.iter().find(|one| one["of"] == party))
        .unwrap_or_else(|| panic!("no environment of the {party}\n{}", verdict.explain()))
}

#[test]
fn two_runs_that_differ_in_one_package() {
    let mut stack = Stack::new("compare-package");
    stack.api(&[]);
    let worker = stack.worker(healthy().program(&environment(&stack.dir.join("one"), "1.4.0")));
    let first = stack.diagnose(&[]).expect("A", "succeeded", 0);
    stack.kill_only_worker(worker);
    stack.worker(healthy().program(&environment(&stack.dir.join("two"), "1.5.0")));
    let second = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let comparison = Comparison::of(&stack, &first, &second);
    let row = &comparison.rows()[0];
    assert_eq!(
        (&row["subject"], &row["name"]),
        (&"package".into(), &"tiny-parser".into())
    );
    assert_eq!(row["values"][0]["text"], "1.4.0");
    assert_eq!(row["values"][1]["text"], "1.5.0");
    assert!(
        comparison.first_row().contains("tiny-parser"),
        "{}",
        comparison.text
    );
}

/// A virtual environment with the lab's packages and one of its own; returns its `dramatiq`.
fn environment(folder: &Path, version: &str) -> PathBuf {
    let lab = Path::new(Lab::get().value("LAB_VENV"));
    let python = fs::canonicalize(lab.join("bin/python")).expect("the lab's Python");
    let library = python
        .file_name()
        .expect("its name")
        .to_string_lossy()
        .into_owned();
    let site = folder.join("lib").join(&library).join("site-packages");
    let info = site.join(format!("Tiny_Parser-{version}.dist-info"));
    fs::create_dir_all(&info).expect("a folder");
    fs::create_dir_all(folder.join("bin")).expect("a folder");
    fs::copy(lab.join("pyvenv.cfg"), folder.join("pyvenv.cfg")).expect("pyvenv.cfg");
    std::os::unix::fs::symlink(&python, folder.join("bin/python")).expect("a link");
    fs::write(
        info.join("METADATA"),
        format!("Metadata-Version: 2.1\nName: Tiny.Parser\nVersion: {version}\n"),
    )
    .expect("METADATA");
    let packages = lab.join("lib").join(&library).join("site-packages");
    fs::write(site.join("lab.pth"), packages.display().to_string()).expect("a path file");
    let program = folder.join("bin/dramatiq");
    fs::write(
        &program,
        format!(
            "#!{}\nimport sys\nfrom dramatiq.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
            folder.join("bin/python").display()
        ),
    )
    .expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    program
}

#[test]
fn a_test_switch_on_one_side_of_a_run() {
    let mut stack = Stack::new("switch");
    stack.worker(healthy());
    stack.api(&[("DRAMATIQ_TESTING", "1")]);
    let verdict = stack.diagnose(&[]).expect("C", "test-broker", 20);
    let differences = verdict.json["environment"]["differences"]
        .as_array()
        .expect("differences");
    assert_eq!(differences[0]["name"], "DRAMATIQ_TESTING", "{differences:#?}");
    assert_eq!(differences[0]["values"][0]["text"], "1");
    assert!(
        verdict
            .text
            .contains("DRAMATIQ_TESTING: 1 for the API, (empty) for the worker"),
        "{}",
        verdict.text
    );
}

#[test]
fn values_masked_with_another_key() {
    let mut stack = with_worker("compare-keys", healthy());
    let first = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let key = stack.state.join("taskdiag/key");
    let mode = |path: &Path| fs::metadata(path).expect("it exists").mode() & 0o7777;
    assert_eq!(
        (mode(&key), mode(key.parent().expect("a folder"))),
        (0o600, 0o700)
    );
    stack.state = stack.dir.join("another");
    let second = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let comparison = Comparison::of(&stack, &first, &second);
    assert_eq!(comparison.rows(), &[] as &[Json], "{}", comparison.text);
    let skipped = comparison.not_compared("another key");
    assert!(
        skipped.iter().any(|skipped| skipped["names"]
            .as_array()
            .is_some_and(|names| names.contains(&"DATABASE_URL".into()))),
        "{}",
        comparison.text
    );
    // A key that others can read is not used, and that is said.
    fs::set_permissions(
        stack.state.join("taskdiag/key"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("its mode");
    let third = stack.diagnose(&[]).expect("A", "succeeded", 0);
    assert_eq!(fingerprint(&third, "api")["variables"]["DATABASE_URL"], "hidden");
    let comparison = Comparison::of(&stack, &second, &third);
    assert!(
        !comparison.not_compared("mode 644").is_empty(),
        "{}",
        comparison.text
    );
    assert!(
        !comparison.not_compared("no key").is_empty(),
        "{}",
        comparison.text
    );
}

/// Values that would do harm: they are neither recorded nor shown, whatever they are.
#[test]
fn hostile_variables() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut stack = Stack::new("hostile-variables");
    stack.worker(
        healthy()
            .env("PLAIN_SECRET", "s3cret-of-the-worker")
            .env("LANG", "C\u{1b}[31m\nfake: line")
            .env("HUGE", &"s3cret-huge".repeat(10_000))
            .env("TZ", &"s3cret-zone".repeat(1_000))
            .env("EVIL\u{1b}]0;x\u{7}NAME\nx", "s3cret-evil")
            .env(
                OsStr::from_bytes(b"RAW").to_str().expect("text"),
                "postgres://me:s3cret-raw@h/db",
            ),
    );
    stack.api(&[]);
    let verdict = stack.diagnose(&["-v"]).expect("A", "succeeded", 0);
    let recording = fs::read_to_string(&verdict.recording).expect("the recording");
    for text in [&recording, &verdict.stdout, &verdict.text] {
        assert!(!text.contains("s3cret"), "a value is shown");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    }
    let known = fingerprint(&verdict, "worker");
    for name in ["PLAIN_SECRET", "HUGE", "TZ", "RAW"] {
        assert!(
            known["variables"][name]["masked"]["value"].is_string(),
            "{name}: {known:#}"
        );
    }
    assert!(recording.len() < 2_000_000, "{} bytes", recording.len());
}
