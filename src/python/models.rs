//! Tables that classes and statements declare, and the words that a status can be.

use std::sync::LazyLock;

use regex::Regex;

use super::TableDefinition;
use super::syntax::Node;
use crate::bounded::TextFile;

static CREATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?is)CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?((?:"?\w+"?\.)?"?\w+"?)\s*\("#).ok()
});

/// A column, and the word or the parameter that it is set to or compared with.
static SET: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(\w+)\s*=\s*(?:'(\w+)'|%s)").ok());

/// What begins a line of `CREATE TABLE` that declares no column.
const CONSTRAINTS: &[&str] = &[
    "constraint",
    "primary",
    "foreign",
    "unique",
    "check",
    "exclude",
    "like",
];

/// The table of a class with a `__tablename__`.
pub fn mapped(class: Node) -> Option<TableDefinition> {
    let members = class.members();
    let (place, name) = members.iter().find_map(|member| {
        let (left, right) = member.sides()?;
        (left.text() == "__tablename__").then_some((member.place(), right.string()?))
    })?;
    let column = |member: &&Node| match member.field("right") {
        Some(value) => matches!(value.last_name(), "mapped_column" | "Column" | "Field"),
        None => member
            .field("type")
            .is_some_and(|kind| kind.text().starts_with("Mapped[")),
    };
    let columns: Vec<&Node> = members.iter().filter(column).collect();
    let named = |member: &Node| member.field("left").map_or("", Node::text).to_owned();
    let is_key = |member: &&&Node| {
        let value = member
            .field("right")
            .and_then(|value| value.argument("primary_key"));
        value.is_some_and(|value| value.kind() == "true")
    };
    Some(TableDefinition {
        name,
        key: columns.iter().find(is_key).map(|member| named(member)),
        declared: columns.iter().map(|member| member.text().to_owned()).collect(),
        columns: columns.into_iter().map(named).collect(),
        words: own_words(class),
        place,
    })
}

/// The table of a model of Django's, which is called after its application and its class.
pub fn of_django(class: Node) -> Option<TableDefinition> {
    let bases = class
        .field("superclasses")
        .map(Node::children)
        .unwrap_or_default();
    if !bases.iter().any(|base| base.last_name().ends_with("Model")) {
        return None;
    }
    // An abstract one has no table: those that extend it have.
    let options = class.all().filter_map(Node::sides);
    if options
        .into_iter()
        .any(|(left, right)| left.text() == "abstract" && right.text() == "True")
    {
        return None;
    }
    let place = class.file().place.as_str();
    let folder = place.rsplit('/').nth(1).filter(|folder| *folder != "models");
    let application = folder.or_else(|| place.rsplit('/').nth(2))?;
    let is_column = |member: &&Node| {
        let kind = member.field("right").map_or("", Node::last_name);
        kind.ends_with("Field") && kind.len() > "Field".len() || kind == "ForeignKey"
    };
    let members = class.members();
    let columns: Vec<&Node> = members.iter().filter(is_column).collect();
    if columns.is_empty() {
        return None;
    }
    let given = class
        .all()
        .filter_map(Node::sides)
        .find(|(left, _)| left.text() == "db_table")
        .and_then(|(_, right)| right.string());
    let named = |member: &Node| {
        let name = member.field("left").map_or("", Node::text);
        match member.field("right").map_or("", Node::last_name) {
            "ForeignKey" => format!("{name}_id"),
            _ => name.to_owned(),
        }
    };
    let is_key = |member: &&&Node| {
        let value = member
            .field("right")
            .and_then(|value| value.argument("primary_key"));
        value.is_some_and(|value| value.text() == "True")
    };
    let key = columns.iter().find(is_key).map(|member| named(member));
    let mut names: Vec<String> = columns.iter().map(|member| named(member)).collect();
    let mut declared: Vec<String> = columns.iter().map(|member| member.text().to_owned()).collect();
    let key = key.unwrap_or_else(|| {
        names.insert(0, "id".to_owned());
        declared.insert(0, String::new());
        "id".to_owned()
    });
    let own = class.field("name")?.text().to_lowercase();
    Some(TableDefinition {
        name: given.unwrap_or_else(|| format!("{application}_{own}")),
        columns: names,
        key: Some(key),
        declared,
        words: own_words(class),
        place: class.place(),
    })
}

