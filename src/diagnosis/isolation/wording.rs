//! What the steps prove, in words. Each sentence also says what else was different.

use super::ending::Ending;
use super::finding::{Culprit, Finding, Proof, Standing};
use super::steps::{Goal, Step};

/// What the filter on the fresh worker's connections cannot see (docs/security.md).
const NOT_EXCLUDED: &str = ". Not excluded: that it reached the live broker by a relay on a port that is not known as the broker's, or by a connection that came and went";

/// What a step proves. `ending`: how it ended; empty words for a step that was not done.
pub(super) fn proved(
    proof: &Proof,
    standing: Standing,
    goal: Goal,
    original: &Ending,
    ending: Option<&Ending>,
) -> String {
    let proved = ending.map_or_else(String::new, |ending| alone(proof, goal, original, ending));
    match standing {
        Standing::Holds => proved,
        Standing::OriginalWasLate => {
            "it works, but the original itself succeeded meanwhile, too: nothing but that it takes time"
                .into()
        }
        // It was no more than what came to its mind.
        Standing::TaskWorksByNow => {
            "it works, but so did the same task after it (the control): nothing but that it works by now"
                .into()
        }
        Standing::WorkedOnce => {
            "it worked, but not when it was repeated: nothing but that the fault is intermittent".into()
        }
        Standing::Unconfirmed => format!(
            "{proved}. No control failed after it and again after its repetition: it may just work by now, or by chance"
        ),
        Standing::WorksAgain => "it works again".into(),
        Standing::FailsThisTime => "it does not work this time: the fault is intermittent".into(),
    }
}

fn alone(proof: &Proof, goal: Goal, original: &Ending, ending: &Ending) -> String {
    let was = match goal {
        Goal::Entered => "was entered",
        Goal::Succeeded => "succeeded",
    };
    let cause = ending.words();
    let against = ending.against(original);
    match proof {
        Proof::Nothing => String::new(),
        Proof::Unknown => format!("nothing: how far it got could not be told ({cause})"),
        Proof::RefusedThisTime => format!(
            "nothing: the API refused the same task this time ({against}), as one does that takes a task only once, or only so many in a time"
        ),
        Proof::MayBeOneObstacle => format!(
            "nothing: {cause} and {} may be one obstacle, seen at another moment",
            original.words()
        ),
        Proof::Works => format!(
            "the same task {was} this time: code and configuration alone are not the reason. Something that differs from one time to the next is: a lock, a backlog, a restart, a limit, or chance"
        ),
        Proof::WorksByAnotherConsumer { original, now } => format!(
            "the same task {was} this time, and another consumer took it ({now}; the original went to {original}): it may depend on who takes it"
        ),
        Proof::FailsAgain => format!("it happens again, with the same cause ({cause})"),
        Proof::FailsDifferently => format!(
            "it did not work again, but for another reason ({against}): there is more than one obstacle, or it varies"
        ),
        Proof::WorksByNow => {
            format!("the same task {was} now: the fault has gone away, or is intermittent")
        }
        Proof::StillFails => format!(
            "still fails the same way ({cause}): the success before it was not just luck of timing"
        ),
        Proof::FailsDifferentlyByNow => {
            format!("the same task stops for another reason by now ({against})")
        }
        Proof::WasLate => format!("the original itself {was} meanwhile: it was only late"),
        Proof::NotSucceededByItsRow => "it has not succeeded meanwhile (its row does not say so)".into(),
        Proof::NotSucceeded => format!("it has not succeeded meanwhile ({cause})"),
        Proof::WorksWithoutApi { arrived: true, .. } => format!(
            "a message like the original {was}. The original had come to this queue too, so how the API publishes is not the reason: what differs is the id (this one has no row), the age, an option or argument of the original, or chance"
        ),
        Proof::WorksWithoutApi {
            from_configuration: true,
            ..
        } => format!(
            "a message made from broker.args and broker.kwargs {was}: queue and worker are in order. It breaks in the API: whether and where it publishes, or what it puts into the message"
        ),
        Proof::WorksWithoutApi { .. } => format!(
            "the same message {was} when taskdiag published it: queue, worker and this message are in order. It breaks in the API, in how or where it publishes"
        ),
        Proof::FailsWithoutApi => format!(
            "it stops for the same reason without the API ({cause}): the way the API publishes is ruled out"
        ),
        Proof::FailsDifferentlyWithoutApi => format!(
            "without the API it stops for another reason ({against}): an obstacle of its own, which says nothing of the API"
        ),
        Proof::SmallestWorks => format!(
            "the smallest payload {was}: the payload, or what is made of it, is what keeps the task from it"
        ),
        Proof::SmallestRefused => format!(
            "nothing: the API refuses the smallest payload ({against}), and may refuse two for two reasons. Make `isolate.body` one that it accepts"
        ),
        Proof::SmallestFails => format!(
            "the smallest payload stops for the same reason ({cause}): what the configured body holds beyond it is ruled out"
        ),
        Proof::SmallestFailsDifferently => format!(
            "the smallest payload stops for another reason ({against}): the two cannot be compared"
        ),
        Proof::FreshWorks { as_without_api: false } => "a worker that was started just now, alone with the same message in an empty vhost, entered it: its code, its configuration and this message can work. Since the step without the API did not stop for the original's reason, this does not tell what did".to_owned() + NOT_EXCLUDED,
        Proof::FreshWorks { as_without_api: true } => "a worker that was started just now, alone with the same message in an empty vhost, entered it: this code, its configuration and this message can work. What differs is what runs: the worker's processes (their age, their state, the code and environment they were started with), and the live vhost and queue (backlog, policies, other consumers)".to_owned() + NOT_EXCLUDED,
        Proof::FreshFails => format!(
            "a fresh worker in an empty vhost stops for the same reason ({cause}): neither the age or state of the running worker nor the live queue is needed for it. The code, its configuration or the message is{NOT_EXCLUDED}"
        ),
        Proof::FreshFailsDifferently => format!(
            "a fresh worker in an empty vhost stops for another reason ({against}), which the empty vhost itself may bring about{NOT_EXCLUDED}"
        ),
    }
}

