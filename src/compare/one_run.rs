//! API against worker within one run: what they ought to have in common, and do not.

use super::difference::{Difference, FactValue, Side, Subject};
use super::facts::{Facts, fingerprints};
use super::rank::{self, Relevance};
use super::{between, ranked};
use crate::diagnosis::{Stage, Story, Verdict};

/// Where API (first value) and worker (second) differ in a way that could explain the verdict; the
/// most telling first. Nothing for a task that succeeded.
pub fn differences(story: &Story<'_>, verdict: &Verdict) -> Vec<Difference> {
    // What listens on the API's port may be a proxy, whose environment says nothing of the API's.
    let pythons = fingerprints(story)
        .iter()
        .filter(|(_, environment, _)| environment.interpreter.is_some())
        .count();
    if verdict.exit_code == crate::error::exit::OK || pythons < 2 {
        return Vec::new();
    }
    let facts = Facts::of(story);
    let [api, worker] = [Side::Api, Side::Worker].map(|party| only(&facts, party));
    let (mut differences, _) = between(&api, &worker);
    // Whoever has a connection to the broker consumes from it, whatever a switch says.
    let consumes = worker
        .known
        .contains_key(&(Side::Api, Subject::BrokerAddress, String::new()));
    let same_application = same_application(story);
    differences.retain(|difference| {
        let is_code = matches!(
            difference.subject,
            Subject::CodeFolder | Subject::WorkingDirectory
        );
        is_telling(difference) && matters(difference, verdict, consumes) && (!is_code || same_application)
    });
    for difference in &mut differences {
        difference.of = vec![Side::Api, Side::Worker];
        difference.why = Some(why(difference).to_owned());
    }
    ranked(differences, &[verdict])
}

/// One party's facts, under one name for both.
fn only(facts: &Facts, party: Side) -> Facts {
    Facts {
        known: facts
            .known
            .iter()
            .filter(|((of, ..), _)| *of == party)
            .map(|((_, subject, name), fact)| ((Side::Api, *subject, name.clone()), fact.clone()))
            .collect(),
        complete: facts
            .complete
            .iter()
            .filter(|(of, _)| *of == party)
            .map(|(_, subject)| (Side::Api, *subject))
            .collect(),
        hidden: Default::default(),
    }
}

/// Two programs have many differences that mean nothing: only these can part them.
fn is_telling(difference: &Difference) -> bool {
    let both = !difference.values.contains(&FactValue::Absent);
    match difference.relevance {
        Relevance::TestSwitch | Relevance::BrokerVariable | Relevance::DatabaseVariable | Relevance::Code => {
            true
        }
        // One may well do without a library that the other needs.
        Relevance::Driver | Relevance::Package => both,
        Relevance::Interpreter => true,
        Relevance::Service => matches!(
            difference.subject,
            Subject::BrokerAddress | Subject::Vhost | Subject::DatabaseAddress
        ),
        Relevance::Named | Relevance::Start | Relevance::Variable | Relevance::User | Relevance::Cosmetic => {
            false
        }
    }
}

/// Whether it could have kept the task from the stage that it did not reach.
fn matters(difference: &Difference, verdict: &Verdict, consumes: bool) -> bool {
    let reached = verdict.stage;
    let delivered = reached >= Some(Stage::Delivered);
    match (difference.relevance, difference.subject) {
        // One that keeps messages to itself has kept none that was delivered: the API's before it is
        // published, the worker's after, unless that consumes from the broker …
        (Relevance::TestSwitch, _) if delivered => false,
        (Relevance::TestSwitch, _) if reached < Some(Stage::Published) => is_on(&difference.values[0]),
        (Relevance::TestSwitch, _) => is_on(&difference.values[1]) && !consumes,
        // … and once the message has come to the worker, both use one broker;
        (Relevance::BrokerVariable, _) | (_, Subject::BrokerAddress | Subject::Vhost) => !delivered,
        // until then the worker's database has nothing to say.
        (Relevance::DatabaseVariable, _) | (_, Subject::DatabaseAddress) => delivered,
        (Relevance::Driver, _) if rank::is_database_driver(&difference.name) => delivered,
        // Two releases declare queues and write messages differently; what the actor has got was
        // understood.
        (Relevance::Driver, _) => reached >= Some(Stage::Submitted) && reached < Some(Stage::Entered),
        _ => delivered,
    }
}

/// This side has the switch on, or may have.
fn is_on(value: &FactValue) -> bool {
    match value {
        FactValue::Seen(text) => rank::is_on(text),
        FactValue::Masked => true,
        FactValue::Absent => false,
    }
}

fn why(difference: &Difference) -> &'static str {
    match (difference.relevance, difference.subject) {
        (Relevance::TestSwitch, _) => "whoever has it on keeps its messages to itself",
        (Relevance::BrokerVariable, _) | (_, Subject::BrokerAddress | Subject::Vhost) => {
            "they may not use the same broker, vhost or queue"
        }
        (Relevance::DatabaseVariable, _) | (_, Subject::DatabaseAddress) => {
            "they may not use the same database"
        }
        (Relevance::Driver, _) => "they may not understand each other",
        (Relevance::Code, _) => "they may not run the same code",
        _ => "the same code may behave differently",
    }
}

/// Both import the same package; two programs of different packages lie in different folders anyway.
fn same_application(story: &Story<'_>) -> bool {
    let roots: Vec<&str> = fingerprints(story)
        .iter()
        .filter_map(|(_, environment, _)| environment.code.as_ref()?.module.split(['.', ':']).next())
        .collect();
    !matches!(roots.as_slice(), [api, worker] if api != worker)
}
