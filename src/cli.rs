//! The command line: clap types only.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::keys;
use crate::report::{self, Format};
use crate::watch::table::Column;

const EXAMPLES: &str = "\
Examples:
  taskdiag diagnose                     submit one task and explain what happens to it
  taskdiag diagnose --start             the same with an API and a worker started just for it
  taskdiag diagnose --record run.jsonl  the same, recorded; `taskdiag replay run.jsonl` explains it again
  taskdiag diagnose --task task_f644    explain a task that is already stuck
  taskdiag check                        can every vantage point see?
  taskdiag explain no-consumer          what a cause means, how we know, what to do

Exit codes: 0 the task succeeded · 10 an explicit failure · 20 silence · 30 could not tell or could
not do what was asked · 2 wrong usage or configuration · 1 a bug in taskdiag";

#[derive(Debug, Parser)]
#[command(name = "taskdiag", version, about = "My task was accepted. Why did it never run?", after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: taskdiag.toml in this folder or one above]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help = keys::help_of_set())]
    pub set: Vec<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Draw with ASCII characters only
    #[arg(long, global = true)]
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
    /// Can every vantage point see? What looks wrong already?
    Check(Check),
    /// Every message of the vhost as it is published and delivered
    Trace(Trace),
    /// Diagnose a recording again, with no service at all
    Replay(Replay),
    /// Render a recording in any format
    Report(Replay),
    /// What differed between two recorded runs, the most relevant first
    Compare(Compare),
    /// What a cause means, how we know, what to do
    Explain(Explain),
    /// List every cause of the catalogue
    Causes(Causes),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff)
    Man,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Print the draft instead of writing taskdiag.toml
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, Args)]
pub struct Submit {
    /// Publish the message itself instead of asking the API
    #[arg(long)]
    pub direct: bool,
    /// Actor of a direct message [default: broker.actor]
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Queue of a direct message [default: broker.queue]
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// Queue to watch: a name, or a glob with * ? [a-z] {a,b} (repeatable) [default: broker.queue]
    #[arg(long, value_name = "NAME|GLOB")]
    pub queue: Vec<String>,
    /// Watch every queue of the vhost
    #[arg(long, conflicts_with = "queue")]
    pub all: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t = WatchFormat::Terminal)]
    pub format: WatchFormat,
    /// End with exit code 0 once this holds: empty, consumed, stuck, or a comparison like 'ready>100'
    /// (ready, unacked, consumers, delayed, dead; joined by commas: all of them; repeated: any of them)
    #[arg(long, value_name = "CONDITION")]
    pub until: Vec<String>,
    /// End with exit code 10 once this holds; the same conditions
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<String>,
    /// End after this long; exit code 30 if an --until was not met
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<String>,
    /// Shortest time between two lines for a fast-changing queue
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    pub interval: String,
    /// Report a queue as stuck if none of its unacked messages is acknowledged for this long
    #[arg(long, value_name = "DURATION", default_value = "30s")]
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
pub struct Diagnose {
    /// Explain this task instead of submitting one
    #[arg(long, value_name = "ID")]
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
    /// If the task fails, repeat it in progressively simpler setups and say what each result proves. This
    /// submits and publishes up to seven more tasks
    #[arg(long, conflicts_with = "task")]
    pub isolate: bool,
    /// Format of the report on stdout
    #[arg(long, value_enum, default_value = "terminal")]
    pub format: Format,
    #[command(flatten)]
    pub export: Export,
    /// Record everything that was seen, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// What counts as success for the exit code
    #[arg(long, value_enum, default_value_t = Expect::Succeeded)]
    pub expect: Expect,
    /// Wait for retries instead of stopping at the first failed attempt
    #[arg(long)]
    pub wait_retries: bool,
    /// Show task arguments; otherwise they are masked everywhere
    #[arg(long)]
    pub show_args: bool,
    /// Show the timeline too
    #[arg(long, short)]
    pub verbose: bool,
    /// Shortcut for --set broker.queue=NAME
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Shortcut for --set timing.silence=DURATION
    #[arg(long, value_name = "DURATION")]
    pub silence: Option<String>,
    /// Shortcut for --set timing.timeout=DURATION
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

#[derive(Debug, Args)]
pub struct Check {
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
    /// Switch off tracing that was left on and that nobody reads
    #[arg(long)]
    pub restore_tracing: bool,
}

#[derive(Debug, Args)]
#[command(after_help = TRACE_HELP)]
pub struct Trace {
    /// Only messages of this queue, its delay and its dead-letter queue; or of queues that match a pattern
    /// with * ? [] (repeatable)
    #[arg(long, value_name = "NAME|GLOB")]
    pub queue: Vec<String>,
    /// Only messages for this actor, or for actors that match a pattern (repeatable)
    #[arg(long, value_name = "NAME|GLOB")]
    pub actor: Vec<String>,
    /// Only messages that carry this id among their arguments, or as their message id (repeatable)
    #[arg(long, value_name = "ID")]
    pub task: Vec<String>,
    /// Only lines that match this regular expression (repeatable: any of them)
    #[arg(long, value_name = "REGEX")]
    pub grep: Vec<String>,
    /// End after this long, e.g. 30s, 5m
    #[arg(long = "for", value_name = "DURATION")]
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

const TRACE_HELP: &str = "\
Filters of different kinds must all match. If the vhost publishes more than 200 messages a second,
or its rate is unknown, tracing has to be allowed with --set broker.trace=on: it costs a busy
publisher up to a third of its rate. However taskdiag ends, tracing is left as it was before.

Exit codes: 0 traced as asked · 30 could not, or not to the end · 2 wrong usage or configuration";

#[derive(Debug, Args)]
pub struct Replay {
    /// What `diagnose --record` or `trace --record` wrote
    pub recording: PathBuf,
    /// In a recording of trace: follow this task. Its id is looked for among the message ids, and among the
    /// arguments if they were recorded (trace --show-args)
    #[arg(long, value_name = "ID")]
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
pub struct Compare {
    /// What `diagnose --record` wrote
    pub first: PathBuf,
    /// The recording to compare it with
    pub second: PathBuf,
    #[arg(long, value_enum, default_value_t = Plain::Terminal)]
    pub format: Plain,
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
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Also write that trace here, as OTLP in JSON
    #[arg(long, value_name = "FILE")]
    pub otlp_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// Id of a cause, as reports name it
    pub cause: String,
}

#[derive(Debug, Args)]
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

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        &Column::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        report::FORMATS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.about))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// The row reaches a success status
    Succeeded,
    /// The actor's own code runs; its result does not matter
    Entered,
}
