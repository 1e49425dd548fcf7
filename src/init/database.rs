//! Fills `[database]`: the table of tasks, its columns, and which statuses mean what.

use super::address::Address;
use super::postgres::{self, StatusTable};
use super::write::Draft;
use super::{InitResult, Survey, owner, statuses};
use crate::config::SecretUrl;
use crate::framework::Framework;
use crate::servers::DATABASE;

pub async fn fill(survey: &Survey, address: Option<&Address>, result: &mut InitResult) {
    let mut tables = Vec::new();
    if let Some(address) = address
        && let Some(full) = &address.full
    {
        let target = format!("PostgreSQL at {}:{}", full.host(), full.port());
        match owner::may_log_in(survey, &DATABASE, address).await {
            Err(why) => result.complaints.push(format!("{target} was not asked: {why}")),
            Ok(()) => tables = asked(full, &address.place, &target, result).await,
        }
    }
    // A table of the application's own knows more than the framework's.
    let has_own = || survey.framework.source.is_named_by_module && !in_code(survey).is_empty();
    if survey.code.is_django && tables.is_empty() && !has_own() {
        django(survey.framework, &mut result.draft);
        return;
    }
    let is_of_code = tables.is_empty();
    if is_of_code {
        tables = in_code(survey);
    }
    let Some((table, place)) = tables.first().cloned() else {
        return;
    };
    let draft = &mut result.draft;
    // Code has many statuses: only words for what becomes of a task make a table one of tasks.
    let tells = |words: &[String]| {
        let sorted = statuses::sort(words);
        !sorted.succeeded.is_empty() || !sorted.failed.is_empty()
    };
    // Of several any may be the one.
    let is_guess = is_of_code && (!tells(&table.words) || tables.len() > 1);
    if is_guess && table.words.is_empty() && !tells(&survey.code.statuses) {
        draft.suggest("database.table", table.name.clone());
        draft.suggest("database.status_column", table.status.clone());
        let text = format!(
            "seen: {} ({place}); nothing says that its {} is a task's",
            table.name, table.status
        );
        draft.note("database.table", text);
        return;
    }
    let set = |draft: &mut Draft, key, value: serde_json::Value, from: String| match is_guess {
        true => draft.guess(key, value, from),
        false => draft.set(key, value, from),
    };
    set(draft, "database.table", table.name.clone().into(), place.clone());
    for (other, _) in tables.iter().skip(1) {
        draft.note(
            "database.table",
            format!("also seen: {} (column {})", other.name, other.status),
        );
    }
    let pointer = draft.text("api.task_id_pointer").map(str::to_owned);
    match postgres::id_column(&table.columns, &table.key, &table.name, pointer.as_deref()) {
        Some(column) => {
            let key = if table.key.contains(&column) {
                "its primary key"
            } else {
                "by its name"
            };
            set(
                draft,
                "database.id_column",
                column.into(),
                format!("{place}, {key}"),
            );
        }
        None => draft.note(
            "database.id_column",
            format!("its columns: {}", table.columns.join(", ")),
        ),
    }
    set(
        draft,
        "database.status_column",
        table.status.clone().into(),
        place.clone(),
    );
    words(survey, &table, &place, is_guess, draft);
    if let Some(column) = postgres::error_column(&table.columns) {
        set(draft, "database.error_column", column.clone().into(), place);
    }
}

/// What its statuses mean.
fn words(survey: &Survey, table: &StatusTable, place: &str, is_guess: bool, draft: &mut Draft) {
    let mut words = table.words.clone();
    let mut from = format!("{place}, {}", table.words_from);
    if words.is_empty() {
        words = survey.code.statuses.clone();
        from = "words that the code sets a status to".into();
    } else if table.words_from == "rows of the table" {
        // What has not happened yet stands in no row.
        words.extend(survey.code.statuses.iter().cloned());
        from.push_str(" and words of the code");
    }
    let sorted = statuses::sort(&words);
    for (key, words) in [
        ("database.running", sorted.running),
        ("database.succeeded", sorted.succeeded.clone()),
        ("database.failed", sorted.failed),
    ] {
        if !words.is_empty() {
            match is_guess {
                true => draft.guess(key, words, from.clone()),
                false => draft.set(key, words, from.clone()),
            }
        }
    }
    // A task that is done would be said to run, or to have been lost.
    if sorted.succeeded.is_empty() && draft.has("database.running") {
        draft.need(
            "database.succeeded",
            "which of its words mean that a task is done is not clear",
        );
    }
    // Words of the whole code are too many to be listed.
    if !sorted.unsorted.is_empty() && !table.words.is_empty() {
        let unsorted: Vec<String> = sorted.unsorted.into_iter().take(12).collect();
        draft.note(
            "database.failed",
            format!("in no list yet: {}", unsorted.join(", ")),
        );
    }
}

