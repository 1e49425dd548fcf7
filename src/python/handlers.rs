//! What a request must bring for its handler: by the parameters and the models of the function that answers it.

use serde_json::Value as Json;

use super::annotations::Annotation;
use super::body::{BodyKind, RequestField};
use super::functions::{Function, HandlerParameter};
use super::schemas::Schemas;

/// What stands for something that the framework gives, and no request brings.
const GIVEN: &[&str] = &["Depends(", "Security(", "Header(", "Cookie(", "Path("];

/// A parameter that takes the body, or a part of it.
struct BodyParameter {
    name: String,
    fields: Vec<RequestField>,
    is_embedded: bool,
    has_default: bool,
}

/// Reads the parameters of a handler as FastAPI does; elsewhere only models are known for what they are.
pub(super) fn complete(handler: &mut Function, path: &str, schemas: &Schemas, is_fastapi: bool) {
    let handed_to = std::mem::take(&mut handler.handed_to);
    for name in handed_to {
        match schemas.fields(&name, &handler.file, BodyKind::Json) {
            Some(fields) => handler.body.extend(fields),
            None => handler.reads_more = true,
        }
    }
    let mut bodies: Vec<BodyParameter> = Vec::new();
    for parameter in std::mem::take(&mut handler.parameters) {
        let annotation = schemas.annotation(&parameter.annotation);
        let said = format!(
            "{}, {}",
            parameter.default.as_deref().unwrap_or_default(),
            annotation.said
        );
        if parameter.is_given(&annotation, &said, path) {
            continue;
        }
        let says = |marker: &str| said.contains(marker);
        let is_file = says("File(") || parameter.annotation.contains("UploadFile");
        let kind = match (is_file, says("Form(")) {
            (true, _) => BodyKind::File,
            (_, true) => BodyKind::Form,
            _ => BodyKind::Json,
        };
        let word = schemas.word(&annotation);
        let has_default = parameter.has_default();
        let field = RequestField {
            kind,
            path: vec![parameter.name.clone()],
            value: word.clone(),
            typed: annotation.value(&parameter.name, &said),
            has_default,
        };
        let model = schemas
            .fields(&annotation.name, &handler.file, kind)
            .filter(|_| !says("Query("));
        match model {
            Some(fields) if kind == BodyKind::Form => handler.body.extend(fields),
            Some(fields) => bodies.push(BodyParameter {
                name: parameter.name,
                fields,
                is_embedded: says("embed=True"),
                has_default,
            }),
            None if !is_fastapi => {}
            None if kind != BodyKind::Json => handler.body.push(field),
            None if says("Body(") => bodies.push(
                BodyParameter {
                    name: parameter.name,
                    fields: Vec::new(),
                    is_embedded: says("embed=True"),
                    has_default,
                }
                .holding(field),
            ),
            None if annotation.is_plain()
                || word.is_some()
                || says("Query(")
                || annotation.name.is_empty() =>
            {
                handler.query.extend((!has_default).then_some(field));
            }
            None if has_default => {}
            None => handler.unread.push(parameter.name),
        }
    }
    let is_one = bodies.len() == 1;
    for body in bodies {
        if is_one && !body.is_embedded {
            // A body that is no more than a value has no field.
            let is_value = body.fields.iter().any(|field| field.path.is_empty());
            match is_value && !body.has_default {
                true => handler.unread.push(body.name),
                false if !body.has_default => handler.body.extend(body.fields),
                false => {}
            }
            continue;
        }
        handler.body.extend(body.fields.into_iter().map(|mut field| {
            field.path.insert(0, body.name.clone());
            field.has_default |= body.has_default;
            field
        }));
    }
}

impl BodyParameter {
    /// It is one value.
    fn holding(mut self, field: RequestField) -> Self {
        self.fields = vec![RequestField {
            path: Vec::new(),
            ..field
        }];
        self
    }
}

impl HandlerParameter {
    fn is_given(&self, annotation: &Annotation, said: &str, path: &str) -> bool {
        let by_type = [
            "Request",
            "Response",
            "BackgroundTasks",
            "WebSocket",
            "HTTPConnection",
            "SecurityScopes",
        ];
        by_type.contains(&annotation.name.as_str())
            || annotation.name.ends_with("Session")
            || ["self", "cls", "request"].contains(&self.name.as_str())
            || GIVEN.iter().any(|marker| said.contains(marker))
            || path.contains(&format!("{{{}}}", self.name))
    }

    /// `= 3`, `= Query(3)`, and not `= Body(...)`.
    fn has_default(&self) -> bool {
        let Some(text) = self.default.as_deref() else {
            return false;
        };
        let markers = ["Query(", "Body(", "Form(", "File("];
        let Some(inner) = markers.iter().find_map(|marker| Some(text.split_once(marker)?.1)) else {
            return text != "...";
        };
        let first = inner.split([',', ')']).next().unwrap_or_default().trim();
        match first.split_once('=') {
            Some(("default" | "default_factory", value)) => value.trim() != "...",
            Some(_) => inner.contains("default=") || inner.contains("default_factory="),
            None => !matches!(first, "..." | ""),
        }
    }
}

