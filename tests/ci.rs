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
    // Tests that hold other jobs against the same schema run beside this one.
    let name = format!(
        "taskdiag-ci-{}-{}.yml",
        std::process::id(),
        heading.replace(' ', "-")
    );
    let file = std::env::temp_dir().join(name);
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

/// A template is valid as a part of what includes it.
#[test]
fn the_gitlab_template_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let template = fs::read_to_string(root.join("gitlab.yml")).unwrap();
    let name = format!("taskdiag-gitlab-template-{}.yml", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(
        &file,
        format!("{template}\ntask:\n  extends: .taskdiag\n  image: python:3.12\n"),
    )
    .unwrap();
    must_fit(&file, "gitlab-ci");
    fs::remove_file(&file).unwrap();
}

#[test]
fn the_compose_job_is_valid() {
    must_be_valid("With docker compose", "github-workflows");
}

/// Its scripts are run with a `docker` whose system does not come up and a taskdiag that finds why.
#[test]
fn the_compose_job_diagnoses_a_system_that_does_not_come_up() {
    let folder = std::env::temp_dir().join(format!("taskdiag-ci-compose-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("job.yml"), job("With docker compose")).unwrap();
    for (name, script) in [
        (
            "docker",
            "case \"$*\" in *\" up \"*) exit 1;; *) echo \"$*\";; esac",
        ),
        (
            "taskdiag",
            "touch diagnosed run.jsonl verdict.html junit.xml; exit 10",
        ),
        ("sudo", "case \"$1\" in -E) shift;; esac; exec \"$@\""),
    ] {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, executable).unwrap();
    }
    let mut python = lab::python();
    python.arg("tests/ci_job.py").arg(&folder);
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let steps: Vec<&str> = said.lines().collect();
    assert_eq!(
        steps,
        [
            "Start the system: 1",
            "Does a task run?: 10",
            "Save what the services said: 0",
            "job: failed by Does a task run?",
        ]
    );
    for left in ["diagnosed", "compose.log", "compose.json"] {
        assert!(folder.join(left).exists(), "{left}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Against a schema of the fields that they use: an unknown kind or field is an error.
#[test]
fn the_manifests_for_kubernetes_are_valid() {
    let document = document("kubernetes.md");
    let manifests: Vec<&str> = document
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(manifests.len(), 2, "a Job and a Role");
    let folder = std::env::temp_dir().join(format!("taskdiag-ci-kubernetes-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let fits = |name: &str, manifest: &str| {
        let file = folder.join(name);
        fs::write(&file, manifest).unwrap();
        let mut python = lab::python();
        python.args([
            "-m",
            "check_jsonschema",
            "--schemafile",
            "tests/kubernetes.schema.json",
        ]);
        python.arg(file).output().unwrap().status.success()
    };
    for (at, manifest) in manifests.iter().enumerate() {
        assert!(fits(&format!("{at}.yml"), manifest), "{manifest}");
    }
    let job = manifests[0];
    for (right, wrong) in [
        ("batch/v1", "batch/v1beta1"),
        ("ttlSecondsAfterFinished", "ttlSecondsAfterFinish"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: \"yes\""),
    ] {
        assert!(job.contains(right), "{right}");
        assert!(!fits("wrong.yml", &job.replace(right, wrong)), "{wrong}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// The image has one program, and what follows `--` of `kubectl debug` is the whole command.
#[test]
fn the_debug_container_is_given_a_program() {
    let image = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/Dockerfile")).unwrap();
    let (_, program) = image.split_once("ENTRYPOINT [\"").expect("an entry point");
    let program = program.split('"').next().unwrap();
    let document = document("kubernetes.md");
    let line = document
        .lines()
        .find(|line| line.starts_with("kubectl debug"))
        .expect("a command");
    let (_, command) = line.split_once(" -- ").expect("a command for the container");
    assert!(command.starts_with(&format!("{program} ")), "{line}");
}
