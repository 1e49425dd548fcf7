//! The configured table: what the catalogue says of it, and what is wrong with its configuration.

use sqlx::Row as _;

use super::connect::{Session, Trouble, lost};
use crate::config::Database;
use crate::error::Unavailable;

/// What the catalogue of the database says about the configured table.
pub(super) struct Table {
    pub oid: i64,
    pub name: String,
    pub id_type: String,
    /// Views have no row header.
    pub has_header: bool,
    pub indexed: bool,
    pub rows: f32,
    pub referencing: Vec<String>,
    pub version_num: i32,
    pub version: String,
    pub reads_all_stats: bool,
    /// A standby.
    pub in_recovery: bool,
    /// Policies may hide rows from this user.
    pub row_security: bool,
}

impl Table {
    /// Without an index each look reads the whole table.
    pub(super) fn is_slow(&self) -> bool {
        !self.indexed && self.rows > 50_000.0
    }

    /// What a look at it cannot tell, and why.
    pub(super) fn limits(&self, database: &Database) -> Vec<String> {
        let mut limits = Vec::new();
        if !self.has_header {
            limits.push(format!(
                "{} is a view: it has no row header, so rolled-back updates cannot be told",
                self.name
            ));
        }
        if self.row_security {
            limits.push(format!(
                "row-level security applies to user \"{}\" on {}: rows may be hidden",
                database.url.username(),
                self.name
            ));
        }
        if self.in_recovery {
            limits.push(
                "it is a standby, which may be behind the primary: set database.url to the primary".into(),
            );
        }
        if self.is_slow() {
            limits.push(format!(
                "{} has no index on {}: polled once a second",
                self.name, database.id_column
            ));
        }
        if database.succeeded.is_empty() {
            limits.push("`database.succeeded` is empty: success cannot be recognised".into());
        }
        limits
    }
}

pub(super) async fn inspect(session: &mut Session, database: &Database) -> Result<Table, Trouble> {
    let server = session
        .read(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int,
                pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_database(),
                array_to_string(current_schemas(false), ', '), pg_is_in_recovery()",
            &[],
        )
        .await
        .map_err(lost)?;
    let server = server
        .first()
        .ok_or_else(|| Unavailable::new("the database answered nothing"))?;
    let place: String = server.get(3);
    let path: String = server.get::<Option<String>, _>(4).unwrap_or_default();
    let found = session.read(
        "SELECT c.oid::bigint, c.relkind::text, c.reltuples, n.nspname || '.' || c.relname, has_table_privilege(c.oid, 'SELECT'),
                row_security_active(c.oid)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
        &[&quote_table(&database.table)],
    )
    .await
    .map_err(lost)?;
    let Some(found) = found.first() else {
        return Err(missing_table(session, database, &place, &path).await.into());
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
        ))
        .into());
    }
    let oid_text = oid.to_string();
    let columns = columns(session, &oid_text, &name, database).await?;
    let id_type = columns
        .iter()
        .find(|(name, _)| *name == database.id_column)
        .map_or_else(|| "text".into(), |(_, kind)| unbounded(kind));
    let indexed = session.read(
        "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
         WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = $2",
        &[&oid_text, &database.id_column],
    )
    .await
    .map_err(lost)?;
    let referencing = session.read(
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
        in_recovery: server.get(5),
        row_security: found.get(5),
    })
}

/// The table's columns with their types; those of the configuration are among them.
async fn columns(
    session: &mut Session,
    oid: &str,
    name: &str,
    database: &Database,
) -> Result<Vec<(String, String)>, Trouble> {
    let columns: Vec<(String, String)> = session
        .read(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
         WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[oid],
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
            .hint(format!("its columns: {}", existing.join(", ")))
            .into());
        }
    }
    Ok(columns)
}

/// The type to read a task id as. `character` without a length is one character, and would cut it.
fn unbounded(kind: &str) -> String {
    match kind {
        "character" => "bpchar".into(),
        "bit" => "varbit".into(),
        _ => kind.to_owned(),
    }
}

async fn missing_table(session: &mut Session, database: &Database, place: &str, path: &str) -> Unavailable {
    let there = session.read(
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

/// A quoted identifier, for `schema.table` part by part.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn quote_table(table: &str) -> String {
    table.split('.').map(quote).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_part_by_part() {
        assert_eq!(quote_table("app.Task"), "\"app\".\"Task\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
