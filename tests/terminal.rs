//! The binary's own switches of drawing: `--ascii`, `--color`, `NO_COLOR`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;

use std::path::Path;
use std::process::Command;

use alone::{taskdiag, without_environment};

fn run(args: &[&str], no_color: Option<&str>) -> String {
    let mut command = taskdiag();
    command
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    let output = command.output().unwrap();
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The same on a terminal, which `script` is.
fn run_on_terminal(args: &[&str], no_color: Option<&str>) -> String {
    let command: Vec<&str> = [&[env!("CARGO_BIN_EXE_taskdiag")], args].concat();
    let mut script = Command::new("script");
    without_environment(&mut script);
    script
        .args(["-qec", &command.join(" "), "/dev/null"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .env("TERM", "xterm-256color");
    if let Some(value) = no_color {
        script.env("NO_COLOR", value);
    }
    String::from_utf8(script.output().expect("util-linux is installed").stdout).unwrap()
}

const REPLAY: [&str; 2] = ["replay", "fixtures/runs/no-consumer/timeline.jsonl"];

#[test]
fn ascii_leaves_no_other_character() {
    let explained = taskdiag::diagnosis::causes::ALL
        .iter()
        .map(|cause| vec!["explain", cause.id, "--ascii"]);
    let others = [
        vec![REPLAY[0], REPLAY[1], "-v", "--ascii", "--color", "always"],
        vec!["causes", "--ascii"],
    ];
    for args in explained.chain(others) {
        let text = run(&args, None);
        assert!(text.is_ascii(), "{args:?}: {text}");
    }
}

#[test]
fn colour_is_for_terminals_unless_somebody_says_otherwise() {
    let colours = |text: &str| text.contains('\u{1b}');
    let with = |more: &[&'static str]| [&REPLAY[..], more].concat();
    assert!(!colours(&run(&with(&[]), None)));
    assert!(colours(&run(&with(&["--color", "always"]), Some("1"))));
    assert!(colours(&run_on_terminal(&with(&[]), None)));
    assert!(
        colours(&run_on_terminal(&with(&[]), Some(""))),
        "an empty NO_COLOR is none"
    );
    assert!(!colours(&run_on_terminal(&with(&[]), Some("1"))));
    assert!(!colours(&run_on_terminal(&with(&["--color", "never"]), None)));
}
