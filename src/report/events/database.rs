//! The task's row, and who keeps it waiting.

use crate::text::counted;
use crate::timeline::{Blocker, EventKind as Kind};

/// Of versions of the row, locks and sessions.
pub(super) fn describe(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Row(row) if row.present => format!(
            "status {}, xmin {}, xmax {}{}",
            row.status.as_deref().unwrap_or("NULL"),
            row.xmin.map_or("-".into(), |xid| xid.to_string()),
            row.xmax.map_or("-".into(), |xid| xid.to_string()),
            row.xmax_state
                .map(|state| format!(
                    " ({})",
                    serde_json::to_value(state)
                        .ok()
                        .and_then(|value| value.as_str().map(str::to_owned))
                        .unwrap_or_default()
                ))
                .unwrap_or_default()
        ),
        Kind::Row(_) => "no such row".into(),
        Kind::RowElsewhere { place, status } => match status {
            Some(status) => format!("the row is in {place}: status {status}"),
            None => format!("the row is in {place}"),
        },
        Kind::DatabaseServer {
            version,
            referencing,
            reads_all_stats,
            in_recovery,
        } => {
            let mut text = format!("PostgreSQL {version}");
            if *in_recovery == Some(true) {
                text.push_str(", a standby");
            }
            if !referencing.is_empty() {
                text.push_str(&format!(
                    "; its rows are referenced by {}",
                    referencing.join(", ")
                ));
            }
            if !reads_all_stats {
                text.push_str("; what other users' sessions do is hidden from this user");
            }
            text
        }
        Kind::RowCommitted {
            invisible_at_ms,
            visible_at_ms,
            ..
        } => match invisible_at_ms {
            Some(before) => format!("row committed between {before:.1} and {visible_at_ms:.1} ms"),
            None => format!("row committed before {visible_at_ms:.1} ms"),
        },
        Kind::LockWait(wait) => {
            let holders: Vec<String> = wait.blockers.iter().map(describe_blocker).collect();
            let what = if wait.table {
                "a lock on the table"
            } else {
                "a lock on the row"
            };
            format!(
                "backend {} waits for {what}, held by {}",
                wait.pid,
                holders.join(", ")
            )
        }
        Kind::LockFree => "nobody waits for the row any more".into(),
        Kind::DatabaseSessions(seen) => format!(
            "{} at the database server, {} of them in {}",
            counted(seen.sessions.len() as u64, "session", "sessions"),
            seen.sessions
                .iter()
                .filter(|one| one.database == seen.here)
                .count(),
            seen.here
        ),
        _ => return None,
    })
}

fn describe_blocker(blocker: &Blocker) -> String {
    let details = [
        blocker.application.clone(),
        blocker.client.clone(),
        blocker.state.clone(),
        blocker
            .query
            .as_ref()
            .map(|query| format!("last statement `{query}`")),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    match details.is_empty() {
        true => format!("backend {}", blocker.pid),
        false => format!("backend {} ({})", blocker.pid, details.join(", ")),
    }
}
