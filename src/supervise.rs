//! Starts the API and the worker for `--start`, each below the guardian, and knows how they end.
//!
//! `prepare` finds out everything that can be wrong with a command before anything is started;
//! `start` starts it. Whatever happens then is a matter for the diagnosis, not an error.

mod environment;
mod services;

use std::path::{Path, PathBuf};

use crate::config::{Config, Program};
use crate::disk;
use crate::error::{Error, Result};
use crate::guardian::{BlockedConnect, ConnectFilter, Exit, Guardian, Start};

/// A command that can be started, as far as can be told without starting it.
#[derive(Clone)]
pub struct Prepared {
    /// `api` or `worker`.
    pub part: &'static str,
    pub program: Program,
    start: Start,
}

/// Looks up everything a program's section names. `extra` variables win over the section's.
pub fn prepare(program: &Program, extra: &[(&str, &str)]) -> Result<Prepared> {
    let mut program = program.clone();
    program.cwd = absolute(&program.cwd);
    program.python = program.python.as_deref().map(absolute);
    program.env.extend(
        extra
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())),
    );
    if !program.cwd.is_dir() {
        let seen = format!("{} is not a folder", program.cwd.display());
        return Err(bad(
            &program,
            "cwd",
            seen,
            "name the folder to start in, relative to taskdiag.toml",
        ));
    }
    if let Some(python) = &program.python
        && !python.join("bin/python").exists()
    {
        let (seen, hint) = without_python(python);
        return Err(bad(&program, "python", seen, hint));
    }
    let env = environment::environment(std::env::vars_os(), &program);
    let file = match environment::find(&program.command[0], &env, &program.cwd) {
        Ok(file) => file,
        Err(seen) => {
            let hint = match program.python {
                Some(_) => "install it into that environment, or correct the command",
                None => {
                    "set `python` of its section to the virtual environment that has it, or write its whole path"
                }
            };
            return Err(bad(&program, "command", seen, hint));
        }
    };
    if let Some(missing) = environment::missing_interpreter(&file) {
        let seen = format!(
            "{} begins with #!{}, which does not exist",
            file.display(),
            missing.display()
        );
        return Err(bad(
            &program,
            "command",
            seen,
            "create the virtual environment anew: a moved one does not run",
        ));
    }
    let start = Start {
        program: file,
        arguments: program.command[1..].to_vec(),
        env,
        cwd: program.cwd.clone(),
        log: PathBuf::new(),
        may_stay: false,
        filter: None,
    };
    Ok(Prepared {
        part: program.part,
        program,
        start,
    })
}

/// What is wrong with an environment in which there is no Python to be run, and the next step.
fn without_python(python: &Path) -> (String, &'static str) {
    let file = python.join("bin/python");
    match std::fs::read_link(&file) {
        Ok(leads_to) => (
            format!(
                "{} leads to {}, which does not exist or may not be reached",
                file.display(),
                leads_to.display()
            ),
            "create the environment anew: it belongs to a Python that was moved, upgraded or is another user's",
        ),
        Err(_) if python.is_file() => (
            format!("{} has no bin/python", python.display()),
            "name the environment's folder, such as .venv, not the interpreter in it",
        ),
        Err(_) => (
            format!("{} has no bin/python", python.display()),
            "name a virtual environment, such as .venv or .tox/py312, relative to taskdiag.toml, or create it: python -m venv .venv",
        ),
    }
}