/// Of a query every value is a text.
pub fn query(fields: &[RequestField]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for field in fields {
        let name = field.path.first().map_or("", String::as_str);
        let value = field.value.clone().or_else(|| field.typed.clone());
        let text = match value {
            Some(Json::String(text)) => text,
            Some(Json::Array(items)) => items.first().map(text_of).unwrap_or_default(),
            Some(other) => other.to_string(),
            None => super::body::text_for(name).to_owned(),
        };
        pairs.append_pair(name, &text);
    }
    pairs.finish()
}

fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::body::{RequestField, example};
    use crate::bounded::TextFile;
    use crate::python::{BodyKind, scan};

    const MODELS: &str = "from pydantic import BaseModel, Field
class Kind(str, Enum):
    REPORT = 'report'
    BILL = 'bill'
class Named(BaseModel):
    name: str
class Item(BaseModel):
    sku: str
    count: int = Field(..., ge=2)
class TaskCreate(Named):
    kind: Kind
    seconds: int = Field(title='How long', ge=5)
    note: str | None = None
    tags: list[str] = Field(default_factory=list)
    items: list[Item]
    first: Item
class Shown(BaseModel):
    a: int
    model_config = {'json_schema_extra': {'examples': [{'a': 7}]}}
class Plain:
    a: int
UserDep = Annotated[User, Depends(who)]
";

    /// The body that a handler with these parameters needs, what is made up of it, its query, and what was not followed.
    fn needed(parameters: &str) -> (Json, Vec<String>, String, Vec<String>) {
        let files = [
            ("schemas.py", MODELS.to_owned()),
            (
                "app.py",
                format!(
                    "import dramatiq\napp = FastAPI()\n@dramatiq.actor\ndef bill(order): ...\n@app.post('/jobs/{{job}}')\ndef create({parameters}):\n    bill.send(1)\n"
                ),
            ),
        ];
        let files = files.map(|(place, text)| TextFile {
            place: place.into(),
            text,
        });
        let code = scan(&files, &[]);
        let handler = code.sites[0].handler.clone().expect("a handler");
        let needed: Vec<&RequestField> = handler.body.iter().filter(|field| !field.has_default).collect();
        let (body, made_up) = example(&needed, |_| None);
        (body, made_up, super::query(&handler.query), handler.unread)
    }

    #[test]
    fn a_model_is_the_body() {
        let (body, made_up, query, unread) =
            needed("task_in: schemas.TaskCreate, user: UserDep, db: Session = Depends(get)");
        let item = json!({ "sku": "taskdiag", "count": 2 });
        assert_eq!(
            body,
            json!({ "name": "taskdiag", "kind": "report", "seconds": 5, "items": [item], "first": item })
        );
        // What the code itself names is not made up.
        assert_eq!(made_up, ["name", "seconds", "items", "first.sku", "first.count"]);
        assert!(query.is_empty() && unread.is_empty(), "{query} {unread:?}");
        assert_eq!(needed("shown: Shown").0, json!({ "a": 7 }));
        assert_eq!(needed("shown: Optional[Shown] = None").0, json!({}));
    }

    #[test]
    fn several_models_are_named() {
        assert_eq!(
            needed("one: Named, other: Annotated[Shown, Body()]").0,
            json!({ "one": { "name": "taskdiag" }, "other": { "a": 7 } })
        );
        assert_eq!(
            needed("one: Named = Body(..., embed=True)").0,
            json!({ "one": { "name": "taskdiag" } })
        );
        assert_eq!(
            needed("a: int = Body(...), b: str = Body('x')").0,
            json!({ "a": 1 })
        );
    }

    #[test]
    fn what_is_no_body_is_a_query_or_part_of_the_path() {
        let (body, _, query, unread) =
            needed("job: int, data: str, copies: int = 2, kind: Kind = Query(...)");
        assert_eq!(body, json!({}));
        assert_eq!(query, "data=taskdiag&kind=report");
        assert!(unread.is_empty());
        let (_, _, query, _) =
            needed("request: Request, x: str = Header(...), tasks: BackgroundTasks, note: str = Query(None)");
        assert!(query.is_empty(), "{query}");
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        for parameters in [
            "body: dict",
            "body: Plain",
            "body: Unknown",
            "body: list[int] = Body(...)",
        ] {
            let (body, _, query, unread) = needed(parameters);
            assert_eq!((body, query.as_str()), (json!({}), ""), "{parameters}");
            assert_eq!(unread, ["body"], "{parameters}");
        }
    }

    #[test]
    fn forms_and_files() {
        let files = [TextFile {
            place: "app.py".into(),
            text: "import dramatiq\napp = FastAPI()\n@dramatiq.actor\ndef bill(order): ...\n@app.post('/jobs')\ndef create(name: str = Form(...), document: UploadFile = File(...)):\n    bill.send(1)\n".into(),
        }];
        let handler = scan(&files, &[]).sites[0].handler.clone().expect("a handler");
        let kinds: Vec<BodyKind> = handler.body.iter().map(|field| field.kind).collect();
        assert_eq!(kinds, [BodyKind::Form, BodyKind::File]);
    }
}
