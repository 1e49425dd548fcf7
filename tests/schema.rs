//! The JSON Schemas of what other programs read: the report and the recording. Both are made from
//! the types and compared with the files in `docs`; `tests/validator.rs` holds every recording against them.
//!
//! `UPDATE=1 cargo test --test schema` writes them anew. A change that an old reader would not
//! survive needs a new version in the name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::{Value as Json, json};
use taskdiag::compare::{self, Comparison};
use taskdiag::report::{self, Report};
use taskdiag::timeline::{Event, Setup, recording};
use taskdiag::watch::lines;

const REPORT: &str = "docs/report.v1.schema.json";
const TRACE: &str = "docs/trace.v1.schema.json";
const COMPARISON: &str = "docs/compare.v1.schema.json";
const WATCH: &str = "docs/watch.v1.schema.json";
const TIMELINE: &str = "docs/timeline.v1.schema.json";

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn report_schema() -> Json {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Report>()
        .to_value();
    schema["title"] = json!("The report of taskdiag, as `--format json` prints it");
    schema["properties"]["schema"] = json!({ "const": report::SCHEMA });
    schema
}

fn comparison_schema() -> Json {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Comparison>()
        .to_value();
    schema["title"] = json!("What differs between two runs, as `taskdiag compare --format json` prints it");
    schema["properties"]["schema"] = json!({ "const": compare::SCHEMA });
    schema
}

/// One line of `taskdiag watch --format json`.
fn watch_schema() -> Json {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<lines::Line>()
        .to_value();
    schema["title"] = json!("One line of `taskdiag watch --format json`");
    schema["properties"]["schema"] = json!({ "const": lines::SCHEMA });
    schema
}

/// A recording is JSON Lines: the schema is that of one line, first or other.
fn timeline_schema() -> Json {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let event = generator.subschema_for::<Event>();
    let setup = generator.subschema_for::<Setup>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of a recording of taskdiag, as `diagnose --record` writes it",
        "oneOf": [
            {
                "description": "The first line.",
                "type": "object",
                "properties": {
                    "schema": { "const": recording::SCHEMA },
                    "started_at": { "type": "string", "description": "RFC 3339, UTC, milliseconds." },
                    "taskdiag": { "type": "string", "description": "Version that wrote it." },
                    "setup": setup,
                },
                "required": ["schema", "started_at", "taskdiag", "setup"],
            },
            event,
        ],
        "$defs": generator.take_definitions(true),
    })
}

fn is_current(file: &str, wanted: &Json) {
    let mut text = serde_json::to_string_pretty(wanted).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(file), &text).unwrap();
    }
    let found = fs::read_to_string(path(file)).unwrap_or_default();
    assert!(
        found == text,
        "{file} is not what the types make of it; `UPDATE=1 cargo test --test schema` writes it"
    );
}

#[test]
fn the_schema_of_the_report_is_current() {
    is_current(REPORT, &report_schema());
}

#[test]
fn the_schema_of_comparisons_is_current() {
    is_current(COMPARISON, &comparison_schema());
}

#[test]
fn the_schema_of_a_watch_is_current() {
    is_current(WATCH, &watch_schema());
}

#[test]
fn the_schema_of_recordings_is_current() {
    is_current(TIMELINE, &timeline_schema());
}

/// What `trace --format json` prints is JSON Lines, too.
#[test]
fn the_schema_of_traces_is_current() {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<taskdiag::trace::Entry<'static>>()
        .to_value();
    schema["title"] = json!("One line of `taskdiag trace --format json`");
    schema["oneOf"][0]["properties"]["schema"] = json!({ "const": taskdiag::trace::SCHEMA });
    is_current(TRACE, &schema);
}

/// Every documented word of the report is there, and under its documented name.
#[test]
fn the_report_has_its_documented_members() {
    let schema = report_schema();
    for member in [
        "schema",
        "started_at",
        "scenario",
        "outcome",
        "stage",
        "exit_code",
        "cause",
        "contributing",
        "ruled_out",
        "cannot_tell",
        "task",
        "stages",
        "sources",
        "timeline",
        "environment",
    ] {
        assert!(schema["properties"].get(member).is_some(), "{member}");
        let required = schema["required"].as_array().expect("required");
        assert!(required.contains(&json!(member)), "{member} is always there");
    }
}
