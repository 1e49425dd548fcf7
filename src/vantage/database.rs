//! The task's row, its header, and who holds it. Only reads, one short transaction a poll.
//!
//! `BEGIN READ ONLY; SET LOCAL …; COMMIT` with unnamed statements: a session setting or a prepared
//! statement would outlive us behind a transaction-pooling PgBouncer and break the application.

use std::collections::VecDeque;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::{Phases, Tap, Watched};
use crate::config::{Config, Database};
use crate::error::Unavailable;
use crate::timeline::{Blocker, EventKind, LockWait, Row, Xmax};

const CALM: Duration = Duration::from_millis(50);
const LIVELY: Duration = Duration::from_millis(10);
/// On a table that has no index on the id column every poll reads the whole table.
const UNINDEXED: Duration = Duration::from_secs(1);
const LOCKS_EVERY: Duration = Duration::from_millis(300);
/// Snapshot samples kept to tell later when the row's transaction committed.
const SNAPSHOTS: usize = 4096;

/// Connects, or says which part of the URL is wrong.
pub async fn connect(database: &Database) -> Result<PgConnection, Unavailable> {
    let target = format!("{}:{}", database.url.host(), database.url.port());
    let options: PgConnectOptions = database.url.expose().parse().map_err(|_| {
        Unavailable::new("`database.url` cannot be used")
            .hint("write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    })?;
    let options = options.application_name("taskdiag").statement_cache_capacity(0);
    let connecting = PgConnection::connect_with(&options);
    match tokio::time::timeout(Duration::from_secs(6), connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain_connect(&error, &target, database)),
        Err(_) => Err(Unavailable::new(format!(
            "PostgreSQL at {target} accepted no connection within 6 s"
        ))
        .hint("check host and port in `database.url`")),
    }
}

fn explain_connect(error: &sqlx::Error, target: &str, database: &Database) -> Unavailable {
    let seen = match error {
        sqlx::Error::Database(inner) => inner.message().to_owned(),
        other => other.to_string(),
    };
    let mut seen = seen;
    if let Some(password) = database.url.password() {
        seen = seen.replace(password.expose_secret(), "***");
    }
    let code = match error {
        sqlx::Error::Database(inner) => inner.code().map(|code| code.to_string()),
        _ => None,
    };
    let hint = match code.as_deref() {
        Some("28P01" | "28000") => "check user and password in `database.url`",
        Some("3D000") => "check the database's name, the last part of `database.url`; psql -l lists them",
        Some("53300") => "the server has no free connection slot: raise max_connections or use a pooler",
        _ => "is PostgreSQL running there? check host and port in `database.url`",
    };
    Unavailable::new(format!("PostgreSQL at {target}: {seen}")).hint(hint)
}

/// A quoted identifier, for `schema.table` part by part.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_table(table: &str) -> String {
    table.split('.').map(quote).collect::<Vec<_>>().join(".")
}

fn lost(error: sqlx::Error) -> Unavailable {
    let text = match &error {
        sqlx::Error::Database(inner) => format!("{} ({})", inner.message(), inner.code().unwrap_or_default()),
        other => other.to_string(),
    };
    Unavailable::new(format!("the database stopped answering: {text}"))
}

/// What the catalogue of the database says about the configured table.
struct Table {
    oid: i64,
    name: String,
    id_type: String,
    /// Views have no row header.
    has_header: bool,
    indexed: bool,
    rows: f32,
    referencing: Vec<String>,
    version_num: i32,
    version: String,
    reads_all_stats: bool,
    /// Policies may hide rows from this user.
    row_security: bool,
}

/// Runs one read-only query in a transaction of its own.
async fn read(connection: &mut PgConnection, sql: &str, binds: &[&str]) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::raw_sql("BEGIN READ ONLY; SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '500ms'")
        .execute(&mut *connection)
        .await?;
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for bind in binds {
        query = query.bind(*bind);
    }
    let rows = query.fetch_all(&mut *connection).await;
    // COMMIT also ends a transaction that an error has aborted.
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    rows
}