/// Tables that statements create, wherever a text holds them.
pub fn created(file: &TextFile, found: &mut Vec<TableDefinition>) {
    let Some(create) = CREATE.as_ref() else { return };
    for statement in create.captures_iter(&file.text) {
        let Some(whole) = statement.get(0) else { continue };
        let Some(parts) = parts(&file.text[whole.end()..]) else {
            continue;
        };
        let line = file.text[..whole.start()].matches('\n').count() + 1;
        let mut table = TableDefinition {
            name: statement[1].replace('"', ""),
            columns: Vec::new(),
            key: None,
            place: format!("{} line {line}", file.place),
            declared: Vec::new(),
            words: Vec::new(),
        };
        for part in parts {
            let Some(name) = part.split_whitespace().next() else {
                continue;
            };
            let name = name.trim_matches('"');
            if CONSTRAINTS.contains(&name.to_lowercase().as_str()) || name.starts_with("--") {
                continue;
            }
            if table.key.is_none() && part.to_uppercase().contains("PRIMARY KEY") {
                table.key = Some(name.to_owned());
            }
            table.columns.push(name.to_owned());
            table.declared.push(part.trim().to_owned());
        }
        if found.iter().all(|known| known.name != table.name) {
            found.push(table);
        }
    }
}

/// What commas part, up to the parenthesis that closes; `None` if none does.
fn parts(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut depth, mut from, mut quoted) = (0_usize, 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' if depth == 0 => {
                parts.push(&text[from..at]);
                return Some(parts);
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Words that a class has for a status: `DONE = "done"`, `STATUS_CHOICES = [("done", "Done")]`, or an enum in it.
fn own_words(class: Node) -> Vec<String> {
    let mut words = Vec::new();
    let inner = class.field("body").map(Node::children).unwrap_or_default();
    for definition in inner {
        words.extend(enum_of(definition).into_iter().flat_map(|(_, words)| words));
    }
    for (left, right) in class.members().into_iter().filter_map(Node::sides) {
        let name = left.text();
        if !name.chars().any(char::is_alphabetic) || name.chars().any(char::is_lowercase) {
            continue;
        }
        if matches!(right.kind(), "list" | "tuple") {
            let pairs = right.children().into_iter();
            words.extend(pairs.filter_map(|pair| pair.children().first()?.string()));
        } else {
            words.extend(right.string());
        }
    }
    words
}

/// An enum of statuses: its name, and its members with their values.
pub fn enum_of(node: Node) -> Option<(String, Vec<String>)> {
    if !node.extends("Enum") && !node.extends("Choices") {
        return None;
    }
    let name = node.field("name")?.text().to_owned();
    let lower = name.to_lowercase();
    if !lower.contains("status") && !lower.contains("state") {
        return None;
    }
    let is_django = node.extends("Choices");
    let mut words = Vec::new();
    for (member, value) in node.members().into_iter().filter_map(Node::sides) {
        let word = value.string().or_else(|| value.children().first()?.string());
        // SQLAlchemy stores an enum's names, everybody else its values.
        if !is_django {
            words.push(member.text().to_owned());
        }
        words.extend(word);
    }
    Some((name, words))
}

/// The members of an enum of statuses, or the word that a status is set to or compared with.
pub fn statuses(node: Node, found: &mut Vec<String>) {
    if node.extends("Enum") {
        let name = node.field("name").map_or("", Node::text).to_lowercase();
        if name.contains("status") || name.contains("state") {
            for (member, value) in node.members().into_iter().filter_map(Node::sides) {
                let word = value.string();
                if word.is_some() || value.kind() == "integer" || value.last_name() == "auto" {
                    // SQLAlchemy stores an enum's names, everybody else its values: both are given.
                    found.push(member.text().to_owned());
                    found.extend(word);
                }
            }
        }
    } else if matches!(node.kind(), "call" | "string") {
        in_sql(node, found);
    } else if let Some((left, right)) = node.sides()
        && is_status(left.last_name())
        && let Some(word) = right.string()
        && !word.is_empty()
        && word.chars().all(|c| c.is_alphanumeric() || c == '_')
    {
        found.push(word);
    }
}

/// `UPDATE jobs SET state = 'done'`, and `execute("UPDATE jobs SET state = %s", ("done",))`.
fn in_sql(node: Node, found: &mut Vec<String>) {
    let Some(set) = SET.as_ref() else { return };
    if node.kind() == "string" {
        if node.text().contains('=') {
            let set = set.captures_iter(node.text());
            let set = set.filter(|set| is_status(&set[1]));
            found.extend(set.filter_map(|set| Some(set.get(2)?.as_str().to_owned())));
        }
        return;
    }
    let arguments = node.field("arguments").map(Node::children).unwrap_or_default();
    let (Some(statement), Some(values)) = (
        arguments.first().and_then(|first| first.string()),
        arguments.get(1),
    ) else {
        return;
    };
    if !matches!(values.kind(), "tuple" | "list") {
        return;
    }
    let values = values.children();
    for set in set.captures_iter(&statement).filter(|set| is_status(&set[1])) {
        let (Some(whole), None) = (set.get(0), set.get(2)) else {
            continue;
        };
        let before = statement[..whole.start()].matches("%s").count();
        found.extend(values.get(before).and_then(|value| value.string()));
    }
}

fn is_status(name: &str) -> bool {
    let name = name.to_lowercase();
    ["status", "state"].iter().any(|word| {
        name.strip_suffix(word)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    })
}
