//! Containers that do not run, or do not stay up, as their engine describes them.

use std::time::Duration;

use jiff::Timestamp;

use super::finding::{Finding, finding};
use crate::diagnosis::Story;
use crate::diagnosis::evidence::{container_words, purpose};
use crate::text::counted;
use crate::timeline::{Container, Role};
use crate::units;

/// One that was started again within this time is not steady.
const LATELY: Duration = Duration::from_secs(120);

const ROLES: &[Role] = &[
    Role::Api,
    Role::ApiLog,
    Role::Broker,
    Role::Database,
    Role::WorkerLog,
];

pub(super) fn findings(story: &Story<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut named: Vec<String> = Vec::new();
    let mut has_stopped = false;
    for role in ROLES {
        let Some(standing) = story.standing(*role) else {
            continue;
        };
        has_stopped |= *role == Role::WorkerLog;
        if named.contains(&standing.container.id) {
            continue;
        }
        named.push(standing.container.id.clone());
        found.push(finding(
            format!("{}, {}", standing.words, purpose(*role)),
            format!("`{}`; find out what stopped it", standing.command),
        ));
    }
    // A replica of the worker's.
    for container in story.worker_containers() {
        if !has_stopped && container.state != "running" && !named.contains(&container.id) {
            found.push(finding(
                format!("{} is {}", container_words(&container), container.state),
                "its messages wait until it goes on, or until its connection is closed",
            ));
        }
    }
    let now = Timestamp::now();
    for container in story.containers() {
        if container.roles.is_empty() || named.contains(&container.id) {
            continue;
        }
        found.extend(unsteady(&container, now));
    }
    found
}

/// The engine has started it again, the last time just now.
fn unsteady(container: &Container, now: Timestamp) -> Option<Finding> {
    let restarts = container.restarts.filter(|count| *count > 0)?;
    let started: Timestamp = container.started_at.as_deref()?.parse().ok()?;
    let age = Duration::try_from(now.duration_since(started)).ok()?;
    (age < LATELY).then(|| {
        finding(
            format!(
                "{} was started again {} by its engine, the last time {} ago",
                container_words(container),
                counted(restarts, "time", "times"),
                units::span(age.as_secs_f64() * 1000.0)
            ),
            format!("`docker logs --tail 50 {}` says why it ended", container.name),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_started_again_long_ago_is_steady() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a time");
        let of = |restarts: u64, started: &str| {
            let container = Container {
                name: "shop-worker-1".into(),
                restarts: Some(restarts),
                started_at: Some(started.into()),
                ..Container::default()
            };
            unsteady(&container, now).map(|found| found.text)
        };
        let said = of(7, "2026-01-01T00:09:50.123456789Z").expect("a finding");
        assert!(
            said.contains("7 times by its engine") && said.contains("ago"),
            "{said}"
        );
        assert_eq!(of(7, "2026-01-01T00:01:00Z"), None);
        assert_eq!(of(0, "2026-01-01T00:09:59Z"), None);
        assert_eq!(of(1, "0001-01-01T00:00:00Z"), None);
    }
}
