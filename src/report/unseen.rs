//! What could not be seen: sources that were blind, and places that could not be looked into.

use super::{Report, SourceState};
use crate::timeline::EventKind;
use crate::timeline::place::last_seen;

/// The blind sources worth a line: one that was not asked to look is, only if it would decide.
pub(super) fn blind(report: &Report) -> Vec<SourceState> {
    let missed = |source: &&SourceState| {
        // Recordings have the second and the last of them.
        let by_choice = ["not used: ", "not used here", "counted only", "not looked at"]
            .iter()
            .any(|words| source.reason.starts_with(words));
        let decides = report
            .verdict
            .cannot_tell
            .iter()
            .any(|untold| untold.needs.contains(&source.name));
        source.state == "blind" && (!by_choice || decides)
    };
    let sources = report.sources.iter().filter(missed).cloned();
    sources.chain(unreachable_places(report)).collect()
}

/// Where `[worker] exec` and `[api] exec` lead, and could not be looked into at last.
fn unreachable_places(report: &Report) -> impl Iterator<Item = SourceState> {
    ["worker", "api"].into_iter().filter_map(|part| {
        let last = last_seen(&report.timeline, part)?;
        let EventKind::PlaceUnreachable { reason, hint, .. } = &last.kind else {
            return None;
        };
        Some(SourceState {
            name: last.source,
            state: "blind",
            reason: reason.clone(),
            hint: hint.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Source;

    fn report(scene: Scene) -> Report {
        let verdict = scene.verdict();
        Report::new(&scene.timeline, &verdict)
    }

    #[test]
    fn a_place_that_cannot_be_looked_into_is_told() {
        let refused = "Error response from daemon: No such container: shop-worker-1";
        let scene = || Scene::new().submitted().publish("default").place_says(refused);
        let told = |scene: Scene| {
            let report = report(scene.silence());
            let reasons: Vec<String> = blind(&report).into_iter().map(|source| source.reason).collect();
            reasons.iter().any(|reason| reason.contains(refused))
        };
        assert!(told(scene()));
        let reached = EventKind::PlaceReached {
            part: "worker".into(),
            processes: 3,
        };
        assert!(
            !told(scene().see(Source::Process, reached)),
            "it was reached after that"
        );
    }
}
