//! Who waits for the row or its table, and who keeps them waiting; which database each client is connected to.

use sqlx::Row as _;

use super::connect::{Session, Trouble, lost};
use crate::timeline::{Blocker, DatabaseSession, LockWait, Sessions};

/// A server lists the locks of all its databases, and those made from one template have their tables under the same
/// numbers.
const HERE: &str = "(SELECT oid FROM pg_database WHERE datname = current_database())";

/// What a look at the locks told.
pub(super) enum LockState {
    Waits(LockWait),
    Free,
    /// The look itself was given up.
    Nothing,
}

/// Who waits for this very row (a `tuple` lock carries its page and tuple), or for the table. Those who
/// wait for the table come first: they wait for more. A row that could not be read has no `ctid`; `part` is the table that
/// has it, which of a partitioned one is a partition.
pub(super) async fn look(
    session: &mut Session,
    table: i64,
    part: i64,
    ctid: Option<&str>,
) -> Result<LockState, Trouble> {
    let (page, tuple) = ctid
        .and_then(|ctid| ctid.trim_matches(['(', ')']).split_once(','))
        .unwrap_or(("-1", "-1"));
    let sql = format!(
        "SELECT DISTINCT w.pid, w.locktype = 'relation', w.mode, left(a.query, 500), a.query_start, {client}
         FROM pg_locks w LEFT JOIN pg_stat_activity a ON a.pid = w.pid
         WHERE NOT w.granted AND w.pid <> pg_backend_pid() AND (
           (w.locktype = 'relation' AND w.database = {HERE} AND w.relation IN ($1::bigint::oid, $4::bigint::oid))
           OR EXISTS (SELECT 1 FROM pg_locks t WHERE t.pid = w.pid AND t.locktype = 'tuple'
                      AND t.database = {HERE} AND t.relation = $4::bigint::oid AND t.page = $2::int AND t.tuple = $3::int))
         ORDER BY 2 DESC, 5, 1 LIMIT 16",
        client = address("a.client_addr", "a.client_port")
    );
    let values: [&str; 4] = [&table.to_string(), page, tuple, &part.to_string()];
    let rows = match session.read(&sql, &values).await {
        Ok(rows) => rows,
        Err(sqlx::Error::Database(_)) => return Ok(LockState::Nothing),
        Err(error) => return Err(lost(error)),
    };
    let Some(first) = rows.first() else {
        return Ok(LockState::Free);
    };
    let pid: i32 = first.get(0);
    let table: bool = first.get(1);
    let same = rows.iter().skip(1).filter(|row| row.get::<bool, _>(1) == table);
    Ok(LockState::Waits(LockWait {
        pid,
        query: visible(first.get(3)),
        client: first.get(5),
        blockers: blockers(session, pid).await?,
        table,
        mode: first.get(2),
        others: same.filter_map(|row| row.get(5)).collect(),
    }))
}

/// All who stand before this one, whoever heads the line first: one that waits in the line itself
/// blocks those behind it, and is not the reason.
async fn blockers(session: &mut Session, waiter: i32) -> Result<Vec<Blocker>, Trouble> {
    let sql = format!(
        "WITH RECURSIVE line(pid) AS (
           SELECT unnest(pg_blocking_pids($1::int))
           UNION SELECT unnest(pg_blocking_pids(line.pid)) FROM line)
         SELECT a.pid, usename::text, application_name, state, left(query, 500),
                extract(epoch FROM clock_timestamp() - xact_start)::float8, {client},
                cardinality(pg_blocking_pids(a.pid)) > 0
         FROM line JOIN pg_stat_activity a ON a.pid = line.pid ORDER BY 8, xact_start LIMIT 16",
        client = address("client_addr", "client_port"),
    );
    let rows = session.read(&sql, &[&waiter.to_string()]).await.map_err(lost)?;
    Ok(rows
        .iter()
        .map(|row| Blocker {
            pid: row.get(0),
            user: row.get(1),
            application: row.get::<Option<String>, _>(2).filter(|name| !name.is_empty()),
            state: row.get(3),
            query: visible(row.get(4)),
            waits: row.get(7),
            transaction_s: row.get::<Option<f64>, _>(5).map(|s| (s * 10.0).round() / 10.0),
            client: row.get(6),
        })
        .collect())
}

