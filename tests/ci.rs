//! The jobs of `docs/ci.md` and our own, as far as they can be tried without a runner: the files are valid
//! for GitHub and GitLab. (`tests/documents.rs` tries the commands in them.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lab;

use std::fs;
use std::path::Path;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The YAML below a heading.
fn job(heading: &str) -> String {
    let document = document("ci.md");
    let (_, rest) = document.split_once(&format!("\n## {heading}\n")).expect(heading);
    let (_, rest) = rest.split_once("```yaml\n").expect("a yaml block");
    rest.split_once("```").expect("its end").0.to_owned()
}

fn must_be_valid(heading: &str, schema: &str) {
    let file = std::env::temp_dir().join(format!("taskdiag-ci-{}-{schema}.yml", std::process::id()));
    fs::write(&file, job(heading)).unwrap();
    must_fit(&file, schema);
    fs::remove_file(&file).unwrap();
}

fn must_fit(file: &Path, schema: &str) {
    let mut python = lab::python();
    python
        .args(["-m", "check_jsonschema", "--builtin-schema"])
        .arg(format!("vendor.{schema}"));
    if schema == "gitlab-ci" {
        python.args(["--data-transform", "gitlab-ci"]);
    }
    python.arg(file);
    lab::must_succeed(python);
}

#[test]
fn our_own_workflows_and_forms_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github");
    for (file, schema) in [
        ("workflows/ci.yml", "github-workflows"),
        ("workflows/nightly.yml", "github-workflows"),
        ("workflows/release.yml", "github-workflows"),
        ("dependabot.yml", "dependabot"),
        ("ISSUE_TEMPLATE/bug.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/wrong-verdict.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/config.yml", "github-issue-config"),
    ] {
        must_fit(&folder.join(file), schema);
    }
}

#[test]
fn the_github_job_is_valid() {
    must_be_valid("GitHub Actions", "github-workflows");
}

#[test]
fn the_gitlab_job_is_valid() {
    must_be_valid("GitLab CI", "gitlab-ci");
}
