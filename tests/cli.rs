//! What the command line says, word for word: `tests/cli/*.trycmd`.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes the answers anew; read the difference before
//! committing it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use alone::without_environment;

mod alone;

/// Width of the terminal that the texts are wrapped for.
const COLUMNS: &str = "100";

/// Set where the test runs in an environment of its own.
const CLEARED: &str = "TEST_CLI_CLEARED";

/// The cases' temporary folders lie where no `taskdiag.toml` of the user's lies above them.
fn folder_without_configuration() -> PathBuf {
    let mut folders = [std::env::temp_dir(), "/var/tmp".into(), "/dev/shm".into()].into_iter();
    let has_none = |folder: &PathBuf| {
        let mut above = folder.ancestors();
        folder.is_dir() && !above.any(|folder| folder.join("taskdiag.toml").exists())
    };
    let found = folders.find(has_none);
    found.expect("a temporary folder with no taskdiag.toml above it")
}

/// trycmd hands on the environment that it has: this very test runs again, in none.
#[test]
fn the_command_line() {
    if std::env::var_os(CLEARED).is_none() {
        let mut again = Command::new(std::env::current_exe().expect("a test"));
        without_environment(&mut again);
        again
            .args(["--exact", "the_command_line", "--nocapture"])
            .env(CLEARED, "1")
            .env("TMPDIR", folder_without_configuration())
            .envs(std::env::var("TRYCMD").map(|mode| ("TRYCMD", mode)));
        assert!(again.status().expect("it runs").success());
        return;
    }
    trycmd::TestCases::new()
        .case("tests/cli/*.trycmd")
        .env("COLUMNS", COLUMNS)
        .env("NO_COLOR", "1");
}
