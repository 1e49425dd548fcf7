//! What a task framework is to us: one table of data and functions for each.
//!
//! To add one: a folder with its `FRAMEWORK`, one row of [`ALL`], and the pages and causes that only it has.
//! What the rest of taskdiag knows of a framework goes through here; causes that one framework alone has are in
//! `src/diagnosis/causes/`.

pub mod celery;
mod client;
mod codec;
mod control;
pub mod dramatiq;
mod ids;
mod log;
mod log_event;
mod message;
mod queues;
mod stack;
#[cfg(test)]
pub mod toy;
mod traceback;

pub use client::ClientShape;
pub use codec::{
    Call, Codec, Copy, CopyOrder, DecodeOptions, Envelope, Header, Properties, fresh_id, replace_id,
    unseen_id, with_task_id,
};
pub use control::{
    ControlShape, Heartbeat, HeldTask, Inquiry, Inspection, NONE_HEARD_YET, Question, ReplyTo, TimeLimits,
};
pub use ids::{WantedId, contains_id, contains_token, is_same_id, names_another_of_its_series, spellings};
pub use log::{LineMeaning, LineSubject, LogReader, LogShape, Verbosity};
pub use log_event::{Handling, LogEvent, WorkerLife};
pub use message::{ArgumentValues, BorrowedMessage, FollowUp, Later, Message};
pub use queues::{LaterWords, Queues, Role};
pub use stack::{FrameMatch, StackShape, is_database_library};
pub use traceback::{
    Traceback, TracebackFrame, before_the_last, class_of, ends_a_program, exception_in, function_of,
    is_a_programs_first_frame, is_one_of, raises_one_of,
};

/// One task framework.
#[derive(Debug)]
pub struct Framework {
    /// In `taskdiag.toml`, in recordings and in the JSON of `trace`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Words in a text for people that make it one about this framework, and no other.
    pub own_words: &'static [&'static str],
    pub queues: Queues,
    pub codec: Codec,
    pub log: LogShape,
    pub stack: StackShape,
    pub worker: WorkerShape,
    pub source: SourceShape,
    pub client: ClientShape,
    pub takes: Takes,
    /// Exceptions that it raises in a task that runs too long.
    pub time_limits: &'static [&'static str],
    /// Exceptions by which a task asks to be run again later.
    pub asks_again: &'static [&'static str],
    /// A message may have a time to live of its own, after which its queue drops it.
    pub messages_expire: bool,
    /// Where it keeps a row of results for each task by itself, under the message's id: its word for a task of
    /// which it has none.
    pub unknown_result: Option<&'static str>,
    /// The tables in which it keeps them: there is a row once the task has ended, or begun.
    pub result_tables: &'static [&'static str],
    pub acknowledges: Acknowledges,
    /// Its line on a failure is its last word: an attempt that is retried has a line of another kind.
    pub failure_is_final: bool,
    pub delays: Delays,
    /// Its workers talk over the broker.
    pub control: Option<ControlShape>,
}

/// Every framework; the first is meant where nothing says which.
pub static ALL: &[&Framework] = &[
    &dramatiq::FRAMEWORK,
    &celery::FRAMEWORK,
    #[cfg(test)]
    &toy::FRAMEWORK,
];

/// A program of this name starts some framework's worker.
pub fn is_worker_program(name: &str) -> bool {
    ALL.iter().any(|framework| framework.worker.is_program(name))
}

/// A word that names a program which runs Python: the interpreter, a server of APIs, some framework's worker.
pub fn is_python_program(word: &str) -> bool {
    const KNOWN: &[&str] = &["python", "pypy", "uvicorn", "gunicorn", "hypercorn"];
    let name = word.rsplit('/').next().unwrap_or(word);
    KNOWN.iter().any(|known| name.starts_with(known)) || is_worker_program(name)
}

/// Workers of some framework talk among themselves by this exchange, or through this queue.
pub fn is_bookkeeping(exchange: &str, queue: &str) -> bool {
    let mut all = ALL.iter();
    all.any(|framework| (framework.queues.is_bookkeeping)(exchange, queue))
}

/// Some framework's worker calls itself so.
pub fn is_worker_title(word: &str) -> bool {
    let mut titles = ALL.iter().filter_map(|framework| framework.worker.title);
    titles.any(|title| word.starts_with(title))
}

/// A text names some framework's worker.
pub fn is_worker_named_in(text: &str) -> bool {
    ALL.iter().any(|framework| framework.worker.is_named_in(text))
}

/// A variable that usually holds the broker's URL for some framework.
pub fn is_broker_variable(name: &str) -> bool {
    ALL.iter()
        .any(|framework| framework.worker.broker_variable == name)
}

