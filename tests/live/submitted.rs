//! What the API can do wrong, or say.

use crate::stack::Stack;
use crate::system::with_api_fault;

#[test]
fn api_unreachable() {
    let mut stack = Stack::new("api-unreachable");
    stack
        .diagnose(&[])
        .expect("none", "api-unreachable", 10)
        .certain()
        .record_as("api-unreachable");
    stack.set("api.url", "http://no-such-host.invalid:8000");
    stack
        .diagnose(&[])
        .expect("none", "api-unreachable", 10)
        .certain();
}

#[test]
fn api_timeout() {
    let mut stack = Stack::new("api-timeout");
    stack.api_with_fault("slow");
    stack.set("api.timeout", "1s");
    stack
        .diagnose(&[])
        .expect("none", "api-timeout", 10)
        .certain()
        .record_as("api-timeout");
}

/// 401 without the header, 403 with any; with the header it is accepted.
#[test]
fn api_unauthorized() {
    let mut stack = Stack::new("api-unauthorized");
    stack.api_with_fault("unauthorized");
    stack
        .diagnose(&[])
        .expect("B", "api-unauthorized", 10)
        .certain()
        .sums_up("401")
        .record_as("api-unauthorized");
    stack.set_all("[api]\nheaders = { Authorization = \"Bearer lab-token\" }");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
}

#[test]
fn api_forbidden() {
    let mut stack = Stack::new("api-forbidden");
    stack.api_with_fault("forbidden");
    stack
        .diagnose(&[])
        .expect("B", "api-unauthorized", 10)
        .certain()
        .sums_up("403");
}

#[test]
fn api_rejected() {
    let mut stack = Stack::new("api-rejected");
    stack.api_with_fault("reject");
    stack
        .diagnose(&[])
        .expect("B", "api-rejected", 10)
        .certain()
        .sums_up("422")
        .says("Input should be 'agent_run'")
        .record_as("api-rejected");
}

#[test]
fn api_rejected_by_a_redirect() {
    let mut stack = Stack::new("api-redirect");
    stack.api_with_fault("redirect");
    stack
        .diagnose(&[])
        .expect("B", "api-rejected", 10)
        .says("/api/v2/tasks/");
}

/// A missing trailing slash is a 307, which keeps method and body: it is followed.
#[test]
fn api_redirect_that_is_followed() {
    let mut stack = Stack::new("api-redirect-followed");
    stack.api(&[]);
    stack.set("api.submit_path", "/api/v1/tasks");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
}

#[test]
fn api_failed() {
    let mut stack = Stack::new("api-failed");
    stack.api_with_fault("crash");
    stack
        .diagnose(&[])
        .expect("B", "api-failed", 10)
        .says("no quota for agent_task")
        .record_as("api-failed");
}

#[test]
fn api_failed_behind_a_proxy() {
    let mut stack = Stack::new("api-unavailable");
    stack.api_with_fault("unavailable");
    stack.diagnose(&[]).expect("B", "api-failed", 10).sums_up("503");
}

#[test]
fn api_answer_unrecognised() {
    let mut stack = Stack::new("api-no-id");
    stack.api_with_fault("no-id-later");
    stack
        .diagnose(&[])
        .expect("none", "api-answer-unrecognised", 10)
        .certain()
        .says("your task has been queued")
        .record_as("api-answer-unrecognised");
}

#[test]
fn api_answer_is_html() {
    let mut stack = Stack::new("api-not-json");
    stack.api_with_fault("not-json");
    stack.diagnose(&[]).expect("C", "no-consumer", 20).not_certain();
}

/// "Accepted", or the redirect that follows a form: the only message that was sent meanwhile is the task's.
#[test]
fn api_answer_without_an_id() {
    for fault in ["no-id", "see-other"] {
        let mut stack = with_api_fault(fault);
        let verdict = stack.diagnose(&[]);
        assert_eq!(
            (verdict.scenario(), verdict.code()),
            ("A", Some(30)),
            "{}",
            verdict.explain()
        );
        verdict.outcome("unknown").says("the answer names no task");
        // Nothing that it cannot know of is asked.
        stack.unset("database");
        stack.unset("api.status_path");
        stack.diagnose(&[]).expect("A", "succeeded", 0).not_certain();
    }
}

#[test]
fn argument_not_serialisable() {
    with_api_fault("not-serialisable")
        .diagnose(&[])
        .expect("B", "argument-not-serialisable", 10)
        .at_least_likely()
        .says("datetime is not JSON serializable")
        .record_as("argument-not-serialisable");
}

#[test]
fn api_cannot_enqueue() {
    let mut stack = Stack::new("cannot-enqueue");
    stack.api_with_fault("cannot-enqueue");
    stack
        .diagnose(&[])
        .expect("B", "api-cannot-enqueue", 10)
        .record_as("api-cannot-enqueue");
}

/// The error was only logged, and the API said 202.
#[test]
fn api_cannot_enqueue_and_says_nothing() {
    let mut stack = Stack::new("swallow-enqueue-error");
    stack.api_with_fault("swallow-enqueue-error");
    stack
        .diagnose(&[])
        .expect("B", "api-cannot-enqueue", 10)
        .stage("recorded");
}

/// The id is there, but the pointer misses it.
#[test]
fn api_answer_with_the_id_elsewhere() {
    let mut stack = Stack::new("api-pointer");
    stack.api(&[]);
    stack.set("api.task_id_pointer", "/data/task/id");
    stack
        .diagnose(&[])
        .expect("none", "api-answer-unrecognised", 10)
        .says("/task_id");
}
