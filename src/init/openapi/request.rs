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
    let parameters = parameters(document, item, post);
    let mut values = Map::new();
    for part in path.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else {
            continue;
        };
        let parameter = parameters
            .iter()
            .find(|parameter| parameter.get("name").and_then(Json::as_str) == Some(name));
        let text = parameter.and_then(|parameter| value(document, parameter, name));
        let text = text.unwrap_or_else(|| "1".into());
        values.insert(name.to_owned(), Json::String(text));
    }
    values
}

/// Those of an operation, and of its path.
fn parameters<'a>(document: &Document<'a>, item: Option<&'a Json>, post: &'a Json) -> Vec<&'a Json> {
    let all = [Some(post), item].into_iter().flatten();
    all.filter_map(|part| part.get("parameters")?.as_array())
        .flatten()
        .map(|parameter| resolve(document, parameter))
        .collect()
}

/// The example of a parameter, or a value of its kind, as a text.
fn value(document: &Document, parameter: &Json, name: &str) -> Option<String> {
    let shown = parameter.get("example").cloned();
    let made = || {
        let schema = parameter.get("schema")?;
        Some(example(document, schema, name, &mut Vec::new(), 0))
    };
    match shown.or_else(made)? {
        Json::String(text) => Some(text),
        Json::Null => None,
        other => Some(other.to_string()),
    }
}

/// The parameters of the query that a request cannot be without.
pub(super) fn query_values(document: &Document, item: Option<&Json>, post: &Json) -> Vec<(String, String)> {
    let is_needed = |parameter: &&Json| {
        parameter.get("in").and_then(Json::as_str) == Some("query")
            && parameter.get("required").and_then(Json::as_bool) == Some(true)
    };
    let all = parameters(document, item, post).into_iter();
    all.filter(is_needed)
        .filter_map(|parameter| {
            let name = parameter.get("name")?.as_str()?;
            let text = value(document, parameter, name).unwrap_or_else(|| "taskdiag".into());
            Some((name.to_owned(), text))
        })
        .collect()
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
