//! Models of bodies: classes of pydantic's, as FastAPI and others read a request by them.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::annotations::Annotation;
use super::body::{BodyKind, RequestField};
use super::syntax::Node;

/// Models hold models; one that holds itself ends here.
const DEEPEST: usize = 5;

/// Classes that name the fields of a body, and what stands for a type.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    classes: Vec<Class>,
    /// `UserDep = Annotated[User, Depends(get_user)]`.
    aliases: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Class {
    name: String,
    file: String,
    bases: Vec<String>,
    fields: Vec<Field>,
    /// The first member of an enum.
    word: Option<Json>,
    /// A whole body that it shows.
    example: Option<Json>,
    is_camel: bool,
}

#[derive(Debug)]
struct Field {
    name: String,
    annotation: String,
    /// What the right side says of it.
    said: String,
    has_default: bool,
    /// What the class shows as an example of it.
    example: Option<Json>,
}

impl Schemas {
    pub fn read(&mut self, node: Node) {
        match node.kind() {
            "class_definition" => self.classes.extend(class(node)),
            "assignment" if node.enclosing("class_definition").is_none() => {
                let Some((left, right)) = node.sides() else { return };
                let text = right.text();
                if left.kind() == "identifier" && text.contains("Annotated[") {
                    self.aliases.insert(left.text().to_owned(), text.to_owned());
                }
            }
            _ => {}
        }
    }

    /// A type, with what a name of the project stands for.
    pub fn annotation(&self, text: &str) -> Annotation {
        let found = Annotation::of(text);
        match self.aliases.get(&found.name) {
            Some(alias) => Annotation::of(alias),
            None => found,
        }
    }

    /// The word that an enum begins with.
    pub fn word(&self, annotation: &Annotation) -> Option<Json> {
        let mut classes = self.classes.iter();
        let word = classes.find_map(|class| class.word.clone().filter(|_| class.name == annotation.name));
        annotation.literal().or(word)
    }

    /// The fields of a model, if this is one: those of its bases first. `near` is the file that names it.
    pub fn fields(&self, name: &str, near: &str, kind: BodyKind) -> Option<Vec<RequestField>> {
        let class = self.model(name, near, 0)?;
        let mut found = Vec::new();
        self.collect(class, kind, &[], 0, &mut found);
        Some(found)
    }