async fn inspect(connection: &mut PgConnection, database: &Database) -> Result<Table, Unavailable> {
    let server = read(
        connection,
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int,
                pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_database(),
                array_to_string(current_schemas(false), ', ')",
        &[],
    )
    .await
    .map_err(lost)?;
    let server = server
        .first()
        .ok_or_else(|| Unavailable::new("the database answered nothing"))?;
    let place: String = server.get(3);
    let path: String = server.get::<Option<String>, _>(4).unwrap_or_default();
    let found = read(
        connection,
        "SELECT c.oid::bigint, c.relkind::text, c.reltuples, n.nspname || '.' || c.relname, has_table_privilege(c.oid, 'SELECT'),
                row_security_active(c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
        &[&quote_table(&database.table)],
    )
    .await
    .map_err(lost)?;
    let Some(found) = found.first() else {
        return Err(missing_table(connection, database, &place, &path).await);
    };
    let oid: i64 = found.get(0);
    let relkind: String = found.get(1);
    let name: String = found.get(3);
    if !found.get::<bool, _>(4) {
        return Err(Unavailable::new(format!(
            "user \"{}\" may not read {name} in database \"{place}\"",
            database.url.username()
        ))
        .hint(format!(
            "GRANT SELECT ON {name} TO {}",
            quote(&database.url.username())
        )));
    }
    let oid_text = oid.to_string();
    let columns: Vec<(String, String)> = read(
        connection,
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
         WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &[&oid_text],
    )
    .await
    .map_err(lost)?
    .iter()
    .map(|row| (row.get(0), row.get(1)))
    .collect();
    let wanted = [
        ("id_column", Some(&database.id_column)),
        ("status_column", Some(&database.status_column)),
        ("error_column", database.error_column.as_ref()),
    ];
    for (key, column) in wanted {
        if let Some(column) = column.filter(|column| columns.iter().all(|(name, _)| name != *column)) {
            let existing: Vec<_> = columns.iter().map(|(name, _)| name.clone()).collect();
            return Err(Unavailable::new(format!(
                "table {name} has no column \"{column}\" (`database.{key}`)"
            ))
            .hint(format!("its columns: {}", existing.join(", "))));
        }
    }
    let id_type = columns
        .iter()
        .find(|(name, _)| *name == database.id_column)
        .map_or_else(|| "text".into(), |(_, kind)| unbounded(kind));
    let indexed = read(
        connection,
        "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
         WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = $2",
        &[&oid_text, &database.id_column],
    )
    .await
    .map_err(lost)?;
    let referencing = read(
        connection,
        "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = $1::bigint::oid",
        &[&oid_text],
    )
    .await
    .map_err(lost)?;
    Ok(Table {
        oid,
        name,
        id_type,
        has_header: matches!(relkind.as_str(), "r" | "p"),
        indexed: !indexed.is_empty() || relkind == "v",
        rows: found.get(2),
        referencing: referencing.iter().map(|row| row.get(0)).collect(),
        version: server.get(0),
        version_num: server.get(1),
        reads_all_stats: server.get(2),
        row_security: found.get(5),
    })
}

/// The type to read a task id as. `character` without a length is one character, and would cut it.
fn unbounded(kind: &str) -> String {
    match kind {
        "character" => "bpchar".into(),
        "bit" => "varbit".into(),
        _ => kind.to_owned(),
    }
}

async fn missing_table(
    connection: &mut PgConnection,
    database: &Database,
    place: &str,
    path: &str,
) -> Unavailable {
    let there = read(
        connection,
        "SELECT CASE WHEN table_schema = ANY(current_schemas(false)) THEN table_name ELSE table_schema || '.' || table_name END
         FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 20",
        &[],
    )
    .await
    .unwrap_or_default();
    let names: Vec<String> = there.iter().map(|row| row.get(0)).collect();
    let hint = if names.is_empty() {
        format!(
            "database \"{place}\" has no table that user \"{}\" can see: is it the right database?",
            database.url.username()
        )
    } else {
        format!(
            "tables there: {}; write schema.table for one outside the search path",
            names.join(", ")
        )
    };
    Unavailable::new(format!(
        "no table \"{}\" in database \"{place}\" (search path: {path})",
        database.table
    ))
    .hint(hint)
}

/// One `pg_current_snapshot()`: which transactions had ended.
#[derive(Debug, Clone)]
struct Snapshot {
    at_ms: f64,
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl Snapshot {
    fn parse(at_ms: f64, text: &str) -> Option<Self> {
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
            at_ms,
            xmin,
            xmax,
            running,
        })
    }

    /// The transaction had ended when this snapshot was taken.
    fn shows(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.running.contains(&xid))
    }

    /// The 64-bit transaction id behind the 32 bits of a row's header.
    fn widen(&self, xid: u32) -> u64 {
        let epoch = self.xmax >> 32;
        let low = self.xmax as u32;
        let epoch = if xid > low { epoch.saturating_sub(1) } else { epoch };
        (epoch << 32) | u64::from(xid)
    }
}