/// A variable whose value is a switch or a number of some framework's: harmless, and telling.
pub fn is_harmless_variable(name: &str) -> bool {
    ALL.iter().any(|framework| {
        let worker = &framework.worker;
        worker.test_switches.contains(&name)
            || worker
                .tuning_prefixes
                .iter()
                .any(|prefix| name.starts_with(prefix))
    })
}

/// A value of a variable that makes some framework keep messages in the process's own memory.
pub fn is_test_url(value: &str) -> bool {
    ALL.iter()
        .any(|framework| framework.worker.test_urls.contains(&value))
}

/// Frameworks whose tasks run inside a chain of middleware.
pub const WITH_MIDDLEWARE: &[&str] = &["dramatiq"];

/// There is one of each name.
impl PartialEq for Framework {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Framework {
    /// The one that is called so.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|framework| framework.name == name)
    }

    /// The one that people call so.
    pub fn titled(title: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|framework| framework.title == title)
    }

    /// What is meant where nothing says which.
    pub fn usual() -> &'static Self {
        ALL[0]
    }

    /// Reads a message; one that cannot be read says why.
    pub fn decode(&self, envelope: &Envelope<'_>, show_args: bool) -> Message {
        codec::decode(&self.codec, envelope, show_args)
    }

    /// A traceback in which this framework's own frames are known.
    pub fn traceback(&'static self, text: &str) -> Option<Traceback> {
        Traceback::new(text, &self.stack)
    }
}

/// A worker's processes, and what is theirs to be set.
#[derive(Debug)]
pub struct WorkerShape {
    /// Programs that start it, by the last part of their paths.
    pub programs: &'static [&'static str],
    /// What its processes call themselves, where they do.
    pub title: Option<&'static str>,
    /// The word after which such a program is a worker, where it does other things as well.
    pub subcommand: Option<&'static str>,
    /// The words that start it with a module or an application, whose place is empty.
    pub start: &'static [&'static str],
    /// Words that make it log enough, any of them.
    pub telling_flags: &'static [&'static str],
    /// What it says too little of without them.
    pub without_flags: &'static str,
    /// What makes it log at DEBUG.
    pub debug_flag: &'static str,
    /// In `taskdiag.toml`: how it is started.
    pub start_example: &'static str,
    /// What a wrong use of its command line comes to, in words: from the command, whether the log holds the
    /// program's own complaint, and the exception or line that the log ends in.
    pub misuse: fn(command: &[String], usage_error: bool, text: &str) -> Option<String>,
    /// What is wrong with its command line, as far as the words say.
    pub mistakes: fn(command: &[String]) -> Vec<String>,
    /// The queues to which its command line restricts it, if it does.
    pub queues: fn(command: &[String]) -> Option<Vec<String>>,
    /// Distributions that carry its messages.
    pub packages: &'static [&'static str],
    /// Distributions with such a beginning extend it.
    pub package_prefix: &'static str,
    /// Variables that only it reads begin so.
    pub variable_prefix: &'static str,
    /// A variable that often holds the broker's URL.
    pub broker_variable: &'static str,
    /// Where it connects when nothing tells it of a broker.
    pub default_broker: Option<&'static DefaultBroker>,
    /// Variables that make it keep messages to itself, as for tests.
    pub test_switches: &'static [&'static str],
    /// URLs of a broker in the process's own memory, which hide nothing.
    pub test_urls: &'static [&'static str],
    /// Variables whose values are numbers that tell something and hide nothing.
    pub tuning_variables: &'static [&'static str],
    /// … and families of them.
    pub tuning_prefixes: &'static [&'static str],
}

/// A broker that a framework takes where it is told of none.
#[derive(Debug, Clone, Copy)]
pub struct DefaultBroker {
    /// On the machine itself.
    pub port: &'static str,
    pub user: &'static str,
    pub vhost: &'static str,
    /// How the worker's log writes it, behind user and password.
    pub written: &'static [&'static str],
}

impl DefaultBroker {
    /// `127.0.0.1:5672`.
    pub fn is_at(&self, address: &str) -> bool {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            let host = host.trim_matches(['[', ']']);
            port == self.port && (host == "localhost" || host == "::1" || host.starts_with("127."))
        })
    }

    /// A line of the worker's log names it.
    pub fn is_named_in(&self, text: &str) -> bool {
        let user = format!("://{}:", self.user);
        text.contains(&user) && self.written.iter().any(|written| text.contains(written))
    }

    /// What a line or an answer that names it may be followed by.
    pub fn words(&self, title: &str) -> String {
        format!(
            "; localhost:{} as {} is where {title} connects when nothing tells it of a broker",
            self.port, self.user
        )
    }
}

impl WorkerShape {
    /// The command that starts it with this module or application.
    pub fn start_with(&self, module: &str) -> Vec<String> {
        let words = self.start.iter();
        words
            .map(|word| if word.is_empty() { module } else { word }.to_owned())
            .collect()
    }

