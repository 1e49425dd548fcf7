//! Actors: their queues, their parameters, and what they log first.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::syntax::Node;
use super::{Actor, Parameter, QueueName};
use crate::bounded::TextFile;
use crate::framework::{self, Framework};

/// What stands for another text each time in a format, and escapes, which are another character in
/// the log than in the source.
static VARIES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?s)\{[^}]*\}?|%(?:\([^)]*\))?.?|\\.").ok());

/// An actor, if the node declares one: a decorated function, or a class of Dramatiq's.
pub fn read(node: Node) -> Option<Actor> {
    if node.extends("GenericActor") {
        let name = node.field("name")?.text().to_owned();
        let queue = node
            .all()
            .filter_map(Node::sides)
            .find(|(left, _)| left.text() == "queue_name");
        return Some(Actor {
            queue: queue_of(queue.map(|(_, value)| value)),
            ..actor(node, name)
        });
    }
    if node.kind() != "decorated_definition" {
        return None;
    }
    let declared = node
        .children()
        .into_iter()
        .filter(|child| child.kind() == "decorator")
        .find_map(|decorator| {
            let inner = decorator.children().into_iter().next()?;
            declares(&inner).map(|framework| (inner, framework))
        });
    let (decorator, framework) = declared?;
    let function = node.field("definition")?;
    if function.kind() != "function_definition" {
        return None;
    }
    let shape = &framework.source;
    let option = |name| {
        (decorator.kind() == "call")
            .then(|| decorator.argument(name))
            .flatten()
    };
    let option_of_name = option(shape.name_option);
    let given = option_of_name.and_then(Node::string);
    let is_named = given.is_some();
    let computed = option_of_name.filter(|_| !is_named);
    let called = function.field("name")?.text().to_owned();
    let name = given.unwrap_or_else(|| called.clone());
    Some(Actor {
        framework,
        is_named,
        computed: computed.map(|value| value.text().to_owned()),
        function: called,
        takes_self: takes_self(function),
        queue: queue_of(option(shape.queue_option)),
        spread: spread(decorator),
        parameters: function.field("parameters").map(parameters).unwrap_or_default(),
        entry: function.field("body").and_then(entry),
        ..actor(decorator, name)
    })
}

/// An actor that is made by a call, `dramatiq.actor(function, …)`, from a function of the same file.
pub fn registered(node: Node, file: &[Node]) -> Option<Actor> {
    let framework = declares(&node).filter(|_| node.kind() == "call")?;
    let shape = &framework.source;
    let function = node
        .first_argument()
        .filter(|first| first.kind() == "identifier")?;
    let defined = file.iter().find(|other| {
        other.kind() == "function_definition"
            && other
                .field("name")
                .is_some_and(|name| name.text() == function.text())
    })?;
    // `bill = dramatiq.actor(_bill)` is sent as `bill`.
    let assigned = node.assigned_to();
    let option_of_name = node.argument(shape.name_option);
    let name = option_of_name.and_then(Node::string);
    let computed = option_of_name.filter(|_| name.is_none());
    Some(Actor {
        framework,
        is_named: name.is_some(),
        computed: computed.map(|value| value.text().to_owned()),
        function: assigned.unwrap_or(function.text()).to_owned(),
        takes_self: takes_self(*defined),
        queue: queue_of(node.argument(shape.queue_option)),
        spread: spread(node),
        parameters: defined.field("parameters").map(parameters).unwrap_or_default(),
        entry: defined.field("body").and_then(entry),
        ..actor(node, name.unwrap_or_else(|| function.text().to_owned()))
    })
}

fn actor(node: Node, name: String) -> Actor {
    Actor {
        framework: Framework::usual(),
        is_named: true,
        computed: None,
        is_sure: true,
        function: name.clone(),
        takes_self: false,
        name,
        queue: QueueName::Default,
        spread: None,
        place: node.place(),
        module: super::module_of(&node.file().place),
        parameters: Vec::new(),
        entry: None,
        sent: false,
    }
}

/// `actor`, `dramatiq.actor` or `my_broker.actor`, called or not: the framework whose that is.
fn declares(decorator: &Node) -> Option<&'static Framework> {
    let called = match decorator.kind() {
        "call" => decorator.field("function"),
        _ => Some(*decorator),
    };
    let called = called?;
    let (name, owner) = (called.last_name(), called.field("object"));
    let fits = |framework: &&&Framework| {
        let shape = &framework.source;
        let is_objects = |owner: &Node| {
            let name = owner.text().to_lowercase();
            owner.kind() == "identifier" && shape.objects.iter().any(|end| name.ends_with(end))
        };
        match &owner {
            None => name == shape.decorator,
            Some(owner) => {
                (name == shape.decorator && owner.text() == shape.module)
                    || (name == shape.method && is_objects(owner))
            }
        }
    };
    framework::ALL.iter().find(fits).copied()
}

/// `**options` of `actor(**options)`.
fn spread(call: Node) -> Option<String> {
    let arguments = call.field("arguments").map(Node::children).unwrap_or_default();
    let mut spread = arguments
        .into_iter()
        .filter(|argument| argument.kind() == "dictionary_splat");
    spread.next().map(|spread| spread.text().to_owned())
}

fn queue_of(value: Option<Node>) -> QueueName {
    match value.map(|value| (value, value.string())) {
        None => QueueName::Default,
        Some((_, Some(name))) => QueueName::Named(name),
        Some((value, None)) => {
            let called = value.field("function").unwrap_or(value);
            QueueName::Computed(called.text().to_owned())
        }
    }
}

