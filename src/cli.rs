//! The command line: clap types only.

mod examples;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::keys;
use crate::report::Format;
use crate::watch::table::Column;
use values::filled;

#[derive(Debug, Parser)]
#[command(name = "taskdiag", version, about = "My task was accepted. Why did it never run?", after_help = examples::EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// Left out in a project without a taskdiag.toml: `diagnose`, after a question
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// They stand below a command's own.
const GLOBAL: &str = "Global options";

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: taskdiag.toml in this folder or one above]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help = keys::help_of_set(), help_heading = GLOBAL)]
    pub set: Vec<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = GLOBAL)]
    pub color: Color,
    /// Draw with ASCII characters only
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub ascii: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draft a commented taskdiag.toml by looking at the project in this folder
    Init(Init),
    /// Send one task, through the API or (--direct) straight to the queue
    Submit(Submit),
    /// Live view of queues, until a condition or Ctrl-C
    Watch(Watch),
    /// Submit a task, watch everything, and say how far it got and why it stopped there
    Diagnose(Diagnose),
    /// Test every connection and permission, and list problems that are visible now
    Check(Check),
    /// Every message of the vhost as it is published and delivered
    Trace(Trace),
    /// Diagnose a recording again, offline
    Replay(Replay),
    /// The same as replay: convert a recording to another report format
    Report(Replay),
    /// What differed between two recorded runs, the most relevant first
    Compare(Compare),
    /// What a cause means, how we know, what to do
    Explain(Explain),
    /// List every cause of the catalogue
    Causes(Causes),
    /// Eight recorded runs that come with taskdiag: nothing has to be installed or started
    Demo(Demo),
    /// Pack the last run for a ticket: recording, reports, configuration without secrets, ends of the logs
    Bundle(Bundle),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff): of taskdiag, or of one of its commands
    Man {
        command: Option<String>,
        /// Write the pages of taskdiag and of all its commands into this folder
        #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
        all: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = examples::INIT_EXAMPLES)]
pub struct Init {
    /// Print the draft instead of writing taskdiag.toml
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::SUBMIT_EXAMPLES)]
pub struct Submit {
    /// Publish the message itself instead of asking the API
    #[arg(long)]
    pub direct: bool,
    /// Actor of a direct message [default: broker.actor]
    #[arg(long, requires = "direct", value_name = "NAME", value_parser = filled)]
    pub actor: Option<String>,
    /// Queue of a direct message [default: broker.queue]
    #[arg(long, requires = "direct", value_name = "NAME", value_parser = filled)]
    pub queue: Option<String>,
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
}

