//! Arms every watcher, submits, merges what they see into one timeline, and knows when it is over.
//!
//! Each watcher is a plain async function with a `Tap` to report through and a `Phase` that tells
//! it how eagerly to look. None of them may end the run: one that cannot see says so and stops.

mod amqp;
mod api;
pub mod database;
mod dead_letters;
mod declare;
mod direct;
pub mod firehose;
pub mod http;
pub mod live;
mod log;
pub mod management;
pub mod nodes;
pub mod process;
mod queue;
mod started;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::diagnosis::{self, Verdict};
use crate::error::{Result, Unavailable};
use crate::framework::ArgumentValues;
use crate::guardian::Guardian;
use crate::hooks::Hooks;
use crate::supervise::System;
use crate::timeline::scrub::Scrubber;
use crate::timeline::{Ended, Event, EventKind, LogLine, Setup, Source, Timeline};

pub use amqp::connect as connect_amqp;
pub use api::{Submission, submit_once};
pub use declare::{Counts, Prober};
pub use direct::{Bodies, Direct};
pub use firehose::EXCHANGE as TRACE_EXCHANGE;
pub use process::listeners;

/// What a watcher returns: it watched until told to stop, or it could not (any longer).
pub type Watched = std::result::Result<(), Unavailable>;

enum Report {
    Event(Box<Event>),
    /// This source has taken its last look.
    Looked(Source),
}

/// A watcher's way to say what it sees: stamps our monotonic time and removes secrets.
#[derive(Clone)]
pub struct Tap {
    source: Source,
    sender: mpsc::UnboundedSender<Report>,
    clock: Instant,
    scrubber: Arc<Scrubber>,
}

impl Tap {
    pub fn see(&self, kind: EventKind) {
        self.send(self.now_ms(), None, kind);
    }

    /// A log line, kept unmasked beside itself until the task id is known.
    pub fn line(&self, line: LogLine, stated: Option<String>) {
        self.line_at(self.now_ms(), line, stated);
    }

    /// A line written before the run, so long ago.
    fn line_from_before(&self, line: LogLine, stated: Option<String>, ago: Option<Duration>) {
        let ago = ago.map_or(0.0, |ago| ago.as_secs_f64() * 1000.0);
        self.line_at(self.now_ms() - ago, line, stated);
    }

    fn line_at(&self, at_ms: f64, mut line: LogLine, stated: Option<String>) {
        let mut raw = line.text.clone();
        if let Some(traceback) = &line.traceback {
            raw.push('\n');
            raw.push_str(traceback);
        }
        line.raw = ArgumentValues(vec![raw]);
        self.send(at_ms, stated, EventKind::Line(line));
    }

    pub fn watching(&self, detail: impl Into<String>) {
        self.see(EventKind::Watching {
            detail: detail.into(),
        });
    }

    pub fn partial(&self, reason: impl Into<String>) {
        self.see(EventKind::Partial {
            reason: reason.into(),
        });
    }

    pub fn blind(&self, blindness: Unavailable) {
        self.see(EventKind::Blind {
            reason: blindness.reason,
            hint: blindness.hint,
        });
    }

    /// Milliseconds since the run began, by the one clock all sources share.
    pub fn now_ms(&self) -> f64 {
        self.clock.elapsed().as_secs_f64() * 1000.0
    }

    fn looked(&self) {
        let _ = self.sender.send(Report::Looked(self.source));
    }

    fn send(&self, at_ms: f64, stated: Option<String>, kind: EventKind) {
        let event = Event {
            n: 0,
            at_ms,
            source: self.source,
            stated,
            kind: self.scrubber.event(kind),
        };
        tracing::debug!("{}", serde_json::to_string(&event).unwrap_or_default());
        let _ = self.sender.send(Report::Event(Box::new(event)));
    }

    fn of(&self, source: Source) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }
}

/// How far the run is, for watchers that look more eagerly at some times than at others.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    pub task_id: Option<String>,
    pub submitted: bool,
    /// Something of this task happened just now.
    pub lively: bool,
    /// The row has a final status: ask the API once more what it says.
    pub row_final: bool,
    /// Take one last thorough look, say so, and stop.
    pub last_look: bool,
    /// Stop at once.
    pub stop: bool,
}

