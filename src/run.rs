//! One run from before its submission to its end: arms every watcher, starts what is to be started,
//! submits, follows.
//!
//! The only place that knows all sources, and the only one that asks for the verdict while it watches.

mod arm;
mod assessment;
mod command;
mod direct;
mod follow;
mod peers;
mod plan;
mod recognise;
mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::diagnosis::{self, Verdict};
use crate::error::Result;
use crate::guardian::Guardian;
use crate::hooks::Hooks;
use crate::interrupt::is_interrupted;
use crate::scrubber::scrubber;
use crate::timeline::{Ended, EventKind, Source, Timeline};
use crate::vantage::{Phase, Phases, Tap, api};
pub use command::Command;
pub use direct::Direct;
use follow::Run;
pub use plan::{OnNews, Plan, setup};

/// The run's guardian, once there is something to be undone.
type GuardianSlot = Arc<Mutex<Option<Guardian>>>;

/// What a run leaves behind: what was seen, and the guardian that still has to restore tracing.
pub struct Observed {
    pub timeline: Timeline,
    pub verdict: Verdict,
    cleanup: Option<Cleanup>,
}

impl Observed {
    /// Undoes what was switched on, now, whatever else hangs; the verdict need not wait for it.
    pub fn restoring(&mut self) -> JoinHandle<Vec<String>> {
        let cleanup = self.cleanup.take();
        tokio::spawn(async move {
            match cleanup {
                Some(cleanup) => cleanup.run().await,
                None => Vec::new(),
            }
        })
    }

    /// The same, waited for.
    pub async fn restore(mut self) -> (Timeline, Verdict, Vec<String>) {
        let complaints = self.restoring().await.unwrap_or_default();
        (self.timeline, self.verdict, complaints)
    }
}

struct Cleanup {
    watchers: JoinSet<()>,
    guardian: GuardianSlot,
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

/// Watches one task from before its submission until its fate is decided.
pub async fn observe(config: &Config, plan: &Plan, progress: &mut OnNews<'_>) -> Result<Observed> {
    let clock = Instant::now();
    let started_at = jiff::Timestamp::now();
    let timeline = Timeline::new(setup(config, plan), format!("{started_at:.3}"));
    let (phase, phases) = watch::channel(Phase {
        task_id: plan.post_mortem.clone(),
        ..Phase::default()
    });
    let (tap, reports) = Tap::new(
        config.framework,
        Source::Run,
        clock,
        Arc::new(scrubber(config, plan.show_args)),
    );
    let guardian = plan.system.as_ref().map(|system| system.guardian.clone());
    let guardian = Arc::new(Mutex::new(guardian));
    let (watchers, queries) = arm::start(config, plan, &tap, &Phases::new(phases), &guardian);
    if let Some(task_id) = &plan.post_mortem {
        tap.of(Source::Api).see(EventKind::Given {
            task_id: task_id.clone(),
        });
    }
    let mut run = Run::new(timeline, clock, phase, queries, reports);
    let cleanup = Some(Cleanup { watchers, guardian });
    let why = carry_out(&mut run, config, plan, &tap, progress).await?;
    run.note(Source::Run, EventKind::Ended { why });
    run.phase.send_modify(|phase| phase.stop = true);
    let mut timeline = run.timeline;
    timeline.rebase();
    let verdict = diagnosis::diagnose(&timeline);
    progress(&timeline, &verdict);
    Ok(Observed {
        timeline,
        verdict,
        cleanup,
    })
}

/// Arms, starts, submits and follows; returns why it is over.
async fn carry_out(
    run: &mut Run,
    config: &Config,
    plan: &Plan,
    tap: &Tap,
    progress: &mut OnNews<'_>,
) -> Result<Ended> {
    arm::wait(run, config, plan).await;
    if is_interrupted() {
        return Ok(Ended::Interrupted);
    }
    if let Some(system) = plan.system.as_deref() {
        let tap = tap.of(Source::Process);
        if let Some(why) = start::bring_up(run, system, config, &tap, progress).await? {
            return Ok(why);
        }
        // Another program may answer at its address: a task is not sent to that.
        if start::api_is_dead(run) {
            return Ok(Ended::Decided);
        }
    }
    Hooks::from_env().panic_if_asked();
    if plan.look_only || plan.post_mortem.is_some() {
        // Nothing new is expected: one thorough look is all there is.
        if plan.post_mortem.is_some() {
            run.see_whether_it_moves().await;
        }
        run.last_look().await;
        return Ok(Ended::Looked);
    }
    let submitting = submit(run, config, plan, tap.of(Source::Api)).await?;
    run.phase.send_modify(|phase| phase.submitted = true);
    let why = follow::follow(run, progress).await;
    submitting.abort();
    Ok(why)
}

/// Sends the task on its way: through the API, by a command, or past both.
async fn submit(run: &Run, config: &Config, plan: &Plan, tap: Tap) -> Result<JoinHandle<()>> {
    if let Some(direct) = plan.direct.clone() {
        let broker = config.broker.clone();
        let seen = run.sees(Source::Firehose);
        return Ok(tokio::spawn(
            async move { direct.publish(&broker, seen, &tap).await },
        ));
    }
    if let Some(command) = Command::of(config)? {
        return Ok(tokio::spawn(async move { command.send(&tap).await }));
    }
    let mut api = config.need_api()?.clone();
    // An answer that comes after the run has ended helps nobody.
    api.timeout = api.timeout.min(config.timing.timeout.mul_f32(0.95));
    let opened = api::open(&api).await?;
    Ok(tokio::spawn(async move { api::submit(&api, opened, &tap).await }))
}