    /// A word of a command line is one of its programs.
    pub fn is_program(&self, word: &str) -> bool {
        self.programs.contains(&word.rsplit('/').next().unwrap_or(word))
    }

    /// A command line starts it.
    pub fn is_started_by(&self, command: &[String]) -> bool {
        let is_there = |wanted: &str| command.iter().any(|word| word == wanted);
        let first = command.first().map_or("", String::as_str);
        if self.title.is_some_and(|title| first.starts_with(title)) {
            return true;
        }
        command.iter().take(3).any(|word| self.is_program(word)) && self.subcommand.is_none_or(is_there)
    }

    /// A word of a command line names it.
    pub fn is_named_in(&self, word: &str) -> bool {
        self.programs.iter().any(|program| word.contains(program))
    }

    /// The distribution carries its messages, or extends it.
    pub fn is_package(&self, name: &str) -> bool {
        self.packages.contains(&name) || name.starts_with(self.package_prefix)
    }
}

/// How its workers and tasks look in Python sources: what `init` searches for.
#[derive(Debug)]
pub struct SourceShape {
    /// The module that is imported.
    pub module: &'static str,
    /// What makes a function a task.
    pub decorator: &'static str,
    /// The same as a method of an object whose name ends so.
    pub method: &'static str,
    pub objects: &'static [&'static str],
    /// What names a task and its queue in there.
    pub name_option: &'static str,
    pub queue_option: &'static str,
    /// A task that nothing names is called after its module, too.
    pub is_named_by_module: bool,
    /// The class whose object a worker is started with; where there is none, it is started with modules.
    pub application: Option<&'static str>,
    /// The argument of that class that is its broker's address, and the settings that are it, in small letters.
    pub broker_option: Option<&'static str>,
    pub broker_settings: &'static [&'static str],
    /// Settings that send tasks to other queues than the default, and the one that names the default.
    pub routing: &'static [&'static str],
    pub default_queue_settings: &'static [&'static str],
    /// Tasks of its own examples, which projects keep and nothing sends.
    pub examples: &'static [&'static str],
    /// What is called to send one.
    pub send: &'static str,
    /// The queue of a task that names none.
    pub default_queue: &'static str,
    /// The package that runs it in Django.
    pub django: Option<DjangoShape>,
    /// Brokers that it can have and that are no RabbitMQ, each with the words of code that say so: schemes of the
    /// broker's address where there is an application, else classes and modules.
    pub other_brokers: &'static [(&'static str, &'static [&'static str])],
}

/// What a framework's package for Django brings.
#[derive(Debug, PartialEq, Eq)]
pub struct DjangoShape {
    pub app: &'static str,
    /// The worker, as a command of `manage.py`, if it is one.
    pub command: Option<&'static str>,
    /// Where it keeps tasks.
    pub table: &'static str,
    pub id_column: &'static str,
    /// Its words for a task that runs, has succeeded and has failed.
    pub statuses: [&'static str; 3],
    /// When there are rows in it.
    pub kept_if: &'static str,
}

impl SourceShape {
    /// An application in a module that is called as the framework's own is found by the name of its package.
    pub fn package_of<'m>(&self, module: &'m str) -> &'m str {
        let package = module.strip_suffix(self.module);
        package
            .and_then(|package| package.strip_suffix('.'))
            .unwrap_or(module)
    }

    /// Words of code that tell of this framework and its brokers.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let brokers = self
            .other_brokers
            .iter()
            .flat_map(|(_, words)| words.iter().copied());
        let app = self.django.iter().map(|django| django.app);
        std::iter::once(self.module).chain(app).chain(brokers)
    }
}

/// The worker of a framework, as a command of Django's `manage.py`; projects have variants of their own.
pub fn is_django_worker(command: &str) -> bool {
    let mut packages = ALL
        .iter()
        .filter_map(|framework| framework.source.django.as_ref());
    packages.any(|django| django.command.is_some_and(|worker| command.starts_with(worker)))
}

/// In this table a package for Django keeps some framework's tasks or their results.
pub fn is_django_table(table: &str) -> bool {
    let mut packages = ALL
        .iter()
        .filter_map(|framework| framework.source.django.as_ref());
    packages.any(|django| django.table == table)
}

/// Which process of a worker takes messages from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Each child for itself: one whose master is gone is an orphan.
    Child,
    /// The master, which hands them to children without a connection.
    Master,
}

/// When a worker acknowledges a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// Whatever is unacknowledged may be running; what is acknowledged is over.
    AfterRun,
    /// An acknowledgement says nothing of the task: it may not have begun.
    BeforeRun,
}

/// Where a message is while it waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delays {
    /// On the delay queue.
    OnCompanion,
    /// Unacknowledged, in the hands of a worker.
    InWorker,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for framework in ALL {
            let found = Framework::named(framework.name).expect("it is in the table");
            assert!(std::ptr::eq(*framework, found), "{}", framework.name);
        }
    }
}
