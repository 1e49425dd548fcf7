//! What `--start` started, against what did the work: a run that was asked to try one system and
//! tried another has not done what was asked.

use crate::text;
use std::collections::BTreeSet;

use super::Story;
use super::processes::{End, Launch};
use crate::timeline::{EventKind, NO_SPACE, Process, Source, exit_words};
use text::excerpt;

/// One thing to say of what was started.
pub(in crate::diagnosis) struct Remark {
    pub text: String,
    /// The event that a cause may rest on, which then says it already.
    pub evidence: u32,
}

impl<'a> Story<'a> {
    /// What of the started system ended, or was not what did the work.
    pub(in crate::diagnosis) fn remarks_on_launches(&self) -> Vec<Remark> {
        let parts = [
            ("api", "API", Source::ApiLog),
            ("worker", "worker", Source::WorkerLog),
        ];
        let mut remarks = Vec::new();
        for (part, name, log) in parts {
            let Some(launch) = self.started(part) else {
                continue;
            };
            let instead = self.instead(part, &launch);
            let Some(end) = launch.ended.filter(|end| end.exit != 0) else {
                if let ("worker", Some(Taker::Other(who))) = (part, instead) {
                    remarks.push(Remark {
                        text: format!("{who} took the message; it does not descend from the worker command that was started"),
                        evidence: launch.n,
                    });
                }
                continue;
            };
            let mut text = format!("the {name} that was started {}", self.ended_words(end, log));
            match instead {
                Some(Taker::Other(who)) if part == "api" => {
                    text.push_str(&format!("; {who} answered in its place"))
                }
                Some(Taker::Other(who)) => text.push_str(&format!("; {who} took the message instead")),
                Some(Taker::Own(pid)) => {
                    text.push_str(&format!("; one of its processes, pid {pid}, went on: an orphan"));
                }
                None => {}
            }
            remarks.push(Remark {
                text,
                evidence: end.n,
            });
        }
        remarks
    }

    /// The part whose work somebody else did, although it was started: it had ended, or it stood by.
    pub fn done_by_another(&self) -> Option<&'static str> {
        ["api", "worker"].into_iter().find(|part| {
            let launch = self.started(part);
            launch.is_some_and(|launch| {
                let died = launch.ended.is_some_and(|end| end.exit != 0);
                (died || self.has_own_worker(part))
                    && matches!(self.instead(part, &launch), Some(Taker::Other(_)))
            })
        })
    }

    /// The disk for the output of what was started is full: whoever prints there fails.
    pub fn disk_full(&self) -> bool {
        self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Partial { reason } => reason.contains(NO_SPACE),
            _ => false,
        })
    }

    /// Whether a process descends from what was started as this part. `None`: not enough was seen of it.
    pub fn is_of_started(&self, part: &str, pid: i32) -> Option<bool> {
        let root = self.root(part)?;
        let guardians: BTreeSet<i32> = ["api", "worker"]
            .into_iter()
            .filter_map(|part| self.root(part))
            .flat_map(|root| self.looks_at(root))
            .filter(|process| is_below_a_guardian(process))
            .map(|process| process.ppid)
            .collect();
        let mut seen = BTreeSet::new();
        let mut next = vec![pid];
        let mut known = false;
        while let Some(pid) = next.pop() {
            if pid == root {
                return Some(true);
            }
            if !seen.insert(pid) {
                continue;
            }
            for process in self.looks_at(pid) {
                known = true;
                // An orphan of what was started becomes our guardian's child; there may be others'.
                if is_below_a_guardian(process) {
                    match guardians.contains(&process.ppid) {
                        true if self.root(other(part)) != Some(pid) => return Some(true),
                        true => return Some(false),
                        false if guardians.is_empty() => return None,
                        false => {}
                    }
                }
                next.push(process.ppid);
            }
        }
        known.then_some(false)
    }

    /// A process that looks like a worker descends from the command. (One that starts a container does
    /// the work all the same, and not in a process of ours.)
    fn has_own_worker(&self, part: &str) -> bool {
        self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Process(process) => {
                process
                    .command
                    .iter()
                    .any(|word| self.framework().worker.is_named_in(word))
                    && self.is_of_started(part, process.pid) == Some(true)
            }
            _ => false,
        })
    }

    fn root(&self, part: &str) -> Option<i32> {
        self.find(|event| match &event.kind {
            EventKind::Started { part: name, pid, .. } if name == part => Some(*pid),
            _ => None,
        })
    }

    fn looks_at(&self, pid: i32) -> impl Iterator<Item = &'a Process> {
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Process(process) if process.pid == pid => Some(process),
                _ => None,
            })
    }

    /// Who did the work of this part, if it was seen to be done after the part had ended, or by a process
    /// that is known not to belong to it.
    fn instead(&self, part: &str, launch: &Launch) -> Option<Taker> {
        let ended_at = launch
            .ended
            .filter(|end| end.exit != 0)
            .and_then(|end| self.timeline.event(end.n))
            .map(|event| event.at_ms);
        if part == "api" {
            let answered = self.answer()?;
            ended_at.filter(|ended_at| *ended_at < answered.at_ms)?;
            let served = self.api_processes();
            // One that the started one left behind may serve on.
            if let Some(process) = served
                .iter()
                .find(|process| self.is_of_started("api", process.pid) == Some(true))
            {
                return Some(Taker::Own(process.pid));
            }
            return Some(Taker::Other(match served.first() {
                Some(process) => who(process),
                None => "another process".into(),
            }));
        }
        let passage = self.deliveries().find(|passage| passage.queue == self.queue())?;
        let taker = self.peer(passage.connection).map(|peer| peer.value);
        let own = taker.and_then(|pid| self.is_of_started("worker", pid));
        match (taker, own, ended_at) {
            (Some(pid), Some(true), Some(_)) => Some(Taker::Own(pid)),
            (Some(pid), Some(false), _) => Some(Taker::Other(
                self.process(pid)
                    .map_or_else(|| format!("pid {pid}"), |process| who(&process)),
            )),
            (_, None, Some(ended_at)) if ended_at < passage.at_ms && launch.ready.is_none() => {
                Some(Taker::Other(format!("another consumer ({})", passage.connection)))
            }
            _ => None,
        }
    }

    fn ended_words(&self, end: End, log: Source) -> String {
        let mut text = format!(
            "ended with {}, {:.1} s after its start",
            exit_words(end.exit),
            end.after_ms / 1000.0
        );
        let said = self.find_last(|event| match &event.kind {
            EventKind::Line(line) if event.source == log && !line.before && event.n <= end.n + 20 => {
                let last = line.traceback.as_deref().and_then(|text| text.lines().last());
                Some(excerpt(last.unwrap_or(&line.text)))
            }
            _ => None,
        });
        if let Some(said) = said.filter(|said| !said.trim().is_empty()) {
            text.push_str(&format!(" (its log by then: {said})"));
        }
        text
    }
}