    fn class(&self, name: &str, near: &str) -> Option<&Class> {
        let common = |class: &&Class| {
            class
                .file
                .bytes()
                .zip(near.bytes())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let named = self
            .classes
            .iter()
            .filter(|class| class.name == name && class.word.is_none());
        named.max_by_key(common)
    }

    /// A class that pydantic's own stands above.
    fn model(&self, name: &str, near: &str, deep: usize) -> Option<&Class> {
        let class = self.class(name, near).filter(|_| deep < DEEPEST)?;
        let is_pydantics = |base: &String| {
            matches!(
                base.as_str(),
                "BaseModel" | "SQLModel" | "Schema" | "RootModel" | "ModelSchema"
            )
        };
        let is_model = class.bases.iter().any(|base| {
            is_pydantics(base) || (*base != class.name && self.model(base, &class.file, deep + 1).is_some())
        });
        is_model.then_some(class)
    }

    fn collect(
        &self,
        class: &Class,
        kind: BodyKind,
        at: &[String],
        deep: usize,
        found: &mut Vec<RequestField>,
    ) {
        if deep > DEEPEST {
            return;
        }
        for base in class.bases.iter().filter(|base| **base != class.name) {
            if let Some(base) = self.model(base, &class.file, deep) {
                self.collect(base, kind, at, deep + 1, found);
            }
        }
        if let Some(example) = class.example.as_ref().and_then(Json::as_object) {
            for (name, value) in example {
                let path = [at, std::slice::from_ref(name)].concat();
                put(found, RequestField::shown(kind, path, value.clone()));
            }
            return;
        }
        for field in &class.fields {
            let name = if class.is_camel {
                camel(&field.name)
            } else {
                field.name.clone()
            };
            let path = [at, &[name]].concat();
            let annotation = self.annotation(&field.annotation);
            if let (false, None, Some(inner)) = (
                field.has_default,
                &field.example,
                self.model(&annotation.name, &class.file, 0),
            ) {
                let before = found.len();
                self.collect(inner, kind, &path, deep + 1, found);
                let is_needed = |field: &RequestField| !field.has_default;
                if found[before..].iter().any(is_needed) {
                    continue;
                }
                found.truncate(before);
                put(found, RequestField::shown(kind, path, json!({})));
                continue;
            }
            let word = field.example.clone().or_else(|| self.word(&annotation));
            let bounds = field.said.as_str();
            put(
                found,
                RequestField {
                    kind,
                    value: word,
                    typed: self.value(&annotation, &field.name, bounds, &class.file, deep),
                    path,
                    has_default: field.has_default,
                },
            );
        }
    }

    /// A value of a type, which may be a list of models.
    fn value(&self, of: &Annotation, name: &str, bounds: &str, file: &str, deep: usize) -> Option<Json> {
        let inner = of.of.first().map(|inner| self.annotation(inner));
        let model = inner.and_then(|inner| self.model(&inner.name, file, 0));
        match model.filter(|_| deep < DEEPEST && !of.name.to_lowercase().ends_with("dict")) {
            Some(model) => {
                let mut fields = Vec::new();
                self.collect(model, BodyKind::Json, &[], deep + 1, &mut fields);
                let needed: Vec<&RequestField> = fields.iter().filter(|field| !field.has_default).collect();
                Some(json!([super::body::example(&needed, |_| None).0]))
            }
            None => of.value(name, bounds),
        }
    }
}

/// What a class says of a field stands before what its base does.
fn put(found: &mut Vec<RequestField>, field: RequestField) {
    found.retain(|known| known.path != field.path);
    found.push(field);
}

fn class(node: Node) -> Option<Class> {
    let bases = node.field("superclasses").map(Node::children).unwrap_or_default();
    let bases: Vec<String> = bases
        .iter()
        // `Generic[T]`, `table=True`.
        .filter_map(|base| match base.kind() {
            "subscript" => Some(base.field("value")?.last_name().to_owned()),
            "keyword_argument" => None,
            _ => Some(base.last_name().to_owned()),
        })
        .collect();
    let is_enum = bases
        .iter()
        .any(|base| base.ends_with("Enum") || base.ends_with("Choices"));
    if bases.is_empty() {
        return None;
    }
    let members = node.members();
    let word = members
        .iter()
        .filter(|_| is_enum)
        .filter_map(|member| member.sides())
        .find_map(|(_, right)| literal(right).filter(|word| word.is_string() || word.is_i64()));
    let fields = members
        .iter()
        .filter(|_| !is_enum)
        .filter_map(|member| field(*member));
    Some(Class {
        name: node.field("name")?.text().to_owned(),
        file: node.file().place.clone(),
        fields: fields.collect(),
        word,
        example: node.field("body").and_then(example),
        is_camel: node.text().contains("to_camel") && node.text().contains("alias_generator"),
        bases,
    })
}

/// `seconds: int = Field(ge=1)`.
fn field(member: Node) -> Option<Field> {
    let left = member.field("left").filter(|left| left.kind() == "identifier")?;
    let annotation = member.field("type")?.text().to_owned();
    let name = left.text();
    if name.starts_with('_') || name == "model_config" || annotation.contains("ClassVar") {
        return None;
    }
    let right = member.field("right");
    let call = right.filter(|right| right.kind() == "call" && right.last_name().ends_with("Field"));
    let has_default = match (call, right) {
        (Some(call), _) => {
            call.argument("default")
                .is_some_and(|value| value.text() != "...")
                || call.argument("default_factory").is_some()
                || call.first_argument().is_some_and(|first| first.text() != "...")
        }
        (None, Some(right)) => right.text() != "...",
        (None, None) => false,
    };
    let shown = |key: &str| call?.argument(key).and_then(literal);
    let first = |many: Json| many.as_array().and_then(|many| many.first().cloned());
    Some(Field {
        name: shown("alias")
            .or_else(|| shown("validation_alias"))
            .and_then(|alias| alias.as_str().map(str::to_owned))
            .unwrap_or_else(|| name.to_owned()),
        annotation,
        said: call.map_or("", Node::text).to_owned(),
        has_default,
        example: shown("example").or_else(|| shown("examples").and_then(first)),
    })
}

/// `json_schema_extra={"example": {…}}`, in a class or in its `Config`.
fn example(body: Node) -> Option<Json> {
    let pairs = body.all().filter(|node| node.kind() == "pair");
    let shown = pairs.filter_map(|pair| {
        let key = pair.field("key")?.string()?;
        let value = literal(pair.field("value")?)?;
        match (key.as_str(), value) {
            ("example", value @ Json::Object(_)) => Some(value),
            ("examples", Json::Array(many)) => many.into_iter().find(Json::is_object),
            _ => None,
        }
    });
    let mut shown = shown.filter(|value| value.as_object().is_some_and(|fields| !fields.is_empty()));
    shown.next()
}

/// What an expression is, if it is the same each time.
fn literal(node: Node) -> Option<Json> {
    Some(match node.kind() {
        "string" => json!(node.string()?),
        "integer" => json!(node.text().replace('_', "").parse::<i64>().ok()?),
        "float" => json!(node.text().parse::<f64>().ok()?),
        "true" => json!(true),
        "false" => json!(false),
        "none" => Json::Null,
        "list" | "tuple" => Json::Array(node.children().into_iter().map(literal).collect::<Option<_>>()?),
        "dictionary" => {
            let pairs = node.children().into_iter();
            let pairs =
                pairs.map(|pair| Some((pair.field("key")?.string()?, literal(pair.field("value")?)?)));
            Json::Object(pairs.collect::<Option<Map<_, _>>>()?)
        }
        _ => return None,
    })
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}
