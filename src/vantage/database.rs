//! The task's row, its header, and who holds it. Only reads, one short transaction a poll.
//!
//! `BEGIN READ ONLY; SET LOCAL …; COMMIT` with unnamed statements: a session setting or a prepared
//! statement would outlive us behind a transaction-pooling PgBouncer and break the application.

mod connect;
mod elsewhere;
mod locks;
mod snapshot;
mod table;

use std::collections::VecDeque;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Phases, Tap, Watched};
use crate::config::{Config, Database};
use crate::error::Unavailable;
use crate::timeline::{EventKind, LockWait, Row, Xmax};
use connect::{Session, Trouble, connect, lost};
use snapshot::{Snapshot, bracket, xmax_state};
use table::{Table, inspect, quote, quote_table};

const CALM: Duration = Duration::from_millis(50);
const LIVELY: Duration = Duration::from_millis(10);
/// On a table that has no index on the id column every poll reads the whole table.
const UNINDEXED: Duration = Duration::from_secs(1);
const LOCKS_EVERY: Duration = Duration::from_millis(300);
/// Snapshot samples kept to tell later when the row's transaction committed.
const SNAPSHOTS: usize = 4096;

/// After a connection is lost it is tried again so soon, and then ever later.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_LAST: Duration = Duration::from_secs(2);

struct Watcher<'a> {
    session: Session,
    database: &'a Database,
    table: Table,
    tap: Tap,
    snapshots: VecDeque<Snapshot>,
    last: Option<Row>,
    /// The table that has it: of a partitioned one that is a partition.
    part: Option<i64>,
    committed: bool,
    waits: Option<LockWait>,
    looked_for_locks: f64,
}