fn bad(program: &Program, key: &str, seen: String, hint: &str) -> Error {
    let key = format!("{}.{key}", program.part);
    let origin = program
        .origins
        .get(&key)
        .cloned()
        .unwrap_or_else(|| "default".into());
    Error::BadValue {
        key,
        origin,
        seen,
        hint: hint.into(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Prepared {
    /// To be run by ourselves, and not below the guardian: it ends by itself.
    pub fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.start.program);
        command
            .args(&self.start.arguments)
            .env_clear()
            .envs(self.start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.start.cwd);
        command
    }

    /// It and all below it can connect where this filter lets it.
    pub fn behind(mut self, filter: ConnectFilter) -> Self {
        self.start.filter = Some(filter);
        self
    }
}

/// A running program. It ends with the guardian at the latest, and all its descendants with it.
#[derive(Clone)]
pub struct Started {
    pub part: &'static str,
    /// Also its process group and its session.
    pub pid: i32,
    guardian: Guardian,
}

/// Starts it; what it prints is appended to `log`. `may_stay`: it can be left running at the end.
pub async fn start(guardian: &Guardian, prepared: &Prepared, log: &Path, may_stay: bool) -> Result<Started> {
    let start = Start {
        log: log.to_owned(),
        may_stay,
        ..prepared.start.clone()
    };
    let text = prepared.program.command.join(" ");
    let pid = guardian.start(start).await.map_err(|seen| {
        bad(
            &prepared.program,
            "command",
            format!("`{text}` cannot be executed: {seen}"),
            "try it in a shell, in the same folder",
        )
    })?;
    Ok(Started {
        part: prepared.part,
        pid,
        guardian: guardian.clone(),
    })
}

impl Started {
    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.guardian.exit(self.pid)
    }

    /// Resolves when it has ended; `None` if that cannot be told any more.
    pub async fn ended(&self) -> Option<Exit> {
        self.guardian.exited(self.pid).await
    }

    /// Ends it and all below it, without asking first.
    pub async fn kill(&self) -> Result<(), String> {
        self.guardian.kill(self.pid).await
    }

    /// What of it was not let through its filter.
    pub fn blocked(&self) -> Vec<BlockedConnect> {
        self.guardian.blocked(self.pid)
    }

    /// Ends it and all below it, politely first; returns when nothing of it is left.
    pub async fn stop(&self) -> Result<(), String> {
        self.guardian.stop(self.pid).await
    }
}

/// What `--start` starts, and what belongs to it.
pub struct System {
    pub guardian: Guardian,
    /// Private to this run; holds the logs.
    pub folder: PathBuf,
    pub programs: Vec<Prepared>,
    pub keep: bool,
}

impl System {
    /// Checks everything, then brings the services up. Nothing else is started yet.
    pub async fn prepare(config: &Config, keep: bool, tell: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(Error::Usage {
                message: "--start works on Linux only".into(),
                hint: "start the API and the worker yourself, and leave --start out".into(),
            });
        }
        let wanted: Vec<&Program> = [&config.api_program, &config.worker_program]
            .into_iter()
            .flatten()
            .collect();
        if wanted.is_empty() {
            return Err(Error::MissingKey {
                key: "worker.command",
                needed_for: "--start",
                example: config.framework.worker.start_example,
            });
        }
        let programs = wanted
            .into_iter()
            .map(|program| prepare(program, &[]))
            .collect::<Result<Vec<_>>>()?;
        if config.api_program.is_some()
            && let Some(api) = &config.api
        {
            services::refuse_taken(&api.url).await?;
        }
        let failed = |seen: String| Error::Start {
            what: "the guardian that ends everything again".into(),
            seen,
            hint: "check ulimit -u and the space in the folder for temporary files".into(),
        };
        let temporary = std::env::temp_dir();
        if let Some(free) = disk::free(&temporary).filter(|free| *free < disk::NEEDED) {
            return Err(Error::Start {
                what: "the API and the worker".into(),
                seen: format!(
                    "only {} KiB are free in {}, where what they print is kept: they would fail at it",
                    free >> 10,
                    temporary.display()
                ),
                hint: "free some space, or set TMPDIR to a folder that has it".into(),
            });
        }
        let guardian = Guardian::launch()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let folder = guardian.folder(&std::env::temp_dir()).await.map_err(failed)?;
        let system = Self {
            guardian,
            folder,
            programs,
            keep,
        };
        for prepared in &system.programs {
            // Watched from its first line on.
            std::fs::write(system.log(prepared.part), "").map_err(|source| Error::Write {
                path: system.log(prepared.part),
                source,
            })?;
        }
        if let Err(error) = services::up(&system, config, tell).await {
            system.guardian.end().await;
            return Err(error);
        }
        Ok(system)
    }

    /// Where a part's output is kept.
    pub fn log(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{part}.log"))
    }

    pub fn starts(&self, part: &str) -> bool {
        self.programs.iter().any(|prepared| prepared.part == part)
    }

    /// The configuration of a run that starts these: their output is a log, too.
    pub fn configure(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for (part, log) in [("api", &mut config.api_log), ("worker", &mut config.worker.log)] {
            if self.starts(part) {
                log.files.insert(0, self.log(part));
                // A command shows the log of one that runs somewhere else.
                log.command = None;
                log.from_now_on = true;
            }
        }
        config
    }

    /// Starts all of them at once.
    pub async fn start(&self) -> Result<Vec<Started>> {
        let mut started = Vec::new();
        for prepared in &self.programs {
            started.push(start(&self.guardian, prepared, &self.log(prepared.part), self.keep).await?);
        }
        Ok(started)
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
