//! Workers that live and do not consume, or consume and do not say that they live.
//!
//! Nobody is asked: heartbeats, the broker's list of consumers and the processes of this machine are all there is.
//! So of a worker elsewhere whose heartbeats stay away nothing is said: it may be a solo one at work.

use super::finding::{Finding, finding};
use crate::diagnosis::Story;
use crate::text::counted;

/// Of workers that live while the queue has no consumer: what they do instead, and what to do.
pub(super) fn although(story: &Story<'_>) -> Option<(String, String)> {
    let shape = story.framework().control.as_ref()?;
    let lives = story.nodes_that_live();
    if lives.is_empty() {
        return None;
    }
    let listed = story.workers_at_the_broker();
    let named: Vec<String> = lives
        .iter()
        .map(|node| {
            let mut of_name = listed.iter().filter(|worker| worker.node == *node);
            match (of_name.next(), of_name.next()) {
                (Some(worker), None) if worker.queues.is_empty() => format!("{node} (consumes no queue)"),
                (Some(worker), None) => format!("{node} (consumes {})", quoted(&worker.queues)),
                _ => (*node).to_owned(),
            }
        })
        .collect();
    let count = counted(lives.len() as u64, "worker lives", "workers live");
    Some((
        format!("although {count} in this vhost: {}", named.join(", ")),
        format!(
            "`{}` says what they consume: another queue (`-Q`), or none, after `cancel_consumer`",
            shape.which_queues
        ),
    ))
}

pub(super) fn findings(story: &Story<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(shape) = &story.framework().control else {
        return found;
    };
    let has_consumers = story
        .depths(story.queue())
        .last()
        .is_some_and(|depth| depth.consumers > 0);
    let listened = story
        .listened_for_ms()
        .is_some_and(|ms| ms >= shape.heartbeat_ms as f64);
    for worker in story.workers_at_the_broker() {
        let node = worker.node;
        // Without any consumer it is said of the queue.
        if worker.queues.is_empty() && worker.lives && has_consumers {
            found.push(finding(
                format!("worker {node} lives, and consumes no queue of this vhost"),
                format!(
                    "after `cancel_consumer` it stays so until it is started again: `{}`, or restart it",
                    (shape.consume_again)(node)
                ),
            ));
        }
        if !worker.queues.contains(&story.queue()) || worker.lives || !listened {
            continue;
        }
        let process = story
            .peer(worker.connection)
            .and_then(|peer| story.process(peer.value));
        let Some(process) = process else { continue };
        // A stopped one is told of as such.
        if (shape.may_be_silent)(&process.command) || matches!(process.state, 'T' | 't') {
            continue;
        }
        if story.framework().worker.is_started_by(&process.command) {
            found.push(finding(
                format!(
                    "worker {node} (pid {}) consumes `{}`, and sends no heartbeat: its main process does not come to it",
                    process.pid,
                    story.queue()
                ),
                format!("`py-spy dump --pid {}` says where it stands; a pool of one process (`-P solo`) sends none while it runs a task", process.pid),
            ));
        }
    }
    found
}

fn quoted(queues: &[&str]) -> String {
    let quoted: Vec<String> = queues.iter().map(|queue| format!("`{queue}`")).collect();
    quoted.join(", ")
}
