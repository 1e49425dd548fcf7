//! Every recording of `fixtures/runs` as the wild would have shown it: containers, proxies, replicas,
//! restarts, rows that were written over, small ids, quiet and coloured logs, sources that stop.
//!
//! What is seen then is weaker or the same, and never another cause with certainty. What today's
//! code still gets wrong is listed in `wild/known.toml`, which can only become shorter; how much it
//! still recognises stands in `wild/floors.toml`, which can only rise. `UPDATE=1` writes both, in
//! those directions; `PRINT=1` shows each violation with its summary, `UNNAMED=1` each run whose cause is
//! not named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "wild/answer.rs"]
mod answer;
#[path = "wild/ids.rs"]
mod ids;
#[path = "wild/log.rs"]
mod log;
#[path = "wild/named.rs"]
mod named;
#[path = "wild/neighbour.rs"]
mod neighbour;
#[path = "wild/otherwise.rs"]
mod otherwise;
#[path = "wild/pairs.rs"]
mod pairs;
#[path = "wild/pids.rs"]
mod pids;
#[path = "wild/proxy.rs"]
mod proxy;
#[path = "wild/replica.rs"]
mod replica;
#[path = "wild/restart.rs"]
mod restart;
#[path = "wild/row.rs"]
mod row;
#[path = "wild/run.rs"]
mod run;
#[path = "wild/sources.rs"]
mod sources;
#[path = "wild/strangers.rs"]
mod strangers;
#[path = "wild/threads.rs"]
mod threads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use strum::VariantArray as _;
use taskdiag::diagnosis::{
    Certainty, Named, PremiseKind, Verdict, causes, diagnose_trusting, diagnose_with_unproved,
};
use taskdiag::framework::Framework;
use taskdiag::timeline::Timeline;

use run::{Run, Wild};

/// One way in which the wild differs from the recording's machine.
struct Transformation {
    name: &'static str,
    /// Nothing of what happened is out of sight: the verdict stays as it is.
    takes_nothing: bool,
    apply: fn(&Run) -> Vec<Wild>,
}

const fn less(name: &'static str, apply: fn(&Run) -> Vec<Wild>) -> Transformation {
    Transformation {
        name,
        takes_nothing: false,
        apply,
    }
}

const fn same(name: &'static str, apply: fn(&Run) -> Vec<Wild>) -> Transformation {
    Transformation {
        name,
        takes_nothing: true,
        apply,
    }
}

const ALL: &[Transformation] = &[
    less("container_pids", pids::container_pids),
    less("container_pids_with_the_map", pids::container_pids_with_the_map),
    less("through_a_proxy", proxy::through_a_proxy),
    less("a_second_replica", replica::a_second_replica),
    less("restarted_worker", restart::restarted_worker),
    less("dead_threads", threads::dead_threads),
    less("touched_row", row::touched_row),
    less("asked_again", row::asked_again),
    less("another_thread_waits", row::another_thread_waits),
    less("overwritten_row", row::overwritten_row),
    less("set_by_hand", row::set_by_hand),
    less("small_ids", ids::small_ids),
    same("message_id_is_the_id", ids::message_id_is_the_id),
    less("quiet_worker", log::quiet_worker),
    same("coloured_log", log::coloured_log),
    less("strangers", strangers::strangers),
    less("frozen_source", sources::frozen_source),
    less("lagging_standby", row::lagging_standby),
    same("hours_off", log::hours_off),
    less("lost_lines", log::lost_lines),
    less("truncated_log", log::truncated_log),
    less("late_start", sources::late_start),
    less("unnamed_answer", answer::unnamed_answer),
    less("another_request_fails", answer::another_request_fails),
    less("named_by_another", named::named_by_another),
    less("yesterday", ids::yesterday),
    less("yesterday_afterwards", |run| {
        sources::afterwards(run)
            .map(|run| ids::yesterday(&run))
            .unwrap_or_default()
    }),
    less("blind_publish", sources::blind_publish),
    less("others_wait", sources::others_wait),
    less("sent_again", sources::sent_again),
    less("a_neighbours_fault", neighbour::a_neighbours_fault),
    less("otherwise", otherwise::otherwise),
    less("pairs", pairs::pairs),
];

