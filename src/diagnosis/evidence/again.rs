//! A message that is run again while nothing says that its first run failed: the broker took it back.

use super::{Fact, Story, Transfer, WorkerLine};
use crate::framework::{LogEvent, WorkerLife};
use crate::timeline::exit_words;

impl<'a> Story<'a> {
    /// One process has begun with the message more often than it has ended with it, and last: a run of it is under
    /// way, whatever the end of an earlier one says. How many have ended. A retry is begun again, too, as it should be.
    pub fn runs_again(&self) -> Option<Fact<usize>> {
        let lines = || self.lines().iter().filter(|told| self.counts(told));
        let begins = |told: &&WorkerLine<'a>| matches!(told.mark, Some(LogEvent::Received { .. }));
        let is_retried = lines().any(|told| matches!(told.mark, Some(LogEvent::Retrying { .. })))
            || self.publishes().iter().any(|passage| passage.message.is_retry());
        let began: Vec<&WorkerLine<'a>> = lines().filter(begins).collect();
        let ended: Vec<&WorkerLine<'a>> = lines().filter(|told| self.ends_attempt(told)).collect();
        let (last, over) = (began.last()?, ended.last()?);
        let is_one = began
            .iter()
            .all(|told| told.pid == last.pid && last.pid.is_some());
        let lives = last.pid.is_some_and(|pid| self.gone(pid).is_none());
        let goes_on = began.len() > ended.len() && is_one && lives && !is_retried && !self.is_ambiguous();
        goes_on.then(|| Fact::new(over.n, over.at_ms, ended.len()))
    }

    /// The broker handed it out again, and nothing says that who had it first has ended with it: that run may go on, whatever
    /// becomes of the second one. The second delivery.
    pub(in crate::diagnosis) fn first_run_may_go_on(&self) -> Option<&Transfer<'a>> {
        let taken: Vec<&Transfer<'a>> = self.deliveries().collect();
        let [.., first, second] = taken.as_slice() else {
            return None;
        };
        let between = |told: &&WorkerLine<'a>| told.at_ms >= first.at_ms && told.at_ms < second.at_ms;
        let ends = |told: &WorkerLine<'a>| told.settles() || told.mark.is_some_and(LogEvent::ends_run);
        let is_over = self.lines().iter().filter(between).any(ends)
            || self
                .worker_lines()
                .iter()
                .filter(between)
                .any(|told| matches!(told.worker_life(), Some(WorkerLife::Booting | WorkerLife::Ending)));
        let taker = self.peer(first.connection).map(|peer| peer.value);
        let is_gone = taker.is_some_and(|pid| {
            self.gone(pid).is_some() || self.process(pid).is_some_and(|process| process.has_ended())
        });
        (second.redelivered && !is_over && !is_gone).then_some(*second)
    }

    /// The broker delivered it again, and it was begun again, because whoever had it first was ended: how.
    pub fn broken_off_before(&self) -> Option<Fact<String>> {
        if !self.deliveries().any(|passage| passage.redelivered) {
            return None;
        }
        let begins = |told: &&WorkerLine<'a>| {
            told.line.entry || matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called))
        };
        let mut began = self.lines().iter().filter(begins);
        let (first, last) = (began.next()?, began.next_back()?);
        self.ended_between(first.at_ms, last.at_ms)
    }

    /// The worker's container ended between the two, as its engine says, or the process that had the message first.
    pub(in crate::diagnosis) fn ended_between(&self, first: f64, second: f64) -> Option<Fact<String>> {
        let between = |at_ms: f64| at_ms >= first && at_ms <= second + ENGINE_MS;
        let of_containers = self.worker_containers().into_iter().find_map(|container| {
            let mut news = self.container_news(&container).into_iter();
            let end = news.find(|news| news.action == "die" && between(news.at_ms))?;
            let code = end
                .exit
                .map_or(String::new(), |code| format!(" with {}", exit_words(code)));
            let words = format!("container {} ended{code} meanwhile", container.name);
            Some(Fact::new(end.n, end.at_ms, words))
        });
        of_containers.or_else(|| {
            let begins = |told: &&WorkerLine<'a>| matches!(told.mark, Some(LogEvent::Received { .. }));
            let pid = self.lines().iter().find(begins)?.pid?;
            let gone = self.timeline.event(self.gone(pid)?)?;
            between(gone.at_ms)
                .then(|| Fact::of(gone, format!("pid {pid}, which had it first, ended meanwhile")))
        })
    }
}

/// The engine is asked each second.
const ENGINE_MS: f64 = 1500.0;
