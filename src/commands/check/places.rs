//! What is seen where the worker and the API run, through [worker] exec and [api] exec.

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::framework;
use crate::scrubber::scrubber;
use crate::text::counted;
use crate::vantage::exec::{self, Place, Unreachable, View};

/// One place, and what a look at it showed.
pub struct PlaceResult {
    place: Place,
    seen: Result<View, Unreachable>,
}

/// Looks at all of them at once.
pub async fn look(places: Vec<Place>) -> Vec<PlaceResult> {
    let looks = places.into_iter().map(|place| async move {
        let seen = exec::look(&place).await;
        PlaceResult { place, seen }
    });
    futures_util::future::join_all(looks).await
}

/// What is said of some places together, or of one that cannot be looked into.
pub struct Line {
    pub sees: bool,
    pub text: String,
    pub hint: Option<String>,
}

/// Names of those that cannot be looked into.
pub fn blind(looked: &[PlaceResult]) -> Vec<String> {
    let blind = looked.iter().filter(|looked| looked.seen.is_err());
    blind.map(|looked| looked.place.name()).collect()
}

pub fn lines(looked: &[PlaceResult], config: &Config) -> Vec<Line> {
    let scrubber = scrubber(config, false);
    let counts: Vec<String> = looked
        .iter()
        .filter_map(|looked| Some(count(&looked.place, looked.seen.as_ref().ok()?)))
        .collect();
    let hints: Vec<String> = looked
        .iter()
        .filter_map(|looked| no_worker(&looked.place, looked.seen.as_ref().ok()?))
        .collect();
    let mut lines = Vec::new();
    if !counts.is_empty() {
        lines.push(Line {
            sees: true,
            text: format!("sees {}", counts.join(", ")),
            hint: (!hints.is_empty()).then(|| hints.join("; ")),
        });
    }
    lines.extend(looked.iter().filter_map(|looked| {
        let unreachable = looked.seen.as_ref().err()?;
        Some(Line {
            sees: false,
            text: scrubber.outside_text(&unreachable.reason()),
            hint: Some(scrubber.outside_text(&unreachable.hint())),
        })
    }));
    lines
}

fn count(place: &Place, view: &View) -> String {
    let more = if view.is_whole { "" } else { "more than " };
    let processes = counted(view.processes.len() as u64, "process", "processes");
    format!("{more}{processes} in {}", place.name())
}

/// A prefix that leads elsewhere is the commonest mistake.
fn no_worker(place: &Place, view: &View) -> Option<String> {
    let has_worker = view.processes.iter().any(|process| {
        let mut words = process.command.iter().take(4);
        words.any(|word| framework::is_worker_program(word.rsplit('/').next().unwrap_or(word)))
    });
    (place.part == "worker" && view.is_whole && !has_worker).then(|| {
        "none of those in worker (exec) looks like a worker: does [worker] exec lead to it?".to_owned()
    })
}

/// For programs.
pub fn report(looked: &[PlaceResult], config: &Config) -> Json {
    let scrubber = scrubber(config, false);
    let places = looked.iter().map(|looked| match &looked.seen {
        Ok(view) => json!({
            "part": looked.place.part,
            "reached": true,
            "whole": view.is_whole,
            "processes": view.processes.iter().map(|process| json!({
                "pid": process.pid,
                "ppid": process.ppid,
                "state": process.state,
                "command": process.command.iter().map(|word| scrubber.outside_text(word)).collect::<Vec<_>>(),
                "user": process.user,
                "started_at_ms": process.started_at_ms,
                "sockets": process.sockets,
            })).collect::<Vec<_>>(),
        }),
        Err(unreachable) => json!({
            "part": looked.place.part,
            "reached": false,
            "reason": scrubber.outside_text(&unreachable.reason()),
            "hint": scrubber.outside_text(&unreachable.hint()),
        }),
    });
    Json::Array(places.collect())
}
