//! Fills `[database]`: the table of tasks, its columns, and which statuses mean what.

use super::address::Address;
use super::postgres::{self, StatusTable};
use super::write::Draft;
use super::{InitResult, Survey, running, statuses};
use crate::framework::Framework;

pub async fn fill(survey: &Survey, address: Option<&Address>, result: &mut InitResult) {
    let mut tables = Vec::new();
    if let Some(address) = address {
        let target = format!("PostgreSQL at {}:{}", address.full.host(), address.full.port());
        match not_ours(survey, address) {
            Some(why) => result.complaints.push(format!("{target} was not asked: {why}")),
            None => tables = asked(address, &target, result).await,
        }
    }
    // A table of the application's own knows more than the framework's.
    let has_own = || survey.framework.source.is_named_by_module && !in_code(survey).is_empty();
    if survey.code.is_django && tables.is_empty() && !has_own() {
        django(survey.framework, &mut result.draft);
        return;
    }
    if tables.is_empty() {
        tables = in_code(survey);
    }
    let Some((table, place)) = tables.first().cloned() else {
        return;
    };
    let draft = &mut result.draft;
    draft.set("database.table", table.name.clone(), place.clone());
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
            draft.set("database.id_column", column, format!("{place}, {key}"));
        }
        None => draft.note(
            "database.id_column",
            format!("its columns: {}", table.columns.join(", ")),
        ),
    }
    draft.set("database.status_column", table.status.clone(), place.clone());
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
        ("database.succeeded", sorted.succeeded),
        ("database.failed", sorted.failed),
    ] {
        if !words.is_empty() {
            draft.set(key, words, from.clone());
        }
    }
    // Words of the whole code are too many to be listed.
    if !sorted.unsorted.is_empty() && !table.words.is_empty() {
        let unsorted: Vec<String> = sorted.unsorted.into_iter().take(12).collect();
        draft.note(
            "database.failed",
            format!("in no list yet: {}", unsorted.join(", ")),
        );
    }
    if let Some(column) = postgres::error_column(&table.columns) {
        draft.set("database.error_column", column.clone(), place);
    }
}

/// Why what listens there may be a stranger's: a login is no question to ask him.
fn not_ours(survey: &Survey, address: &Address) -> Option<String> {
    let runs = survey
        .running
        .iter()
        .any(|running| running.is_worker() || running.is_server());
    if !address.is_told && !runs {
        let place = &address.place;
        return Some(format!(
            "only code names it ({place}), and nothing of this project runs"
        ));
    }
    if !address.is_service {
        return None;
    }
    let who = running::stranger(address.full.port(), &survey.project.root)?;
    Some(format!(
        "{} is meant, but its port is in use by another ({who})",
        address.place
    ))
}

async fn asked(address: &Address, target: &str, result: &mut InitResult) -> Vec<(StatusTable, String)> {
    match postgres::tables(&address.full).await {
        Ok(found) => {
            result
                .contacted
                .push(format!("{target}: read its table definitions"));
            if found.is_empty() {
                result.complaints.push(format!(
                    "{target}: user \"{}\" sees no table with a status column there",
                    address.full.username()
                ));
            }
            found
                .into_iter()
                .map(|table| (table, "the database".to_owned()))
                .collect()
        }
        Err(error) => {
            result.complaints.push(format!(
                "{target} ({}): {error}; once it can be read, `taskdiag init --print` says more",
                address.place
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
            let status = table
                .columns
                .iter()
                .filter(|column| postgres::is_status(column) > 0)
                .max_by_key(|column| postgres::is_status(column))?;
            let known = StatusTable {
                name: table.name.clone(),
                columns: table.columns.clone(),
                key: table.key.iter().cloned().collect(),
                status: status.clone(),
                words: Vec::new(),
                words_from: "",
            };
            Some((known, table.place.clone()))
        })
        .collect();
    found.sort_by_key(|(table, _)| -postgres::likely(table));
    found.truncate(8);
    found
}
