//! What a request needs besides its method: a body, values for the names in its path, a token.

use serde_json::{Map, Value as Json};

use super::{Document, SubmitOperation, example, properties, required, resolve};

/// What the document shows as an example, or what its schema requires.
pub(super) fn example_body(document: &Document, content: &Json, api: &mut SubmitOperation) {
    let Some(schema) = content.get("schema") else {
        return;
    };
    let mut made_up = Vec::new();
    let mut smallest = example(document, schema, "", &mut made_up, 0);
    if api.is_form {
        api.files = files(document, schema);
        made_up.retain(|name| !api.files.contains(name));
        if let Some(fields) = smallest.as_object_mut() {
            fields.retain(|name, _| !api.files.contains(name));
        }
    }
    let whole = content
        .get("example")
        .or_else(|| {
            content
                .pointer("/examples")?
                .as_object()?
                .values()
                .next()?
                .get("value")
        })
        .or_else(|| resolve(document, schema).get("example"))
        .or_else(|| resolve(document, schema).pointer("/examples/0"))
        .filter(|example| example.is_object());
    match whole {
        Some(whole) => {
            api.body = Some(whole.clone());
            api.smallest = Some(smallest);
        }
        None => {
            api.made_up = made_up;
            api.body = Some(smallest);
        }
    }
}

/// Required fields that are files.
fn files(document: &Document, schema: &Json) -> Vec<String> {
    let required = required(document, schema, 0);
    let is_file = |schema: &Json| {
        let schema = resolve(document, schema);
        schema.get("format").and_then(Json::as_str) == Some("binary")
            || schema.get("contentMediaType").is_some()
    };
    properties(document, schema, 0)
        .into_iter()
        .filter(|(name, inner)| {
            required.contains(name) && (is_file(inner) || inner.get("items").is_some_and(is_file))
        })
        .map(|(name, _)| name)
        .collect()
}

/// The parameters of a path, each with its example or one of its kind.
pub(super) fn path_values(
    document: &Document,
    path: &str,
    item: Option<&Json>,
    post: &Json,
) -> Map<String, Json> {
    let all = [Some(post), item].into_iter().flatten();
    let parameters: Vec<&Json> = all
        .filter_map(|part| part.get("parameters")?.as_array())
        .flatten()
        .map(|parameter| resolve(document, parameter))
        .collect();
    let mut values = Map::new();
    for part in path.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else {
            continue;
        };
        let parameter = parameters
            .iter()
            .find(|parameter| parameter.get("name").and_then(Json::as_str) == Some(name));
        let value = parameter.and_then(|parameter| {
            let shown = parameter.get("example").cloned();
            shown.or_else(|| {
                Some(example(
                    document,
                    parameter.get("schema")?,
                    name,
                    &mut Vec::new(),
                    0,
                ))
            })
        });
        let text = match value {
            Some(Json::String(text)) => text,
            Some(other) if !other.is_null() => other.to_string(),
            _ => "1".into(),
        };
        values.insert(name.to_owned(), Json::String(text));
    }
    values
}

/// Of OAuth2 with a password: where the token is fetched.
pub(super) fn token_path(document: &Document, scheme: &str) -> Option<String> {
    let schemes = document.root.pointer("/components/securitySchemes")?;
    let url = schemes
        .get(scheme)?
        .pointer("/flows/password/tokenUrl")?
        .as_str()?;
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url,
    };
    Some(format!(
        "/{}",
        path.trim_start_matches("./").trim_start_matches('/')
    ))
}
