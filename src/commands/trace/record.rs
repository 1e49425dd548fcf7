//! A trace as a recording: the timeline that `replay` and `report` read.

use std::collections::HashSet;
use std::path::Path;

use crate::config::Config;
use crate::error::Result;
use crate::framework::Framework;
use crate::run::{Plan, setup};
use crate::timeline::recording::Writer;
use crate::timeline::scrub::Scrubber;
use crate::timeline::{Ended, Event, EventKind, Setup, Source};
use crate::trace::{PeerProcess, TraceEvent};
use crate::vantage::{firehose, process};

pub struct Recorder {
    framework: &'static Framework,
    writer: Writer,
    scrubber: Scrubber,
    show_args: bool,
    /// The one task it is about, if it is.
    task: Option<String>,
    /// Connections and processes that are in it already.
    named: HashSet<String>,
    shown: HashSet<i32>,
}

impl Recorder {
    pub fn create(
        path: &Path,
        config: &Config,
        task: Option<String>,
        show_args: bool,
        scrubber: Scrubber,
        started_at: &str,
    ) -> Result<Self> {
        let plan = Plan {
            post_mortem: Some(task.clone().unwrap_or_default()),
            show_args,
            ..Plan::default()
        };
        let setup = Setup {
            trace: true,
            ..setup(config, &plan)
        };
        let mut recorder = Self {
            framework: config.framework,
            writer: Writer::create(path, &setup, started_at)?,
            scrubber,
            show_args,
            task: task.clone(),
            named: HashSet::new(),
            shown: HashSet::new(),
        };
        if let Some(task_id) = task {
            recorder.push(0.0, Source::Api, EventKind::Given { task_id })?;
        }
        recorder.writer.flush()?;
        Ok(recorder)
    }

    pub fn started(&mut self, detail: &str, partial: Option<&str>) -> Result<()> {
        let kind = match partial {
            Some(reason) => EventKind::Partial {
                reason: format!("{detail}; {reason}"),
            },
            None => EventKind::Watching {
                detail: detail.to_owned(),
            },
        };
        self.push(0.0, Source::Firehose, kind)
    }

    pub fn take(&mut self, at_ms: f64, event: &TraceEvent<'_>, peer: Option<&PeerProcess>) -> Result<()> {
        self.push(
            at_ms,
            Source::Firehose,
            firehose::event(self.framework, event, self.show_args),
        )?;
        let Some(peer) = peer else {
            return Ok(());
        };
        if !self.named.insert(event.connection.to_string()) {
            return Ok(());
        }
        let connection = event.connection.to_string();
        self.push(
            at_ms,
            Source::Process,
            EventKind::Peer {
                connection,
                pid: peer.pid,
            },
        )?;
        if self.shown.insert(peer.pid)
            && let Some(process) = process::read(peer.pid)
        {
            self.push(at_ms, Source::Process, EventKind::Process(process))?;
        }
        Ok(())
    }

    pub fn missed(&mut self, at_ms: f64, events: u64) -> Result<()> {
        self.push(at_ms, Source::Firehose, EventKind::Missed { events })
    }

    /// What passed in between may not be in it.
    pub fn gap(&mut self, at_ms: f64, since_ms: f64, because: &str) -> Result<()> {
        let lasted = (at_ms - since_ms) / 1000.0;
        let reason = format!("what passed within {lasted:.1} s may be missing: {because}");
        self.push(at_ms, Source::Firehose, EventKind::Partial { reason })
    }

    pub fn end(&mut self, at_ms: f64) -> Result<()> {
        self.push(
            at_ms,
            Source::Run,
            EventKind::Ended {
                why: Ended::Interrupted,
            },
        )?;
        self.flush()
    }

    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }

    fn push(&mut self, at_ms: f64, source: Source, kind: EventKind) -> Result<()> {
        let mut event = Event {
            n: 0,
            at_ms,
            source,
            stated: None,
            kind: self.scrubber.event(kind),
        };
        if let Some(task) = &self.task {
            event.learn_task_id(task, &[]);
        }
        self.writer.push(event)
    }
}
