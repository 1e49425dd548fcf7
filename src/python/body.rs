//! What a function reads of the body of its request: Flask's `request.json["order"]`, Django's `request.POST["order"]`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::sites;
use super::syntax::Node;

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyKind {
    Json,
    Form,
    /// A file that is sent along with a form.
    File,
}

/// A value that the code takes out of the body.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestField {
    pub kind: BodyKind,
    /// The names that lead to it.
    pub path: Vec<String>,
    /// What the code compares it with, or what it makes of it: a word, a number.
    pub value: Option<Json>,
    /// A value of its type, which is made up.
    pub typed: Option<Json>,
    /// Something else stands for it where it is missing.
    pub has_default: bool,
}

impl RequestField {
    /// What the code itself shows of it.
    pub(super) fn shown(kind: BodyKind, path: Vec<String>, value: Json) -> Self {
        Self {
            kind,
            path,
            value: Some(value),
            typed: None,
            has_default: false,
        }
    }
}

/// A part of the request's body.
#[derive(Debug, Clone)]
struct Part {
    kind: BodyKind,
    path: Vec<String>,
}

/// The fields, and the names of what the whole body is handed to.
pub(super) fn read(function: Node) -> (Vec<RequestField>, Vec<String>) {
    // Most functions answer no request.
    if !function.text().contains("request") {
        return (Vec::new(), Vec::new());
    }
    let mut reader = Reader::default();
    for node in function.field("body").into_iter().flat_map(Node::all) {
        reader.read(node);
    }
    (reader.fields, reader.handed_to)
}

#[derive(Default)]
struct Reader {
    /// `data` of `data = request.get_json()`.
    names: BTreeMap<String, Part>,
    fields: Vec<RequestField>,
    handed_to: Vec<String>,
}

impl Reader {
    fn read(&mut self, node: Node) {
        match node.kind() {
            "assignment" | "named_expression" => {
                let left = node.field("left").or_else(|| node.field("name"));
                let right = node.field("right").or_else(|| node.field("value"));
                if let (Some(left), Some(right)) = (left.filter(|left| left.kind() == "identifier"), right) {
                    match self.part(right) {
                        Some(part) => self.names.insert(left.text().to_owned(), part),
                        // The name means something else from here.
                        None => self.names.remove(left.text()),
                    };
                }
            }
            "comparison_operator" => self.compared(node),
            "for_statement" | "for_in_clause" => {
                let of = node.field("right").and_then(|right| self.part(right));
                if let Some(part) = of.filter(|part| !part.path.is_empty()) {
                    self.note(&part).value.get_or_insert_with(|| json!(["taskdiag"]));
                }
            }
            "subscript" => {
                if let Some(part) = self.part(node) {
                    let field = self.note(&part);
                    field.has_default = false;
                }
            }
            "call" => self.called(node),
            _ => {}
        }
    }

    /// The field of a part, known or new.
    fn note(&mut self, part: &Part) -> &mut RequestField {
        let known = self.fields.iter().position(|field| field.path == part.path);
        let at = known.unwrap_or_else(|| {
            self.fields.push(RequestField {
                kind: part.kind,
                path: part.path.clone(),
                value: None,
                typed: None,
                has_default: true,
            });
            self.fields.len() - 1
        });
        &mut self.fields[at]
    }

    /// `data.get("copies", 1)`, `int(data["copies"])`, `JobSchema().load(data)`.
    fn called(&mut self, call: Node) {
        let name = call.last_name();
        if let Some(part) = self
            .part(call)
            .filter(|_| matches!(name, "get" | "pop" | "getlist"))
        {
            let arguments = call.field("arguments").map(Node::children).unwrap_or_default();
            let second = arguments
                .get(1)
                .filter(|argument| argument.kind() != "keyword_argument");
            let default = call.argument("default").or(second.copied());
            let has_default = default.is_some_and(|default| default.text() != "None");
            let kind = call.argument("type").and_then(|kind| of_type(kind.text()));
            let field = self.note(&part);
            field.has_default &= has_default;
            field.value = field.value.take().or(kind);
            return;
        }
        let Some(part) = call.first_argument().and_then(|first| self.part(first)) else {
            // `Order(**data)`.
            let arguments = call.field("arguments").map(Node::children).unwrap_or_default();
            let spread = arguments
                .iter()
                .filter(|argument| argument.kind() == "dictionary_splat");
            let is_whole = spread
                .filter_map(|splat| self.part(*splat.children().first()?))
                .any(|part| part.path.is_empty());
            self.handed_to.extend(is_whole.then(|| name.to_owned()));
            return;
        };
        if part.path.is_empty() {
            let looks = [
                "dict",
                "len",
                "print",
                "isinstance",
                "debug",
                "info",
                "loads",
                "dumps",
                "jsonify",
                "bool",
            ];
            // `Order.model_validate(data)`
            let object = call.field("function").and_then(|called| called.field("object"));
            let to = match (name, object) {
                ("model_validate" | "parse_obj" | "validate" | "load", Some(object)) => object.last_name(),
                _ => name,
            };
            self.handed_to
                .extend((!looks.contains(&name)).then(|| to.to_owned()));
        } else if let Some(value) = of_type(name) {
            self.note(&part).value.get_or_insert(value);
        }
    }