/// Watches the row, and connects again when the line is lost. With `awaits_start` the application of this
/// run may make its tables only when it is started: until the submission nothing is settled.
pub async fn watch(config: &Config, awaits_start: bool, tap: Tap, mut phases: Phases) -> Watched {
    let Some(database) = &config.database else {
        return Err(Unavailable::new("no database is configured")
            .hint("add [database] url, table, id_column and status_column to taskdiag.toml"));
    };
    let mut said = None;
    let mut again = AGAIN;
    loop {
        let mut saw = false;
        // A look that began earlier may have been too early.
        let counts = !awaits_start || phases.now().submitted;
        let trouble = match watch_once(database, &tap, &mut phases, &mut saw).await {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        let phase = phases.now();
        let blindness = match trouble {
            Trouble::Settled(blindness) if counts => return Err(blindness),
            Trouble::Settled(blindness) | Trouble::Lost(blindness) => blindness,
        };
        if phase.stop || phase.last_look {
            return Err(blindness);
        }
        if saw {
            (said, again) = (None, AGAIN);
        }
        if said.as_ref() != Some(&blindness.reason) {
            said = Some(blindness.reason.clone());
            tap.blind(blindness);
        }
        phases.pause(again).await;
        again = (again * 2).min(AGAIN_AT_LAST);
    }
}

/// From one connection to its end. `saw`: it said that it watches.
async fn watch_once(
    database: &Database,
    tap: &Tap,
    phases: &mut Phases,
    saw: &mut bool,
) -> Result<(), Trouble> {
    let mut session = connect(database).await?;
    let table = inspect(&mut session, database).await?;
    tap.see(EventKind::DatabaseServer {
        version: table.version.clone(),
        referencing: table.referencing.clone(),
        reads_all_stats: table.reads_all_stats,
        in_recovery: Some(table.in_recovery),
    });
    let slow = table.is_slow();
    let detail = format!("{} in PostgreSQL {}", table.name, table.version);
    let mut limits = table.limits(database);
    let mut watcher = Watcher {
        session,
        database,
        table,
        tap: tap.clone(),
        snapshots: VecDeque::new(),
        last: None,
        part: None,
        committed: false,
        waits: None,
        looked_for_locks: f64::MIN,
    };
    watcher.sample().await?;
    if watcher.is_locked().await? {
        limits.push(format!(
            "{} is locked: reading it was given up after half a second",
            watcher.table.name
        ));
    }
    *saw = true;
    if limits.is_empty() {
        tap.watching(detail);
    } else {
        tap.partial(format!("{detail}; {}", limits.join("; ")));
    }
    loop {
        let phase = phases.now();
        if phase.stop {
            break;
        }
        match &phase.task_id {
            Some(task_id) => watcher.look(task_id, phase.last_look).await?,
            None => {
                watcher.sample().await?;
                // An INSERT that waits for the table keeps the API from answering.
                if phase.submitted {
                    watcher.look_for_locks(false).await?;
                }
            }
        }
        if phase.last_look {
            if let Some(sessions) = locks::sessions(&mut watcher.session).await {
                tap.see(EventKind::DatabaseSessions(sessions));
            }
            tap.looked();
            break;
        }
        let every = match (
            slow && phase.task_id.is_some(),
            phase.lively || (phase.submitted && phase.task_id.is_none()),
        ) {
            (true, _) => UNINDEXED,
            (false, true) => LIVELY,
            (false, false) => CALM,
        };
        phases.pause(every).await;
    }
    watcher.session.close().await;
    Ok(())
}

impl Watcher<'_> {
    fn snapshot_sql(&self) -> &'static str {
        // PostgreSQL 13 renamed the function.
        if self.table.version_num >= 130_000 {
            "pg_current_snapshot()::text"
        } else {
            "txid_current_snapshot()::text"
        }
    }

    /// Before there is a row to look for: only what had committed when.
    async fn sample(&mut self) -> Result<(), Trouble> {
        let before = self.tap.now_ms();
        let sql = format!("SELECT {}", self.snapshot_sql());
        let rows = self.session.read(&sql, &[]).await.map_err(lost)?;
        if let Some(snapshot) = rows
            .first()
            .and_then(|row| Snapshot::parse(before, self.tap.now_ms(), row.get::<&str, _>(0)))
        {
            self.remember(snapshot);
        }
        Ok(())
    }

    /// Whether even a reader has to wait for the table; then it is told who holds it.
    async fn is_locked(&mut self) -> Result<bool, Trouble> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", quote_table(&self.database.table));
        match self.session.read(&sql, &[]).await {
            Err(sqlx::Error::Database(error)) if is_own_limit(error.as_ref()) => {
                self.look_for_locks(true).await?;
                Ok(true)
            }
            Err(error @ sqlx::Error::Io(_)) => Err(lost(error)),
            // Whatever else is wrong with it, the looks at the row will say.
            _ => Ok(false),
        }
    }

    fn remember(&mut self, snapshot: Snapshot) {
        if self.snapshots.len() == SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(snapshot);
    }

    async fn look(&mut self, task_id: &str, thorough: bool) -> Result<(), Trouble> {
        // Asked all the same, it would be an error in the server's log.
        if cannot_be(&self.table.id_type, task_id) {
            return Err(self.not_such_an_id(task_id));
        }
        let header = if self.table.has_header {
            "t.xmin::text, t.xmax::text, t.ctid::text, t.tableoid::bigint"
        } else {
            "NULL::text, NULL::text, NULL::text, NULL::bigint"
        };
        let error = match &self.database.error_column {
            // More than is kept: what is cut is masked before.
            Some(column) => format!("left(t.{}::text, 6000)", quote(column)),
            None => "NULL::text".into(),
        };
        let sql = format!(
            "SELECT {snapshot}, left(t.{status}::text, 500), {error}, {header}, t.{id} IS NOT NULL FROM (SELECT 1) one
             LEFT JOIN {table} t ON t.{id} = CAST($1 AS {kind}) LIMIT 2",
            snapshot = self.snapshot_sql(),
            status = quote(&self.database.status_column),
            table = quote_table(&self.database.table),
            id = quote(&self.database.id_column),
            kind = self.table.id_type,
        );
        let before = self.tap.now_ms();
        let rows = match self.session.read(&sql, &[task_id]).await {
            Ok(rows) => rows,
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("22P02" | "22003")) =>
            {
                return Err(self.not_such_an_id(task_id));
            }
            Err(sqlx::Error::Database(error)) if is_own_limit(error.as_ref()) => {
                // Our own limits: this poll saw nothing, the next may. What we waited for others wait for, too.
                return self.look_for_locks(thorough).await;
            }
            Err(error) => return Err(lost(error)),
        };
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let snapshot = Snapshot::parse(before, self.tap.now_ms(), first.get::<&str, _>(0));
        let row = row_of(first, rows.len() > 1);
        self.part = first.get::<Option<i64>, _>(6).or(self.part);
        let present = row.present;
        if let Some(snapshot) = snapshot.clone() {
            self.remember(snapshot);
        }
        let settled = |row: &Row| row.xmax_state != Some(Xmax::InProgress);
        let same = self.last.as_ref().is_some_and(|last| {
            Row {
                xmax_state: None,
                holder_writes: None,
                holder: None,
                ..last.clone()
            } == row
                && settled(last)
        });
        if !same || thorough {
            let mut row = row;
            if let (Some(xmax), Some(snapshot)) = (row.xmax, &snapshot) {
                let xmin = row.xmin.unwrap_or(0);
                let version_num = self.table.version_num;
                let state = xmax_state(&mut self.session, version_num, xmax, xmin, snapshot).await;
                row.xmax_state = Some(state);
                if row.xmax_state == Some(Xmax::InProgress) {
                    let holder = locks::holder(&mut self.session, self.table.oid, xmax).await;
                    row.holder_writes = holder.as_ref().map(|(writes, _)| *writes);
                    row.holder = holder.and_then(|(_, who)| who);
                }
            }
            if self.last.as_ref() != Some(&row) || thorough {
                self.tap.see(EventKind::Row(Row {
                    asked_at_ms: Some(before),
                    ..row.clone()
                }));
            }
            self.last = Some(row);
        }
        if present && !self.committed {
            self.committed = true;
            self.say_when_committed(snapshot.as_ref());
        }
        if !present && thorough {
            let oid = self.table.oid;
            if let Some(found) = elsewhere::look(&mut self.session, self.database, oid, task_id).await {
                self.tap.see(found);
            }
        }
        self.look_for_locks(thorough).await
    }

    fn not_such_an_id(&self, task_id: &str) -> Trouble {
        Unavailable::new(format!(
            "the task id \"{task_id}\" is not a {}, the type of {}.{}",
            self.table.id_type, self.table.name, self.database.id_column
        ))
        .hint("check `database.id_column` and `api.task_id_pointer`: they name different ids")
        .into()
    }

    /// Brackets the commit of the transaction that made the row visible between two samples.
    fn say_when_committed(&self, now: Option<&Snapshot>) {
        let (Some(xmin), Some(now)) = (self.last.as_ref().and_then(|row| row.xmin), now) else {
            return;
        };
        if let Some((invisible_at_ms, visible_at_ms)) = bracket(&self.snapshots, now.widen(xmin)) {
            self.tap.see(EventKind::RowCommitted {
                xmin,
                invisible_at_ms,
                visible_at_ms,
            });
        }
    }

    /// Now and then, or now.
    async fn look_for_locks(&mut self, now: bool) -> Result<(), Trouble> {
        let since = self.tap.now_ms() - self.looked_for_locks;
        if !now && since < LOCKS_EVERY.as_secs_f64() * 1000.0 {
            return Ok(());
        }
        self.looked_for_locks = self.tap.now_ms();
        let ctid = self.last.as_ref().and_then(|row| row.ctid.clone());
        let key = |wait: &LockWait| -> (i32, Vec<i32>, Vec<String>) {
            let blockers = wait.blockers.iter().map(|blocker| blocker.pid);
            (wait.pid, blockers.collect(), wait.others.clone())
        };
        let (table, part) = (self.table.oid, self.part.unwrap_or(self.table.oid));
        match locks::look(&mut self.session, table, part, ctid.as_deref()).await? {
            locks::LockState::Nothing => {}
            locks::LockState::Free => {
                if self.waits.take().is_some() {
                    self.tap.see(EventKind::LockFree);
                }
            }
            locks::LockState::Waits(wait) => {
                if self.waits.as_ref().map(key) != Some(key(&wait)) {
                    self.tap.see(EventKind::LockWait(wait.clone()));
                }
                self.waits = Some(wait);
            }
        }
        Ok(())
    }
}

