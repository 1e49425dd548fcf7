//! What an attempt says that it did not find: the row, perhaps.

use super::Story;

/// The last attempt raised because it did not find something: the row, by all appearances.
pub(in crate::diagnosis) fn misses_the_row(story: &Story<'_>) -> Option<Misses> {
    // Of a database's library, or of what is made of no row.
    const OF_A_ROW: &[&str] = &[
        "noresultfound",
        "no row",
        "doesnotexist",
        "foreignkeyviolation",
        "foreign key",
    ];
    // Of whatever is named.
    const OF_SOMETHING: &[&str] = &["not found", "notfound", "does not exist", "lookuperror"];
    // And where the task itself is named.
    const OF_THE_TASK: &[&str] = &["keyerror", "missing", "unknown"];
    story.raised().last().and_then(|raised| {
        let text = raised.exception();
        let named = story
            .task_id()
            .is_some_and(|id| id.len() >= 6 && text.contains(id));
        let text = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let nouns = story.timeline.setup.nouns();
        let mut nouns = nouns.iter().map(String::as_str).chain(["task", "job", "row"]);
        let lacks = has(OF_SOMETHING)
            || has(OF_THE_TASK)
            || nouns.clone().any(|noun| text.contains(&format!("no {noun}")));
        // Whatever else fails may name the task as well.
        let of_another = is_another_models(story, &text);
        if named && lacks || has(OF_A_ROW) && !of_another {
            return Some(Misses::TheRow);
        }
        let perhaps = of_another
            || text.contains("nonetype")
            || has(OF_SOMETHING) && nouns.any(|noun| text.contains(noun));
        perhaps.then_some(Misses::Something)
    })
}

/// `shop.models.Charge.DoesNotExist`, where the task's table has another model's name.
fn is_another_models(story: &Story<'_>, text: &str) -> bool {
    let model = text.split_once(".doesnotexist").map(|(path, _)| path);
    let model = model.and_then(|path| path.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next());
    let table = story
        .timeline
        .setup
        .table
        .as_ref()
        .map(|table| table.to_lowercase());
    let plain = |name: &str| name.replace('_', "");
    model
        .zip(table)
        .is_some_and(|(model, table)| !model.is_empty() && !plain(&table).contains(&plain(model)))
}

/// What an attempt says that it did not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::diagnosis) enum Misses {
    /// It names the task, or the exception is a database's.
    TheRow,
    /// Something of its name, which may be another thing.
    Something,
}