/// The conclusion of an isolation.
pub(super) fn conclusion(finding: &Finding) -> String {
    match finding {
        Finding::OriginalWasLate { works_again: true } => "Not reproducible: the same task ran now, and the original itself succeeded meanwhile, too. Look at what it waited for, or raise timing.silence if that is how long it takes".into(),
        Finding::OriginalWasLate { works_again: false } => "Not isolated: the original itself succeeded meanwhile, so it was only late. Look at what it waited for, or raise timing.silence if that is how long it takes".into(),
        Finding::NotReproducible => {
            "Not reproducible: the same task ran now. Look at what differs from one time to the next".into()
        }
        Finding::AnotherConsumer { works_again: true } => {
            "Not reproducible: the same task ran now, with another consumer. Compare the consumers of the queue".into()
        }
        Finding::AnotherConsumer { works_again: false } => "Not isolated: another consumer took the message this time, and who takes it may be what decides. Compare the consumers of the queue".into(),
        Finding::WorksByNow => "Not isolated: the same task runs now, so the fault has gone away or is intermittent. Look at what has changed in between".into(),
        Finding::ComesAndGoes(step) => format!(
            "Not isolated: the fault is intermittent. What worked once ({}) did not when it was repeated. Look at what differs from one time to the next",
            step.title()
        ),
        Finding::Isolated { culprit, chance } => {
            let culprit = match culprit {
                Culprit::Message => {
                    "It depends on what the message holds (its id, so its row; its age; its options)"
                }
                Culprit::Api => {
                    "It breaks in the API, between accepting the task and publishing its message"
                }
                Culprit::Payload => "It depends on the payload",
                Culprit::WhatRuns => {
                    "It depends on what runs, not on the code: the running worker, or the live queue and vhost"
                }
            };
            let chance = match chance {
                Some(times) => format!(
                    "Fail, work, fail, work, fail: an intermittent fault would look like this at most 1 time in {times}"
                ),
                None => "Chance is not excluded: that would take the step to work twice, with the same task stopping for the same reason before, between and after".into(),
            };
            format!("{culprit}. {chance}")
        }
        Finding::FreshWorkerWorks => {
            "A fresh worker can run this message; why the original stopped was not isolated".into()
        }
        Finding::Open {
            reproducible,
            excluded,
            unanswered,
        } => open(*reproducible, excluded, unanswered),
    }
}

fn open(reproducible: bool, excluded: &[Step], unanswered: &[Step]) -> String {
    let mut text = match (reproducible, excluded) {
        (true, _) => "Reproducible".to_owned(),
        (false, []) => "Nothing was isolated".to_owned(),
        (false, _) => "Not isolated".to_owned(),
    };
    let excluded: Vec<&str> = excluded
        .iter()
        .map(|step| match step {
            Step::Direct => "how the API publishes",
            Step::Minimal => "what the configured body holds beyond `isolate.body`",
            Step::CleanVhost => "the running worker's state and the live queue",
            Step::Again | Step::Control | Step::Original => step.title(),
        })
        .collect();
    if !excluded.is_empty() {
        text.push_str(&format!("; ruled out: {}", excluded.join(", ")));
    }
    if !unanswered.is_empty() && unanswered.len() < Step::ALL.len() {
        let unanswered: Vec<&str> = unanswered.iter().map(|step| step.title()).collect();
        text.push_str(&format!("; no answer from: {}", unanswered.join(", ")));
    }
    text
}
