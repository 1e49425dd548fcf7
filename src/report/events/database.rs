//! The task's row, and who keeps it waiting.

use crate::text::counted;
use crate::timeline::EventKind as Kind;

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
        Kind::RowCommitted {
            invisible_at_ms,
            visible_at_ms,
            ..
        } => match invisible_at_ms {
            Some(before) => format!("row committed between {before:.1} and {visible_at_ms:.1} ms"),
            None => format!("row committed before {visible_at_ms:.1} ms"),
        },
        Kind::LockWait(wait) => {
            let blockers = serde_json::to_value(wait).unwrap_or_default();
            let pids: Vec<String> = blockers["blockers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|blocker| blocker.get("pid").or(Some(blocker))?.as_i64())
                .map(|pid| pid.to_string())
                .collect();
            format!("waits for a lock held by backend {}: {blockers}", pids.join(", "))
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