/// A watcher's view of the phase.
#[derive(Clone)]
pub struct Phases(watch::Receiver<Phase>);

impl Phases {
    pub fn now(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// Sleeps, but not past a change of phase.
    pub async fn pause(&mut self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = self.0.changed() => {}
        }
    }

    /// Resolves once the run is over or wants a last look.
    pub async fn ending(&mut self) -> Phase {
        loop {
            let phase = self.now();
            if phase.stop || phase.last_look {
                return phase;
            }
            if self.0.changed().await.is_err() {
                return Phase { stop: true, ..phase };
            }
        }
    }
}

/// What to observe.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Explain this task instead of submitting one.
    pub post_mortem: Option<String>,
    pub wait_retries: bool,
    pub expect_entered: bool,
    pub show_args: bool,
    /// Look at the messages of the delay and dead-letter queues.
    pub peek: bool,
    /// Only arm, look once and end: `check`.
    pub look_only: bool,
    /// `--start`: what to start once everything is watched.
    pub system: Option<Arc<System>>,
    /// Publish this message instead of asking the API.
    pub direct: Option<Arc<Direct>>,
    /// Keep what is published as it is, so that a copy can be made of it.
    pub bodies: Option<Arc<Bodies>>,
}

/// What a run leaves behind: what was seen, and the guardian that still has to restore tracing.
pub struct Observed {
    pub timeline: Timeline,
    pub verdict: Verdict,
    cleanup: Cleanup,
}

impl Observed {
    /// Undoes what was switched on. Call it after the verdict is out: it must not wait for this.
    pub async fn restore(self) -> (Timeline, Verdict, Vec<String>) {
        let complaints = self.cleanup.run().await;
        (self.timeline, self.verdict, complaints)
    }
}

struct Cleanup {
    watchers: JoinSet<()>,
    guardian: Arc<tokio::sync::Mutex<Option<Guardian>>>,
}

impl Cleanup {
    async fn run(mut self) -> Vec<String> {
        let _ = tokio::time::timeout(Duration::from_secs(2), async {
            while self.watchers.join_next().await.is_some() {}
        })
        .await;
        self.watchers.abort_all();
        match self.guardian.lock().await.take() {
            Some(guardian) => guardian.end().await,
            None => Vec::new(),
        }
    }
}

/// Sources get this long to be ready before the submission.
const ARMING: Duration = Duration::from_secs(8);
/// A source's last look may take this long.
const LAST_LOOK: Duration = Duration::from_millis(2500);
/// After terminal evidence: wait for companions of the deciding event that are still under way
/// (a log line behind a pipe, the row behind a poll), but no longer than this.
const SETTLE_QUIET: Duration = Duration::from_millis(35);
const SETTLE_MOST: Duration = Duration::from_millis(80);
/// Events of other tasks that are kept, so that a busy system cannot fill the memory.
const MOST_STRANGERS: usize = 50_000;
/// Looking at everything again may take one part in so many of the time.
const DIAGNOSE_SHARE: u32 = 25;

pub fn setup(config: &Config, plan: &Plan) -> Setup {
    let database = config.database.as_ref();
    Setup {
        framework: "dramatiq".into(),
        queue: config.broker.queue.clone(),
        vhost: config.broker.vhost.clone(),
        broker: format!("{}:{}", config.broker.amqp.host(), config.broker.amqp.port()),
        actor: config.broker.actor.clone(),
        api_url: config.api.as_ref().map(|api| {
            let mut url = api.url.clone();
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }),
        task_id_pointer: match &plan.direct {
            // It is not guessed: we gave it.
            Some(_) => Some(String::new()),
            None => config.api.as_ref().and_then(|api| api.task_id_pointer.clone()),
        },
        entry_pattern: config
            .worker
            .entry_pattern
            .as_ref()
            .map(|pattern| pattern.as_str().to_owned()),
        worker_command: process::masked(config.worker.command.clone())
            .iter()
            .map(|word| scrubber(config, true).text(word))
            .collect(),
        database: database.map(|database| {
            let name = database.url.vhost();
            format!("{}:{}/{name}", database.url.host(), database.url.port())
        }),
        table: database.map(|database| database.table.clone()),
        id_column: database.map(|database| database.id_column.clone()),
        status_column: database.map(|database| database.status_column.clone()),
        running: database
            .map(|database| database.running.clone())
            .unwrap_or_default(),
        succeeded: database
            .map(|database| database.succeeded.clone())
            .unwrap_or_default(),
        failed: database
            .map(|database| database.failed.clone())
            .unwrap_or_default(),
        silence_ms: config.timing.silence.as_millis() as u64,
        timeout_ms: config.timing.timeout.as_millis() as u64,
        wait_retries: plan.wait_retries,
        post_mortem: plan.post_mortem.is_some(),
        trace: false,
        expect_entered: plan.expect_entered,
        show_args: plan.show_args,
    }
}