#[derive(Debug, Args)]
#[command(after_help = examples::WATCH_EXAMPLES)]
pub struct Watch {
    /// Queue to watch: a name, or a glob with * ? [a-z] {a,b} (repeatable) [default: broker.queue]
    #[arg(long, value_name = "NAME|GLOB", value_parser = filled)]
    pub queue: Vec<String>,
    /// Watch every queue of the vhost
    #[arg(long, conflicts_with = "queue")]
    pub all: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t = WatchFormat::Terminal)]
    pub format: WatchFormat,
    /// Exit 0 as soon as CONDITION holds: empty, consumed, stuck, or a comparison like 'ready>100'
    /// (ready, unacked, consumers, delayed, dead; joined by commas: all of them; repeated: any of them)
    #[arg(long, value_name = "CONDITION", value_parser = filled)]
    pub until: Vec<String>,
    /// Exit 10 as soon as CONDITION holds; the same conditions
    #[arg(long, value_name = "CONDITION", value_parser = filled)]
    pub fail_on: Vec<String>,
    /// End after this long; exit code 30 if an --until was not met
    #[arg(long = "for", value_name = "DURATION", value_parser = filled)]
    pub duration: Option<String>,
    /// Redraw a fast-changing queue at most this often
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = filled)]
    pub interval: String,
    /// Call a queue stuck when none of its unacked messages was acknowledged for this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = filled)]
    pub stuck_after: String,
    /// Columns of the live table, in this order
    #[arg(long, value_name = "COLUMN", value_enum, value_delimiter = ',')]
    pub columns: Vec<Column>,
    /// Sort the live table by this column
    #[arg(long, value_name = "COLUMN", value_enum, default_value_t = Column::Queue)]
    pub sort: Column,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WatchFormat {
    /// A live table in a terminal, otherwise lines
    Terminal,
    /// One line for each change
    Lines,
    /// The same as JSON Lines: taskdiag.watch.v1
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = examples::DIAGNOSE_EXAMPLES)]
pub struct Diagnose {
    /// Without a taskdiag.toml: do what this folder shows without asking, unless a value of it is a guess
    #[arg(long)]
    pub yes: bool,
    /// Explain this task instead of submitting one
    #[arg(long, value_name = "ID", value_parser = filled)]
    pub task: Option<String>,
    /// Start the API and the worker first, as [services], [api] and [worker] of taskdiag.toml say, and stop
    /// them afterwards with everything that they started
    #[arg(long, conflicts_with = "task")]
    pub start: bool,
    /// With --start: leave them running, and say how to stop them
    #[arg(long, requires = "start")]
    pub keep: bool,
    /// Look at the messages of the delay and dead-letter queues too. This gets and requeues them, which
    /// marks them as redelivered; refused where a message could be lost
    #[arg(long)]
    pub peek: bool,
    /// Look at the first 100 messages of the work queue itself, too: only while it has no consumer, and not on
    /// a quorum queue before RabbitMQ 4.3
    #[arg(long, requires = "task")]
    pub peek_main: bool,
    /// If it fails, repeat it with parts left out to find the faulty part (sends up to 7 more tasks)
    #[arg(long, conflicts_with = "task")]
    pub isolate: bool,
    /// Format of the report on stdout
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: Format,
    #[command(flatten)]
    pub export: Export,
    /// Record everything that was seen, as JSON Lines. The last 20 runs are kept anyhow, masked: `replay last`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Keep no recording of this run but --record's
    #[arg(long)]
    pub forget: bool,
    /// What counts as success for the exit code
    #[arg(long, value_enum, default_value_t = Expect::Succeeded)]
    pub expect: Expect,
    /// Wait for retries too (default: stop at the first failed attempt)
    #[arg(long)]
    pub wait_retries: bool,
    /// Show task arguments; otherwise they are masked everywhere
    #[arg(long)]
    pub show_args: bool,
    /// Show the timeline too
    #[arg(long, short)]
    pub verbose: bool,
    /// Shortcut for --set broker.queue=NAME
    #[arg(long, value_name = "NAME", value_parser = filled)]
    pub queue: Option<String>,
    /// Shortcut for --set timing.silence=DURATION
    #[arg(long, value_name = "DURATION", value_parser = filled)]
    pub silence: Option<String>,
    /// Shortcut for --set timing.timeout=DURATION
    #[arg(long, value_name = "DURATION", value_parser = filled)]
    pub timeout: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = examples::CHECK_EXAMPLES)]
pub struct Check {
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
    /// Look again until every source sees and no problem is visible, for this long at most
    #[arg(long, value_name = "DURATION", value_parser = filled)]
    pub wait: Option<String>,
    /// Exit 10 if a problem is visible
    #[arg(long)]
    pub strict: bool,
    /// Read the dead letters, too: for which actors, and why. This gets and requeues them, which marks them as
    /// redelivered; refused where a message could be lost
    #[arg(long)]
    pub peek: bool,
    /// Switch off tracing that was left on and that nobody reads
    #[arg(long)]
    pub restore_tracing: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::TRACE_HELP)]
