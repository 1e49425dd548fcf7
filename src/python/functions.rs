//! Functions of the application: what each calls, and what it reads of the request that it answers.

use std::collections::BTreeSet;

use super::body::{self, RequestField};
use super::syntax::Node;

#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: String,
    pub class: Option<String>,
    pub file: String,
    /// The last names of what it calls.
    pub calls: BTreeSet<String>,
    /// What it reads of the body of its request.
    pub body: Vec<RequestField>,
    /// It hands the body on, or looks at it in a way that is not followed.
    pub reads_more: bool,
    /// What its whole body is handed to, as long as nobody has looked what that is.
    pub(super) handed_to: Vec<String>,
    /// What stands behind the `?` of its path, and has no default.
    pub query: Vec<RequestField>,
    /// Parameters that take the body, whose types were not followed.
    pub unread: Vec<String>,
    /// Pointers to the fields of the JSON that it answers.
    pub answers: BTreeSet<String>,
    /// As long as nobody has looked what they are.
    pub(super) parameters: Vec<HandlerParameter>,
    /// It refuses everything but `GET`.
    pub only_gets: bool,
    /// Django asks it for no token of a form.
    pub is_csrf_exempt: bool,
}

/// A parameter of a function that may answer a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HandlerParameter {
    pub name: String,
    pub annotation: String,
    pub default: Option<String>,
}

impl Function {
    pub(super) fn of(node: Node) -> Option<Self> {
        if node.kind() != "function_definition" {
            return None;
        }
        let calls = node.all().filter(|inner| inner.kind() == "call");
        let class = node.enclosing("class_definition");
        let own = |decorated: &Node| {
            let inner = decorated.field("definition");
            inner.is_some_and(|inner| inner.place() == node.place())
        };
        let decorators = node.enclosing("decorated_definition").filter(own);
        let decorators = decorators.map(Node::children).unwrap_or_default();
        let decorated = |word: &str| {
            decorators
                .iter()
                .any(|child| child.kind() == "decorator" && child.text().contains(word))
        };
        let (body, handed_to) = body::read(node);
        Some(Self {
            name: node.field("name")?.text().to_owned(),
            class: class.and_then(|class| Some(class.field("name")?.text().to_owned())),
            file: node.file().place.clone(),
            calls: calls.map(|call| call.last_name().to_owned()).collect(),
            body,
            reads_more: false,
            handed_to,
            query: Vec::new(),
            unread: Vec::new(),
            answers: answers(node),
            parameters: parameters(node),
            only_gets: [
                "require_GET",
                "require_safe",
                "api_view(['GET'])",
                "api_view([\"GET\"])",
            ]
            .iter()
            .any(|word| decorated(word)),
            is_csrf_exempt: decorated("csrf_exempt")
                || decorated("api_view")
                || class.is_some_and(|class| class.extends("APIView") || class.extends("ViewSet")),
        })
    }
}

/// `return {"job": {"state": …}}`, `return jsonify(state=…), 202`.
fn answers(function: Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for node in function.all().filter(|node| node.kind() == "return_statement") {
        if let Some(value) = node.children().first() {
            pointers(*value, "", &mut found);
        }
    }
    found
}

fn pointers(node: Node, at: &str, found: &mut BTreeSet<String>) {
    match node.kind() {
        "dictionary" => {
            for pair in node.children() {
                let (key, value) = (pair.field("key"), pair.field("value"));
                if let (Some(key), Some(value)) = (key.and_then(Node::string), value) {
                    field(&key, value, at, found);
                }
            }
        }
        "call"
            if matches!(
                node.last_name(),
                "jsonify" | "dict" | "JsonResponse" | "JSONResponse" | "Response"
            ) =>
        {
            for argument in node.field("arguments").map(Node::children).unwrap_or_default() {
                match (argument.field("name"), argument.field("value")) {
                    (Some(name), Some(value)) if node.last_name() != "JSONResponse" => {
                        field(name.text(), value, at, found)
                    }
                    (None, None) => pointers(argument, at, found),
                    _ => {}
                }
            }
        }
        // With the status behind it.
        "expression_list" | "tuple" | "parenthesized_expression" | "await" => {
            if let Some(first) = node.children().first() {
                pointers(*first, at, found);
            }
        }
        _ => {}
    }
}

fn field(name: &str, value: Node, at: &str, found: &mut BTreeSet<String>) {
    let here = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    pointers(value, &here, found);
    found.insert(here);
}

fn parameters(function: Node) -> Vec<HandlerParameter> {
    let parameters = function
        .field("parameters")
        .map(Node::children)
        .unwrap_or_default();
    let read = parameters.into_iter().filter_map(|parameter| {
        let name = match parameter.kind() {
            "identifier" => parameter,
            "typed_parameter" => *parameter.children().first()?,
            "typed_default_parameter" | "default_parameter" => parameter.field("name")?,
            _ => return None,
        };
        (name.kind() == "identifier").then(|| HandlerParameter {
            name: name.text().to_owned(),
            annotation: parameter.field("type").map_or("", Node::text).to_owned(),
            default: parameter.field("value").map(|value| value.text().to_owned()),
        })
    });
    read.collect()
}