impl QueueName {
    /// What an expression ends with may be a constant of the project.
    pub fn follow(&mut self, constants: &BTreeMap<String, String>) {
        if let Self::Computed(expression) = self
            && let Some(value) = constants.get(expression.rsplit('.').next().unwrap_or_default())
            && !value.is_empty()
        {
            *self = Self::Named(value.clone());
        }
    }
}

fn takes_self(function: Node) -> bool {
    let first = function
        .field("parameters")
        .and_then(|all| all.children().into_iter().next());
    first.is_some_and(|first| first.text() == "self")
}

fn parameters(node: Node) -> Vec<Parameter> {
    let mut by_keyword = false;
    node.children()
        .into_iter()
        .filter_map(|declared| {
            by_keyword |= matches!(declared.kind(), "keyword_separator" | "list_splat_pattern");
            let (name, has_default) = match declared.kind() {
                "identifier" => (declared, false),
                "typed_parameter" => (*declared.children().first()?, false),
                "default_parameter" | "typed_default_parameter" => (declared.field("name")?, true),
                _ => return None,
            };
            (name.kind() == "identifier" && name.text() != "self").then(|| Parameter {
                name: name.text().to_owned(),
                annotation: declared.field("type").map_or("", Node::text).to_owned(),
                has_default,
                by_keyword,
            })
        })
        .collect()
}

/// The constant words of the log call that the body begins with, and where it stands. What stands
/// before it must not be able to end the function or to pass over the call.
fn entry(body: Node) -> Option<(String, String)> {
    let statements = body.children().into_iter();
    let is_doc = |statement: &Node| {
        statement
            .children()
            .first()
            .is_some_and(|inner| inner.kind() == "string")
    };
    for statement in statements.filter(|statement| !is_doc(statement)).take(4) {
        if let Some(format) = logged(statement) {
            return Some((constant_words(format)?, statement.place()));
        }
        if !is_at_once(statement) {
            return None;
        }
    }
    None
}

/// What does no more than name something: whatever may last, or may end the function, is work that the line comes
/// after.
fn is_at_once(statement: Node) -> bool {
    const READS: &[&str] = &[
        "time",
        "monotonic",
        "perf_counter",
        "now",
        "utcnow",
        "today",
        "uuid4",
        "getLogger",
        "get_logger",
        "str",
        "int",
        "len",
        "dict",
        "list",
        "bind",
        "get",
        "Path",
    ];
    let kind = statement.kind();
    if matches!(
        kind,
        "import_statement" | "import_from_statement" | "global_statement"
    ) {
        return true;
    }
    let is_assignment = statement
        .children()
        .first()
        .is_some_and(|inner| inner.kind() == "assignment");
    kind == "expression_statement"
        && is_assignment
        && statement.all().all(|inner| match inner.kind() {
            "call" => READS.contains(&inner.last_name()),
            kind => !matches!(kind, "await" | "yield"),
        })
}

/// The format that a statement logs.
fn logged(statement: Node) -> Option<Node> {
    let call = *statement.children().first()?;
    let logs = matches!(
        call.last_name(),
        "info" | "warning" | "warn" | "error" | "critical" | "print"
    );
    let format = (call.kind() == "call" && logs).then(|| call.first_argument())??;
    match format.kind() {
        "string" => Some(format),
        "concatenated_string" => format.children().into_iter().next(),
        _ => None,
    }
}

/// The longest piece of a format string that is the same every time.
fn constant_words(format: Node) -> Option<String> {
    let varies = VARIES.as_ref()?;
    format
        .children()
        .into_iter()
        .filter(|part| part.kind() == "string_content")
        .flat_map(|part| varies.split(part.text()))
        .map(|piece| piece.trim().to_owned())
        .max_by_key(String::len)
        .filter(|piece| piece.len() >= 8)
}

/// A line that something else may log as well says nothing of the actor. The same actor in two
/// branches of an `if` is one, and says the same twice.
pub(super) fn keep_what_only_one_logs(actors: &mut [Actor], files: &[&TextFile]) {
    let mut own: BTreeMap<(String, String), usize> = BTreeMap::new();
    for actor in actors.iter() {
        if let Some((words, _)) = &actor.entry {
            *own.entry((actor.name.clone(), words.clone())).or_default() += 1;
        }
    }
    for actor in actors {
        actor.entry = actor.entry.take().filter(|(words, _)| {
            let by_itself = own.get(&(actor.name.clone(), words.clone()));
            let anywhere: usize = files
                .iter()
                .map(|file| file.text.matches(words.as_str()).count())
                .sum();
            by_itself == Some(&anywhere)
        });
    }
}

/// The one actor that a task's message can name: the only one that anything sends to, or the only one.
pub fn only<'a>(actors: &[&'a Actor]) -> Option<&'a Actor> {
    let is_example = |actor: &Actor| actor.framework.source.examples.contains(&actor.function.as_str());
    let sent: Vec<&Actor> = actors.iter().filter(|actor| actor.sent).copied().collect();
    let own: Vec<&Actor> = actors
        .iter()
        .filter(|actor| !is_example(actor))
        .copied()
        .collect();
    match (sent.as_slice(), own.as_slice()) {
        ([one], _) => Some(one),
        ([], [one]) => Some(one),
        _ => None,
    }
}