/// Everything that must never be shown, and the task's arguments.
pub fn scrubber(config: &Config, show_args: bool) -> Scrubber {
    use secrecy::{ExposeSecret, SecretString};
    let mut secrets = Vec::new();
    let mut add = |password: Option<SecretString>, user: &str| {
        if let Some(password) = password.filter(|word| word.expose_secret() != user) {
            secrets.push(password);
        }
    };
    for url in [&config.broker.amqp, &config.broker.management] {
        add(url.password(), &url.username());
    }
    if let Some(database) = &config.database {
        add(database.url.password(), &database.url.username());
    }
    if let Some(api) = &config.api {
        add(api.url.password().map(SecretString::from), api.url.username());
        for (_, value) in &api.headers {
            let value = value.expose_secret();
            let bare = value.split_once(' ').map_or(value, |(_, rest)| rest);
            add(Some(SecretString::from(bare.to_owned())), "");
        }
    }
    for secret in crate::supervise::secrets(config) {
        add(Some(secret), "");
    }
    let mut scrubber = Scrubber::new(secrets, show_args);
    if let Some(api) = &config.api {
        let actor = config.broker.actor.as_deref().unwrap_or_default();
        scrubber.hide_arguments(&api.body, &[&config.broker.queue, actor]);
    }
    scrubber
}

