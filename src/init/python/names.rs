//! Names of modules, and what is called after them.

use super::SourceFacts;
use crate::init::walk::TextFile;

/// Tasks that nothing names, and applications, are called after their modules.
pub(super) fn complete(code: &mut SourceFacts, python: &[TextFile]) {
    for actor in &mut code.actors {
        if actor.framework.source.is_named_by_module && !actor.is_named {
            let file = actor.place.rsplit_once(" line ").map_or("", |(file, _)| file);
            actor.name = format!("{}.{}", dotted(file, python), actor.name);
        }
    }
    for (_, module, place) in &mut code.applications {
        let file = place.rsplit_once(" line ").map_or("", |(file, _)| file);
        let name = dotted(file, python);
        // An application in `celery.py` is found by the name of its package.
        let package = name.strip_suffix(".celery").unwrap_or(&name);
        *module = package.to_owned();
    }
}

/// The dotted name of a file, from the root; `dotted` leaves out what is no package.
pub(super) fn module_of(place: &str) -> String {
    place
        .trim_end_matches(".py")
        .trim_end_matches("/__init__")
        .replace('/', ".")
}

/// Folders above a file that are packages belong to its name; those that are not do not.
pub(super) fn dotted(place: &str, python: &[TextFile]) -> String {
    let mut name = place.trim_end_matches(".py");
    for (at, _) in place.match_indices('/') {
        let package = format!("{}/__init__.py", &place[..at]);
        if !python.iter().any(|file| file.place == package) {
            name = place[at + 1..].trim_end_matches(".py");
        }
    }
    name.trim_end_matches("/__init__").replace('/', ".")
}
