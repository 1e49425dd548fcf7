//! The script in its place, and a line of JSON from it for each question.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{self, Machine};
use super::place::Place;
use super::unreachable::{Trouble, Unreachable};
use crate::child::{end_with_us, signal_group};

pub(super) const SCRIPT: &str = include_str!("eyes.py");
const SHELL: &str = include_str!("eyes.sh");

/// Reads a length and the script. No single quote is in it: a shell has it between two.
const BOOT: &str = "import sys;f=sys.stdin.buffer;print(\"taskdiag boot\",flush=True);n=f.readline();n and exec(compile(f.read(int(n)),\"taskdiag\",\"exec\"))";
pub(super) const GREETING: &str = crate::timeline::place::GREETING;

/// What a login shell or a banner may print before.
const MOST_BEFORE: usize = 64 << 10;
/// An answer: 512 processes, or 4096 sockets.
const MOST_ANSWER: usize = 8 << 20;
/// So much of its errors is kept, from the end.
const MOST_ERRORS: usize = 4096;
/// Whose input is closed has so long to end.
const GOODBYE: Duration = Duration::from_millis(500);
/// Its alarm, beyond what we wait: where the end of its input does not reach it.
const ALARM_AFTER: Duration = Duration::from_secs(60);

pub(super) fn shell_script() -> String {
    SHELL.replace("BOOT", BOOT)
}

pub(super) struct Channel {
    /// What runs on this machine: the prefix, a process group of its own.
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    errors: Errors,
    /// How long its caller was ready to wait.
    patience: Duration,
    /// What the script said first.
    pub machine: Machine,
}

/// How patient its caller is, and how long the script may stay.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub answer: Duration,
    pub stay: Duration,
}

impl Channel {
    /// Starts the script there, and waits until it answers.
    pub async fn open(place: &Place, patience: Patience, deadline: Instant) -> Result<Self, Unreachable> {
        let shell = vec!["sh".to_owned()];
        let first = match Self::start(place, shell, &shell_script(), patience, deadline).await {
            Ok(channel) => return Ok(channel),
            Err(unreachable) => unreachable,
        };
        // An image without a shell may have a Python.
        if !matches!(first.trouble, Trouble::Ended(Some(1..))) {
            return Err(first);
        }
        let python = ["python3", "-I", "-S", "-c", BOOT].map(str::to_owned).to_vec();
        match Self::start(place, python, "", patience, deadline).await {
            Ok(channel) => Ok(channel),
            Err(second) if matches!(second.trouble, Trouble::NoMemory(_)) => Err(second),
            Err(_) => Err(first),
        }
    }

    async fn start(
        place: &Place,
        program: Vec<String>,
        input: &str,
        patience: Patience,
        deadline: Instant,
    ) -> Result<Self, Unreachable> {
        let mut channel = Self::spawn(place, program, patience.answer)?;
        let begun = channel.begin(input, patience.stay, deadline).await;
        match begun {
            Ok(()) => Ok(channel),
            Err(trouble) => Err(channel.end(trouble).await),
        }
    }