    /// `data["kind"] == "report"`, `kind not in ("report", "bill")`, `"kind" not in data`.
    fn compared(&mut self, node: Node) {
        let sides = node.children();
        let (Some(left), Some(right)) = (sides.first(), sides.get(1)) else {
            return;
        };
        let operator = node.field("operators").map_or("", Node::text);
        let is_in = operator == "in" || operator.starts_with("not");
        if is_in
            && let (Some(name), Some(mut part)) = (left.string(), self.part(*right))
            && part.path.is_empty()
        {
            part.path.push(name);
            let refuses = operator != "in" && refuses(node);
            let field = self.note(&part);
            field.has_default &= !refuses;
            return;
        }
        let (part, word) = match (self.part(*left), self.part(*right)) {
            (Some(part), _) => (part, *right),
            (_, Some(part)) if !is_in => (part, *left),
            _ => return,
        };
        let word = match is_in {
            true => word.children().into_iter().find_map(Node::string),
            false => word.string(),
        };
        let Some(word) = word.filter(|word| !word.is_empty() && !part.path.is_empty()) else {
            return;
        };
        let is_wanted = match operator {
            "==" | "in" => sends(node),
            _ => refuses(node),
        };
        if is_wanted {
            self.note(&part).value.get_or_insert(json!(word));
        }
    }

