//! What an OpenAPI document says of submitting a task: which path, which body, where the id and the
//! status stand.

mod request;

use std::cell::Cell;

use serde_json::{Map, Value as Json, json};

use super::work::{OTHER, is_work};
use request::{example_body, path_values, query_values, token_path};

/// What a document says.
#[derive(Debug, Default, PartialEq)]
pub struct SubmitOperation {
    pub submit_path: String,
    /// Every field that is required; an example of the document's own where it has one.
    pub body: Option<Json>,
    /// The body is an HTML form's.
    pub is_form: bool,
    /// Fields of the form that are files.
    pub files: Vec<String>,
    /// Values for the names in the path, made up from the document.
    pub path: Map<String, Json>,
    /// Where a user and a password are changed for a token.
    pub token_path: Option<String>,
    /// What stands behind its `?`, made up from the document: parameters that it requires.
    pub query: Vec<(String, String)>,
    /// Required fields only.
    pub smallest: Option<Json>,
    /// Fields whose values were made up from the schema.
    pub made_up: Vec<String>,
    pub task_id_pointer: Option<String>,
    pub status_path: Option<String>,
    pub status_pointer: Option<String>,
    /// Names of the security schemes that the path asks for.
    pub security: Vec<String>,
    /// Other paths that might be meant.
    pub also: Vec<String>,
    score: i32,
}

/// References are followed so deep, and so often in all: a schema may hold itself many times over.
const DEEPEST: usize = 8;
const MOST: usize = 5_000;

/// A document, and how much of it may still be looked at.
struct Document<'a> {
    root: &'a Json,
    left: Cell<usize>,
}

impl Document<'_> {
    fn is_enough(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0
    }
}

/// The likeliest submission, unless nothing looks like one.
pub fn read(document: &Json) -> Option<SubmitOperation> {
    let paths = document.get("paths")?.as_object()?;
    let prefix = document
        .pointer("/servers/0/url")
        .and_then(Json::as_str)
        .filter(|url| url.starts_with('/') && *url != "/")
        .map(|url| url.trim_end_matches('/').to_owned())
        .or_else(|| document.get("basePath").and_then(Json::as_str).map(str::to_owned))
        .unwrap_or_default();
    let mut found: Vec<SubmitOperation> = paths
        .iter()
        .filter_map(|(path, item)| {
            let document = Document {
                root: document,
                left: Cell::new(MOST),
            };
            Some(operation(&document, paths, &prefix, path, item.get("post")?))
        })
        .filter(|api| api.score > 0)
        .collect();
    found.sort_by_key(|api| std::cmp::Reverse(api.score));
    let mut found = found.into_iter();
    let mut best = found.next()?;
    best.also = found.take(5).map(|api| api.submit_path).collect();
    Some(best)
}

fn operation(
    document: &Document,
    paths: &Map<String, Json>,
    prefix: &str,
    path: &str,
    post: &Json,
) -> SubmitOperation {
    let mut api = SubmitOperation {
        submit_path: format!("{prefix}{path}"),
        ..SubmitOperation::default()
    };
    let lower = path.to_lowercase();
    if is_work(path) {
        api.score += 2;
    }
    if OTHER.iter().any(|word| lower.contains(word)) {
        api.score -= 4;
    }
    if path.contains('{') {
        // What stands there belongs to this installation: it has to be looked up.
        api.score -= 2;
        api.path = path_values(document, path, paths.get(path), post);
    }
    api.query = query_values(document, paths.get(path), post);
    let responses = post.get("responses").and_then(Json::as_object);
    if responses.is_some_and(|responses| responses.contains_key("202")) {
        api.score += 3;
    }
    let answer = responses
        .and_then(|responses| {
            ["202", "201", "200", "2XX"]
                .iter()
                .find_map(|code| responses.get(*code))
        })
        .and_then(schema_of);
    if let Some(schema) = answer {
        api.task_id_pointer = pointer_to(document, schema, is_task_id);
        api.score += api.task_id_pointer.is_some() as i32 * 2;
    }
    if let Some((status_path, get)) = status(paths, path) {
        api.score += 2;
        api.status_path = Some(format!("{prefix}{status_path}"));
        api.status_pointer = get
            .get("responses")
            .and_then(|responses| responses.get("200"))
            .and_then(schema_of)
            .and_then(|schema| pointer_to(document, schema, |name| matches!(name, "status" | "state")));
    }
    let body = post.get("requestBody").map(|body| resolve(document, body));
    if let Some(body) = body {
        let content = body
            .get("content")
            .and_then(|content| content.get("application/json"));
        let form = body.pointer("/content/application~1x-www-form-urlencoded");
        let form = form.or_else(|| body.pointer("/content/multipart~1form-data"));
        api.is_form = content.is_none() && form.is_some();
        match content.or(form) {
            Some(content) => {
                api.score += 1;
                example_body(document, content, &mut api);
                // Which file it is nobody can make up.
                api.score -= 2 * i32::from(!api.files.is_empty());
            }
            // What is neither JSON nor a form is not what taskdiag posts.
            None => api.score -= 3,
        }
    }
    let security = post.get("security").or_else(|| document.root.get("security"));
    for requirement in security.and_then(Json::as_array).into_iter().flatten() {
        api.security.extend(
            requirement
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().cloned()),
        );
    }
    api.token_path = api.security.iter().find_map(|name| token_path(document, name));
    api
}