enum Taker {
    /// A process of what was started.
    Own(i32),
    /// Somebody else, in words.
    Other(String),
}

fn is_below_a_guardian(process: &Process) -> bool {
    let parent = process.parent_command.as_deref().unwrap_or_default();
    parent.iter().any(|word| word == "__guardian")
}

fn other(part: &str) -> &'static str {
    if part == "api" { "worker" } else { "api" }
}

fn who(process: &Process) -> String {
    format!("pid {} (`{}`)", process.pid, excerpt(&process.command.join(" ")))
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

    #[test]
    fn a_started_worker_that_died_did_not_succeed() {
        let scene = Scene::new()
            .started("worker", 700)
            .exited(700, 5)
            .submitted()
            .publish("default")
            .deliver(OTHER)
            .other_worker()
            .row("COMPLETED");
        let verdict = scene.verdict();
        assert_eq!(verdict.exit_code, 30);
        let said = verdict.notes.join(" ");
        assert!(
            said.contains("exit code 5") && said.contains("took the message instead"),
            "{said}"
        );
    }

    #[test]
    fn one_that_dies_later_is_told_of() {
        let scene = Scene::published()
            .started("worker", 101)
            .ready("worker", 101)
            .deliver(WORKER)
            .row("COMPLETED")
            .exited(101, 5);
        let verdict = scene.verdict();
        assert_eq!(verdict.exit_code, 0, "{:?}", verdict.notes);
        assert!(
            verdict.notes.iter().any(|note| note.contains("exit code 5")),
            "{:?}",
            verdict.notes
        );
    }

    #[test]
    fn on_a_full_disk_nothing_is_proved() {
        let full = crate::timeline::EventKind::Partial {
            reason: format!("api.log: {}", crate::timeline::NO_SPACE),
        };
        let scene = Scene::accepted().row("PENDING").silence();
        assert_ne!(scene.verdict().cause.map(|cause| cause.certainty), None);
        let verdict = scene.see(crate::timeline::Source::ApiLog, full).verdict();
        let certainty = verdict.cause.map(|cause| cause.certainty);
        assert_eq!(certainty, Some(crate::diagnosis::Certainty::Possible));
        assert!(verdict.notes[0].contains("proves nothing"), "{:?}", verdict.notes);
    }

    #[test]
    fn an_api_that_died_was_not_tried() {
        let scene = Scene::new()
            .started("api", 800)
            .exited(800, 5)
            .submitted()
            .publish("default")
            .deliver(WORKER)
            .row("COMPLETED");
        let verdict = scene.verdict();
        assert_eq!(verdict.exit_code, 30);
        assert!(
            verdict
                .notes
                .iter()
                .any(|note| note.contains("answered in its place")),
            "{:?}",
            verdict.notes
        );
    }

    #[test]
    fn what_was_started_and_lives_is_nothing_to_say() {
        let scene = Scene::new()
            .started("worker", 101)
            .submitted()
            .publish("default")
            .deliver(WORKER)
            .row("COMPLETED");
        let verdict = scene.verdict();
        assert_eq!((verdict.exit_code, verdict.notes), (0, Vec::new()));
    }
}