/// Who has the row in a transaction that is still open, and whether it writes. A row locked by `FOR UPDATE`, or
/// by an INSERT into a referencing table, and one that is being updated look alike; the lock that the
/// transaction holds on the table tells them apart.
pub(super) async fn holder(session: &mut Session, table: i64, xmax: u32) -> Option<(bool, Option<Blocker>)> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_locks t WHERE t.pid = x.pid AND t.locktype = 'relation'
                        AND t.database = {HERE} AND t.relation = $2::bigint::oid AND t.mode = 'RowExclusiveLock'),
                a.pid, a.usename::text, a.application_name, a.state, a.query, {client}
         FROM pg_locks x LEFT JOIN pg_stat_activity a ON a.pid = x.pid
         WHERE x.locktype = 'transactionid' AND x.granted AND x.mode = 'ExclusiveLock' AND x.transactionid = $1::xid",
        client = address("a.client_addr", "a.client_port"),
    );
    let rows = session
        .read(&sql, &[&xmax.to_string(), &table.to_string()])
        .await
        .ok()?;
    let row = rows.first()?;
    let blocker = row.get::<Option<i32>, _>(1).map(|pid| Blocker {
        pid,
        user: row.get(2),
        application: row.get::<Option<String>, _>(3).filter(|name| !name.is_empty()),
        state: row.get(4),
        query: visible(row.get(5)),
        waits: false,
        transaction_s: None,
        client: row.get(6),
    });
    Some((row.get(0), blocker))
}

/// Of a crowded server so many.
const MOST_SESSIONS: usize = 500;
/// Of so many it is asked whom they wait for.
const MOST_WAITS: usize = 8;

/// Every client that has come by TCP, as far as this role may see them.
pub(super) async fn sessions(session: &mut Session) -> Option<Sessions> {
    let sql = format!(
        "SELECT coalesce({server}, ''), current_database()::text, {client}, a.datname::text, a.pid,
                (SELECT min(l.locktype) FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted)
         FROM pg_stat_activity a
         WHERE a.client_port > 0 AND a.datname IS NOT NULL AND a.pid <> pg_backend_pid()
         ORDER BY 6 NULLS LAST, a.backend_start DESC LIMIT {MOST_SESSIONS}",
        server = address("inet_server_addr()", "inet_server_port()"),
        client = address("a.client_addr", "a.client_port"),
    );
    let rows = session.read(&sql, &[]).await.ok()?;
    let first = rows.first()?;
    let mut found = Sessions {
        server: first.get(0),
        here: first.get(1),
        sessions: Vec::new(),
    };
    for row in &rows {
        let waits_for: Option<String> = row.get(5);
        let asked = found
            .sessions
            .iter()
            .filter(|known| known.waits_for.is_some())
            .count();
        let blockers = match waits_for.is_some() && asked < MOST_WAITS {
            true => blockers(session, row.get(4)).await.unwrap_or_default(),
            false => Vec::new(),
        };
        found.sessions.push(DatabaseSession {
            client: row.get(2),
            database: row.get(3),
            waits_for,
            blockers,
        });
    }
    Some(found)
}

/// `ip:port` as sockets are written.
fn address(ip: &str, port: &str) -> String {
    format!("CASE family({ip}) WHEN 6 THEN '[' || host({ip}) || ']' ELSE host({ip}) END || ':' || {port}")
}

/// Other roles' statements are hidden without `pg_read_all_stats`; literals in one may be task
/// arguments, so only its skeleton is kept.
fn visible(query: Option<String>) -> Option<String> {
    let query = query.filter(|text| !text.is_empty() && text != "<insufficient privilege>")?;
    let mut out = String::with_capacity(query.len());
    let mut quoted = false;
    for c in query.chars() {
        match c {
            '\'' if quoted => {
                quoted = false;
                out.push('\'');
            }
            '\'' => {
                quoted = true;
                out.push_str("'…");
            }
            _ if quoted => {}
            c => out.push(c),
        }
    }
    Some(out.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_leave_a_statement() {
        assert_eq!(
            visible(Some("UPDATE t SET a = 'it''s' WHERE b = 'x'".into())).as_deref(),
            Some("UPDATE t SET a = '…''…' WHERE b = '…'")
        );
    }
}
