//! A program that sees neither the services of the machine the tests run on nor the environment of its user.

// Each test takes what it needs.
#![allow(dead_code)]

use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Root makes a network namespace as it is, anybody else as root of a user namespace.
const WAYS: [&[&str]; 2] = [&["--net"], &["--map-root-user", "--net"]];

/// The first way that this machine allows: containers and some distributions allow none.
static WAY: LazyLock<Option<&[&str]>> = LazyLock::new(|| {
    WAYS.into_iter().find(|way| {
        let tried = Command::new("unshare")
            .args(*way)
            .arg("true")
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    })
});

/// The program in a network namespace of its own, in which nobody listens on any port; as it is
/// where no namespace can be had.
pub fn alone(program: &str) -> Command {
    let Some(way) = *WAY else {
        return Command::new(program);
    };
    let mut command = Command::new("unshare");
    command.args(way).arg("--").arg(program);
    command
}

/// taskdiag without the user's environment: what he has set for himself is no part of a test.
pub fn taskdiag() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskdiag"));
    without_environment(&mut command);
    command
}

pub fn without_environment(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
}
