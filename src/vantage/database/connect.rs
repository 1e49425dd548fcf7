//! The connection to the database, and why there is none.

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::config::Database;
use crate::error::Unavailable;
use crate::timeline::scrub::places::{Kind, masked};

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
    let seen = match database.url.password() {
        Some(password) => masked(&seen, password.expose_secret(), Kind::Secret, "***").into_owned(),
        None => seen,
    };
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

/// Runs one read-only query in a transaction of its own.
pub(super) async fn read(
    connection: &mut PgConnection,
    sql: &str,
    binds: &[&str],
) -> Result<Vec<PgRow>, sqlx::Error> {
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

pub(super) fn lost(error: sqlx::Error) -> Unavailable {
    let text = match &error {
        sqlx::Error::Database(inner) => format!("{} ({})", inner.message(), inner.code().unwrap_or_default()),
        other => other.to_string(),
    };
    Unavailable::new(format!("the database stopped answering: {text}"))
}
