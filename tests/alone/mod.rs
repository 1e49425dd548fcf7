//! A program that does not see the services of the machine the tests run on.

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
