//! A service's definition, made of what it extends, its own, and what overrides it.

use serde_json::Value as Json;

use super::files::{below, folder};
use super::interpolate::interpolate;
use super::{Definition, Variables, parse, plain, services};
use crate::bounded::TextFile;

/// How many services may extend one another in a row.
pub(super) const MOST_EXTENDS: usize = 4;

/// What a definition may refer to.
pub(super) struct Sources<'a> {
    pub files: &'a [TextFile],
    pub named: &'a dyn Fn(&str) -> Option<TextFile>,
    pub variables: &'a Variables,
}

impl Sources<'_> {
    /// A definition upon what it extends, and what of that could not be read.
    pub fn whole(
        &self,
        file: &str,
        document: &Json,
        name: &str,
        own: &Definition,
        more: usize,
    ) -> (Definition, Option<String>) {
        let own = with_variables_by_name(own.clone());
        let text = |value: &Json| interpolate(&plain(value), self.variables).0;
        let (other, base) = match own.get("extends") {
            Some(Json::Object(map)) => {
                let get = |key: &str| map.get(key).filter(|value| !value.is_null()).map(text);
                (get("file"), get("service").unwrap_or_else(|| name.to_owned()))
            }
            Some(base @ Json::String(_)) => (None, text(base)),
            _ => return (own, None),
        };
        let place = match &other {
            Some(other) => below(folder(file), other),
            None => Some(file.to_owned()),
        };
        let fetched = other
            .as_ref()
            .and(place.as_deref())
            .and_then(|place| self.document(place));
        let document = if other.is_some() {
            fetched.as_ref()
        } else {
            Some(document)
        };
        let extended = document
            .and_then(|document| Some((document, services(document)?.get(&base)?.as_object()?)))
            .filter(|_| more > 0);
        if let (Some(place), Some((document, definition))) = (place, extended) {
            let (whole, unread) = self.whole(&place, document, &base, definition, more - 1);
            return (over(whole, own), unread);
        }
        let unread = match other {
            Some(other) => format!("service {base} of {other}"),
            None => format!("service {base}"),
        };
        (own, Some(unread))
    }

    fn document(&self, place: &str) -> Option<Json> {
        let known = self.files.iter().find(|file| file.place == place).cloned();
        parse(&known.or_else(|| (self.named)(place))?).ok()
    }
}

/// `environment` as a table, if it is a list: a name without a value takes that of the shell.
fn with_variables_by_name(mut definition: Definition) -> Definition {
    if let Some(Json::Array(items)) = definition.get("environment") {
        let table: Definition = items
            .iter()
            .map(plain)
            .map(|item| match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), Json::from(value)),
                None => (item, Json::Null),
            })
            .collect();
        definition.insert("environment".into(), table.into());
    }
    definition
}

/// A definition with what another adds or replaces.
pub(super) fn over(mut base: Definition, own: Definition) -> Definition {
    for (key, mut value) in own {
        match (base.get_mut(&key), &mut value) {
            (_, Json::Null) => {}
            (Some(Json::Object(known)), Json::Object(more)) if key == "environment" => known.append(more),
            (Some(Json::Array(known)), Json::Array(more)) if key == "ports" => {
                // The later ones come first: they are meant for this machine.
                more.append(known);
                std::mem::swap(known, more);
            }
            _ => drop(base.insert(key, value)),
        }
    }
    base
}