/// A number, a date or a long text is no word for what becomes of a task, unless it is chosen among some.
fn is_other_type(declared: &str) -> bool {
    const OTHERS: &[&str] = &[
        "Integer",
        "Boolean",
        "Float",
        "Numeric",
        "DateTime",
        "TextField",
        "ForeignKey",
        "JSON",
        "Mapped[int]",
        "Mapped[bool]",
        "Mapped[float]",
        "Mapped[datetime",
    ];
    OTHERS.iter().any(|kind| declared.contains(kind)) && !declared.contains("choices")
}

/// Words of the enum that a column is declared with, or that its declaration holds.
fn declared_words(survey: &Survey, declared: &str) -> Vec<String> {
    let is_name = |c: char| !c.is_alphanumeric() && c != '_';
    let named = declared
        .split(is_name)
        .find_map(|word| survey.code.enums.get(word));
    match named {
        Some(words) => words.clone(),
        None if declared.contains("Enum(") || declared.to_uppercase().contains("CHECK") => {
            let double = declared.replace('"', "'");
            statuses::quoted(&double)
        }
        None => Vec::new(),
    }
}

async fn asked(
    url: &SecretUrl,
    place: &str,
    target: &str,
    result: &mut InitResult,
) -> Vec<(StatusTable, String)> {
    match postgres::tables(url).await {
        Ok(found) => {
            result
                .contacted
                .push(format!("{target}: read its table definitions"));
            if found.is_empty() {
                result.complaints.push(format!(
                    "{target}: user \"{}\" sees no table with a status column there",
                    url.username()
                ));
            }
            found
                .into_iter()
                .map(|table| (table, "the database".to_owned()))
                .collect()
        }
        Err(error) => {
            result.complaints.push(format!(
                "{target} ({place}): {error}; once it can be read, `taskdiag init --print` says more"
            ));
            Vec::new()
        }
    }
}

/// The table of the framework's package for Django.
fn django(framework: &Framework, draft: &mut Draft) {
    let Some(package) = &framework.source.django else {
        return;
    };
    let place = format!("{}'s own table, {}", package.app, package.kept_if);
    let place = place.as_str();
    draft.set("database.table", package.table, place);
    draft.set("database.id_column", package.id_column, place);
    draft.set("database.status_column", "status", place);
    let keys = ["database.running", "database.succeeded", "database.failed"];
    for (key, word) in keys.into_iter().zip(package.statuses) {
        draft.set(key, vec![word], place);
    }
}

/// Tables that the code declares.
fn in_code(survey: &Survey) -> Vec<(StatusTable, String)> {
    let mut found: Vec<(StatusTable, String)> = survey
        .code
        .tables
        .iter()
        .filter_map(|table| {
            let declared = |column: &String| {
                let at = table.columns.iter().position(|known| known == column);
                at.and_then(|at| table.declared.get(at))
                    .map_or("", String::as_str)
            };
            let status = table
                .columns
                .iter()
                .filter(|column| postgres::is_status(column) > 0 && !is_other_type(declared(column)))
                .max_by_key(|column| postgres::is_status(column))?;
            let mut words = table.words.clone();
            words.extend(declared_words(survey, declared(status)));
            let known = StatusTable {
                name: table.name.clone(),
                columns: table.columns.clone(),
                key: table.key.iter().cloned().collect(),
                status: status.clone(),
                words,
                words_from: "its own class",
            };
            Some((known, table.place.clone()))
        })
        .collect();
    found.sort_by_key(|(table, _)| -postgres::likely(table));
    found.truncate(8);
    found
}