/// What was said wrongly, or otherwise than before: under `changed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    transformation: String,
    /// A cause's id, `also:` before it where it only stands beside the cause, or `changed`.
    what: String,
    recording: String,
    said: String,
}

/// How many of a transformation's runs still have the right cause, at least likely.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    named: usize,
    of: usize,
}

impl Share {
    fn percent(self) -> u32 {
        (self.named * 100 / self.of.max(1)) as u32
    }
}

#[derive(Default)]
struct Results {
    violations: BTreeSet<Violation>,
    /// Of each framework for itself: what one's log tells another's does not.
    shares: BTreeMap<String, Share>,
    /// Recordings whose untouched verdict is certain and right.
    certain: BTreeSet<String>,
    /// Of each recording by each transformation, "" without one: the kinds of premise that were asked for and not proved.
    unproved: BTreeMap<(String, &'static str), BTreeSet<PremiseKind>>,
}

impl Results {
    /// Trusting this kind may change something there.
    fn rests_on(&self, kind: PremiseKind, run: &Run, transformation: &'static str) -> bool {
        ["", transformation].into_iter().any(|by| {
            let unproved = self.unproved.get(&(run.name.clone(), by));
            unproved.is_some_and(|kinds| kinds.contains(&kind))
        })
    }
}

static RUNS: LazyLock<Vec<Run>> = LazyLock::new(run::all);

static RESULTS: LazyLock<Results> = LazyLock::new(|| measure(None));

/// Everything is diagnosed once, on all cores; with a premise that is taken for proved only until
/// something false comes of it.
fn measure(trusted: Option<PremiseKind>) -> Results {
    let runs = &*RUNS;
    let found = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let parts: Vec<Results> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut results = Results::default();
                    while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        look_at(run, trusted, &mut results);
                        let enough = trusted.is_some() && !results.violations.is_empty();
                        if enough || found.load(Ordering::Relaxed) {
                            found.store(true, Ordering::Relaxed);
                            break;
                        }
                    }
                    results
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"))
            .collect()
    });
    let mut whole = Results::default();
    for part in parts {
        whole.violations.extend(part.violations);
        whole.certain.extend(part.certain);
        whole.unproved.extend(part.unproved);
        for (name, share) in part.shares {
            let sum = whole.shares.entry(name).or_default();
            sum.named += share.named;
            sum.of += share.of;
        }
    }
    whole
}

fn look_at(run: &Run, trusted: Option<PremiseKind>, results: &mut Results) {
    let diagnose = |timeline: &Timeline| match trusted {
        Some(kind) => (diagnose_trusting(timeline, kind), BTreeSet::new()),
        None => diagnose_with_unproved(timeline),
    };
    let matters = |one: &&Transformation| trusted.is_none_or(|kind| RESULTS.rests_on(kind, run, one.name));
    let transformations: Vec<&Transformation> = ALL.iter().filter(matters).collect();
    if transformations.is_empty() {
        return;
    }
    let (untouched, unproved) = diagnose(&run.timeline);
    results.unproved.insert((run.name.clone(), ""), unproved);
    if let Some(cause) = &untouched.cause
        && cause.certainty == Certainty::Certain
        && cause.id == run.truth.cause
    {
        results.certain.insert(run.name.clone());
    }
    // Beside the cause stands what the untouched recording says, too: that is another test's business.
    let anyway: BTreeSet<&str> = untouched
        .cause
        .iter()
        .chain(&untouched.contributing)
        .filter(|named| named.certainty == Certainty::Certain)
        .map(|named| named.id.as_str())
        .collect();
    for transformation in transformations {
        for wild in (transformation.apply)(run) {
            let (verdict, unproved) = diagnose(&wild.run.timeline);
            let there = (run.name.clone(), transformation.name);
            results.unproved.entry(there).or_default().extend(unproved);
            let share = results
                .shares
                .entry(share_of(run, transformation.name))
                .or_default();
            share.of += 1;
            if verdict.cause.as_ref().is_some_and(|cause| {
                wild.run.truth.is_named_by(&cause.id) && cause.certainty >= Certainty::Likely
            }) {
                share.named += 1;
            } else if is_set("UNNAMED") {
                println!(
                    "{} {} {}: {}, not {}",
                    transformation.name,
                    wild.way,
                    run.name,
                    in_short(&verdict),
                    wild.run.truth.cause
                );
            }
            let name = if wild.way.is_empty() {
                transformation.name.to_owned()
            } else {
                format!("{}/{}", transformation.name, wild.way)
            };
            let mut complain = |what: String, said: String| {
                results.violations.insert(Violation {
                    transformation: name.clone(),
                    what,
                    recording: run.name.clone(),
                    said,
                });
            };
            let is_false = |named: &Named| {
                named.certainty == Certainty::Certain && !wild.run.truth.certain.contains(&named.id)
            };
            if let Some(cause) = verdict.cause.as_ref().filter(|cause| is_false(cause)) {
                complain(cause.id.clone(), cause.summary.clone());
            }
            for named in verdict.contributing.iter().filter(|named| is_false(named)) {
                if is_a_claim_of_its_own(&named.id) || !anyway.contains(named.id.as_str()) {
                    complain(format!("also:{}", named.id), named.summary.clone());
                }
            }
            if transformation.takes_nothing && !is_the_same(&verdict, &untouched) {
                complain(
                    "changed".into(),
                    format!("{} → {}", in_short(&untouched), in_short(&verdict)),
                );
            }
        }
    }
}

