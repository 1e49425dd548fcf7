//! One file per subcommand: each wires the parts, and holds no logic of its own.

mod causes;
mod check;
mod compare;
mod diagnose;
mod explain;
mod export;
mod init;
mod live;
mod printer;
mod progress;
mod replay;
mod start;
mod submit;
mod trace;
mod watch;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::CommandFactory;

use crate::cli::{Cli, Color, Command, Global};
use crate::config::Config;
use crate::error::{Error, Result, exit};
use crate::report::Style;

/// Runs the command; the number is the exit code.
pub fn run(cli: &Cli) -> Result<u8> {
    match &cli.command {
        Command::Explain(args) => explain::run(args, &cli.global),
        Command::Causes(args) => causes::run(args, &cli.global),
        Command::Compare(args) => compare::run(args, &cli.global),
        Command::Replay(args) | Command::Report(args) => replay::run(args, &cli.global),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "taskdiag", &mut out);
            print_text(&String::from_utf8_lossy(&out))?;
            Ok(exit::OK)
        }
        Command::Man => {
            let mut out = Vec::new();
            let _ = clap_mangen::Man::new(Cli::command()).render(&mut out);
            print_text(&String::from_utf8_lossy(&out))?;
            Ok(exit::OK)
        }
        Command::Submit(args) => runtime()?.block_on(submit::run(args, &cli.global)),
        Command::Init(args) => runtime()?.block_on(init::run(args, &cli.global)),
        Command::Trace(args) => runtime()?.block_on(trace::run(args, &cli.global)),
        Command::Watch(args) => watch::run(args, &cli.global),
        Command::Check(args) => runtime()?.block_on(check::run(args, &cli.global)),
        Command::Diagnose(args) => runtime()?.block_on(diagnose::run(args, &cli.global)),
    }
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

/// A recording; what is missing of it is said.
fn read_recording(path: &std::path::Path) -> Result<crate::timeline::Timeline> {
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

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(no_runtime)
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
    Config::load(global.config.as_deref(), &flags)
}

/// How to draw on stdout.
fn style(global: &Global, timeline: bool) -> Style {
    let width = if std::io::stdout().is_terminal() {
        terminal_width()
    } else {
        100
    };
    Style {
        color: is_colored(global, &std::io::stdout()),
        ascii: global.ascii,
        width: width.clamp(50, 140),
        timeline,
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
