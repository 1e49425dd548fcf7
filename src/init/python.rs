//! What Python sources say of the application, without running them: actors, queues, the worker's
//! module, tables, statuses, routes, URLs.
//!
//! Read with patterns, not parsed: what is computed at run time stays unknown and is left out.
//! Comments and documentation are blanked out first, so that they are not taken for code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::walk::File;

#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub name: String,
    pub queue: Queue,
    pub place: String,
    /// Dotted name of the module that defines it.
    pub module: String,
    pub parameters: Vec<Parameter>,
    /// What it logs first, and nothing else in the project logs.
    pub entry: Option<(String, String)>,
    /// Something outside of its own module sends to it.
    pub sent: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Queue {
    Default,
    Named(String),
    /// An expression that could not be followed.
    Computed(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub annotation: String,
    pub has_default: bool,
}

/// A table as SQLAlchemy or `CREATE TABLE` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<String>,
    pub key: Option<String>,
    pub place: String,
}

#[derive(Debug, Default)]
pub struct Code {
    pub actors: Vec<Actor>,
    pub tables: Vec<Table>,
    /// Words that stand where a status is set, or as members of a status enum.
    pub statuses: Vec<String>,
    /// URLs in the code, each with its place.
    pub urls: Vec<(String, String)>,
    /// Variables that the code reads, each with the place where it first does.
    pub reads: BTreeMap<String, String>,
    /// `POST` routes as written, without the prefix of a router.
    pub routes: Vec<(String, String)>,
    /// Modules that may be the worker's, best first, each with the reason.
    pub modules: Vec<(String, String)>,
    /// `FastAPI()`, with its place.
    pub fastapi: Option<String>,
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
    };
}