/// It is there, or it is a false alarm, whatever the cause is.
fn is_a_claim_of_its_own(id: &str) -> bool {
    id.starts_with("taken-by-")
        || (id != "succeeded" && causes::find(id).is_some_and(|cause| cause.keeps_from.is_empty()))
}

/// What must stay the same where nothing was taken away; what is known better may be surer.
fn is_the_same(verdict: &Verdict, untouched: &Verdict) -> bool {
    let mut as_sure = verdict.clone();
    if let (Some(cause), Some(before)) = (&mut as_sure.cause, &untouched.cause) {
        cause.certainty = cause.certainty.min(before.certainty);
    }
    in_short(&as_sure) == in_short(untouched)
}

fn in_short(verdict: &Verdict) -> String {
    let mut text = format!(
        "{:?} {} {} exit {}",
        verdict.scenario,
        verdict.outcome.name(),
        verdict.stage.map_or("none", |stage| stage.name()),
        verdict.exit_code
    );
    if let Some(cause) = &verdict.cause {
        let _ = write!(text, ", {} {}", cause.certainty.name(), cause.id);
    }
    text
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wild")
        .join(name)
}

fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "1")
}

/// By transformation and what is said, the recordings.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn known() -> Known {
    let text = std::fs::read_to_string(data("known.toml")).unwrap_or_default();
    toml::from_str(&text).expect("known.toml")
}

fn by_kind<'a>(violations: impl IntoIterator<Item = &'a Violation>) -> Known {
    let mut known = Known::new();
    for one in violations {
        known
            .entry(one.transformation.clone())
            .or_default()
            .entry(one.what.clone())
            .or_default()
            .insert(one.recording.clone());
    }
    known
}

fn contains(known: &Known, one: &Violation) -> bool {
    known
        .get(&one.transformation)
        .and_then(|whats| whats.get(&one.what))
        .is_some_and(|recordings| recordings.contains(&one.recording))
}

const KNOWN_HEAD: &str =
    "# What the diagnosis still says wrongly of a transformed recording: certain and not true, beside the
# cause (`also:`), or otherwise than of the recording itself (`changed`). The list must only become
# shorter: `tests/wild.rs` fails on what is missing here, and on what is here and no longer happens.
# UPDATE=1 takes out what no longer happens.

";

