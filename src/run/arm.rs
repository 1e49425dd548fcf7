//! Starts every watcher, and waits until each has said what it can see.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::GuardianSlot;
use super::follow::Run;
use super::plan::Plan;
use crate::config::{Config, Control};
use crate::error::Unavailable;
use crate::interrupt::interrupt;
use crate::timeline::{EventKind, Source};
use crate::vantage::process::ProcessQuery;
use crate::vantage::{Phases, Report, Tap, Watched};
use crate::vantage::{
    api, containers, control, database, dead_letters, exec, firehose, log, management, processes, queue,
};

/// Starts watchers, each with the tap of its source.
struct Watchers<'a> {
    tap: &'a Tap,
    phases: &'a Phases,
    running: JoinSet<()>,
    armed: Vec<Source>,
}

impl Watchers<'_> {
    fn start<F>(&mut self, source: Source, watcher: impl FnOnce(Tap, Phases) -> F)
    where
        F: Future<Output = Watched> + Send + 'static,
    {
        self.armed.push(source);
        let tap = self.tap.of(source);
        let watcher: BoxFuture<'static, Watched> = watcher(tap.clone(), self.phases.clone()).boxed();
        self.running.spawn(async move {
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
    }
}

impl Watchers<'_> {
    /// Listens to workers, where they talk over the broker.
    fn listen(&mut self, shared: &Arc<Config>) {
        let Some(shape) = shared.framework.control.as_ref() else {
            return;
        };
        if shared.broker.control == Control::Off {
            return;
        }
        let config = shared.clone();
        self.start(Source::Control, move |tap, phases| {
            until_over(tap, phases, move |tap, phases| {
                let config = config.clone();
                async move { control::watch(&config, shape, tap, phases).await }.boxed()
            })
        });
    }
}

impl Watchers<'_> {
    /// Those of this machine, and the places where the worker and the API run.
    fn look_at_processes(
        &mut self,
        shared: &Arc<Config>,
        plan: &Plan,
        queried: mpsc::UnboundedReceiver<ProcessQuery>,
    ) {
        let config = shared.clone();
        // A check looks into the places itself, and shows more of them.
        let places = match plan.look_only {
            true => Vec::new(),
            false => exec::places(&config),
        };
        self.start(Source::Process, move |tap, phases| async move {
            processes::watch(&config, places, queried, tap, phases).await
        });
    }
}

/// How watchers are asked for what others have seen.
pub(super) struct Queries {
    pub processes: mpsc::UnboundedSender<ProcessQuery>,
    /// Addresses whose container is wanted.
    pub containers: mpsc::UnboundedSender<containers::ContainerQuery>,
    /// The sources that were started.
    pub armed: Vec<Source>,
}

/// Starts every watcher that the plan wants. Returns them, and the way to ask them.
pub(super) fn start(
    config: &Config,
    plan: &Plan,
    tap: &Tap,
    phases: &Phases,
    guardian: &GuardianSlot,
) -> (JoinSet<()>, Queries) {
    let (processes, queried) = mpsc::unbounded_channel();
    let (addresses, wanted) = mpsc::unbounded_channel();
    let mut watchers = Watchers {
        tap,
        phases,
        running: JoinSet::new(),
        armed: Vec::new(),
    };
    let shared = Arc::new(config.clone());
    let config = shared.clone();
    let awaits_start = plan.system.is_some();
    watchers.start(Source::Database, move |tap, phases| async move {
        database::watch(&config, awaits_start, tap, phases).await
    });
    let config = shared.clone();
    watchers.start(Source::Management, move |tap, phases| {
        until_over(tap, phases, move |tap, phases| {
            let config = config.clone();
            async move { management::watch(&config, tap, phases).await }.boxed()
        })
    });
    let config = shared.clone();
    watchers.start(Source::Queue, move |tap, phases| {
        until_over(tap, phases, move |tap, phases| {
            let config = config.clone();
            async move { queue::watch(&config, tap, phases).await }.boxed()
        })
    });
    let (config, guardian) = (shared.clone(), guardian.clone());
    let (show_args, bodies) = (plan.show_args, plan.bodies.clone());
    // Nothing is published otherwise.
    let publishes = plan.post_mortem.is_none() && !plan.look_only;
    watchers.start(Source::Firehose, move |tap, phases| {
        until_over(tap, phases, move |tap, phases| {
            let (config, guardian, bodies) = (config.clone(), guardian.clone(), bodies.clone());
            async move {
                match publishes {
                    true => firehose::watch(&config, show_args, bodies, tap, phases, &guardian).await,
                    false => Err(firehose::not_used(&config)),
                }
            }
            .boxed()
        })
    });
    let config = shared.clone();
    let (peek, show_args) = (plan.peek, plan.show_args);
    watchers.start(Source::DeadLetters, move |tap, phases| async move {
        dead_letters::watch(&config, peek, show_args, tap, phases).await
    });
    for (source, log) in [
        (Source::ApiLog, shared.api_log.clone()),
        (Source::WorkerLog, shared.worker.log.clone()),
    ] {
        let entry = (source == Source::WorkerLog)
            .then(|| shared.worker.entry_pattern.clone())
            .flatten();
        let task = plan.post_mortem.clone();
        watchers.start(source, move |tap, phases| {
            log::watch(log, entry, task, tap, phases)
        });
    }
    watchers.look_at_processes(&shared, plan, queried);
    if let Some(socket) = containers::find(&shared.engine) {
        let config = shared.clone();
        watchers.start(Source::Containers, move |tap, phases| async move {
            containers::watch(&config, socket, wanted, tap, phases).await
        });
    }
    watchers.listen(&shared);
    let (look_only, post_mortem) = (plan.look_only, plan.post_mortem.is_some());
    watchers.start(Source::Api, move |tap, phases| async move {
        api::watch(&shared, look_only, post_mortem, tap, phases).await
    });
    watchers.armed.sort();
    let queries = Queries {
        processes,
        containers: addresses,
        armed: watchers.armed,
    };
    (watchers.running, queries)
}