fn schema_of(response: &Json) -> Option<&Json> {
    response.pointer("/content/application~1json/schema")
}

/// The `GET` of the same path, or of a sibling, with one parameter behind it.
fn status<'a>(paths: &'a Map<String, Json>, path: &str) -> Option<(String, &'a Json)> {
    let base = path.trim_end_matches('/');
    let parent = base.rsplit_once('/').map_or("", |(parent, _)| parent);
    let mut found: Vec<(usize, &String, &Json)> = paths
        .iter()
        .filter(|(path, _)| path.matches('{').count() == 1)
        .filter_map(|(path, item)| {
            let get = item.get("get")?;
            let (before, after) = path.split_once('{')?;
            let after = after.split_once('}')?.1.trim_matches('/');
            let before = before.trim_end_matches('/');
            let rank = match (before == base, before == parent && !parent.is_empty(), after) {
                (true, _, "") => 0,
                (true, _, "status") => 1,
                (_, true, "") => 2,
                (_, true, "status") => 3,
                _ => return None,
            };
            Some((rank, path, get))
        })
        .collect();
    found.sort_by_key(|(rank, ..)| *rank);
    let (_, path, get) = found.into_iter().next()?;
    let (before, rest) = path.split_once('{')?;
    let (_, after) = rest.split_once('}')?;
    Some((format!("{before}{{task_id}}{after}"), get))
}

pub fn is_task_id(name: &str) -> bool {
    matches!(
        name,
        "task_id" | "taskId" | "job_id" | "jobId" | "id" | "uuid" | "run_id" | "message_id"
    )
}

/// Where in an answer of this schema a field with such a name stands; a task's own names first.
fn pointer_to(document: &Document, schema: &Json, wanted: impl Fn(&str) -> bool) -> Option<String> {
    fn walk(
        document: &Document,
        schema: &Json,
        at: &str,
        wanted: &dyn Fn(&str) -> bool,
        found: &mut Vec<String>,
        depth: usize,
    ) {
        if depth > 4 || document.is_enough() {
            return;
        }
        for (name, inner) in properties(document, schema, 0) {
            let here = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            if wanted(&name) {
                found.push(here.clone());
            }
            walk(document, &inner, &here, wanted, found, depth + 1);
        }
    }
    let mut found = Vec::new();
    walk(document, schema, "", &wanted, &mut found, 0);
    found.sort_by_key(|pointer| {
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let of_task = |name: &str| name.starts_with("task") || name.starts_with("job");
        let parent = pointer.rsplit('/').nth(1).unwrap_or_default();
        (
            // `/job/id` beside `/id`: the second is that of what the job is for.
            !(of_task(last) || of_task(parent)),
            pointer.matches('/').count(),
        )
    });
    found.into_iter().next()
}

/// The schema behind a `$ref`.
fn resolve<'a>(document: &Document<'a>, schema: &'a Json) -> &'a Json {
    let mut schema = schema;
    for _ in 0..DEEPEST {
        match schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|at| at.strip_prefix('#'))
        {
            Some(pointer) => match document.root.pointer(pointer) {
                Some(next) => schema = next,
                None => return schema,
            },
            None => return schema,
        }
    }
    schema
}

/// Properties of a schema and of everything it is made of.
fn properties(document: &Document, schema: &Json, depth: usize) -> Vec<(String, Json)> {
    if depth > DEEPEST || document.is_enough() {
        return Vec::new();
    }
    let schema = resolve(document, schema);
    let mut all: Vec<(String, Json)> = schema
        .get("properties")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(name, inner)| (name.clone(), inner.clone()))
        .collect();
    for key in ["allOf", "anyOf", "oneOf"] {
        for part in schema.get(key).and_then(Json::as_array).into_iter().flatten() {
            all.extend(properties(document, part, depth + 1));
        }
    }
    all
}