/// No value of this type is written so, whatever the version of the server allows.
fn cannot_be(id_type: &str, text: &str) -> bool {
    let text = text.trim();
    match id_type {
        "uuid" => {
            let digits: String = text.chars().filter(|c| !matches!(c, '-' | '{' | '}')).collect();
            digits.len() != 32 || !digits.chars().all(|c| c.is_ascii_hexdigit())
        }
        "smallint" | "integer" | "bigint" => {
            let is_sign = |c: char| matches!(c, '+' | '-' | '_' | 'x' | 'X' | 'o' | 'O');
            text.is_empty() || !text.chars().all(|c| c.is_ascii_hexdigit() || is_sign(c))
        }
        _ => false,
    }
}

/// A statement of ours took too long, or waited too long for a lock.
fn is_own_limit(error: &dyn sqlx::error::DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("57014" | "55P03"))
}

/// The row's columns, in the order in which `look` asks for them.
fn row_of(columns: &PgRow, several: bool) -> Row {
    let xid = |column: usize| {
        columns
            .get::<Option<&str>, _>(column)
            .and_then(|text| text.parse().ok())
    };
    Row {
        present: columns.get(7),
        several,
        status: columns.get(1),
        error: columns.get(2),
        xmin: xid(3),
        xmax: xid(4),
        xmax_state: None,
        holder_writes: None,
        holder: None,
        ctid: columns.get(5),
        asked_at_ms: None,
    }
}
