//! What the command line says, word for word: `tests/cli/*.trycmd`.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes the answers anew; read the difference before
//! committing it.

/// Width of the terminal that the texts are wrapped for.
const COLUMNS: &str = "100";

#[test]
fn the_command_line() {
    trycmd::TestCases::new()
        .case("tests/cli/*.trycmd")
        .env("COLUMNS", COLUMNS)
        .env("NO_COLOR", "1");
}
