//! A forgotten trace slows the broker down.

use crate::diagnosis::{Answer, Cause, Owner, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "tracing-left-on",
    keeps_from: &[],
    owner: &[Owner::Diagnosis],
    needs: &[&[Source::Management]],
    page: include_str!("tracing_left_on.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    story.find(|event| match &event.kind {
            EventKind::TracingOn { readers: 0 } => Some(Answer::shown(
                format!("vhost \"{}\" traces every message, and nobody reads it: `taskdiag check --restore-tracing` switches it off", story.timeline.setup.vhost),
                [event.n],
            )),
            _ => None,
        })
        .unwrap_or(Answer::NotApplicable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn traced(readers: usize) -> Scene {
        Scene::new().see(Source::Management, EventKind::TracingOn { readers })
    }

    #[test]
    fn nobody_reads_it() {
        assert_eq!(traced(0).answer(&CAUSE), "certain");
    }

    #[test]
    fn somebody_who_reads_it_is_a_near_miss() {
        assert_eq!(traced(1).answer(&CAUSE), "not applicable");
        assert_eq!(Scene::new().answer(&CAUSE), "not applicable");
        assert_eq!(
            traced(0).without(Source::Management).answer(&CAUSE),
            "cannot tell"
        );
    }
}
