//! The tables of the database that look like a table of tasks. Read only, in one short transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::statuses::quoted;
use crate::config::SecretUrl;

const WITHIN: Duration = Duration::from_secs(3);

/// A table with a column that looks like a status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatusTable {
    /// As it is to be written: with its schema where that is not on the search path.
    pub name: String,
    pub columns: Vec<String>,
    pub key: Vec<String>,
    pub status: String,
    /// What the status can be: labels of its enum, words of a constraint, values in the table.
    pub words: Vec<String>,
    pub words_from: &'static str,
}

/// Tables, likeliest first; or why not.
pub async fn tables(url: &SecretUrl) -> Result<Vec<StatusTable>, String> {
    let options: PgConnectOptions = url
        .expose()
        .parse()
        .map_err(|_| "is not a PostgreSQL URL that can be understood".to_owned())?;
    let options = options.application_name("taskdiag").disable_statement_logging();
    let reading = async {
        let mut connection = options.connect().await?;
        let tables = read(&mut connection).await;
        let _ = connection.close().await;
        tables
    };
    match tokio::time::timeout(WITHIN, reading).await {
        Ok(Ok(tables)) => Ok(tables),
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err(format!("does not answer within {} s", WITHIN.as_secs())),
    }
}

/// What went wrong, without the address and what stands in it.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(_) => "TLS fails".into(),
        _ => "cannot be read".into(),
    }
}

const COLUMNS: &str = "
SELECT n.nspname::text AS schema, c.relname::text AS name, a.attname::text AS column, c.oid::text AS oid,
       t.typname::text AS type, t.typtype::text AS kind, t.oid::text AS type_oid,
       n.nspname = ANY (current_schemas(false)) AS visible,
       COALESCE(a.attnum = ANY (i.indkey), false) AS key
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum LIMIT 20000";

async fn read(connection: &mut PgConnection) -> Result<Vec<StatusTable>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
    sqlx::query("SET LOCAL statement_timeout = '1500ms'")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("SET LOCAL lock_timeout = '200ms'")
        .execute(&mut *transaction)
        .await?;
    let mut found: Vec<(StatusTable, String, String, String)> = Vec::new();
    let mut last = String::new();
    for row in sqlx::query(COLUMNS).fetch_all(&mut *transaction).await? {
        let (schema, name): (String, String) = (row.try_get("schema")?, row.try_get("name")?);
        let (column, oid): (String, String) = (row.try_get("column")?, row.try_get("oid")?);
        if oid != last {
            last = oid.clone();
            let visible: bool = row.try_get("visible")?;
            let name = if visible { name } else { format!("{schema}.{name}") };
            found.push((
                StatusTable {
                    name,
                    ..StatusTable::default()
                },
                oid,
                String::new(),
                String::new(),
            ));
        }
        let Some((table, _, kind, type_oid)) = found.last_mut() else {
            continue;
        };
        if row.try_get("key")? {
            table.key.push(column.clone());
        }
        let type_name: String = row.try_get("type")?;
        let type_kind: String = row.try_get("kind")?;
        let fits = type_kind == "e" || matches!(type_name.as_str(), "text" | "varchar" | "bpchar");
        let better = is_status(&column) > is_status(&table.status);
        if fits && better {
            table.status = column.clone();
            *kind = type_kind;
            *type_oid = row.try_get("type_oid")?;
        }
        table.columns.push(column);
    }
    found.retain(|(table, ..)| is_status(&table.status) > 0);
    found.sort_by_key(|(table, ..)| (-likely(table), table.name.clone()));
    found.truncate(8);
    let mut tables = Vec::new();
    for (mut table, oid, kind, type_oid) in found {
        if kind == "e" {
            let labels =
                "SELECT enumlabel::text FROM pg_enum WHERE enumtypid::text = $1 ORDER BY enumsortorder";
            table.words = sqlx::query_scalar(labels)
                .bind(&type_oid)
                .fetch_all(&mut *transaction)
                .await?;
            table.words_from = "its enum";
        } else {
            let checks = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid::text = $1";
            let checks: Vec<String> = sqlx::query_scalar(checks)
                .bind(&oid)
                .fetch_all(&mut *transaction)
                .await?;
            table.words = checks
                .iter()
                .filter(|check| check.contains(&table.status))
                .flat_map(|check| quoted(check))
                .collect();
            table.words_from = "its CHECK constraint";
        }
        tables.push(table);
    }
    // Last, since a failure ends the transaction: what the likeliest tables hold.
    for table in tables.iter_mut().filter(|table| table.words.is_empty()).take(2) {
        let name: Vec<String> = table.name.splitn(2, '.').map(quote).collect();
        let sample = format!(
            "SELECT DISTINCT s FROM (SELECT {}::text AS s FROM {} LIMIT 2000) x WHERE s IS NOT NULL LIMIT 30",
            quote(&table.status),
            name.join(".")
        );
        match sqlx::query_scalar(AssertSqlSafe(sample))
            .fetch_all(&mut *transaction)
            .await
        {
            Ok(words) => {
                table.words = words;
                table.words_from = "rows of the table";
            }
            Err(_) => break,
        }
    }
    transaction.rollback().await?;
    Ok(tables)
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// How much a column's name says that it is a status.
pub fn is_status(name: &str) -> u8 {
    match name.to_lowercase().as_str() {
        "status" | "task_status" | "job_status" => 3,
        "state" | "task_state" | "job_state" => 2,
        name if name.ends_with("_status") || name.ends_with("_state") => 1,
        _ => 0,
    }
}

