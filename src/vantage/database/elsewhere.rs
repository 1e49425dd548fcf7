//! The row is not where it should be: tables of the same name in other schemas of this database may have it.

use sqlx::Row as _;

use super::connect::Session;
use super::table::quote;
use crate::config::Database;
use crate::timeline::EventKind;

/// The first of them that has the row and the columns: another one is not asked, which would be an error in the
/// server's log. `oid` is the configured table's.
pub(super) async fn look(
    session: &mut Session,
    database: &Database,
    oid: i64,
    task_id: &str,
) -> Option<EventKind> {
    let bare = database.table.rsplit('.').next().unwrap_or(&database.table);
    let places = session
        .read(
            "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname = $1 AND c.oid <> $2::bigint::oid AND c.relkind IN ('r', 'p', 'v')
               AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
               AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                    AND a.attname IN ($3, $4)) = CASE WHEN $3 = $4 THEN 1 ELSE 2 END LIMIT 10",
            &[
                bare,
                &oid.to_string(),
                &database.id_column,
                &database.status_column,
            ],
        )
        .await
        .unwrap_or_default();
    for schema in places.iter().map(|row| row.get::<String, _>(0)) {
        let sql = format!(
            "SELECT left({status}::text, 500) FROM {schema}.{table} WHERE {id}::text = $1 LIMIT 1",
            status = quote(&database.status_column),
            schema = quote(&schema),
            table = quote(bare),
            id = quote(&database.id_column),
        );
        if let Ok(rows) = session.read(&sql, &[task_id]).await
            && let Some(row) = rows.first()
        {
            return Some(EventKind::RowElsewhere {
                place: format!("schema \"{schema}\" of the same database"),
                status: row.get(0),
            });
        }
    }
    None
}
