//! The last runs, kept in the state folder, so that a run can be looked at again though nobody thought of
//! recording it. Masked: neither secrets nor task arguments.
//!
//! A file's name says when the run was, its exit code and its cause: `20260101T093000.123Z.20.no-consumer.jsonl`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::diagnosis::Verdict;
use crate::error::{Error, Result, exit};
use crate::timeline::{Setup, Timeline, recording};

/// So many are kept.
const KEPT: usize = 20;
/// Names by which a command takes a run from here.
const LAST: &str = "last";
const GOOD: &str = "good";

/// Keeps the run, and removes the oldest. Whoever has no place to keep it can do without.
pub fn keep(timeline: &Timeline, verdict: &Verdict) {
    let kept = folder()
        .ok_or_else(|| std::io::Error::other("neither HOME nor XDG_STATE_HOME is set"))
        .and_then(|folder| keep_in(&folder, timeline, verdict));
    if let Err(error) = kept {
        tracing::debug!(%error, "the run is not kept");
    }
}

fn keep_in(folder: &Path, timeline: &Timeline, verdict: &Verdict) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let cause = verdict.cause.as_ref().map_or("unknown", |cause| &cause.id);
    let when = timeline.started_at.replace(['-', ':'], "");
    let name = format!("{when}.{}.{cause}.jsonl", verdict.exit_code);
    recording::write(&timeline.masked(false), &folder.join(name)).map_err(std::io::Error::other)?;
    let runs = all(folder);
    for old in &runs[..runs.len().saturating_sub(KEPT)] {
        // Another taskdiag may have been quicker.
        let _ = fs::remove_file(old);
    }
    Ok(())
}

/// The recording that a command names: a file, or one of the last runs.
pub fn find(named: &Path) -> Result<PathBuf> {
    let wanted = match named.to_str() {
        Some(word @ (LAST | GOOD)) if !named.exists() => word,
        _ => return Ok(named.to_owned()),
    };
    let runs = folder().map(|folder| all(&folder)).unwrap_or_default();
    chosen(&runs, wanted).ok_or(Error::NoRun {
        wanted: match wanted {
            GOOD => "a run that succeeded",
            _ => "a run",
        },
    })
}

fn chosen(runs: &[PathBuf], wanted: &str) -> Option<PathBuf> {
    let last = runs.last()?;
    if wanted == LAST {
        return Some(last.clone());
    }
    // A run of another system is no measure for this one.
    let setup = |path: &Path| {
        recording::read(path)
            .ok()
            .map(|recording| recording.timeline.setup)
    };
    let reference = setup(last)?;
    let is_good = |path: &&PathBuf| {
        exit_code(path) == Some(exit::OK)
            && setup(path).is_some_and(|setup| is_same_system(&setup, &reference))
    };
    runs.iter().rev().find(is_good).cloned()
}

fn is_same_system(one: &Setup, other: &Setup) -> bool {
    let of = |setup: &Setup| {
        (
            setup.broker.clone(),
            setup.vhost.clone(),
            setup.queue.clone(),
            setup.api_url.clone(),
        )
    };
    of(one) == of(other)
}

fn exit_code(path: &Path) -> Option<u8> {
    let name = path.file_stem()?.to_str()?;
    // The time has a dot of its own.
    name.split('.').nth(2)?.parse().ok()
}

/// The oldest first, as their names sort.
fn all(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    runs.sort();
    runs
}

fn folder() -> Option<PathBuf> {
    let strategy = etcetera::base_strategy::Xdg::new().ok()?;
    Some(strategy.state_dir()?.join("taskdiag/runs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::diagnose;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn the_last_twenty_are_kept_and_the_last_good_of_this_system_is_found() {
        let folder = std::env::temp_dir().join(format!("taskdiag-history-{}", std::process::id()));
        let keep = |at: u32, scene: Scene, queue: &str| {
            let mut timeline = scene.timeline;
            timeline.started_at = format!("2026-01-01T00:00:{at:02}.000Z");
            timeline.setup.queue = queue.into();
            let mut verdict = diagnose(&timeline);
            verdict.exit_code = if at == 5 || at == 7 { 0 } else { 20 };
            keep_in(&folder, &timeline, &verdict).expect("kept");
        };
        for at in 0..24 {
            keep(
                at,
                Scene::published().silence(),
                if at == 7 { "elsewhere" } else { "default" },
            );
        }
        let runs = all(&folder);
        assert_eq!(runs.len(), KEPT);
        let name = |path: Option<PathBuf>| {
            let path = path.expect("a run");
            path.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
                .unwrap_or_default()
        };
        assert!(name(chosen(&runs, LAST)).starts_with("20260101T000023.000Z.20."));
        assert!(name(chosen(&runs, GOOD)).starts_with("20260101T000005.000Z.0."));
        fs::remove_dir_all(folder).expect("removed");
    }
}