/// Watches one task from before its submission until its fate is decided.
///
/// `progress` is called whenever something new was seen.
pub async fn observe(
    config: &Config,
    plan: &Plan,
    progress: &mut (dyn FnMut(&Timeline, &Verdict) + Send),
) -> Result<Observed> {
    let clock = Instant::now();
    let started_at = jiff::Timestamp::now();
    let mut timeline = Timeline::new(setup(config, plan), format!("{started_at:.3}"));
    let (sender, mut reports) = mpsc::unbounded_channel();
    let (phase, phases) = watch::channel(Phase {
        task_id: plan.post_mortem.clone(),
        ..Phase::default()
    });
    let tap = Tap {
        source: Source::Run,
        sender,
        clock,
        scrubber: Arc::new(scrubber(config, plan.show_args)),
    };
    let guardian = plan.system.as_ref().map(|system| system.guardian.clone());
    let guardian = Arc::new(tokio::sync::Mutex::new(guardian));
    let mut interrupted = listen_for_interrupt();
    let mut watchers = JoinSet::new();
    let asks = start(
        config,
        plan,
        &tap,
        &Phases(phases.clone()),
        &guardian,
        &mut watchers,
    );

    if let Some(task_id) = &plan.post_mortem {
        tap.of(Source::Api).see(EventKind::Given {
            task_id: task_id.clone(),
        });
    }
    let mut run = Run {
        timeline: &mut timeline,
        phase: &phase,
        asks,
        looked: Vec::new(),
        strangers: 0,
    };
    // A post-mortem searches whole logs while it arms: there is nothing it could miss meanwhile.
    let arming = if plan.post_mortem.is_some() {
        config.timing.timeout
    } else {
        ARMING
    };
    let armed = run.arm(&mut reports, clock, arming, &mut interrupted).await;
    for source in armed {
        run.timeline.push(Event {
            n: 0,
            at_ms: tap.now_ms(),
            source,
            stated: None,
            kind: EventKind::Blind {
                reason: format!("not ready within {} s", arming.as_secs()),
                hint: Some("the service answers too slowly; it goes on trying while the run lasts".into()),
            },
        });
    }
    let mut over = interrupted.borrow().then_some(Ended::Interrupted);
    if let Some(system) = plan.system.as_deref().filter(|_| over.is_none()) {
        let tap = tap.of(Source::Process);
        // Nothing can be said of a task yet.
        let nothing = diagnosis::diagnose(run.timeline);
        let mut news = |run: &Run<'_>| progress(run.timeline, &nothing);
        over = started::bring_up(
            &mut run,
            system,
            config,
            &tap,
            &mut reports,
            &mut interrupted,
            &mut news,
        )
        .await?;
        // Another program may answer at its address: a task is not sent to that.
        if over.is_none() && started::api_is_dead(&run) {
            over = Some(Ended::Decided);
        }
    }
    Hooks::from_env().panic_if_asked();
    let mut submitting = None;
    if plan.post_mortem.is_none() && !plan.look_only && over.is_none() {
        let tap = tap.of(Source::Api);
        submitting = Some(match &plan.direct {
            Some(direct) => {
                let (direct, broker) = (direct.clone(), config.broker.clone());
                let seen = run.sees(Source::Firehose);
                tokio::spawn(async move { direct.publish(&broker, seen, &tap).await })
            }
            None => {
                let mut api = config.need_api()?.clone();
                // An answer that comes after the run has ended helps nobody.
                api.timeout = api.timeout.min(config.timing.timeout.mul_f32(0.95));
                tokio::spawn(async move { api::submit(&api, &tap).await })
            }
        });
        phase.send_modify(|phase| phase.submitted = true);
    }
    let why = if let Some(why) = over {
        why
    } else if plan.look_only {
        run.last_look(&mut reports).await;
        Ended::Looked
    } else {
        run.follow(&mut reports, clock, plan, &mut interrupted, progress)
            .await
    };
    if let Some(submitting) = submitting {
        submitting.abort();
    }
    run.timeline.push(Event {
        n: 0,
        at_ms: tap.now_ms(),
        source: Source::Run,
        stated: None,
        kind: EventKind::Ended { why },
    });
    phase.send_modify(|phase| phase.stop = true);
    timeline.rebase();
    let verdict = diagnosis::diagnose(&timeline);
    progress(&timeline, &verdict);
    Ok(Observed {
        timeline,
        verdict,
        cleanup: Cleanup { watchers, guardian },
    })
}

/// Starts every watcher that the plan wants. Returns the way to ask for processes.
fn start(
    config: &Config,
    plan: &Plan,
    tap: &Tap,
    phases: &Phases,
    guardian: &Arc<tokio::sync::Mutex<Option<Guardian>>>,
    watchers: &mut JoinSet<()>,
) -> mpsc::UnboundedSender<process::Ask> {
    let (asks, asked) = mpsc::unbounded_channel();
    let mut go = |source: Source, watcher: futures_util::future::BoxFuture<'static, Watched>| {
        let tap = tap.of(source);
        watchers.spawn(async move {
            // A bug in one watcher costs its sight, not the run.
            match std::panic::AssertUnwindSafe(watcher).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(blindness)) => {
                    tracing::info!(%source, reason = blindness.reason, "blind");
                    tap.blind(blindness);
                }
                Err(_) => tap.blind(Unavailable::new("a bug in taskdiag: this watcher panicked")),
            }
            tap.looked();
        });
    };
    let shared = Arc::new(config.clone());
    {
        let (config, tap, phases) = (shared.clone(), tap.of(Source::Database), phases.clone());
        let awaits_start = plan.system.is_some();
        go(
            Source::Database,
            Box::pin(async move { watch_database(&config, awaits_start, tap, phases).await }),
        );
    }
    {
        let (config, tap, phases) = (shared.clone(), tap.of(Source::Management), phases.clone());
        go(
            Source::Management,
            Box::pin(async move { management::watch(&config, tap, phases).await }),
        );
    }
    {
        let (config, tap, phases) = (shared.clone(), tap.of(Source::Queue), phases.clone());
        go(
            Source::Queue,
            Box::pin(async move { queue::watch(&config, tap, phases).await }),
        );
    }
    {
        let (config, tap, phases, guardian) = (
            shared.clone(),
            tap.of(Source::Firehose),
            phases.clone(),
            guardian.clone(),
        );
        let plan = plan.clone();
        go(
            Source::Firehose,
            Box::pin(async move { firehose::watch(&config, &plan, tap, phases, &guardian).await }),
        );
    }
    {
        let (config, tap, phases) = (shared.clone(), tap.of(Source::DeadLetters), phases.clone());
        let (peek, show_args) = (plan.peek, plan.show_args);
        go(
            Source::DeadLetters,
            Box::pin(async move { dead_letters::watch(&config, peek, show_args, tap, phases).await }),
        );
    }
    for (source, log) in [
        (Source::ApiLog, config.api_log.clone()),
        (Source::WorkerLog, config.worker.log.clone()),
    ] {
        let entry = (source == Source::WorkerLog)
            .then(|| config.worker.entry_pattern.clone())
            .flatten();
        let (tap, phases, task) = (tap.of(source), phases.clone(), plan.post_mortem.clone());
        go(
            source,
            Box::pin(async move { log::watch(log, entry, task, tap, phases).await }),
        );
    }
    {
        let (config, tap, phases) = (shared.clone(), tap.of(Source::Process), phases.clone());
        go(
            Source::Process,
            Box::pin(async move { process::watch(&config, asked, tap, phases).await }),
        );
    }
    {
        let (config, tap, phases, plan) = (shared, tap.of(Source::Api), phases.clone(), plan.clone());
        go(
            Source::Api,
            Box::pin(async move { api::watch(&config, &plan, tap, phases).await }),
        );
    }
    asks
}