struct Watcher<'a> {
    connection: PgConnection,
    database: &'a Database,
    table: Table,
    tap: Tap,
    snapshots: VecDeque<Snapshot>,
    last: Option<Row>,
    committed: bool,
    waits: Option<LockWait>,
    looked_for_locks: f64,
}

pub async fn watch(config: &Config, tap: Tap, mut phases: Phases) -> Watched {
    let Some(database) = &config.database else {
        return Err(Unavailable::new("no database is configured")
            .hint("add [database] url, table, id_column and status_column to taskdiag.toml"));
    };
    let mut connection = connect(database).await?;
    let table = inspect(&mut connection, database).await?;
    tap.see(EventKind::DatabaseServer {
        version: table.version.clone(),
        referencing: table.referencing.clone(),
        reads_all_stats: table.reads_all_stats,
    });
    let slow = !table.indexed && table.rows > 50_000.0;
    let detail = format!("{} in PostgreSQL {}", table.name, table.version);
    let mut limits = Vec::new();
    if !table.has_header {
        limits.push(format!(
            "{} is a view: it has no row header, so rolled-back updates cannot be told",
            table.name
        ));
    }
    if table.row_security {
        limits.push(format!(
            "row-level security applies to user \"{}\" on {}: rows may be hidden",
            database.url.username(),
            table.name
        ));
    }
    if slow {
        limits.push(format!(
            "{} has no index on {}: polled once a second",
            table.name, database.id_column
        ));
    }
    if database.succeeded.is_empty() {
        limits.push("`database.succeeded` is empty: success cannot be recognised".into());
    }
    let mut watcher = Watcher {
        connection,
        database,
        table,
        tap: tap.clone(),
        snapshots: VecDeque::new(),
        last: None,
        committed: false,
        waits: None,
        looked_for_locks: f64::MIN,
    };
    watcher.sample().await?;
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
            None => watcher.sample().await?,
        }
        if phase.last_look {
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
    let _ = watcher.connection.close().await;
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
    async fn sample(&mut self) -> Result<(), Unavailable> {
        let before = self.tap.now_ms();
        let sql = format!("SELECT {}", self.snapshot_sql());
        let rows = read(&mut self.connection, &sql, &[]).await.map_err(lost)?;
        if let Some(snapshot) = rows
            .first()
            .and_then(|row| Snapshot::parse(before, row.get::<&str, _>(0)))
        {
            self.remember(snapshot);
        }
        Ok(())
    }

    fn remember(&mut self, snapshot: Snapshot) {
        if self.snapshots.len() == SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(snapshot);
    }

    async fn look(&mut self, task_id: &str, thorough: bool) -> Result<(), Unavailable> {
        let header = if self.table.has_header {
            "t.xmin::text, t.xmax::text, t.ctid::text"
        } else {
            "NULL::text, NULL::text, NULL::text"
        };
        let error = match &self.database.error_column {
            Some(column) => format!("left(t.{}::text, 2000)", quote(column)),
            None => "NULL::text".into(),
        };
        let sql = format!(
            "SELECT {snapshot}, t.{status}::text, {error}, {header}, t.{id} IS NOT NULL FROM (SELECT 1) one
             LEFT JOIN {table} t ON t.{id} = CAST($1 AS {kind}) LIMIT 2",
            snapshot = self.snapshot_sql(),
            status = quote(&self.database.status_column),
            table = quote_table(&self.database.table),
            id = quote(&self.database.id_column),
            kind = self.table.id_type,
        );
        let before = self.tap.now_ms();
        let rows = match read(&mut self.connection, &sql, &[task_id]).await {
            Ok(rows) => rows,
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("22P02" | "22003")) =>
            {
                return Err(Unavailable::new(format!(
                    "the task id \"{task_id}\" is not a {}, the type of {}.{}",
                    self.table.id_type, self.table.name, self.database.id_column
                ))
                .hint("check `database.id_column` and `api.task_id_pointer`: they name different ids"));
            }
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("57014" | "55P03")) =>
            {
                // Our own limits: this poll saw nothing, the next may.
                return Ok(());
            }
            Err(error) => return Err(lost(error)),
        };
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let snapshot = Snapshot::parse(before, first.get::<&str, _>(0));
        let status: Option<String> = first.get(1);
        let xmin: Option<u32> = first.get::<Option<&str>, _>(3).and_then(|text| text.parse().ok());
        let xmax: Option<u32> = first.get::<Option<&str>, _>(4).and_then(|text| text.parse().ok());
        let present: bool = first.get(6);
        let row = Row {
            present,
            status,
            error: first.get(2),
            xmin,
            xmax,
            xmax_state: None,
            holder_writes: None,
            ctid: first.get(5),
        };
        if let Some(snapshot) = snapshot.clone() {
            self.remember(snapshot);
        }
        let settled = |row: &Row| row.xmax_state != Some(Xmax::InProgress);
        let same = self.last.as_ref().is_some_and(|last| {
            Row {
                xmax_state: None,
                holder_writes: None,
                ..last.clone()
            } == row
                && settled(last)
        });
        if !same || thorough {
            let mut row = row;
            if let (Some(xmax), Some(snapshot)) = (row.xmax, &snapshot) {
                row.xmax_state = Some(self.xmax_state(xmax, row.xmin.unwrap_or(0), snapshot).await);
                if row.xmax_state == Some(Xmax::InProgress) {
                    row.holder_writes = self.holder_writes(xmax).await;
                }
            }
            if self.last.as_ref() != Some(&row) || thorough {
                self.tap.see(EventKind::Row(row.clone()));
            }
            self.last = Some(row);
        }
        if present && !self.committed {
            self.committed = true;
            self.say_when_committed(snapshot.as_ref());
        }
        if !present && thorough {
            self.look_elsewhere(task_id).await;
        }
        if present
            && (thorough || self.tap.now_ms() - self.looked_for_locks > LOCKS_EVERY.as_secs_f64() * 1000.0)
        {
            self.looked_for_locks = self.tap.now_ms();
            self.look_for_locks().await?;
        }
        Ok(())
    }

    /// The row is not where it should be: tables of the same name in other schemas of this database
    /// may have it.
    async fn look_elsewhere(&mut self, task_id: &str) {
        let bare = self
            .database
            .table
            .rsplit('.')
            .next()
            .unwrap_or(&self.database.table)
            .to_owned();
        let places = read(
            &mut self.connection,
            "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname = $1 AND c.oid <> $2::bigint::oid AND c.relkind IN ('r', 'p', 'v')
               AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') LIMIT 10",
            &[&bare, &self.table.oid.to_string()],
        )
        .await
        .unwrap_or_default();
        let schemas: Vec<String> = places.iter().map(|row| row.get(0)).collect();
        for schema in schemas {
            let sql = format!(
                "SELECT {status}::text FROM {schema}.{table} WHERE {id}::text = $1 LIMIT 1",
                status = quote(&self.database.status_column),
                schema = quote(&schema),
                table = quote(&bare),
                id = quote(&self.database.id_column),
            );
            // A table of the same name may have other columns: then it is not the one.
            if let Ok(rows) = read(&mut self.connection, &sql, &[task_id]).await
                && let Some(row) = rows.first()
            {
                self.tap.see(EventKind::RowElsewhere {
                    place: format!("schema \"{schema}\" of the same database"),
                    status: row.get(0),
                });
                return;
            }
        }
    }

    /// Brackets the commit of the transaction that made the row visible between two samples.
    fn say_when_committed(&self, now: Option<&Snapshot>) {
        let (Some(xmin), Some(now)) = (self.last.as_ref().and_then(|row| row.xmin), now) else {
            return;
        };
        let wide = now.widen(xmin);
        let visible = self.snapshots.iter().find(|snapshot| snapshot.shows(wide));
        let Some(visible) = visible else { return };
        let invisible = self
            .snapshots
            .iter()
            .take_while(|snapshot| snapshot.at_ms < visible.at_ms)
            .filter(|snapshot| !snapshot.shows(wide))
            .last();
        self.tap.see(EventKind::RowCommitted {
            xmin,
            invisible_at_ms: invisible.map(|snapshot| snapshot.at_ms),
            visible_at_ms: visible.at_ms,
        });
    }

    /// What became of the row's `xmax`.
    ///
    /// Multixact members come first: `pg_xact_status` on a MultiXactId answers about some other
    /// transaction. The two counters can overlap, so members older than the row's own `xmin` mean
    /// that the number is a plain transaction id after all.
    async fn xmax_state(&mut self, xmax: u32, xmin: u32, snapshot: &Snapshot) -> Xmax {
        if xmax == 0 {
            return Xmax::None;
        }
        let members = read(
            &mut self.connection,
            "SELECT xid::text, mode FROM pg_get_multixact_members($1::xid)",
            &[&xmax.to_string()],
        )
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
                    match self.xact_status(snapshot.widen(*xid)).await.as_deref() {
                        Some("aborted") => return Xmax::UpdateAborted,
                        Some("in progress") => return Xmax::InProgress,
                        _ => {}
                    }
                }
            }
            return Xmax::Locks;
        }
        match self.xact_status(snapshot.widen(xmax)).await.as_deref() {
            Some("aborted") => Xmax::Aborted,
            Some("committed") => Xmax::Committed,
            Some("in progress") => Xmax::InProgress,
            _ => Xmax::Unknown,
        }
    }

    /// A row locked by `FOR UPDATE`, or by an INSERT into a referencing table, and one that is being
    /// updated look alike; the lock that the transaction holds on the table tells them apart.
    async fn holder_writes(&mut self, xmax: u32) -> Option<bool> {
        let rows = read(
            &mut self.connection,
            "SELECT bool_or(t.mode = 'RowExclusiveLock') FROM pg_locks x JOIN pg_locks t ON t.pid = x.pid
             WHERE x.locktype = 'transactionid' AND x.granted AND x.mode = 'ExclusiveLock' AND x.transactionid = $1::xid
               AND t.locktype = 'relation' AND t.relation = $2::bigint::oid",
            &[&xmax.to_string(), &self.table.oid.to_string()],
        )
        .await
        .ok()?;
        rows.first()?.get(0)
    }

    async fn xact_status(&mut self, xid: u64) -> Option<String> {
        let sql = if self.table.version_num >= 130_000 {
            "SELECT pg_xact_status($1::text::xid8)"
        } else {
            "SELECT txid_status($1::text::bigint)"
        };
        let rows = read(&mut self.connection, sql, &[&xid.to_string()]).await.ok()?;
        rows.first()?.get(0)
    }

    /// Who waits for this very row (a `tuple` lock carries its page and tuple), or for the table.
    async fn look_for_locks(&mut self) -> Result<(), Unavailable> {
        let Some(ctid) = self.last.as_ref().and_then(|row| row.ctid.clone()) else {
            return Ok(());
        };
        let Some((page, tuple)) = ctid
            .trim_matches(['(', ')'])
            .split_once(',')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
        else {
            return Ok(());
        };
        let sql = "SELECT DISTINCT w.pid, array_to_string(pg_blocking_pids(w.pid), ','),
                    a.query, host(a.client_addr) || ':' || a.client_port
             FROM pg_locks w LEFT JOIN pg_stat_activity a ON a.pid = w.pid
             WHERE NOT w.granted AND w.pid <> pg_backend_pid() AND (
               (w.locktype = 'relation' AND w.relation = $1::bigint::oid)
               OR EXISTS (SELECT 1 FROM pg_locks t WHERE t.pid = w.pid AND t.locktype = 'tuple'
                          AND t.relation = $1::bigint::oid AND t.page = $2::int AND t.tuple = $3::int))";
        let oid = self.table.oid.to_string();
        let rows = match read(&mut self.connection, sql, &[&oid, &page, &tuple]).await {
            Ok(rows) => rows,
            Err(sqlx::Error::Database(_)) => return Ok(()),
            Err(error) => return Err(lost(error)),
        };
        let Some(row) = rows.first() else {
            if self.waits.take().is_some() {
                self.tap.see(EventKind::LockFree);
            }
            return Ok(());
        };
        let blockers: String = row.get(1);
        let wait = LockWait {
            pid: row.get(0),
            query: visible(row.get(2)),
            client: row.get(3),
            blockers: self.blockers(&blockers).await?,
        };
        let key = |wait: &LockWait| {
            (
                wait.pid,
                wait.blockers
                    .iter()
                    .map(|blocker| blocker.pid)
                    .collect::<Vec<_>>(),
            )
        };
        if self.waits.as_ref().map(key) != Some(key(&wait)) {
            self.tap.see(EventKind::LockWait(wait.clone()));
        }
        self.waits = Some(wait);
        Ok(())
    }

    async fn blockers(&mut self, pids: &str) -> Result<Vec<Blocker>, Unavailable> {
        let rows = read(
            &mut self.connection,
            "SELECT pid, usename::text, application_name, state, left(query, 500),
                    extract(epoch FROM clock_timestamp() - xact_start)::float8, host(client_addr) || ':' || client_port
             FROM pg_stat_activity WHERE pid = ANY(string_to_array($1, ',')::int[])",
            &[pids],
        )
        .await
        .map_err(lost)?;
        Ok(rows
            .iter()
            .map(|row| Blocker {
                pid: row.get(0),
                user: row.get(1),
                application: row.get::<Option<String>, _>(2).filter(|name| !name.is_empty()),
                state: row.get(3),
                query: visible(row.get(4)),
                transaction_s: row.get::<Option<f64>, _>(5).map(|s| (s * 10.0).round() / 10.0),
                client: row.get(6),
            })
            .collect())
    }
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
    fn a_snapshot_tells_what_had_ended() {
        let snapshot = Snapshot::parse(0.0, "100:105:100,103").expect("snapshot");
        assert!(snapshot.shows(99) && snapshot.shows(101));
        assert!(!snapshot.shows(100) && !snapshot.shows(103) && !snapshot.shows(105));
    }

    #[test]
    fn a_row_header_is_widened_by_the_epoch() {
        let snapshot = Snapshot::parse(0.0, "4294967396:4294967400:").expect("snapshot");
        assert_eq!(snapshot.widen(50), (1 << 32) | 50);
        // Ahead of the counter's low half: from the epoch before.
        assert_eq!(snapshot.widen(4_000_000_000), 4_000_000_000);
    }

    #[test]
    fn names_are_quoted_part_by_part() {
        assert_eq!(quote_table("app.Task"), "\"app\".\"Task\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn literals_leave_a_statement() {
        assert_eq!(
            visible(Some("UPDATE t SET a = 'it''s' WHERE b = 'x'".into())).as_deref(),
            Some("UPDATE t SET a = '…''…' WHERE b = '…'")
        );
    }
}
