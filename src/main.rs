//! Parses, runs, prints the error, picks the exit code.

use std::process::ExitCode;

use clap::Parser;
use taskdiag::{cli::Cli, commands, error::exit, guardian, vantage::exec};

fn main() -> ExitCode {
    // Passwords are in this memory: no core dump holds it, and nobody of the same user reads it.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    match std::env::args().nth(1).as_deref() {
        Some(guardian::ARGUMENT) => return ExitCode::from(guardian::main()),
        Some(exec::ARGUMENT) => return ExitCode::from(commands::stacks::main()),
        _ => {}
    }
    let cli = Cli::parse();
    commands::log_to_stderr();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| commands::run(&cli)));
    ExitCode::from(match result {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            commands::complain(&error);
            error.exit_code()
        }
        // The panic hook has printed what happened.
        Err(_) => exit::BUG,
    })
}
