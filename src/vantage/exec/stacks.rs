//! Python stacks of a place's processes: taskdiag's own program reads them there, from memory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::answer;
use super::channel::Channel;
use super::parts::is_python;
use super::unreachable::Trouble;
use super::watch::Watcher;
use crate::timeline::environment::Found;
use crate::timeline::place::{number_in, pid_words};
use crate::timeline::{EventKind, Stack};
use crate::vantage::process::stacks::Refusal;

/// The hidden first argument that makes taskdiag such a reader.
pub const ARGUMENT: &str = "__stacks";
/// Of so many processes.
const MOST: usize = 8;
/// It answers sooner, or not at all; what its start and the way back take is beside that.
const WITHIN: Duration = Duration::from_millis(1500);
const BESIDE: Duration = Duration::from_millis(250);
/// Before a last look ends it must be there.
const ARRIVES_BEFORE: Duration = Duration::from_millis(900);
/// From one piece of it to the next look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(350);
/// A run that is over sooner needs no stacks. The worker's tell more than the API's, and go first.
const WORTH_IT_AFTER: Duration = Duration::from_millis(1500);
const API_AFTER: Duration = Duration::from_secs(4);
const MOST_THREADS: usize = 512;
const MOST_FRAMES: usize = 512;

/// What the reader prints of each process, on a line of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    pub pid: i32,
    pub stacks: Result<Vec<Stack>, Refusal>,
}

#[derive(Deserialize)]
struct Answer {
    /// What it printed; absent: it could not be started.
    stacks: Option<String>,
    because: Option<String>,
}

impl Watcher {
    /// Its processes of Python that are told from there, those that the run knows by name first.
    fn wanted_stacks(&self) -> Vec<i32> {
        let is_named = |pid: &i32| {
            let mut ways = self.ways.iter();
            ways.any(|(own, _, found)| own == pid && matches!(found, Found::Connection | Found::LogLine))
        };
        let python = self.shown.values().filter(|process| is_python(process));
        let mut pids: Vec<i32> = python.filter_map(|process| process.own_pid()).collect();
        pids.sort_by_key(|pid| (!is_named(pid), *pid));
        pids.truncate(MOST);
        pids
    }

    /// Between two looks, so long after the submission: brings the program nearer.
    pub(super) async fn approach(&mut self, lasting: Duration) {
        let worth_it = match self.is_the_workers() {
            true => WORTH_IT_AFTER,
            false => API_AFTER,
        };
        if lasting < worth_it || self.wanted_stacks().is_empty() {
            return;
        }
        let Some(mut channel) = self.channel.take() else {
            return;
        };
        let until = Instant::now() + BETWEEN_LOOKS;
        match self.transfer.advance(&mut channel, until, false).await {
            Ok(()) => self.channel = Some(channel),
            Err(trouble) => self.broken(channel, trouble).await,
        }
    }

    /// At the last look.
    pub(super) async fn stacks(&mut self, deadline: Instant) {
        let pids = self.wanted_stacks();
        if pids.is_empty() {
            return;
        }
        let Some(mut channel) = self.channel.take() else {
            return;
        };
        let mut found = BTreeMap::new();
        let arrives = self
            .transfer
            .advance(&mut channel, deadline - ARRIVES_BEFORE, true)
            .await;
        let missing = match arrives {
            Ok(()) if self.transfer.has_arrived() => match read(&mut channel, &pids, deadline).await {
                Ok(Ok(lines)) => {
                    found = lines;
                    "they were not read in time".to_owned()
                }
                Ok(Err(reason)) => reason,
                Err(_) => "the way in ended meanwhile".to_owned(),
            },
            Ok(()) => self.transfer.missing(),
            Err(_) => "the way in ended meanwhile".to_owned(),
        };
        let part = self.place.part;
        for pid in pids {
            let number = number_in(part, pid);
            let failed = || Err(Refusal::Failed(missing.clone()));
            let stacks = found.remove(&pid).unwrap_or_else(failed);
            self.tap.see(match stacks {
                Ok(threads) => EventKind::Stacks {
                    pid: number,
                    threads: threads.into_iter().take(MOST_THREADS).map(bounded).collect(),
                },
                Err(refusal) => EventKind::StacksRefused {
                    pid: number,
                    reason: refusal.words_there(&pid_words(number), part),
                },
            });
        }
        channel.close().await;
    }
}

fn bounded(mut stack: Stack) -> Stack {
    stack.frames.truncate(MOST_FRAMES);
    stack
}

type Stacks = BTreeMap<i32, Result<Vec<Stack>, Refusal>>;

/// What the program prints there, or why it does not run.
async fn read(
    channel: &mut Channel,
    pids: &[i32],
    deadline: Instant,
) -> Result<Result<Stacks, String>, Trouble> {
    let left = deadline.saturating_duration_since(Instant::now());
    let seconds = left.saturating_sub(BESIDE).min(WITHIN).as_secs_f64();
    let question = json!({ "ask": "stacks", "pids": pids, "seconds": seconds });
    let answer: Answer = answer::ask(channel, question, deadline).await?;
    let Some(printed) = answer.stacks else {
        let because = answer.because.unwrap_or_default();
        return Ok(Err(format!(
            "taskdiag's own program cannot be run there: {because}"
        )));
    };
    let lines = printed.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(Ok(lines.map(|line: Line| (line.pid, line.stacks)).collect()))
}