#[test]
fn nothing_false_is_certain() {
    let results = &*RESULTS;
    if is_set("PRINT") {
        for one in &results.violations {
            println!(
                "{} | {} | {} | {}",
                one.transformation, one.what, one.recording, one.said
            );
        }
    }
    let known = known();
    let new: Vec<String> = results
        .violations
        .iter()
        .filter(|one| !contains(&known, one))
        .map(|one| {
            format!(
                "{}: {} says {}: {}",
                one.recording, one.transformation, one.what, one.said
            )
        })
        .collect();
    let still: Vec<&Violation> = results
        .violations
        .iter()
        .filter(|one| contains(&known, one))
        .collect();
    let shorter = by_kind(still);
    let gone = shorter != known;
    if is_set("UPDATE") && gone {
        let text = toml::to_string_pretty(&shorter).expect("a table");
        std::fs::write(data("known.toml"), format!("{KNOWN_HEAD}{text}")).unwrap();
    } else if gone {
        let listed: Vec<String> = known
            .iter()
            .flat_map(|(name, whats)| {
                whats.iter().flat_map(move |(what, recordings)| {
                    recordings
                        .iter()
                        .map(move |recording| (name.clone(), what.clone(), recording.clone()))
                })
            })
            .filter(|(name, what, recording)| {
                !shorter
                    .get(name)
                    .and_then(|whats| whats.get(what))
                    .is_some_and(|recordings| recordings.contains(recording))
            })
            .map(|(name, what, recording)| format!("{recording}: {name} says {what}"))
            .collect();
        panic!(
            "{} of tests/wild/known.toml no longer happen; UPDATE=1 takes them out\n{}",
            listed.len(),
            listed.join("\n")
        );
    }
    assert!(new.is_empty(), "{} new violations\n{}", new.len(), new.join("\n"));
}

/// Each premise is needed: without its proof something false is certain somewhere.
#[test]
fn each_premise_is_needed() {
    let mut not_needed = Vec::new();
    for kind in PremiseKind::VARIANTS {
        let results = measure(Some(*kind));
        if is_set("PRINT") {
            println!("{kind:?}: {:?}", results.violations.iter().next());
        }
        if results.violations.is_empty() {
            not_needed.push(*kind);
        }
    }
    assert!(
        not_needed.is_empty(),
        "nothing shows that these are needed: {not_needed:?}"
    );
}

/// Under which name its share is kept.
fn share_of(run: &Run, transformation: &str) -> String {
    let framework = run.timeline.framework();
    match framework.name == Framework::usual().name {
        true => transformation.to_owned(),
        false => format!("{}-{transformation}", framework.name),
    }
}

/// What must still be recognised.
#[derive(Debug, Serialize, Deserialize)]
struct Floors {
    /// How many of the recordings below must stay certain, with the same id. Set by hand.
    certain_untouched: usize,
    /// Percent of each transformation's runs whose true cause is named, at least likely.
    named: BTreeMap<String, u32>,
    /// The recordings that were certain when the floor was set.
    certain: BTreeSet<String>,
}

const FLOORS_HEAD: &str = "# What the diagnosis must still recognise. Floors may only rise: UPDATE=1 raises `named` to what is measured.

";

#[test]
fn floors_hold() {
    let results = &*RESULTS;
    let text = std::fs::read_to_string(data("floors.toml")).expect("floors.toml");
    let mut floors: Floors = toml::from_str(&text).expect("floors.toml");
    if is_set("PRINT") {
        println!("certain: {:?}", results.certain);
    }
    let certain = floors
        .certain
        .iter()
        .filter(|name| results.certain.contains(*name))
        .count();
    let mut below = Vec::new();
    if certain < floors.certain_untouched {
        below.push(format!(
            "{certain} recordings are certain, {} must be: no longer {:?}",
            floors.certain_untouched,
            floors.certain.difference(&results.certain).collect::<Vec<_>>()
        ));
    }
    for (name, share) in &results.shares {
        if is_set("PRINT") {
            println!(
                "{name}: {} of {} named, {} %",
                share.named,
                share.of,
                share.percent()
            );
        }
        let floor = floors.named.entry(name.clone()).or_default();
        if share.percent() < *floor {
            below.push(format!(
                "{name}: {} of {} are named, {} % of at least {floor} %",
                share.named,
                share.of,
                share.percent()
            ));
        }
        *floor = share.percent().max(*floor);
    }
    if is_set("UPDATE") {
        let text = toml::to_string_pretty(&floors).expect("a table");
        std::fs::write(data("floors.toml"), format!("{FLOORS_HEAD}{text}")).unwrap();
    }
    assert!(below.is_empty(), "{}", below.join("\n"));
}