/// An application that is started in this run may make its tables only then: until the submission a
/// database that shows nothing is asked again.
async fn watch_database(config: &Config, awaits_start: bool, tap: Tap, mut phases: Phases) -> Watched {
    let mut said = None;
    loop {
        let blindness = match database::watch(config, tap.clone(), phases.clone()).await {
            Err(blindness) if awaits_start && config.database.is_some() => blindness,
            watched => return watched,
        };
        let phase = phases.now();
        if phase.submitted || phase.stop || phase.last_look {
            return Err(blindness);
        }
        if said.as_ref() != Some(&blindness.reason) {
            said = Some(blindness.reason.clone());
            tap.blind(blindness);
        }
        phases.pause(Duration::from_millis(150)).await;
    }
}

/// The sources that `start` starts.
const ARMED: [Source; 9] = [
    Source::Api,
    Source::ApiLog,
    Source::Database,
    Source::Management,
    Source::Firehose,
    Source::Queue,
    Source::DeadLetters,
    Source::WorkerLog,
    Source::Process,
];

struct Run<'a> {
    timeline: &'a mut Timeline,
    phase: &'a watch::Sender<Phase>,
    asks: mpsc::UnboundedSender<process::Ask>,
    looked: Vec<Source>,
    strangers: usize,
}

