//! How a test wants its worker started, and what ends it.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Which Dramatiq the sample system runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dramatiq {
    Two,
    One,
}

/// How to start a worker.
#[derive(Clone)]
pub struct Worker {
    pub(crate) arguments: Vec<String>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) module: String,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) log: String,
    pub(crate) queue: String,
    pub(crate) consumers: u64,
}

/// A worker of the sample system without any fault, as the configuration describes it.
pub fn healthy() -> Worker {
    Worker {
        arguments: ARGUMENTS[..5].iter().map(ToString::to_string).collect(),
        program: None,
        module: ARGUMENTS[5].into(),
        folder: None,
        env: Vec::new(),
        log: "worker.log".into(),
        queue: "default".into(),
        consumers: 1,
    }
}

/// A worker with one of the faults that `fixtures/lab faults` lists.
pub fn fault(name: &str) -> Worker {
    healthy().env("OPS_WORKER_FAULT", name)
}

impl Worker {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another `dramatiq` than the lab's.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Without `-v`: nothing below INFO is logged, so success leaves no line.
    pub fn quiet(mut self) -> Self {
        self.arguments.retain(|argument| argument != "-v");
        self
    }

    pub fn processes(mut self, count: u64) -> Self {
        let at = self
            .arguments
            .iter()
            .position(|argument| argument == "--processes")
            .expect("--processes");
        self.arguments[at + 1] = count.to_string();
        self.consumers = count;
        self
    }

    /// Everything before the module, instead of the usual.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    pub fn module(mut self, folder: &Path, module: &str) -> Self {
        self.folder = Some(folder.to_owned());
        self.module = module.into();
        self
    }

    /// A log file other than the one that taskdiag is told of.
    pub fn log(mut self, name: &str) -> Self {
        self.log = name.into();
        self
    }

    /// The queue whose consumers show that it is ready.
    pub fn consumes(mut self, queue: &str) -> Self {
        self.queue = queue.into();
        self
    }

    /// Not expected to consume anything.
    pub fn without_waiting(mut self) -> Self {
        self.consumers = 0;
        self
    }
}

/// What the sample system's worker is started with, where the test starts it in a way of its own.
pub const ARGUMENTS: [&str; 6] = [
    "-v",
    "--processes",
    "1",
    "--threads",
    "2",
    "ops_core.tasks.worker",
];

/// Kills the process groups it was told of when its pipe closes: at the end of the test, and also
/// when the test process is killed.
pub struct Reaper {
    shell: Child,
}

impl Reaper {
    pub fn new() -> Self {
        let script = "groups=; while read -r group; do groups=\"$groups $group\"; done; \
                      for group in $groups; do kill -s KILL -- \"-$group\" 2>/dev/null; done; :";
        let shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self { shell }
    }

    pub fn watch(&mut self, group: u32) {
        let pipe = self.shell.stdin.as_mut().expect("its pipe is open");
        writeln!(pipe, "{group}")
            .and_then(|()| pipe.flush())
            .expect("the reaper listens");
    }

    pub fn reap(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
