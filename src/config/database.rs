//! `[database]`: the table with a row for each task.

use super::{Layers, SecretUrl};
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct Database {
    pub url: SecretUrl,
    pub table: String,
    pub id_column: String,
    pub status_column: String,
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub error_column: Option<String>,
}

pub(super) fn database(layers: &Layers) -> Result<Option<Database>> {
    let Some(url) = layers.url("database.url")? else {
        return Ok(None);
    };
    let need = |key: &'static str, example: &'static str| -> Result<String> {
        layers
            .text(key)?
            .filter(|name| !name.is_empty())
            .ok_or(Error::MissingKey {
                key,
                needed_for: "looking at the task's row",
                example,
            })
    };
    Ok(Some(Database {
        url: SecretUrl::new(&url),
        table: need("database.table", "[database] table = \"task\"")?,
        id_column: need("database.id_column", "[database] id_column = \"task_id\"")?,
        status_column: need("database.status_column", "[database] status_column = \"status\"")?,
        running: layers.strings("database.running")?.unwrap_or_default(),
        succeeded: layers.strings("database.succeeded")?.unwrap_or_default(),
        failed: layers.strings("database.failed")?.unwrap_or_default(),
        error_column: layers.text("database.error_column")?,
    }))
}