fn required(document: &Document, schema: &Json, depth: usize) -> Vec<String> {
    let schema = resolve(document, schema);
    let mut all: Vec<String> = schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if depth < DEEPEST && !document.is_enough() {
        for part in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            all.extend(required(document, part, depth + 1));
        }
    }
    all
}

/// The smallest value that a schema accepts, as far as it says.
fn example(document: &Document, schema: &Json, at: &str, made_up: &mut Vec<String>, depth: usize) -> Json {
    let schema = resolve(document, schema);
    if depth > DEEPEST || document.is_enough() {
        return Json::Null;
    }
    for key in ["example", "default", "const"] {
        if let Some(value) = schema.get(key).filter(|value| !value.is_null()) {
            return value.clone();
        }
    }
    for key in ["examples", "enum"] {
        if let Some(value) = schema.get(key).and_then(|values| values.get(0)) {
            return value.clone();
        }
    }
    for key in ["anyOf", "oneOf"] {
        let parts = schema.get(key).and_then(Json::as_array);
        let part = parts
            .into_iter()
            .flatten()
            .find(|part| resolve(document, part).get("type").and_then(Json::as_str) != Some("null"));
        if let Some(part) = part {
            return example(document, part, at, made_up, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
        Some(Json::String(kind)) => Some(kind.as_str()),
        _ => None,
    };
    let all = properties(document, schema, 0);
    let number = |key: &str| schema.get(key).and_then(Json::as_f64);
    let value = match kind {
        Some("object") | None if kind.is_some() || !all.is_empty() => {
            let required = required(document, schema, 0);
            let mut map = Map::new();
            for (name, inner) in all.iter().filter(|(name, _)| required.contains(name)) {
                let here = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                map.insert(name.clone(), example(document, inner, &here, made_up, depth + 1));
            }
            return Json::Object(map);
        }
        Some("array") => {
            let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0).min(8);
            let item = schema.get("items").cloned().unwrap_or(json!({}));
            return (0..least)
                .map(|_| example(document, &item, at, made_up, depth + 1))
                .collect();
        }
        Some("boolean") => json!(false),
        Some("integer") => {
            let least = number("minimum").or_else(|| number("exclusiveMinimum").map(|least| least + 1.0));
            json!(least.unwrap_or(1.0).ceil() as i64)
        }
        Some("number") => json!(
            number("minimum")
                .or_else(|| number("exclusiveMinimum").map(|least| least + 1.0))
                .unwrap_or(1.0)
        ),
        _ => {
            let text = match schema.get("format").and_then(Json::as_str) {
                Some("uuid" | "uuid4") => "00000000-0000-4000-8000-000000000000",
                Some("date-time") => "2026-01-01T00:00:00Z",
                Some("date") => "2026-01-01",
                Some("email") => "taskdiag@example.com",
                Some("uri" | "url") => "https://example.com/",
                _ => "taskdiag",
            };
            let least = schema
                .get("minLength")
                .and_then(Json::as_u64)
                .unwrap_or(0)
                .min(256) as usize;
            let most = schema.get("maxLength").and_then(Json::as_u64).unwrap_or(256) as usize;
            let mut text = text.to_owned();
            while text.chars().count() < least {
                text.push('x');
            }
            json!(text.chars().take(most).collect::<String>())
        }
    };
    made_up.push(at.to_owned());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As FastAPI writes it for the sample.
    #[test]
    fn fastapi() {
        let document = json!({
            "openapi": "3.1.0",
            "paths": {
                "/api/v1/tasks/": {"post": {
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/TaskRequest"}}}},
                    "responses": {"202": {"content": {"application/json": {"schema": {"additionalProperties": true, "type": "object"}}}}}}},
                "/api/v1/tasks/{task_id}": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}}}},
                "/health": {"get": {}},
                "/login": {"post": {"responses": {"200": {}}}}
            },
            "components": {"schemas": {"TaskRequest": {"type": "object", "required": ["task_type"], "properties": {
                "task_type": {"type": "string"}, "input_data": {"type": "object", "default": {}}}}}}
        });
        let api = read(&document).expect("a submission");
        assert_eq!(api.submit_path, "/api/v1/tasks/");
        assert_eq!(api.body, Some(json!({"task_type": "taskdiag"})));
        assert_eq!(api.made_up, ["task_type"]);
        assert_eq!(api.status_path.as_deref(), Some("/api/v1/tasks/{task_id}"));
        assert_eq!((api.task_id_pointer, api.also.len()), (None, 0));
    }

    #[test]
    fn typed_answers_examples_and_security() {
        let document = json!({
            "servers": [{"url": "/svc"}],
            "paths": {
                "/users": {"post": {"responses": {"201": {}}}},
                "/jobs": {"post": {
                    "security": [{"HTTPBearer": []}],
                    "requestBody": {"content": {"application/json": {
                        "schema": {"allOf": [{"$ref": "#/x/Base"}, {"required": ["n"], "properties": {"n": {"type": "integer", "exclusiveMinimum": 4}}}]},
                        "example": {"kind": "pdf", "n": 9, "note": "all"}}}},
                    "responses": {"201": {"content": {"application/json": {"schema": {"$ref": "#/x/Answer"}}}}}}},
                "/jobs/{job}/status": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/x/Answer"}}}}}}}
            },
            "x": {
                "Base": {"required": ["kind", "tags", "when", "opt"], "properties": {
                    "kind": {"enum": ["pdf", "csv"]}, "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "uuid"}},
                    "when": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]}, "opt": {"type": ["null", "boolean"]}}},
                "Answer": {"properties": {"data": {"$ref": "#/x/Data"}, "request": {"type": "string"}}},
                "Data": {"properties": {"id": {"type": "integer"}, "state": {"type": "string"}, "self": {"$ref": "#/x/Data"}}}
            }
        });
        let api = read(&document).expect("a submission");
        assert_eq!(api.submit_path, "/svc/jobs");
        assert_eq!(api.body, Some(json!({"kind": "pdf", "n": 9, "note": "all"})));
        assert_eq!(
            api.smallest,
            Some(
                json!({"kind": "pdf", "tags": ["00000000-0000-4000-8000-000000000000"], "when": "2026-01-01", "opt": false, "n": 5})
            )
        );
        assert_eq!(api.task_id_pointer.as_deref(), Some("/data/id"));
        assert_eq!(api.status_path.as_deref(), Some("/svc/jobs/{task_id}/status"));
        assert_eq!(api.status_pointer.as_deref(), Some("/data/state"));
        assert_eq!(api.security, ["HTTPBearer"]);
    }

    /// A job below something that has to be there, sent as a form, behind a login.
    #[test]
    fn paths_with_names_forms_and_logins() {
        let document = json!({
            "paths": {
                "/courses": {"post": {"responses": {"201": {}}}},
                "/courses/{course}/joke-requests": {
                    "parameters": [{"name": "course", "in": "path", "schema": {"type": "integer"}}],
                    "post": {
                        "security": [{"Login": []}],
                        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {
                            "required": ["topic"], "properties": {"topic": {"type": "string"}}}}}},
                        "responses": {"202": {"content": {"application/json": {"schema": {"properties": {
                            "id": {"type": "integer"}, "job": {"properties": {"id": {"type": "integer"}}}}}}}}}}}
            },
            "components": {"securitySchemes": {"Login": {"type": "oauth2", "flows": {"password": {"tokenUrl": "api/token"}}}}}
        });
        let api = read(&document).expect("a submission");
        assert_eq!(api.submit_path, "/courses/{course}/joke-requests");
        assert_eq!(json!(api.path), json!({ "course": "1" }));
        assert!(api.is_form);
        assert_eq!(api.body, Some(json!({ "topic": "taskdiag" })));
        assert_eq!(api.task_id_pointer.as_deref(), Some("/job/id"));
        assert_eq!(api.token_path.as_deref(), Some("/api/token"));
    }

    /// A file is named, and not made up.
    #[test]
    fn a_form_with_a_file() {
        let document = json!({"paths": {"/imports": {"post": {
            "requestBody": {"content": {"multipart/form-data": {"schema": {"required": ["table", "title"], "properties": {
                "title": {"type": "string"}, "table": {"type": "string", "format": "binary"}}}}}},
            "responses": {"202": {}}}}}});
        let api = read(&document).expect("a submission");
        assert!(api.is_form);
        assert_eq!(api.body, Some(json!({ "title": "taskdiag" })));
        assert_eq!(api.files, ["table"]);
        assert_eq!(api.made_up, ["title"]);
    }

    #[test]
    fn what_submits_nothing_is_not_taken() {
        for document in [
            json!(null),
            json!([]),
            json!({"paths": 3}),
            json!({"paths": {"/login": {"post": {}}, "/tasks": {"get": {}}, "/x/{id}": {"post": {}}}}),
        ] {
            assert_eq!(read(&document), None, "{document}");
        }
    }

    #[test]
    fn circles_end() {
        let document = json!({"paths": {"/tasks": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/a"}}}}}}},
            "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}});
        assert!(read(&document).is_some());
        let document = json!({"paths": {"/tasks": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/a"}}}}}}},
            "a": {"required": ["a"], "properties": {"a": {"$ref": "#/a"}}, "allOf": [{"$ref": "#/a"}]}});
        let _ = read(&document);
    }
}
