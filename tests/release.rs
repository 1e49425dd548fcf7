//! What others install and run: the packages that `.ci/release` makes, and `action.yml`, as far as they can be tried
//! without a release build and without a runner. A script stands for the binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alone::taskdiag;
use serde_json::Value as Json;

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("taskdiag-release-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn inside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn must_succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn yaml(path: &str) -> Json {
    serde_saphyr::from_str(&fs::read_to_string(inside(path)).unwrap()).unwrap()
}

/// Whether bash can read it.
fn must_parse(name: &str, script: &str) {
    let mut bash = Command::new("bash");
    bash.args(["-n", "-c", script]);
    let output = bash.output().unwrap();
    assert!(
        output.status.success(),
        "{name}: {}\n{script}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_release_is_packed_checked_and_installed_into_an_empty_root() {
    let folder = Folder::new("pack");
    let binary = folder.script(
        "taskdiag",
        "case $1 in\n--version) echo taskdiag 9.8.7 ;;\nman) : >\"$3/taskdiag.1\"; : >\"$3/taskdiag-check.1\" ;;\ncompletions) echo $2 ;;\ndemo) echo $2 ;;\n*) exit 3 ;;\nesac\n",
    );
    let dist = folder.0.join("dist");
    for _ in 0..2 {
        must_succeed(
            Command::new(inside(".ci/release"))
                .arg("--binary")
                .args([&binary, &dist]),
        );
    }
    let files: Vec<String> = fs::read_dir(&dist)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let tarball = files
        .iter()
        .find(|name| name.ends_with(".tar.gz"))
        .expect("a tarball");
    let sums = files
        .iter()
        .find(|name| name.ends_with(".sha256"))
        .expect("checksums");
    // Those of several targets lie side by side.
    assert_eq!(
        sums.trim_end_matches(".sha256"),
        tarball.trim_end_matches(".tar.gz")
    );
    must_succeed(
        Command::new("sha256sum")
            .args(["--check", "--strict", sums])
            .current_dir(&dist),
    );
    let listed = fs::read_to_string(dist.join(sums)).unwrap();
    assert_eq!(listed.lines().count(), files.len() - 1, "{listed} {files:?}");

    let root = folder.0.join("root");
    fs::create_dir(&root).unwrap();
    must_succeed(
        Command::new("tar")
            .args(["--strip-components=1", "-xzf"])
            .arg(dist.join(tarball))
            .current_dir(&root),
    );
    for file in [
        "bin/taskdiag",
        "share/man/man1/taskdiag.1",
        "share/bash-completion/completions/taskdiag",
        "share/zsh/site-functions/_taskdiag",
        "share/fish/vendor_completions.d/taskdiag.fish",
        "share/doc/taskdiag/LICENSE-MIT",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let said = must_succeed(
        Command::new(root.join("bin/taskdiag"))
            .arg("--version")
            .env_clear(),
    );
    assert_eq!(String::from_utf8_lossy(&said.stdout), "taskdiag 9.8.7\n");

    if let Some(deb) = files.iter().find(|name| name.ends_with(".deb")) {
        let into = folder.0.join("deb");
        must_succeed(Command::new("dpkg-deb").arg("-x").arg(dist.join(deb)).arg(&into));
        assert!(into.join("usr/bin/taskdiag").is_file());
        assert!(into.join("usr/share/doc/taskdiag/copyright").is_file());
        assert!(deb.contains("9.8.7"), "{deb}");
    }

    // A binary that does not run is no release.
    let broken = folder.script(
        "broken",
        "[ \"$1\" = --version ] && echo taskdiag 1.0 || exit 1\n",
    );
    let failed = Command::new(inside(".ci/release"))
        .arg("--binary")
        .args([&broken, &dist])
        .output()
        .unwrap();
    assert!(!failed.status.success());
}

/// The script asks the binary for these; here the real one is asked.
#[test]
fn the_binary_says_what_the_script_asks_it_for() {
    let folder = Folder::new("asks");
    let version = must_succeed(taskdiag().arg("--version"));
    let words = String::from_utf8_lossy(&version.stdout).into_owned();
    assert_eq!(
        words.split(' ').nth(1).map(str::trim),
        Some(env!("CARGO_PKG_VERSION"))
    );
    must_succeed(taskdiag().args(["man", "--all"]).arg(&folder.0));
    let mut pages: Vec<String> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert!(pages.contains(&"taskdiag.1".to_owned()) && pages.contains(&"taskdiag-diagnose.1".to_owned()));
    assert!(pages.iter().all(|page| !page.contains("-help")), "{pages:?}");
    let main = fs::read_to_string(folder.0.join("taskdiag.1")).unwrap();
    for named in main.split("taskdiag\\-").skip(1) {
        let name: String = named
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        let page = format!("taskdiag-{name}.1");
        assert!(
            pages.contains(&page) || name == "help",
            "{page} is named, and not there: {pages:?}"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        must_succeed(taskdiag().args(["completions", shell]));
    }
}

#[test]
fn every_script_and_every_step_can_be_read_by_bash() {
    for name in [".ci/release", ".ci/run", ".ci/nightly", ".ci/common.sh"] {
        must_parse(name, &fs::read_to_string(inside(name)).unwrap());
    }
    for entry in fs::read_dir(inside(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let workflow: Json = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for (job, body) in workflow["jobs"].as_object().unwrap() {
            for step in body["steps"].as_array().unwrap() {
                if let Some(script) = step["run"].as_str() {
                    must_parse(&format!("{} {job}", path.display()), script);
                }
            }
        }
    }
}

/// Inputs are used, outputs come from a step that is there, and each step is one that bash can read.
#[test]
fn the_action_is_whole() {
    let action = yaml("action.yml");
    let steps = action["runs"]["steps"].as_array().expect("steps");
    assert_eq!(action["runs"]["using"], "composite");
    let whole = action["runs"].to_string();
    for (name, input) in action["inputs"].as_object().expect("inputs") {
        assert!(
            whole.contains(&format!("${{{{ inputs.{name} }}}}")),
            "{name} is not used"
        );
        assert!(
            input["description"].is_string() && input["default"].is_string(),
            "{name}"
        );
    }
    for (name, output) in action["outputs"].as_object().expect("outputs") {
        let value = output["value"].as_str().expect("a value");
        let id = value
            .strip_prefix("${{ steps.")
            .and_then(|rest| rest.split('.').next())
            .expect("of a step");
        let step = steps.iter().find(|step| step["id"] == id).expect("the step");
        assert!(
            step["run"].as_str().unwrap().contains(&format!("{name}=")),
            "{name}"
        );
    }
    for step in steps {
        assert_eq!(step["shell"], "bash");
        let script = step["run"].as_str().unwrap();
        must_parse("action.yml", script);
        // An input that stands in a script is run as one: it may be anybody's text.
        assert!(!script.contains("${{"), "{script}");
    }
}

/// The step itself, as a runner runs it: the exit code is handed on, and every report is asked for.
#[test]
fn the_action_hands_on_the_exit_code() {
    let folder = Folder::new("action");
    folder.script("taskdiag", "echo \"$@\" >said\nexit 20\n");
    let action = yaml("action.yml");
    let steps = action["runs"]["steps"].as_array().unwrap();
    let output = folder.0.join("output");
    let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
    for (step, code) in steps.iter().zip([0, 20]) {
        let script = folder.0.join("step.sh");
        fs::write(&script, step["run"].as_str().unwrap()).unwrap();
        let ran = Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail"])
            .arg(&script)
            .current_dir(&folder.0)
            .env("PATH", &path)
            .env("ARGUMENTS", "--start --silence 10s")
            .env("REPORTS", "taskdiag reports")
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_ACTION_PATH", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(
            ran.status.code(),
            Some(code),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    assert_eq!(fs::read_to_string(&output).unwrap(), "exit-code=20\n");
    let said = fs::read_to_string(folder.0.join("said")).unwrap();
    assert!(
        said.starts_with(
            "diagnose --format github --start --silence 10s --record taskdiag reports/run.jsonl"
        ),
        "{said}"
    );
    assert!(folder.0.join("taskdiag reports").is_dir());
}
