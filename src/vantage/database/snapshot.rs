//! Which transactions had ended when, and what became of one.

use std::collections::VecDeque;

use sqlx::Row as _;

use super::connect::Session;
use crate::timeline::Xmax;

/// One `pg_current_snapshot()`: which transactions had ended at some moment between the question and
/// its answer.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    asked_at_ms: f64,
    answered_at_ms: f64,
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl Snapshot {
    pub(super) fn parse(asked_at_ms: f64, answered_at_ms: f64, text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts
            .next()
            .unwrap_or_default()
            .split(',')
            .filter_map(|xid| xid.parse().ok())
            .collect();
        Some(Self {
            asked_at_ms,
            answered_at_ms,
            xmin,
            xmax,
            running,
        })
    }

    /// The transaction had ended when this snapshot was taken.
    pub(super) fn shows(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.running.contains(&xid))
    }

    /// The 64-bit transaction id behind the 32 bits of a row's header: of all that end in them the one next to this
    /// snapshot, as PostgreSQL compares them. One that began after the snapshot lies beyond it.
    pub(super) fn widen(&self, xid: u32) -> u64 {
        let distance = i64::from(xid.wrapping_sub(self.xmax as u32) as i32);
        self.xmax
            .checked_add_signed(distance)
            .unwrap_or_else(|| u64::from(xid))
    }
}

/// Between which two moments a transaction ended: it had not when the last snapshot without it was asked
/// for, and had when the first with it was there.
pub(super) fn bracket(snapshots: &VecDeque<Snapshot>, xid: u64) -> Option<(Option<f64>, f64)> {
    let first = snapshots.iter().position(|snapshot| snapshot.shows(xid))?;
    let without = first.checked_sub(1).map(|last| snapshots[last].asked_at_ms);
    Some((without, snapshots[first].answered_at_ms))
}

/// The members of a multixact. PostgreSQL answers one that does not exist with an error that reads like a corrupted
/// database in its log, so it is asked only for those that it has: below its counter, and not older than any row of
/// this database may name. `OFFSET 0` keeps the planner from calling the function first.
const MEMBERS: &str = "SELECT member.xid::text, member.mode
    FROM (SELECT $1::text::xid AS id FROM pg_database WHERE datname = current_database()
          AND mxid_age($1::text::xid) BETWEEN 1 AND mxid_age(datminmxid) OFFSET 0) existing,
         LATERAL pg_get_multixact_members(existing.id) member";

/// What became of a transaction; `$2` are the 32 bits of `$1` that rows have. One that has not begun would be an
/// error, too.
const STATUS: &str = "SELECT CASE WHEN age($2::text::xid) > 0 THEN pg_xact_status($1::text::xid8) END";
const STATUS_BEFORE_13: &str =
    "SELECT CASE WHEN age($2::text::xid) > 0 THEN txid_status($1::text::bigint) END";

/// What became of the row's `xmax`.
///
/// Multixact members come first: `pg_xact_status` on a MultiXactId answers about some other
/// transaction. The two counters can overlap, so members older than the row's own `xmin` mean
/// that the number is a plain transaction id after all.
pub(super) async fn xmax_state(
    session: &mut Session,
    version_num: i32,
    xmax: u32,
    xmin: u32,
    snapshot: &Snapshot,
) -> Xmax {
    if xmax == 0 {
        return Xmax::None;
    }
    let members = session
        .read(MEMBERS, &[&xmax.to_string()])
        .await
        .unwrap_or_default();
    let members: Vec<(u32, String)> = members
        .iter()
        .filter_map(|row| Some((row.get::<&str, _>(0).parse().ok()?, row.get(1))))
        .collect();
    let plausible = !members.is_empty()
        && members
            .iter()
            .all(|(xid, _)| snapshot.widen(*xid) >= snapshot.widen(xmin));
    if plausible {
        for (xid, mode) in &members {
            if matches!(mode.as_str(), "nokeyupd" | "upd") {
                match xact_status(session, version_num, snapshot.widen(*xid))
                    .await
                    .as_deref()
                {
                    Some("aborted") => return Xmax::UpdateAborted,
                    Some("in progress") => return Xmax::InProgress,
                    _ => {}
                }
            }
        }
        return Xmax::Locks;
    }
    match xact_status(session, version_num, snapshot.widen(xmax))
        .await
        .as_deref()
    {
        Some("aborted") => Xmax::Aborted,
        Some("committed") => Xmax::Committed,
        Some("in progress") => Xmax::InProgress,
        _ => Xmax::Unknown,
    }
}

async fn xact_status(session: &mut Session, version_num: i32, xid: u64) -> Option<String> {
    let sql = match version_num >= 130_000 {
        true => STATUS,
        false => STATUS_BEFORE_13,
    };
    let binds = [xid.to_string(), (xid as u32).to_string()];
    let rows = session.read(sql, &[&binds[0], &binds[1]]).await.ok()?;
    rows.first()?.get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_tells_what_had_ended() {
        let snapshot = Snapshot::parse(0.0, 1.0, "100:105:100,103").expect("snapshot");
        assert!(snapshot.shows(99) && snapshot.shows(101));
        assert!(!snapshot.shows(100) && !snapshot.shows(103) && !snapshot.shows(105));
    }

    /// A look that was asked for before the submission and answered after the worker was done says nothing of
    /// the time before the submission.
    #[test]
    fn a_slow_look_shows_what_it_shows_at_its_end() {
        let look = |asked, answered, text| Snapshot::parse(asked, answered, text).expect("snapshot");
        let slow = look(-1.9, 811.5, "101:101:");
        assert_eq!(bracket(&VecDeque::from([slow.clone()]), 100), Some((None, 811.5)));
        let before = look(-50.0, -49.0, "100:100:");
        assert_eq!(
            bracket(&VecDeque::from([before, slow]), 100),
            Some((Some(-50.0), 811.5))
        );
    }

    #[test]
    fn a_row_header_is_widened_by_the_epoch() {
        let snapshot = Snapshot::parse(0.0, 1.0, "4294967396:4294967400:").expect("snapshot");
        assert_eq!(snapshot.widen(50), (1 << 32) | 50);
        // Ahead of the counter's low half: from the epoch before.
        assert_eq!(snapshot.widen(4_000_000_000), 4_000_000_000);
        // Begun after the snapshot, even across the counter's end.
        assert_eq!(snapshot.widen(105), (1 << 32) | 105);
        let last = Snapshot::parse(0.0, 1.0, "4294967290:4294967294:").expect("snapshot");
        assert_eq!(last.widen(5), (1 << 32) | 5);
        let first = Snapshot::parse(0.0, 1.0, "100:105:").expect("snapshot");
        assert_eq!(first.widen(106), 106);
        assert_eq!(first.widen(4_000_000_000), 4_000_000_000);
    }
}
