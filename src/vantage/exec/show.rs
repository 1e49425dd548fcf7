//! Tells of the processes of a place, each once and again where it has changed.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::channel::Channel;
use super::environ;
use super::parts::{is_news, is_python};
use super::unreachable::Trouble;
use super::watch::Watcher;
use crate::timeline::environment::{Found, Variable};
use crate::timeline::place::number_in;
use crate::timeline::{EventKind, Process};
use crate::vantage::process::ProcessQuery;

impl Watcher {
    /// Tells of a process as it is now, if that is news. Its number; `None`: nobody that matters.
    pub(super) async fn show(
        &mut self,
        seen: &Process,
        found: &[Found],
        channel: &mut Channel,
        deadline: Instant,
    ) -> Result<Option<i32>, Trouble> {
        let own = seen.pid;
        if !self.shown.contains_key(&own)
            && let Some(pid) = self.twins.told_here(seen)
        {
            for found in self.news(seen, found) {
                let _ = self.here.send(ProcessQuery::Twin(pid, found));
            }
            return Ok(Some(pid));
        }
        let mut process = seen.clone();
        process.pid = number_in(self.place.part, own);
        process.ppid = number_in(self.place.part, seen.ppid);
        process.at = Some(self.place.part.to_owned());
        process.nspids = vec![own];
        process.is_configured = self.is_the_workers() && self.configured.is_command(&process.command);
        let news = self.news(seen, found);
        let first = match self.variables.get(&own) {
            Some(variables) => {
                environ::note(&mut process, variables);
                None
            }
            None => {
                let variables = environ::variables(channel, own, &self.masker, deadline).await?;
                if let Some(variables) = &variables {
                    environ::note(&mut process, variables);
                }
                self.variables.insert(own, variables.clone().unwrap_or_default());
                Some(variables)
            }
        };
        let is_news = is_news(self.shown.get(&own), &process, self.is_last_look);
        if is_news {
            self.tap.see(EventKind::Process(process.clone()));
        }
        let number = process.pid;
        if is_news {
            self.shown.insert(own, process.clone());
        }
        match first {
            Some(variables) if is_python(&process) || news.contains(&Found::ApiPort) => {
                self.fingerprint(&process, own, (variables, news), channel, deadline)
                    .await?;
            }
            None if !news.is_empty() => self.tap.see(EventKind::SameEnvironment {
                pid: number,
                like: number,
                found: news,
            }),
            _ => {}
        }
        Ok(Some(number))
    }

    /// Of the ways in which it was found those that were not known.
    fn news(&mut self, seen: &Process, found: &[Found]) -> Vec<Found> {
        let ways = &mut self.ways;
        let mut is_new = |found: &Found| ways.insert((seen.pid, seen.started_at_ms, *found));
        found.iter().copied().filter(|found| is_new(found)).collect()
    }

    async fn fingerprint(
        &mut self,
        process: &Process,
        own: i32,
        (variables, found): (Option<BTreeMap<String, Variable>>, Vec<Found>),
        channel: &mut Channel,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let like = self.fingerprinted.iter().find(|like| {
            variables.is_some()
                && like.variables == variables
                && (&like.command, &like.cwd) == (&process.command, &process.cwd)
        });
        if let Some(like) = like {
            self.tap.see(EventKind::SameEnvironment {
                pid: process.pid,
                like: like.pid,
                found,
            });
            return Ok(());
        }
        let whole = (variables, found);
        let environment = environ::environment(channel, process, own, whole, &self.masker, deadline).await?;
        self.tap
            .see(EventKind::Environment(Box::new(environment.clone())));
        self.fingerprinted.push(environment);
        Ok(())
    }
}
