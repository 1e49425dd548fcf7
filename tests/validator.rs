//! Every recording, its report and its comparison with the next one fit the published JSON Schemas,
//! by somebody else's validator: Python's `jsonschema`, from the lab.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use taskdiag::compare;
use taskdiag::diagnosis::{Verdict, diagnose};
use taskdiag::report::Report;
use taskdiag::timeline::{Timeline, recording};

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator

kinds = {}
for name in ("report", "timeline", "compare"):
    schema = json.load(open(f"docs/{name}.v1.schema.json"))
    Draft202012Validator.check_schema(schema)
    kinds[name] = Draft202012Validator(schema)
wrong = 0
for line in sys.stdin:
    kind, name, value = json.loads(line)
    for error in kinds[kind].iter_errors(value):
        wrong += 1
        print(f"{name}: {kind} at {error.json_path}: {error.message[:300]}")
sys.exit(wrong > 0)
"#;

#[test]
fn every_recording_and_its_report_fit_the_schemas() {
    let mut lines = String::new();
    let mut add = |kind: &str, name: &str, value: Json| {
        lines.push_str(&json!([kind, name, value]).to_string());
        lines.push('\n');
    };
    let mut before: Option<(String, Timeline, Verdict)> = None;
    let runs = fs::read_dir(path("fixtures/runs"))
        .expect("fixtures/runs")
        .flatten();
    let mut files: Vec<PathBuf> = runs.map(|entry| entry.path().join("timeline.jsonl")).collect();
    // Those have what API and worker run in, and differ.
    files.extend(["good", "bad"].map(|name| path(&format!("fixtures/compare/{name}.jsonl"))));
    for file in files {
        let name = file.display().to_string();
        let timeline = recording::read(&file)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .timeline;
        let verdict = diagnose(&timeline);
        if let Some((other, other_timeline, other_verdict)) = &before {
            let comparison = compare::compare([
                (other, other_timeline, other_verdict),
                (&name, &timeline, &verdict),
            ]);
            add("compare", &name, json!(comparison));
        }
        let mut report = Report::new(&timeline, &verdict);
        // The events are looked at below, one by one.
        report.timeline.truncate(3);
        add("report", &name, json!(report));
        for line in fs::read_to_string(&file).unwrap().lines() {
            add("timeline", &name, serde_json::from_str(line).unwrap());
        }
        before = Some((name, timeline, verdict));
    }
    assert!(!lines.is_empty());
    let input = std::env::temp_dir().join(format!("taskdiag-schema-{}.jsonl", std::process::id()));
    fs::write(&input, lines).unwrap();
    let mut python = lab::python();
    python
        .args(["-c", VALIDATE])
        .stdin(fs::File::open(&input).unwrap());
    lab::must_succeed(python);
    fs::remove_file(&input).unwrap();
}