/// From one try to connect again to the next.
const AGAIN: Duration = Duration::from_millis(500);

/// A broker that restarts comes back: whoever saw it until then connects again, and says so.
async fn until_over(tap: Tap, mut phases: Phases, watch: impl AsyncFn(Tap, Phases) -> Watched) -> Watched {
    let mut gap = None;
    // What is said where it does not come back.
    let mut since: Option<String> = None;
    loop {
        let mine = match &gap {
            None => tap.clone(),
            Some(text) => tap.after_gap(String::clone(text)),
        };
        let blindness = match watch(mine, phases.clone()).await {
            Err(blindness) if blindness.lost || gap.is_some() => blindness,
            watched => return watched,
        };
        let phase = phases.now();
        if phase.stop || phase.last_look {
            return Err(match since.filter(|_| !blindness.lost) {
                Some(since) => blindness.since(&since),
                None => blindness,
            });
        }
        if blindness.lost {
            let now = jiff::Timestamp::now().strftime("%H:%M:%S UTC");
            since = Some(format!("the broker was gone at {now} ({})", blindness.reason));
            gap = Some(format!(
                "connected again; the broker was gone at {now}: what happened meanwhile was not seen ({})",
                blindness.reason
            ));
            if tap.is_of(Source::Firehose) {
                // Nothing may be concluded from what was not published or delivered.
                tap.see(EventKind::Missed { events: 0 });
            }
            tap.blind(blindness);
        }
        phases.pause(AGAIN).await;
    }
}

/// Sources get this long to be ready before the submission.
const ARMING: Duration = Duration::from_secs(8);

/// Waits until every source has said that it watches or is blind; one that is late is told to be blind.
pub(super) async fn wait(run: &mut Run, config: &Config, plan: &Plan) {
    // A post-mortem searches whole logs while it arms: there is nothing it could miss meanwhile.
    let limit = match plan.post_mortem {
        Some(_) => config.timing.timeout,
        None => ARMING,
    };
    for source in late(run, limit).await {
        run.note(
            source,
            EventKind::Blind {
                reason: format!("not ready within {} s", limit.as_secs()),
                hint: Some("the service answers too slowly; it goes on trying while the run lasts".into()),
            },
        );
    }
}

/// The sources that have not said by then whether they see; none, if the user does not want to wait.
async fn late(run: &mut Run, limit: Duration) -> Vec<Source> {
    let mut waiting: Vec<Source> = run.queries.armed.clone();
    while !waiting.is_empty() {
        let left = limit.saturating_sub(run.clock.elapsed());
        let report = tokio::select! {
            () = interrupt() => return Vec::new(),
            report = tokio::time::timeout(left, run.reports.recv()) => report,
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
        run.take(report);
    }
    waiting
}
