//! The connection to the database, why there is none, and how long it may say nothing.

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};

use crate::config::Database;
use crate::error::Unavailable;
use crate::timeline::scrub::places::{Kind, masked};

/// One look may take so long, by our own clock: the server's limit of 2 s and the way there and back. A
/// line that is gone answers nothing, and TCP does not say so for a quarter of an hour. Shorter than the
/// last look of a run, which so hears of it.
const ANSWER_WITHIN: Duration = Duration::from_millis(2400);

/// Why the database shows nothing (any longer).
pub(super) enum Trouble {
    /// It may answer again: the line, the server, or too many connections.
    Lost(Unavailable),
    /// Asking again changes nothing: the configuration, a permission, a table that is not there.
    Settled(Unavailable),
}

impl From<Unavailable> for Trouble {
    fn from(blindness: Unavailable) -> Self {
        Trouble::Settled(blindness)
    }
}

/// A connection that is believed as long as it answers in time.
pub(super) struct Session(Option<PgConnection>);

impl Session {
    /// Runs one read-only query in a transaction of its own.
    pub(super) async fn read(&mut self, sql: &str, binds: &[&str]) -> Result<Vec<PgRow>, sqlx::Error> {
        let silent = || {
            let text = format!("no answer within {} s", ANSWER_WITHIN.as_secs_f32());
            sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
        };
        let connection = self.0.as_mut().ok_or_else(silent)?;
        match tokio::time::timeout(ANSWER_WITHIN, read(connection, sql, binds)).await {
            Ok(rows) => rows,
            Err(_) => {
                // What was asked last may still be answered: nothing more is read from this one.
                self.0 = None;
                Err(silent())
            }
        }
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.0 {
            let _ = tokio::time::timeout(ANSWER_WITHIN, connection.close()).await;
        }
    }
}

/// Connects, or says which part of the URL is wrong.
pub(super) async fn connect(database: &Database) -> Result<Session, Trouble> {
    let target = format!("{}:{}", database.url.host(), database.url.port());
    let options: PgConnectOptions = database.url.expose().parse().map_err(|_| {
        Unavailable::new("`database.url` cannot be used")
            .hint("write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    })?;
    let options = options.application_name("taskdiag").statement_cache_capacity(0);
    let connecting = PgConnection::connect_with(&options);
    match tokio::time::timeout(Duration::from_secs(6), connecting).await {
        Ok(Ok(connection)) => Ok(Session(Some(connection))),
        Ok(Err(error)) => Err(explain_connect(&error, &target, database)),
        Err(_) => Err(Trouble::Lost(
            Unavailable::new(format!(
                "PostgreSQL at {target} accepted no connection within 6 s"
            ))
            .hint("check host and port in `database.url`"),
        )),
    }
}

fn explain_connect(error: &sqlx::Error, target: &str, database: &Database) -> Trouble {
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
    let blindness = Unavailable::new(format!("PostgreSQL at {target}: {seen}")).hint(hint);
    match code.as_deref() {
        // Class 28 is about user and password, 3D about the database's name.
        Some(code) if code.starts_with("28") || code.starts_with("3D") => Trouble::Settled(blindness),
        _ => Trouble::Lost(blindness),
    }
}

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

/// Reading failed on a connection that stood.
pub(super) fn lost(error: sqlx::Error) -> Trouble {
    let text = match &error {
        sqlx::Error::Database(inner) => format!("{} ({})", inner.message(), inner.code().unwrap_or_default()),
        other => other.to_string(),
    };
    Trouble::Lost(Unavailable::new(format!(
        "the database stopped answering: {text}"
    )))
}
