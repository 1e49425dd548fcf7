//! One file per subcommand: it asks the parts, and says their answers.

mod bundle;
mod causes;
mod check;
mod child_output;
mod compare;
mod demo;
mod diagnose;
mod discover;
mod explain;
mod export;
mod history;
mod init;
mod man;
mod printer;
mod progress;
mod replay;
mod repository;
pub mod stacks;
mod start;
mod submit;
mod trace;
mod watch;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::{CommandFactory, Parser};
use jiff::tz::TimeZone;

use crate::cli::{Cli, Color, Command, Global};
use crate::config::Config;
use crate::error::{Error, Result, exit};
use crate::limits;
use crate::report::Style;

/// Runs the command; the number is the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    crate::interrupt::outlive_file_limits();
    let Some(command) = &cli.command else {
        return without_command(cli);
    };
    match command {
        Command::Explain(args) => explain::run(args, &cli.global),
        Command::Causes(args) => causes::run(args, &cli.global),
        Command::Demo(args) => demo::run(args, &cli.global),
        Command::Bundle(args) => bundle::run(args, &cli.global),
        Command::Compare(args) => compare::run(args, &cli.global),
        Command::Replay(args) | Command::Report(args) => replay::run(args, &cli.global),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "taskdiag", &mut out);
            print_text(&String::from_utf8_lossy(&out))?;
            Ok(exit::OK)
        }
        Command::Man { command, all } => man::run(command.as_deref(), all.as_deref()),
        Command::Submit(args) => runtime()?.block_on(submit::run(args, &cli.global)),
        Command::Init(args) => runtime()?.block_on(init::run(args, &cli.global)),
        Command::Trace(args) => runtime()?.block_on(trace::run(args, &cli.global)),
        Command::Watch(args) => watch::run(args, &cli.global),
        Command::Check(args) => runtime()?.block_on(check::run(args, &cli.global)),
        Command::Diagnose(args) => runtime()?.block_on(diagnose::run(args, &cli.global)),
    }
}

/// In a project without a file the first thing to do is known; with one there are several.
fn without_command(cli: &Cli) -> Result<u8> {
    let has_file = cli.global.config.is_some() || crate::config::Layers::locate(None)?.is_some();
    if has_file || !std::io::stdin().is_terminal() {
        print_text(&Cli::command().render_help().to_string())?;
        if !has_file {
            tell(
                "no taskdiag.toml here or above: in a terminal `taskdiag` says what it would do, and asks; in a script `taskdiag diagnose --yes`",
            );
        }
        return Ok(exit::USAGE);
    }
    let with_command = Cli::parse_from(["taskdiag", "diagnose"]).command;
    let Some(Command::Diagnose(args)) = with_command else {
        return Ok(exit::BUG);
    };
    runtime()?.block_on(diagnose::run(&args, &cli.global))
}