    /// The part of the body that an expression is.
    fn part(&self, node: Node) -> Option<Part> {
        let first = |node: Node| self.part(*node.children().first()?);
        match node.kind() {
            "await" | "parenthesized_expression" | "conditional_expression" => first(node),
            // `request.get_json() or {}`
            "boolean_operator" => self.part(node.field("left")?),
            "identifier" => self.names.get(node.text()).cloned(),
            "attribute" => {
                let kind = match node.last_name() {
                    "json" | "data" => BodyKind::Json,
                    "form" | "POST" | "values" => BodyKind::Form,
                    "files" | "FILES" => BodyKind::File,
                    _ => return None,
                };
                is_request(node.field("object")?).then(|| whole(kind))
            }
            "subscript" => {
                let name = node.field("subscript")?.string()?;
                self.part(node.field("value")?).map(|part| part.with(name))
            }
            "call" => {
                let object = node.field("function")?.field("object");
                let given = node.first_argument();
                match node.last_name() {
                    "get_json" | "json" => is_request(object?).then(|| whole(BodyKind::Json)),
                    "form" => is_request(object?).then(|| whole(BodyKind::Form)),
                    "get" | "pop" | "getlist" => {
                        let name = given?.string()?;
                        self.part(object?).map(|part| part.with(name))
                    }
                    "loads" => {
                        let raw = ["request.body", "request.data", "request.get_data()"];
                        let text = given?.text();
                        raw.iter()
                            .any(|raw| text.contains(raw))
                            .then(|| whole(BodyKind::Json))
                    }
                    "to_dict" | "copy" | "strip" | "lower" | "upper" => self.part(object?),
                    "dict" | "str" | "int" | "float" => self.part(given?),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl Part {
    fn with(mut self, name: String) -> Self {
        self.path.push(name);
        self
    }
}

fn whole(kind: BodyKind) -> Part {
    Part {
        kind,
        path: Vec::new(),
    }
}

/// `request`, `flask.request`, `self.request`.
fn is_request(node: Node) -> bool {
    node.last_name() == "request"
}

/// A value of the type that the code makes of a text.
pub fn of_type(name: &str) -> Option<Json> {
    Some(match name.rsplit('.').next().unwrap_or(name) {
        "int" => json!(1),
        "float" | "Decimal" => json!(1.0),
        "bool" => json!(true),
        "UUID" => json!("00000000-0000-4000-8000-000000000000"),
        "date" | "fromisoformat" => json!("2026-01-01"),
        "list" => json!([]),
        "dict" => json!({}),
        _ => return None,
    })
}

/// Where the comparison holds a task is sent.
fn sends(comparison: Node) -> bool {
    let mut inner = held(comparison).into_iter().flat_map(Node::all);
    inner.any(|node| node.kind() == "call" && sites::sent_by(node).is_some())
}

/// Where the comparison holds the request is refused.
fn refuses(comparison: Node) -> bool {
    let mut inner = held(comparison).into_iter().flat_map(Node::all);
    inner.any(|node| {
        matches!(node.kind(), "return_statement" | "raise_statement")
            || (node.kind() == "call" && node.last_name() == "abort")
    })
}

/// What runs where a condition holds.
fn held(condition: Node) -> Option<Node> {
    let branch = condition.enclosing_any(&["if_statement", "elif_clause"])?;
    branch.field("consequence")
}

/// The smallest body that the code may take, and the names of what is made up in it.
pub fn example(fields: &[&RequestField], typed: impl Fn(&str) -> Option<Json>) -> (Json, Vec<String>) {
    let mut body = Json::Object(Map::new());
    let mut made_up = Vec::new();
    for field in fields {
        let Some((name, folders)) = field.path.split_last() else {
            continue;
        };
        let mut at = &mut body;
        for folder in folders {
            if !at.get(folder).is_some_and(Json::is_object) {
                at[folder] = json!({});
            }
            at = &mut at[folder];
        }
        // What stands there already holds a part of it.
        if at.get(name).is_some() {
            continue;
        }
        let value = field.value.clone().or_else(|| field.typed.clone());
        let value = value.or_else(|| typed(name));
        if field.value.is_none() {
            made_up.push(field.path.join("."));
        }
        at[name] = value.unwrap_or_else(|| json!(text_for(name)));
    }
    (body, made_up)
}

pub(super) fn text_for(name: &str) -> &'static str {
    let name = name.to_lowercase();
    match name {
        name if name.contains("email") => "taskdiag@example.com",
        name if name.ends_with("url") || name.ends_with("uri") => "https://example.com/",
        _ => "taskdiag",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::TextFile;
    use crate::python::scan;

    /// What a handler with this body reads, and the body that is made of it.
    fn read_by(lines: &str) -> (Vec<BodyKind>, Json, bool) {
        let text = format!(
            "import dramatiq\n@dramatiq.actor\ndef bill(order, copies: int): ...\n@app.post('/jobs')\ndef create():\n    {}\n    bill.send(1)\n",
            lines.replace('\n', "\n    ")
        );
        let file = TextFile {
            place: "app.py".into(),
            text,
        };
        let code = scan(&[file], &[]);
        let handler = code.sites[0].handler.clone().expect("a handler");
        let needed: Vec<&RequestField> = handler.body.iter().filter(|field| !field.has_default).collect();
        let kinds = needed.iter().map(|field| field.kind).collect();
        let (body, _) = example(&needed, |_| None);
        (kinds, body, handler.reads_more)
    }

    #[test]
    fn fields_of_json() {
        let (kinds, body, more) = read_by(
            "data = request.get_json(force=True) or {}\norder = data['order']\ncopies = int(data.get('copies'))\nnote = data.get('note', '')\ninner = data['inner']\nx = inner['deep']",
        );
        assert_eq!(kinds[0], BodyKind::Json);
        assert_eq!(
            body,
            json!({ "order": "taskdiag", "copies": 1, "inner": { "deep": "taskdiag" } })
        );
        assert!(!more);
        assert_eq!(read_by("x = request.json['a']").1, json!({ "a": "taskdiag" }));
        assert_eq!(
            read_by("x = json.loads(request.body)['a']").1,
            json!({ "a": "taskdiag" })
        );
    }

    #[test]
    fn words_that_the_code_wants() {
        let wanted = "kind = request.json['kind']\nif kind != 'report':\n    abort(400)";
        assert_eq!(read_by(wanted).1, json!({ "kind": "report" }));
        let one_of = "kind = request.json.get('kind')\nif kind not in ('a', 'b'):\n    return 'no', 400";
        assert_eq!(read_by(one_of).1, json!({ "kind": "a" }));
        let other = "kind = request.json['kind']\nif kind == 'cancel':\n    return stop()";
        assert_eq!(read_by(other).1, json!({ "kind": "taskdiag" }));
        let sent = "if request.json['kind'] == 'bill':\n    bill.send(2)";
        assert_eq!(read_by(sent).1, json!({ "kind": "bill" }));
        let present = "data = request.json\nif 'order' not in data:\n    return 'no', 400";
        assert_eq!(read_by(present).1, json!({ "order": "taskdiag" }));
    }

    #[test]
    fn forms_files_and_what_is_handed_on() {
        let (kinds, body, _) = read_by("email = request.form['email']\nn = request.form.get('n', type=int)");
        assert_eq!(kinds, [BodyKind::Form, BodyKind::Form]);
        assert_eq!(body, json!({ "email": "taskdiag@example.com", "n": 1 }));
        let (kinds, ..) = read_by("f = request.files['document']");
        assert_eq!(kinds, [BodyKind::File]);
        for line in [
            "job = JobSchema().load(request.get_json())",
            "job = Job(**request.json)",
        ] {
            let (kinds, _, more) = read_by(line);
            assert!(kinds.is_empty() && more, "{line}");
        }
        let (kinds, _, more) = read_by("name = request.args.get('name')");
        assert!(kinds.is_empty() && !more);
    }
}
