//! Something that is not a worker took the message.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "taken-by-other-client",
    keeps_from: &[Stage::Received],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    general: false,
    page: include_str!("taken_by_other_client.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.deliveries().last() else {
        return Answer::NotApplicable;
    };
    let peer = story.peer(passage.connection);

    // The management API gets messages through no client connection: an Erlang pid stands there.
    if passage.connection.starts_with('<') {
        return Answer::certain(
            format!(
                "fetched through the management API by hand (connection {})",
                passage.connection
            ),
            [passage.n],
        );
    }
    if let Some((n, process)) = peer.and_then(|(_, pid)| story.process(pid)) {
        if super::is_worker(process) {
            return Answer::ruled_out("it is a worker", [n]);
        }
        if story.is_watched(process.pid) == Some(true) {
            return Answer::ruled_out("it is the watched worker", [n]);
        }
        return Answer::likely(
            format!(
                "delivered to pid {} (`{}`), which is not a worker",
                process.pid,
                process.command.join(" ")
            ),
            [passage.n, n],
        );
    }
    let listed = story.connections().and_then(|(n, connections)| {
        connections
            .iter()
            .find(|connection| connection.name == passage.connection)
            .map(|connection| (n, connection))
    });
    match listed {
        Some((n, connection)) if !super::is_worker_product(&connection.product) => Answer::likely(
            format!(
                "delivered to {}, a {} client, which is not a worker",
                connection.name,
                if connection.product.is_empty() {
                    "nameless"
                } else {
                    &connection.product
                }
            ),
            [passage.n, n],
        ),
        _ => Answer::NotApplicable,
    }
}
