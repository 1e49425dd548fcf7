//! `diagnose --isolate`: each step tells one thing from the others.

use std::time::Duration;

use serde_json::Value as Json;

use crate::lab::{signal, until};
use crate::stack::Stack;
use crate::verdict::Verdict;
use crate::worker::{Dramatiq, healthy};

impl Verdict {
    /// A step of the isolation by its name.
    fn step(&self, name: &str) -> &Json {
        let steps = self.json["isolation"]["steps"].as_array();
        let found = steps.into_iter().flatten().find(|step| step["step"] == name);
        found.unwrap_or_else(|| panic!("no step {name}\n{}", self.explain()))
    }

    fn steps(&self) -> Vec<&str> {
        let steps = self.json["isolation"]["steps"].as_array();
        steps
            .into_iter()
            .flatten()
            .filter_map(|step| step["step"].as_str())
            .collect()
    }

    fn proves(self, name: &str, words: &str) -> Self {
        let step = self.step(name);
        let proved = step["proved"].as_str().unwrap_or_default();
        assert!(proved.contains(words), "{name}: {step:#}\n{}", self.explain());
        self
    }

    fn skips(self, name: &str, words: &str) -> Self {
        let step = self.step(name);
        let skipped = step["skipped"].as_str().unwrap_or_default();
        assert!(skipped.contains(words), "{name}: {step:#}\n{}", self.explain());
        self
    }

    fn concludes(self, words: &str) -> Self {
        let conclusion = self.json["isolation"]["conclusion"].as_str().unwrap_or_default();
        assert!(conclusion.contains(words), "{conclusion}\n{}", self.explain());
        self
    }
}

fn published_elsewhere(dramatiq: Dramatiq) {
    let mut stack = Stack::with("isolate-other-queue", dramatiq);
    stack.worker(healthy());
    stack.api_with_fault("other-queue");
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("C", "published-to-other-queue", 20)
        .proves("again", "it happens again")
        .proves("direct", "It breaks in the API")
        .concludes("It breaks in the API");
    assert_eq!(verdict.steps(), ["again", "direct"], "{}", verdict.explain());
    let sent = &verdict.step("direct")["sent"];
    assert_ne!(sent["task_id"], verdict.json["task"]["id"]);
    assert!(verdict.text.contains("Isolated"), "{}", verdict.text);
    let recorded = verdict.recording.with_extension("isolate-2.jsonl");
    assert!(recorded.is_file(), "{}", recorded.display());
}

#[test]
fn the_api_publishes_elsewhere() {
    published_elsewhere(Dramatiq::Two);
}

/// The mark in the options is passed over by the old release, too.
#[test]
fn the_api_publishes_elsewhere_for_an_old_worker() {
    published_elsewhere(Dramatiq::One);
}

#[test]
fn the_message_does_not_fit_the_actor() {
    let mut stack = Stack::new("isolate-arguments");
    stack.worker(healthy());
    stack.api_with_fault("bad-arguments");
    stack
        .diagnose(&["--isolate"])
        .expect("B", "bad-arguments", 10)
        .proves("again", "it happens again")
        .proves("direct", "how the API publishes is out of the question")
        .skips("minimal", "`isolate.body` is not configured")
        .concludes("Reproducible; out of the question: how the API publishes");
}

#[test]
fn it_depends_on_the_payload() {
    let mut stack = Stack::new("isolate-payload");
    stack.worker(healthy());
    stack.api(&[]);
    stack.set_all("[api]\nbody = { input_data = { prompt = 'no type' } }\n[isolate]\nbody = { task_type = 'agent_task' }");
    stack
        .diagnose(&["--isolate"])
        .expect("B", "api-rejected", 10)
        .skips("direct", "carries its id")
        .proves("minimal", "the payload")
        .concludes("It depends on the payload");
}

/// The worker comes while the first step is under way.
#[test]
fn it_does_not_happen_again() {
    let mut stack = Stack::new("isolate-flaky");
    stack.api(&[]);
    stack.set("timing.silence", "6s");
    let mut running = stack.start_diagnose(&["--isolate"]);
    until("the first step begins", || {
        running.stderr().contains("the same task again") || running.has_ended()
    });
    stack.worker(healthy());
    let verdict = running
        .finish(&stack)
        .expect("C", "no-consumer", 20)
        .proves("again", "code and configuration alone are not the reason")
        .concludes("Not reproducible");
    assert_eq!(verdict.steps(), ["again"], "{}", verdict.explain());
}

#[test]
fn a_success_is_not_isolated() {
    let mut stack = Stack::new("isolate-success");
    stack.worker(healthy());
    stack.api(&[]);
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("A", "succeeded", 0)
        .concludes("nothing to isolate");
    assert!(verdict.steps().is_empty(), "{}", verdict.explain());
}

/// A failure inside the actor is isolated through the API only.
#[test]
fn the_actor_raises_every_time() {
    let mut stack = Stack::new("isolate-raises");
    stack.worker(crate::worker::fault("raise-final"));
    stack.api(&[]);
    stack
        .diagnose(&["--isolate"])
        .expect("A", "actor-raised", 10)
        .proves("again", "it happens again")
        .skips("direct", "entered already")
        .skips("clean-vhost", "entered already");
}

/// Interrupted in the middle of a step: what was found until then is said.
#[test]
fn interrupted() {
    let mut stack = Stack::new("isolate-interrupted");
    stack.api(&[]);
    let mut running = stack.start_diagnose(&["--isolate", "--silence", "5s"]);
    until("the first step begins", || {
        running.stderr().contains("the same task again") || running.has_ended()
    });
    std::thread::sleep(Duration::from_millis(800));
    signal("INT", running.pid());
    let verdict = running.finish(&stack).expect("C", "no-consumer", 20);
    assert_eq!(verdict.steps(), ["again"], "{}", verdict.explain());
    verdict.skips("again", "interrupted");
}