pub fn likely(table: &StatusTable) -> i32 {
    let name = table.name.to_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let mut score = i32::from(is_status(&table.status));
    if ["task", "job", "run", "execution", "process", "work", "queue"]
        .iter()
        .any(|word| last.contains(word))
    {
        score += 6;
    }
    if ["event", "log", "history", "audit", "alembic"]
        .iter()
        .any(|word| last.contains(word))
    {
        score -= 5;
    }
    if id_column(&table.columns, &table.key, last, None).is_some() {
        score += 1;
    }
    score
}

/// The column that holds a task's id.
pub fn id_column(columns: &[String], key: &[String], table: &str, pointer: Option<&str>) -> Option<String> {
    let has = |name: &str| columns.iter().find(|column| column.as_str() == name).cloned();
    let last = pointer
        .and_then(|pointer| pointer.rsplit('/').next())
        .unwrap_or_default();
    let single = table.rsplit('.').next().unwrap_or(table).trim_end_matches('s');
    // `id` in the answer says nothing of the column's name.
    (last != "id")
        .then(|| has(last))
        .flatten()
        .or_else(|| has("task_id"))
        .or_else(|| has("job_id"))
        .or_else(|| has(&format!("{single}_id")))
        .or_else(|| match key {
            [one] => Some(one.clone()),
            _ => None,
        })
        .or_else(|| has("id"))
        .or_else(|| has("uuid"))
}

/// The column that says why a task failed.
pub fn error_column(columns: &[String]) -> Option<&String> {
    [
        "error_message",
        "error",
        "last_error",
        "failure_reason",
        "error_details",
        "reason",
        "traceback",
        "exception",
    ]
    .iter()
    .find_map(|name| columns.iter().find(|column| column == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_column_with_the_id() {
        let columns = names(&["pk", "id", "task_id", "invoice_job_id"]);
        let key = names(&["pk"]);
        assert_eq!(
            id_column(&columns, &key, "task", None).as_deref(),
            Some("task_id")
        );
        assert_eq!(
            id_column(&columns, &key, "x", Some("/data/id")).as_deref(),
            Some("task_id")
        );
        let columns = names(&["id", "state"]);
        assert_eq!(
            id_column(&columns, &names(&["id"]), "billing.invoice_jobs", Some("/id")).as_deref(),
            Some("id")
        );
        assert_eq!(
            id_column(&names(&["a", "b"]), &names(&["a", "b"]), "x", None),
            None
        );
    }

    #[test]
    fn likelier_tables_come_first() {
        let table = |name: &str, status: &str| StatusTable {
            name: name.into(),
            status: status.into(),
            columns: names(&["id", status]),
            key: names(&["id"]),
            ..StatusTable::default()
        };
        assert!(likely(&table("task", "status")) > likely(&table("orders", "status")));
        assert!(likely(&table("x.invoice_jobs", "state")) > likely(&table("task_event", "status")));
    }

    #[tokio::test]
    async fn nobody_there() {
        let url = SecretUrl::from_text("postgres://u:hunter22@127.0.0.1:1/d");
        let error = tables(&url).await.expect_err("nobody listens");
        assert!(!error.contains("hunter22"), "{error}");
    }
}