pattern!(
    ACTOR,
    r"(?m)^([ \t]*)@(?:dramatiq\s*\.\s*|[a-z_]*broker\s*\.\s*)?actor\b"
);
pattern!(FUNCTION, r"^\s*(?:@[^\n]*\n\s*)*(?:async\s+)?def\s+(\w+)\s*");
pattern!(
    CLASS_ACTOR,
    r"(?m)^class\s+(\w+)\s*\([^)]*GenericActor[^)]*\)\s*:"
);
pattern!(QUEUE_NAME, r#"queue_name\s*=\s*(?:["']([^"']+)["']|([\w.]+))"#);
pattern!(ACTOR_NAME, r#"actor_name\s*=\s*["']([^"']+)["']"#);
pattern!(
    ASSIGNED,
    r#"(?m)^[ \t]*(\w+)\s*(?::\s*[\w\[\]. |]+)?\s*=\s*(?:(?:os\.)?(?:environ\.get|getenv|environ\.setdefault)\(\s*["']\w+["']\s*,\s*)?["']([^"'\n]*)["']"#
);
pattern!(
    URL,
    r#"["']((?:amqps?|postgres(?:ql)?(?:\+\w+)?)://[^"'\s]+)["']"#
);
pattern!(
    READS,
    r#"(?:environ(?:\.get)?|getenv|env(?:\.str|\.url)?|config)\s*[\(\[]\s*["']([A-Z][A-Z0-9_]+)["']"#
);
pattern!(
    ROUTE,
    r#"@\w+\.post\(\s*["']([^"']*)["']|@\w+\.route\(\s*["']([^"']*)["'][^)]*POST"#
);
pattern!(TABLENAME, r#"(?m)^([ \t]+)__tablename__\s*=\s*["'](\w+)["']"#);
pattern!(
    COLUMN,
    r#"(?m)^[ \t]+(\w+)\s*(?::\s*[^=\n]+)?=\s*(?:\w+\.)?(?:mapped_column|Column|Field)\s*\("#
);
pattern!(
    CREATE,
    r#"(?is)CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?((?:"?\w+"?\.)?"?\w+"?)\s*\("#
);
pattern!(
    ENUM_CLASS,
    r"(?m)^class\s+(\w*(?:[Ss]tatus|[Ss]tate)\w*)\s*\([^)]*Enum[^)]*\)\s*:"
);
pattern!(
    MEMBER,
    r#"(?m)^[ \t]+(\w+)\s*=\s*(?:["']([^"'\n]+)["']|\w+\.?auto\(\)|auto\(\)|\d+)"#
);
pattern!(
    SET_STATUS,
    r#"(?i)\b(?:\w*_)?(?:status|state)\b\s*(?:=|:|==)\s*["'](\w+)["']"#
);
pattern!(
    LOGS,
    r#"^(?:\w+\.)*(?:info|warning|warn|error|critical|print)\s*\(\s*f?["']([^"'\n]+)["']"#
);
pattern!(FASTAPI, r"=\s*(?:fastapi\.)?FastAPI\s*\(");
pattern!(
    SENDS,
    r"\b(\w+)\.(?:send|send_with_options|message|message_with_options)\s*\("
);

/// Matches of a pattern, with their capture groups.
fn all<'t>(pattern: &'static LazyLock<Option<Regex>>, text: &'t str) -> Vec<regex::Captures<'t>> {
    pattern
        .as_ref()
        .map(|pattern| pattern.captures_iter(text).collect())
        .unwrap_or_default()
}

pub fn scan(python: &[File], others: &[File]) -> Code {
    let mut code = Code::default();
    let mut constants: BTreeMap<String, String> = BTreeMap::new();
    let files: Vec<(&File, String)> = python
        .iter()
        .filter(|file| !is_test(&file.place))
        .map(|file| (file, without_comments(&file.text)))
        .collect();
    for (_, text) in &files {
        for found in all(&ASSIGNED, text) {
            constants
                .entry(found[1].to_owned())
                .or_insert_with(|| found[2].to_owned());
        }
    }
    let mut literals: BTreeMap<String, usize> = BTreeMap::new();
    for (file, text) in &files {
        actors(file, text, &constants, &mut code.actors);
        tables(file, text, &mut code.tables);
        statuses(text, &mut code.statuses);
        for found in all(&URL, text) {
            code.urls.push((found[1].to_owned(), at(file, text, &found)));
        }
        for found in all(&READS, text) {
            code.reads
                .entry(found[1].to_owned())
                .or_insert_with(|| at(file, text, &found));
        }
        for found in all(&ROUTE, text) {
            let path = found.get(1).or(found.get(2)).map_or("", |m| m.as_str());
            code.routes.push((path.to_owned(), at(file, text, &found)));
        }
        if code.fastapi.is_none() {
            code.fastapi = all(&FASTAPI, text).first().map(|found| at(file, text, found));
        }
        for line in text.lines() {
            if let Some(found) = LOGS.as_ref().and_then(|logs| logs.captures(line.trim_start()))
                && let Some(words) = constant_part(&found[1])
            {
                *literals.entry(words).or_default() += 1;
            }
        }
    }
    for file in others {
        for found in all(&CREATE, &file.text) {
            create_table(file, &file.text, &found, &mut code.tables);
        }
    }
    // The same actor in two branches of an `if` is one, and says the same twice.
    let written: BTreeMap<String, usize> = code.actors.iter().fold(BTreeMap::new(), |mut seen, actor| {
        if let Some((words, _)) = &actor.entry {
            *seen.entry(words.clone()).or_default() += 1;
        }
        seen
    });
    let names: BTreeMap<String, usize> = code.actors.iter().fold(BTreeMap::new(), |mut seen, actor| {
        *seen.entry(actor.name.clone()).or_default() += 1;
        seen
    });
    for actor in &mut code.actors {
        if let Some((words, _)) = &actor.entry {
            let by_actors = written.get(words).copied().unwrap_or(0);
            let by_all = literals.get(words).copied().unwrap_or(0);
            let same_name = names.get(&actor.name).copied().unwrap_or(0);
            if by_all > by_actors || by_actors > same_name {
                actor.entry = None;
            }
        }
    }
    let mut known: Vec<(String, String)> = Vec::new();
    code.actors.retain(|actor| {
        let id = (actor.module.clone(), actor.name.clone());
        let new = !known.contains(&id);
        known.push(id);
        new
    });
    code.statuses.sort();
    code.statuses.dedup();
    code.modules = modules(&files, &code.actors, python);
    prefer_what_is_sent(&files, &mut code.actors);
    code
}

/// Tests define actors and brokers of their own.
fn is_test(place: &str) -> bool {
    place.split('/').any(|part| {
        matches!(part, "tests" | "test" | "conftest.py")
            || part.starts_with("test_")
            || part.ends_with("_test.py")
    })
}

fn at(file: &File, text: &str, found: &regex::Captures) -> String {
    let start = found.get(0).map_or(0, |whole| {
        let skipped = whole.as_str().len() - whole.as_str().trim_start().len();
        whole.start() + skipped
    });
    place(file, text, start)
}

fn place(file: &File, text: &str, offset: usize) -> String {
    format!("{} line {}", file.place, text[..offset].matches('\n').count() + 1)
}

/// Comments and strings in triple quotes blanked out, every line where it was.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut blank: Option<&str> = None;
    while let Some(c) = rest.chars().next() {
        if let Some(end) = blank {
            if rest.starts_with(end) {
                out.push_str("   ");
                rest = &rest[3..];
                blank = None;
            } else {
                out.push(if c == '\n' { '\n' } else { ' ' });
                rest = &rest[c.len_utf8()..];
            }
            continue;
        }
        if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
            blank = Some(if c == '"' { "\"\"\"" } else { "'''" });
            out.push_str("   ");
            rest = &rest[3..];
        } else if c == '#' {
            let end = rest.find('\n').unwrap_or(rest.len());
            rest = &rest[end..];
        } else if c == '"' || c == '\'' {
            // A string of one line stays: what is looked for stands in it.
            let end = closing(rest, c);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Where a one-line string that starts here ends.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What stands between the parenthesis that opens here and the one that closes it.
fn inside(text: &str) -> Option<(&str, &str)> {
    let open = text.trim_start();
    if !open.starts_with('(') {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < open.len() {
        let c = open[at..].chars().next()?;
        match c {
            '"' | '\'' => {
                at += closing(&open[at..], c);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((&open[1..at], &open[at + 1..]));
                }
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

fn actors(file: &File, text: &str, constants: &BTreeMap<String, String>, found: &mut Vec<Actor>) {
    let module = module_of(file);
    for decorator in all(&ACTOR, text) {
        let Some(whole) = decorator.get(0) else { continue };
        let (options, after) = inside_or_none(&text[whole.end()..]);
        let Some(function) = FUNCTION.as_ref().and_then(|function| function.captures(after)) else {
            continue;
        };
        let Some((parameters, body)) = inside(&after[function.get(0).map_or(0, |m| m.end())..]) else {
            continue;
        };
        let name = ACTOR_NAME
            .as_ref()
            .and_then(|name| name.captures(options))
            .map_or_else(|| function[1].to_owned(), |name| name[1].to_owned());
        found.push(Actor {
            name,
            queue: queue(options, constants),
            place: at(file, text, &decorator),
            module: module.clone(),
            parameters: parameters_of(parameters),
            entry: entry(body).map(|(words, lines)| {
                let offset = text.len() - body.len();
                let line = text[..offset].matches('\n').count() + 1 + lines;
                (words, format!("{} line {line}", file.place))
            }),
            sent: false,
        });
    }
    for class in all(&CLASS_ACTOR, text) {
        let Some(whole) = class.get(0) else { continue };
        let end = text[whole.end()..]
            .find("\nclass ")
            .map_or(text.len(), |end| whole.end() + end);
        let body = &text[whole.end()..end];
        found.push(Actor {
            name: class[1].to_owned(),
            queue: queue(body, constants),
            place: at(file, text, &class),
            module: module.clone(),
            parameters: Vec::new(),
            entry: None,
            sent: false,
        });
    }
}

fn inside_or_none(text: &str) -> (&str, &str) {
    // `@actor` without parentheses is followed by the function.
    if text.starts_with('(') {
        inside(text).unwrap_or(("", text))
    } else {
        ("", text)
    }
}

fn queue(options: &str, constants: &BTreeMap<String, String>) -> Queue {
    match QUEUE_NAME.as_ref().and_then(|name| name.captures(options)) {
        None => Queue::Default,
        Some(found) => match (found.get(1), found.get(2)) {
            (Some(name), _) => Queue::Named(name.as_str().to_owned()),
            (None, Some(expression)) => {
                let last = expression.as_str().rsplit('.').next().unwrap_or_default();
                match constants.get(last).filter(|value| !value.is_empty()) {
                    Some(value) => Queue::Named(value.clone()),
                    None => Queue::Computed(expression.as_str().to_owned()),
                }
            }
            _ => Queue::Default,
        },
    }
}

fn parameters_of(text: &str) -> Vec<Parameter> {
    let mut depth = 0_i32;
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty() && !part.starts_with('*') && *part != "/" && *part != "self")
        .map(|part| {
            let (declared, has_default) = match part.split_once('=') {
                Some((declared, _)) => (declared, true),
                None => (part, false),
            };
            let (name, annotation) = declared.split_once(':').unwrap_or((declared, ""));
            Parameter {
                name: name.trim().to_owned(),
                annotation: annotation.trim().to_owned(),
                has_default,
            }
        })
        .collect()
}

/// The constant words of the log call that the body begins with, and its line in the body.
fn entry(body: &str) -> Option<(String, usize)> {
    // What stands before it must not be able to end the function or to pass over the call.
    let decides = [
        "if ", "for ", "while ", "try:", "with ", "return", "raise", "async ", "match ", "await ",
    ];
    // The signature ends with a colon, after a return annotation perhaps.
    let mut lines = body.lines().enumerate();
    lines.find(|(_, line)| line.trim_end().ends_with(':'))?;
    for (count, line) in lines.filter(|(_, line)| !line.trim().is_empty()).take(3) {
        let line = line.trim_start();
        if let Some(found) = LOGS.as_ref().and_then(|logs| logs.captures(line)) {
            return constant_part(&found[1]).map(|words| (words, count));
        }
        if decides.iter().any(|word| line.starts_with(word)) {
            return None;
        }
    }
    None
}

/// The longest piece of a format string that is the same every time.
fn constant_part(text: &str) -> Option<String> {
    let mut pieces: Vec<String> = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' => {
                for inner in chars.by_ref() {
                    if inner == '}' {
                        break;
                    }
                }
                pieces.push(String::new());
            }
            '%' => {
                if chars.peek() == Some(&'(') {
                    for inner in chars.by_ref() {
                        if inner == ')' {
                            break;
                        }
                    }
                }
                chars.next();
                pieces.push(String::new());
            }
            // An escape is another character in the log than in the source.
            '\\' => {
                chars.next();
                pieces.push(String::new());
            }
            c => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(c);
                }
            }
        }
    }
    pieces
        .into_iter()
        .map(|piece| piece.trim().to_owned())
        .max_by_key(String::len)
        .filter(|piece| piece.len() >= 8)
}

/// The dotted name by which a file is imported: from the topmost package.
fn module_of(file: &File) -> String {
    // Without the other files it is taken from the path; `modules` corrects the beginning.
    file.place
        .trim_end_matches(".py")
        .trim_end_matches("/__init__")
        .replace('/', ".")
}

/// Folders above a file that are packages belong to its name; those that are not do not.
fn dotted(place: &str, python: &[File]) -> String {
    let parts: Vec<&str> = place.trim_end_matches(".py").split('/').collect();
    let mut from = 0;
    for depth in 0..parts.len().saturating_sub(1) {
        let package = format!("{}/__init__.py", parts[..=depth].join("/"));
        if !python.iter().any(|file| file.place == package) {
            from = depth + 1;
        }
    }
    let mut name = parts[from..].to_vec();
    if name.last() == Some(&"__init__") {
        name.pop();
    }
    name.join(".")
}

fn tables(file: &File, text: &str, found: &mut Vec<Table>) {
    for name in all(&TABLENAME, text) {
        let Some(whole) = name.get(0) else { continue };
        let end = text[whole.end()..]
            .find("\nclass ")
            .map_or(text.len(), |end| whole.end() + end);
        let body = &text[whole.end()..end];
        let columns: Vec<String> = all(&COLUMN, body)
            .iter()
            .map(|column| column[1].to_owned())
            .collect();
        let mut bare: Vec<String> = body
            .lines()
            .filter_map(|line| line.trim_start().split_once(": Mapped["))
            .map(|(name, _)| name.trim().to_owned())
            .filter(|name| !columns.contains(name))
            .collect();
        let key = body
            .lines()
            .find(|line| line.contains("primary_key=True") || line.contains("primary_key = True"))
            .and_then(|line| line.trim_start().split([':', '=', ' ']).next())
            .map(str::to_owned);
        let mut columns = columns;
        columns.append(&mut bare);
        found.push(Table {
            name: name[2].to_owned(),
            columns,
            key,
            place: at(file, text, &name),
        });
    }
    // SQL stands in strings, triple-quoted ones too.
    for create in all(&CREATE, &file.text) {
        create_table(file, &file.text, &create, found);
    }
}

fn create_table(file: &File, text: &str, create: &regex::Captures, found: &mut Vec<Table>) {
    let Some(whole) = create.get(0) else { return };
    let Some((columns, _)) = inside(&text[whole.end() - 1..]) else {
        return;
    };
    let words = [
        "constraint",
        "primary",
        "foreign",
        "unique",
        "check",
        "exclude",
        "like",
    ];
    let mut table = Table {
        name: create[1].replace('"', ""),
        columns: Vec::new(),
        key: None,
        place: at(file, text, create),
    };
    for part in parameters_of(columns) {
        let whole = format!("{} {}", part.name, part.annotation);
        let Some(name) = whole
            .split_whitespace()
            .next()
            .map(|name| name.trim_matches('"').to_owned())
        else {
            continue;
        };
        if words.contains(&name.to_lowercase().as_str()) || name.starts_with("--") {
            continue;
        }
        if table.key.is_none() && whole.to_uppercase().contains("PRIMARY KEY") {
            table.key = Some(name.clone());
        }
        table.columns.push(name);
    }
    if !found.iter().any(|known| known.name == table.name) {
        found.push(table);
    }
}

fn statuses(text: &str, found: &mut Vec<String>) {
    for class in all(&ENUM_CLASS, text) {
        let Some(whole) = class.get(0) else { continue };
        for line in text[whole.end()..].lines().skip(1) {
            if !line.trim().is_empty() && !line.starts_with([' ', '\t']) {
                break;
            }
            if let Some(member) = MEMBER.as_ref().and_then(|member| member.captures(line)) {
                // SQLAlchemy stores an enum's names, everybody else its values: both are given.
                found.push(member[1].to_owned());
                found.extend(member.get(2).map(|value| value.as_str().to_owned()));
            }
        }
    }
    found.extend(all(&SET_STATUS, text).iter().map(|set| set[1].to_owned()));
}

/// Modules that may be given to `dramatiq`: those that bring the broker and the actors.
fn modules(files: &[(&File, String)], actors: &[Actor], python: &[File]) -> Vec<(String, String)> {
    let mut found: Vec<(u8, String, String)> = Vec::new();
    for (file, text) in files {
        let name = file.place.rsplit('/').next().unwrap_or_default();
        let defines = actors.iter().any(|actor| actor.module == module_of(file));
        let imports = actors.iter().any(|actor| {
            let last = actor.module.rsplit('.').next().unwrap_or_default();
            text.lines().any(|line| {
                (line.trim_start().starts_with("import ") || line.trim_start().starts_with("from "))
                    && line
                        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                        .any(|word| word == last)
            })
        });
        let sets = text.contains("set_broker(") || text.contains("RabbitmqBroker(");
        let module = dotted(&file.place, python);
        if name.starts_with("worker") && (imports || defines) {
            found.push((0, module, format!("{} imports the actors", file.place)));
        } else if defines && sets {
            found.push((1, module, format!("{} has the broker and actors", file.place)));
        } else if defines {
            found.push((2, module, format!("{} has actors", file.place)));
        }
    }
    found.sort();
    found.into_iter().map(|(_, module, why)| (module, why)).collect()
}

/// Actors that something outside of their own module sends to come first.
fn prefer_what_is_sent(files: &[(&File, String)], actors: &mut [Actor]) {
    let mut sent: Vec<String> = Vec::new();
    for (file, text) in files {
        let module = module_of(file);
        sent.extend(
            all(&SENDS, text)
                .iter()
                .map(|found| found[1].to_owned())
                .filter(|name| {
                    actors
                        .iter()
                        .all(|actor| actor.name != *name || actor.module != module)
                }),
        );
    }
    for actor in actors.iter_mut() {
        actor.sent = sent.contains(&actor.name);
    }
    actors.sort_by_key(|actor| !actor.sent);
}

/// The one actor that a task's message can name: the only one, or the only one that anything sends
/// to.
pub fn only<'a>(actors: &[&'a Actor]) -> Option<&'a Actor> {
    let sent: Vec<&Actor> = actors.iter().filter(|actor| actor.sent).copied().collect();
    match (actors, sent.as_slice()) {
        ([one], _) => Some(one),
        (_, [one]) => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: &str, text: &str) -> File {
        File {
            place: place.into(),
            text: text.into(),
        }
    }

    #[test]
    fn an_actor_with_everything() {
        let text = r#"
"""@dramatiq.actor
def not_this(): pass"""
import dramatiq  # @dramatiq.actor
QUEUE = os.environ.get("APP_QUEUE", "agents")

@dramatiq.actor(
    queue_name=settings.QUEUE,  # )
    max_retries=3,
)
async def run_agent(task_id: str, data: dict[str, int], *, deep: bool = False) -> dict[str, Any]:
    """Runs."""
    started = time.time()
    logger.info("agent started for %s", task_id)
"#;
        let code = scan(&[file("app/tasks.py", text)], &[]);
        assert_eq!(code.actors.len(), 1, "{:?}", code.actors);
        let actor = &code.actors[0];
        assert_eq!(actor.name, "run_agent");
        assert_eq!(actor.queue, Queue::Named("agents".into()));
        assert_eq!(actor.place, "app/tasks.py line 7");
        let names: Vec<_> = actor
            .parameters
            .iter()
            .map(|p| (p.name.as_str(), p.has_default))
            .collect();
        assert_eq!(names, [("task_id", false), ("data", false), ("deep", true)]);
        assert_eq!(
            actor.entry,
            Some(("agent started for".into(), "app/tasks.py line 14".into()))
        );
    }

    #[test]
    fn actors_of_several_shapes() {
        let text = "@actor\ndef plain(x): pass\n\n@dramatiq.actor(actor_name='real.name', queue_name=compute())\n@other\ndef hidden(): pass\n\nclass Report(dramatiq.GenericActor):\n    class Meta:\n        queue_name = 'reports'\n\nclass Other:\n    queue_name = 'no'\n";
        let code = scan(
            &[
                file("jobs.py", text),
                file("tests/test_x.py", "@actor\ndef t(): pass\n"),
            ],
            &[],
        );
        let found: Vec<_> = code
            .actors
            .iter()
            .map(|a| (a.name.as_str(), a.queue.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("plain", Queue::Default),
                ("real.name", Queue::Computed("compute".into())),
                ("Report", Queue::Named("reports".into())),
            ]
        );
    }

    #[test]
    fn an_entry_line_must_be_the_first_and_only_one() {
        let twice = "@actor\ndef a():\n    log.info('work begins now')\n\ndef b():\n    log.info('work begins now')\n";
        assert_eq!(scan(&[file("a.py", twice)], &[]).actors[0].entry, None);
        let guarded = "@actor\ndef a():\n    if x:\n        log.info('work begins now')\n";
        assert_eq!(scan(&[file("a.py", guarded)], &[]).actors[0].entry, None);
        let short = "@actor\ndef a():\n    log.info('%s', x)\n";
        assert_eq!(scan(&[file("a.py", short)], &[]).actors[0].entry, None);
    }

    #[test]
    fn the_workers_module_is_the_one_that_imports_the_actors() {
        let code = scan(
            &[
                file("worker/src/app/__init__.py", ""),
                file("worker/src/app/jobs.py", "@dramatiq.actor\ndef a(): pass\n"),
                file(
                    "worker/src/app/worker.py",
                    "from app import broker\nfrom app.jobs import a\n",
                ),
            ],
            &[],
        );
        assert_eq!(code.modules[0].0, "app.worker");
        assert_eq!(code.modules[1].0, "app.jobs");
    }

    #[test]
    fn tables_and_statuses() {
        let text = r#"
class Status(str, Enum):
    QUEUED = "queued"
    DONE = "done"

class Job(Base):
    __tablename__ = "jobs"
    job_id: Mapped[str] = mapped_column(String, primary_key=True)
    status: Mapped[Status] = mapped_column()
    note: Mapped[str]

SQL = """CREATE TABLE IF NOT EXISTS billing.runs (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 4) PRIMARY KEY, state text CHECK (state IN ('a', 'b')),
    CONSTRAINT x CHECK (id > 1))"""
job.status = "RUNNING"
"#;
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.statuses, ["DONE", "QUEUED", "RUNNING", "done", "queued"]);
        let jobs = &code.tables[0];
        assert_eq!(
            (jobs.name.as_str(), jobs.key.as_deref()),
            ("jobs", Some("job_id"))
        );
        assert_eq!(jobs.columns, ["job_id", "status", "note"]);
        let runs = &code.tables[1];
        assert_eq!(
            (runs.name.as_str(), runs.key.as_deref()),
            ("billing.runs", Some("id"))
        );
        assert_eq!(runs.columns, ["id", "state"]);
    }

    #[test]
    fn urls_routes_and_variables() {
        let text = "url = os.getenv('MQ', 'amqp://a:b@h/v')\nx = environ['DB_URL']\n@router.post('/run')\ndef f(): pass\napp = FastAPI()\n";
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.urls[0].1, "m.py line 1");
        assert_eq!(code.routes[0].0, "/run");
        assert!(code.reads.contains_key("MQ") && code.reads.contains_key("DB_URL"));
        assert_eq!(code.fastapi.as_deref(), Some("m.py line 5"));
    }

    #[test]
    fn nothing_panics() {
        for text in [
            "@actor(",
            "@actor\n",
            "@actor(x='",
            "'''",
            "\"",
            "é'é\"\"\"é",
            "@dramatiq.actor(a=(1,[2)\ndef f(: pass",
            "CREATE TABLE x (",
            "CREATE TABLE é (a 'é",
            "@actor\ndef f(é='\\\n'):\n    log.info('%",
        ] {
            let _ = scan(&[file("m.py", text)], &[file("m.sql", text)]);
        }
    }
}