impl Run<'_> {
    /// Waits until every source has said that it watches or is blind; returns the late ones.
    async fn arm(
        &mut self,
        reports: &mut mpsc::UnboundedReceiver<Report>,
        clock: Instant,
        limit: Duration,
        interrupted: &mut watch::Receiver<bool>,
    ) -> Vec<Source> {
        let mut waiting: Vec<Source> = ARMED.to_vec();
        while !waiting.is_empty() {
            let left = limit.saturating_sub(clock.elapsed());
            let report = tokio::select! {
                _ = interrupted.wait_for(|interrupted| *interrupted) => return Vec::new(),
                report = tokio::time::timeout(left, reports.recv()) => report,
            };
            let Ok(Some(report)) = report else {
                return waiting;
            };
            if let Report::Event(event) = &report
                && matches!(
                    event.kind,
                    EventKind::Watching { .. } | EventKind::Partial { .. } | EventKind::Blind { .. }
                )
            {
                waiting.retain(|source| *source != event.source);
            }
            self.take(report);
        }
        waiting
    }

    /// Adds a report to the timeline; tells whether it was an event.
    fn take(&mut self, report: Report) -> bool {
        let mut event = match report {
            Report::Looked(source) => {
                self.looked.push(source);
                return false;
            }
            Report::Event(event) => *event,
        };
        let learned = match &event.kind {
            EventKind::Answered {
                task_id: Some(id), ..
            } => Some(id.clone()),
            EventKind::Given { task_id } => Some(task_id.clone()),
            _ => None,
        };
        if let Some(id) = &learned {
            self.timeline.learn_task_id(id);
            self.phase.send_modify(|phase| phase.task_id = Some(id.clone()));
        }
        if let Some(id) = &self.phase.borrow().task_id {
            event.learn_task_id(id);
            if !self.worth_keeping(&event) {
                return false;
            }
        }
        match &event.kind {
            EventKind::Row(row) => {
                let setup = &self.timeline.setup;
                let is_final = row
                    .status
                    .as_ref()
                    .is_some_and(|status| setup.succeeded.contains(status) || setup.failed.contains(status));
                if is_final && !self.phase.borrow().row_final {
                    self.phase.send_modify(|phase| phase.row_final = true);
                }
            }
            EventKind::LockWait(wait) => {
                if let Some(client) = &wait.client {
                    let _ = self
                        .asks
                        .send(process::Ask::Connection(format!("{client} -> database")));
                }
            }
            EventKind::Publish { connection, .. } | EventKind::Deliver { connection, .. } => {
                let _ = self.asks.send(process::Ask::Connection(connection.clone()));
            }
            EventKind::Consumers { consumers } => {
                for consumer in consumers.iter().filter(|c| self.is_ours(&c.queue)) {
                    let _ = self
                        .asks
                        .send(process::Ask::Connection(consumer.connection.clone()));
                }
            }
            EventKind::Line(line) if event.source == Source::WorkerLog => {
                if let Some(pid) = line.pid {
                    let _ = self.asks.send(process::Ask::Pid(pid));
                }
            }
            _ => {}
        }
        self.timeline.push(event);
        true
    }

    /// Whether a source said last that it sees everything.
    fn sees(&self, source: Source) -> bool {
        let mut words = self
            .timeline
            .events
            .iter()
            .rev()
            .filter(|event| event.source == source);
        words
            .find_map(|event| match event.kind {
                EventKind::Watching { .. } => Some(true),
                EventKind::Partial { .. } | EventKind::Blind { .. } => Some(false),
                _ => None,
            })
            .unwrap_or(false)
    }

    fn is_ours(&self, queue: &str) -> bool {
        crate::framework::dramatiq::base_queue(queue) == self.timeline.setup.queue
    }

    /// Other tasks' messages and lines matter (what keeps the worker busy, what else was
    /// delivered), but only so many of them.
    fn worth_keeping(&mut self, event: &Event) -> bool {
        let stranger = match &event.kind {
            EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
                !message.carries_task_id
            }
            EventKind::Line(line) => !line.carries_task_id && !line.entry,
            _ => false,
        };
        if !stranger {
            return true;
        }
        self.strangers += 1;
        if self.strangers == MOST_STRANGERS {
            // From here on nothing may be concluded from what others did not do.
            self.timeline.push(Event {
                n: 0,
                at_ms: event.at_ms,
                source: event.source,
                stated: None,
                kind: EventKind::Missed { events: 0 },
            });
        }
        self.strangers < MOST_STRANGERS
    }

    /// Follows the task until its fate is decided, nothing happens any more, or time is up.
    async fn follow(
        &mut self,
        reports: &mut mpsc::UnboundedReceiver<Report>,
        clock: Instant,
        plan: &Plan,
        interrupted: &mut watch::Receiver<bool>,
        progress: &mut (dyn FnMut(&Timeline, &Verdict) + Send),
    ) -> Ended {
        let began = Instant::now();
        let silence = Duration::from_millis(self.timeline.setup.silence_ms);
        let timeout = Duration::from_millis(self.timeline.setup.timeout_ms);
        let mut settled: Option<Instant> = None;
        let mut last_event = Instant::now();
        let mut verdict = diagnosis::diagnose(self.timeline);
        let mut stale = false;
        let mut diagnosed = Instant::now();
        let mut cost = Duration::ZERO;
        loop {
            if plan.post_mortem.is_some() {
                // Nothing new is expected: one thorough look is all there is.
                self.last_look(reports).await;
                return Ended::Looked;
            }
            let now_ms = clock.elapsed().as_secs_f64() * 1000.0;
            let quiet = Duration::from_secs_f64(((now_ms - verdict.last_activity_ms) / 1000.0).max(0.0));
            self.set_lively(quiet < Duration::from_millis(500));
            let mut deadline = if let Some(since) = settled {
                let linger = Duration::from_millis(verdict.linger_ms);
                SETTLE_QUIET
                    .max(linger)
                    .saturating_sub(last_event.elapsed())
                    .min(SETTLE_MOST.max(linger).saturating_sub(since.elapsed()))
            } else {
                let mut left = timeout.saturating_sub(began.elapsed());
                if verdict.silence_counts {
                    left = left.min(silence.saturating_sub(quiet));
                }
                if quiet < Duration::from_millis(500) {
                    left = left.min(Duration::from_millis(500) - quiet);
                }
                left
            };
            // A busy system's events are looked at together: diagnosing must not become the load.
            if stale {
                let due = (cost * DIAGNOSE_SHARE).min(Duration::from_millis(150));
                if diagnosed.elapsed() >= due {
                    stale = false;
                    let began = Instant::now();
                    verdict = diagnosis::diagnose(self.timeline);
                    cost = began.elapsed();
                    diagnosed = Instant::now();
                    if verdict.terminal {
                        settled.get_or_insert_with(Instant::now);
                    } else {
                        settled = None;
                    }
                    progress(self.timeline, &verdict);
                    continue;
                }
                deadline = deadline
                    .min(due.saturating_sub(diagnosed.elapsed()))
                    .max(Duration::from_millis(1));
            }
            if deadline.is_zero() {
                if settled.is_some() {
                    return Ended::Decided;
                }
                let why = if began.elapsed() >= timeout {
                    Some(Ended::Timeout)
                } else if verdict.silence_counts && quiet >= silence {
                    Some(Ended::Silence)
                } else {
                    None
                };
                if let Some(why) = why {
                    self.last_look(reports).await;
                    return why;
                }
            }
            tokio::select! {
                biased;
                _ = interrupted.wait_for(|interrupted| *interrupted) => return Ended::Interrupted,
                report = reports.recv() => {
                    let Some(report) = report else { return Ended::Interrupted };
                    let mut new = self.take(report);
                    while let Ok(more) = reports.try_recv() {
                        new |= self.take(more);
                    }
                    if new {
                        stale = true;
                        last_event = Instant::now();
                    }
                }
                () = tokio::time::sleep(deadline.max(Duration::from_millis(1))) => {}
            }
        }
    }

    fn set_lively(&self, lively: bool) {
        if self.phase.borrow().lively != lively {
            self.phase.send_modify(|phase| phase.lively = lively);
        }
    }

    /// Lets every source look once more, thoroughly, before anything is concluded from absence.
    async fn last_look(&mut self, reports: &mut mpsc::UnboundedReceiver<Report>) {
        self.phase.send_modify(|phase| phase.last_look = true);
        let deadline = tokio::time::Instant::now() + LAST_LOOK;
        while ARMED.iter().any(|source| !self.looked.contains(source)) {
            match tokio::time::timeout_at(deadline, reports.recv()).await {
                Ok(Some(report)) => {
                    self.take(report);
                }
                _ => break,
            }
        }
        while let Ok(report) = reports.try_recv() {
            self.take(report);
        }
    }
}

/// Becomes true on Ctrl-C or a request to terminate, whenever that comes.
fn listen_for_interrupt() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        interrupt().await;
        sender.send_replace(true);
        // Kept, so that nobody takes a closed channel for an interrupt.
        sender.closed().await;
    });
    receiver
}

/// Resolves on Ctrl-C or a request to terminate.
pub async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = match signal(SignalKind::terminate()) {
        Ok(term) => term,
        Err(_) => return std::future::pending().await,
    };
    let mut hup = match signal(SignalKind::hangup()) {
        Ok(hup) => hup,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}
