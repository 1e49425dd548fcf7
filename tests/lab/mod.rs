//! The Python of `fixtures/lab`, for tests that need one of its tools.

use std::path::Path;
use std::process::Command;

/// Brings the lab's services up; its Python environment comes with them.
pub fn python() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lab");
    let output = Command::new(&script)
        .args(["up", "--services"])
        .output()
        .expect("fixtures/lab can be run");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the lab cannot start, so this test cannot run:\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let venv = stdout
        .lines()
        .find_map(|line| line.strip_prefix("LAB_VENV="))
        .expect("fixtures/lab prints LAB_VENV");
    let mut command = Command::new(Path::new(venv).join("bin/python"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs it and fails with all it says unless it succeeds.
pub fn must_succeed(mut command: Command) {
    let output = command.output().expect("Python starts");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