pub struct Trace {
    /// Only messages of this queue, its delay and its dead-letter queue; or of queues that match a pattern
    /// with * ? [] (repeatable)
    #[arg(long, value_name = "NAME|GLOB", value_parser = filled)]
    pub queue: Vec<String>,
    /// Only messages for this actor, or for actors that match a pattern (repeatable)
    #[arg(long, value_name = "NAME|GLOB", value_parser = filled)]
    pub actor: Vec<String>,
    /// Only messages that carry this id among their arguments, or as their message id (repeatable)
    #[arg(long, value_name = "ID", value_parser = filled)]
    pub task: Vec<String>,
    /// Only lines that match this regular expression (repeatable: any of them)
    #[arg(long, value_name = "REGEX", value_parser = filled)]
    pub grep: Vec<String>,
    /// End after this long, e.g. 30s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = filled)]
    pub lasting: Option<String>,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Lines for people, or JSON Lines (docs/trace.v1.schema.json)
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
    /// Show task arguments; otherwise they are masked
    #[arg(long)]
    pub show_args: bool,
    /// Record everything that is traced, also what the filters hide
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = examples::REPLAY_EXAMPLES)]
pub struct Replay {
    /// What `diagnose --record` or `trace --record` wrote; `last`: the last run, `good`: the last that succeeded
    pub recording: PathBuf,
    /// In a recording of trace: follow this task. Its id is looked for among the message ids, and among the
    /// arguments if they were recorded (trace --show-args)
    #[arg(long, value_name = "ID", value_parser = filled)]
    pub task: Option<String>,
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: Format,
    #[command(flatten)]
    pub export: Export,
    /// Show task arguments that were recorded (--show-args); otherwise they are masked again
    #[arg(long)]
    pub show_args: bool,
    /// Show the timeline too
    #[arg(long, short)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::COMPARE_EXAMPLES)]
pub struct Compare {
    /// What `diagnose --record` wrote; `last`: the last run, `good`: the last that succeeded
    pub first: PathBuf,
    /// The recording to compare it with
    pub second: PathBuf,
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
    /// End with exit code 10 if the verdicts differ
    #[arg(long)]
    pub exit_code: bool,
    /// Show every difference
    #[arg(long, short)]
    pub verbose: bool,
}

/// Where a report goes besides stdout.
#[derive(Debug, Args)]
pub struct Export {
    /// Also write the report here; the extension chooses the format: .txt .json .jsonl .md .xml (JUnit)
    /// .mmd .html (repeatable)
    #[arg(long, short, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Also send the run as an OpenTelemetry trace to this OTLP/HTTP endpoint, e.g. http://localhost:4318
    /// (headers from OTEL_EXPORTER_OTLP_HEADERS)
    #[arg(long, value_name = "URL", value_parser = filled)]
    pub otlp: Option<String>,
    /// Also write that trace here, as OTLP in JSON
    #[arg(long, value_name = "FILE")]
    pub otlp_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = examples::EXPLAIN_EXAMPLES)]
pub struct Explain {
    /// Id of a cause, as reports name it [default, with --run: the cause that its verdict names]
    #[arg(value_parser = filled)]
    pub cause: Option<String>,
    /// Fill in the names of this run: a recording, or `last`
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// Print what `[worker] exec` and `[api] exec` run where the worker and the API run
    #[arg(long, conflicts_with_all = ["cause", "run"])]
    pub eyes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::DEMO_EXAMPLES)]
pub struct Demo {
    /// The run to show [default: lists them and shows the first]
    pub run: Option<String>,
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: Format,
    #[command(flatten)]
    pub export: Export,
    /// Show the timeline too
    #[arg(long, short)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = examples::BUNDLE_EXAMPLES)]
pub struct Bundle {
    /// A recording, or `last`
    #[arg(default_value = "last")]
    pub run: PathBuf,
    /// The archive to write [default: taskdiag-CAUSE.tar.gz in this folder]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = examples::CAUSES_EXAMPLES)]
pub struct Causes {
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
}

/// Formats of output that is not a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plain {
    /// For people
    Terminal,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// The row reaches a success status
    Succeeded,
    /// The actor's own code runs; its result does not matter
    Entered,
}