    fn spawn(place: &Place, program: Vec<String>, patience: Duration) -> Result<Self, Unreachable> {
        let failed = |seen: String| Unreachable::new(place, Trouble::NotRun(seen));
        let Some((first, words)) = place.prefix.split_first() else {
            return Err(failed("it is empty".into()));
        };
        let mut command = Command::new(first);
        command
            .args(words)
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // The end of its input ends what runs there; this ends a prefix that does not pass that on.
        end_with_us(&mut command, Signal::SIGKILL);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let Some(output) = output else {
            return Err(failed("it has no output".into()));
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            errors: Errors::of(place, errors),
            patience,
            machine: Machine::default(),
        })
    }

    /// A shell may read ahead: the script is sent only once Python has it.
    async fn begin(&mut self, shell_script: &str, stay: Duration, deadline: Instant) -> Result<(), Trouble> {
        self.send(shell_script.as_bytes(), deadline).await?;
        let mut before = 0;
        let mut last = String::new();
        loop {
            let line = match self.line(MOST_BEFORE, deadline).await {
                Err(Trouble::Ended(Some(0))) if !last.is_empty() => return Err(Trouble::Garbled(last)),
                line => line?,
            };
            if line == GREETING {
                break;
            }
            if let Some(refusal) = answer::refusal(&line) {
                return Err(refusal);
            }
            before += line.len() + 1;
            if before > MOST_BEFORE {
                return Err(Trouble::Garbled(line));
            }
            last = line;
        }
        let script = format!("{}\n{SCRIPT}", SCRIPT.len());
        self.send(script.as_bytes(), deadline).await?;
        let seconds = (stay + ALARM_AFTER).as_secs();
        let begin = json!({ "ask": "begin", "seconds": seconds });
        self.machine = answer::machine(&self.ask(&begin, deadline).await?);
        Ok(())
    }

    /// From now on a question may take so long.
    pub fn answers_within(&mut self, patience: Duration) -> Instant {
        self.patience = patience;
        Instant::now() + patience
    }

    /// The answer to a question.
    pub async fn ask(&mut self, question: &Json, deadline: Instant) -> Result<Json, Trouble> {
        self.ask_with(question, &[], deadline).await
    }

    /// The same with bytes that belong to the question.
    pub async fn ask_with(
        &mut self,
        question: &Json,
        bytes: &[u8],
        deadline: Instant,
    ) -> Result<Json, Trouble> {
        self.send(format!("{question}\n").as_bytes(), deadline).await?;
        self.send(bytes, deadline).await?;
        let line = self.line(MOST_ANSWER, deadline).await?;
        if let Some(refusal) = answer::refusal(&line) {
            return Err(refusal);
        }
        serde_json::from_str(&line).map_err(|_| Trouble::Garbled(line))
    }

    async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), Trouble> {
        let Some(input) = &mut self.input else {
            return Err(Trouble::Ended(None));
        };
        let sending = async {
            input.write_all(bytes).await?;
            input.flush().await
        };
        match timeout_at(deadline, sending).await {
            // Who does not read may have ended: its output tells.
            Ok(_) => Ok(()),
            Err(_) => Err(Trouble::Silent(self.patience)),
        }
    }

    /// The next line of its output, no longer than `most`.
    async fn line(&mut self, most: usize, deadline: Instant) -> Result<String, Trouble> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.output).take(most as u64);
        match timeout_at(deadline, limited.read_until(b'\n', &mut bytes)).await {
            Err(_) => return Err(Trouble::Silent(self.patience)),
            Ok(Ok(1..)) => {}
            Ok(_) => {
                let status = timeout(GOODBYE, self.child.wait()).await;
                let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
                return Err(Trouble::Ended(code));
            }
        }
        let line = String::from_utf8_lossy(&bytes);
        match bytes.last() {
            Some(b'\n') => Ok(line.trim_end().to_owned()),
            _ => Err(Trouble::Garbled(line.into_owned())),
        }
    }

    /// Closes its input, which ends it there, and ends what is left of it here.
    pub async fn close(mut self) {
        drop(self.input.take());
        let _ = timeout(GOODBYE, self.child.wait()).await;
    }

    /// The same; what it printed last to its standard error goes with the trouble.
    pub async fn end(mut self, trouble: Trouble) -> Unreachable {
        drop(self.input.take());
        // One that hangs says nothing more.
        if !matches!(trouble, Trouble::Silent(_)) {
            let _ = timeout(GOODBYE, self.child.wait()).await;
        }
        self.errors.with(trouble).await
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        signal_group(&self.child, Signal::SIGKILL);
    }
}

/// The end of what it prints to its standard error.
struct Errors {
    place: Place,
    tail: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Errors {
    fn of(place: &Place, from: Option<ChildStderr>) -> Self {
        let tail = Arc::new(Mutex::new(Vec::new()));
        let into = tail.clone();
        let reader = from.map(|mut from| {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = from.read(&mut buffer).await {
                    let mut tail = into.lock().unwrap_or_else(PoisonError::into_inner);
                    tail.extend_from_slice(&buffer[..count]);
                    let beyond = tail.len().saturating_sub(MOST_ERRORS);
                    tail.drain(..beyond);
                }
            })
        });
        Self {
            place: place.clone(),
            tail,
            reader,
        }
    }

    async fn with(&mut self, trouble: Trouble) -> Unreachable {
        if let Some(mut reader) = self.reader.take() {
            let _ = timeout(GOODBYE / 5, &mut reader).await;
            reader.abort();
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Unreachable::new(&self.place, trouble).said(&String::from_utf8_lossy(&tail))
    }
}
