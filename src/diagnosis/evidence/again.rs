//! A message that is run again while nothing says that its first run failed: the broker took it back.

use super::{Fact, Story, WorkerLine};
use crate::framework::LogEvent;

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
}