/// `TASKDIAG_LOG=debug` shows on stderr what taskdiag itself does. Only our own events: a library's
/// could hold a password.
pub fn log_to_stderr() {
    let Ok(level) = std::env::var("TASKDIAG_LOG") else {
        return;
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("taskdiag={level}"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

/// Prints an error the way every error is printed: the thing, what was seen, the next step.
pub fn complain(error: &Error) {
    let mut text = format!("error: {error}\n");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(&format!("  because: {inner}\n"));
        source = inner.source();
    }
    text.push_str(&format!("hint: {}\n", error.hint()));
    let text = crate::timeline::scrub::printable(&text);
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Words for a person, where stdout is for something else.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// What a command that goes on for long has to tell about itself, on stderr.
fn tell(text: &str) {
    let text = crate::timeline::scrub::printable(&format!("taskdiag: {text}\n"));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A complaint that does not change the exit code.
fn warn(seen: &str, hint: &str) {
    let text = crate::timeline::scrub::printable(&format!("warning: {seen}\nhint: {hint}\n"));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn warn_of_peek() {
    warn(
        "--peek gets and requeues the messages of the delay and dead-letter queues: they will be marked redelivered",
        "without --peek nothing is touched",
    );
}

/// A recording, or one of the last runs; what is missing of it is said.
fn read_recording(path: &std::path::Path) -> Result<crate::timeline::Timeline> {
    let path = &history::find(path)?;
    let recording = crate::timeline::recording::read(path)?;
    if let Some(line) = recording.torn {
        warn(
            &format!(
                "{} breaks off in the middle of line {line}: that line and whatever followed are lost",
                path.display()
            ),
            "what was before is read; for the whole run take the complete file, if there is one",
        );
    }
    Ok(recording.timeline)
}

/// What a user wants to know besides, on stderr.
fn note(lines: &[String]) {
    let text = crate::timeline::scrub::printable(&format!("{}\n", lines.join("\n")));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The duration that a flag gives.
fn duration(flag: &str, text: &str) -> Result<Duration> {
    crate::config::parse_duration(text).map_err(|seen| Error::Usage {
        message: format!("{flag}: {seen}"),
        hint: format!("write it with a unit, e.g. {flag} 30s"),
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    prepare(builder)
}

/// Sees to it that there is enough of everything before anything is done.
fn prepare(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime> {
    limits::enough_files()?;
    limits::enough_threads().map_err(no_runtime)?;
    crate::interrupt::enforce().map_err(no_runtime)?;
    let runtime = builder
        // Once there they stay: later the system may refuse them.
        .thread_keep_alive(Duration::from_secs(24 * 3600))
        .enable_all()
        .build()
        .map_err(no_runtime)?;
    wake_threads(&runtime);
    // lapin's connections have a runtime of their own, made with the first of them; it panics where it cannot be.
    drop(async_compat::Compat::new(()));
    Ok(runtime)
}

/// What blocks needs a thread of its own, and a task that gets none waits for ever.
fn wake_threads(runtime: &tokio::runtime::Runtime) {
    const WAITING: usize = 3;
    let together = std::sync::Arc::new(std::sync::Barrier::new(WAITING + 1));
    for _ in 0..WAITING {
        let together = together.clone();
        runtime.spawn_blocking(move || together.wait());
    }
    together.wait();
}

fn no_runtime(error: std::io::Error) -> Error {
    Error::Could {
        action: "start",
        target: "the async runtime".into(),
        seen: error.to_string(),
        hint: "the system refuses threads: check ulimit -u".into(),
    }
}

/// The configuration with this command's shortcuts on top.
fn load(global: &Global, shortcuts: &[(&str, Option<&String>)]) -> Result<Config> {
    Config::load(global.config.as_deref(), &flags(global, shortcuts)?)
}

/// `--set`, then this command's shortcuts.
fn flags(global: &Global, shortcuts: &[(&str, Option<&String>)]) -> Result<Vec<(String, String)>> {
    let mut flags = Vec::new();
    for pair in &global.set {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::Usage {
                message: format!("--set {pair}: there is no ="),
                hint: "write --set KEY=VALUE, e.g. --set broker.queue=emails".into(),
            });
        };
        flags.push((key.trim().to_owned(), value.to_owned()));
    }
    for (key, value) in shortcuts {
        if let Some(value) = value {
            flags.push(((*key).to_owned(), (*value).clone()));
        }
    }
    Ok(flags)
}

/// How to draw on stdout. Who looks at a terminal has his own time of the day; logs and files are in UTC.
fn style(global: &Global, timeline: bool) -> Style {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
    let is_terminal = std::io::stdout().is_terminal();
    let width = if is_terminal { terminal_width() } else { 100 };
    Style {
        color: is_colored(global, &std::io::stdout()),
        ascii: global.ascii,
        width: width.clamp(50, 140),
        timeline,
        zone: is_terminal.then(|| &*ZONE),
        locate: repository::locate,
    }
}

/// As was asked; if nothing was, as the stream and NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM say.
fn is_colored(global: &Global, stream: &impl RawStream) -> bool {
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => AutoStream::choice(stream) != ColorChoice::Never,
    }
}

/// Columns of the terminal, now. Some say that they have none.
fn terminal_width() -> u16 {
    let columns = crossterm::terminal::size().map(|(columns, _)| columns);
    columns.ok().filter(|columns| *columns > 0).unwrap_or(100)
}

/// Each line of a terminal wrapped at words, below where its second column begins; a pipe gets it as it is.
fn folded(text: &str, is_terminal: bool) -> String {
    if !is_terminal {
        return text.to_owned();
    }
    let width = usize::from(terminal_width());
    text.lines().map(|line| fold(line, width) + "\n").collect()
}

fn fold(line: &str, width: usize) -> String {
    let start = line.len() - line.trim_start().len();
    let second = line[start..].find("  ").map(|at| {
        let rest = &line[start + at..];
        start + at + rest.len() - rest.trim_start().len()
    });
    let indent = second.filter(|at| *at < width / 2).unwrap_or(start);
    if crate::text::width(line) <= width {
        return line.to_owned();
    }
    let lines = crate::text::wrapped(&line[indent..], width - indent);
    format!(
        "{}{}",
        &line[..indent],
        lines.join(&format!("\n{}", " ".repeat(indent)))
    )
}

/// Prints what is for people, as they asked for it.
fn print_words(text: &str, global: &Global) -> Result<()> {
    if global.ascii {
        print_text(&crate::report::ascii(text))
    } else {
        print_text(text)
    }
}

/// Prints, and treats a closed pipe (`| head`) as a reader who has seen enough.
fn print_text(text: &str) -> Result<()> {
    match std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
    {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Write {
            path: PathBuf::from("stdout"),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn a_row_is_folded_below_its_second_column() {
        let row = "  api.url       \"http://localhost\"  (the code)";
        assert_eq!(fold(row, 80), row);
        assert_eq!(
            fold(row, 36),
            "  api.url       \"http://localhost\"\n                (the code)"
        );
        assert_eq!(fold("  words that go on", 12), "  words that\n  go on");
    }
}
