//! What a worker may be started with: modules with actors, or applications.

use super::names::{Packages, module_of};
use super::{Actor, Application, Mentions};

/// The application of the worker comes first: the one that finds tasks, or whose file has them; one whose file only
/// sends is none of a worker's.
pub(super) fn rank_applications(
    mentions: &[Mentions],
    actors: &[Actor],
    applications: &mut Vec<Application>,
) {
    let folder = |place: &str| place.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut ranked: Vec<(u8, Application)> = applications
        .drain(..)
        .map(|application| {
            let file = application.place.split(" line ").next().unwrap_or_default();
            let text = mentions
                .iter()
                .find(|mention| mention.file.place == file)
                .map_or("", |mention| mention.file.text.as_str());
            let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
            let beside = || {
                let mut own = actors
                    .iter()
                    .map(|actor| actor.place.split(" line ").next().unwrap_or_default());
                own.any(|place| folder(place) == folder(file))
            };
            let rank = match () {
                () if has(&["autodiscover_tasks", "config_from_object"]) => 0,
                () if actors.iter().any(|actor| actor.module == module_of(file)) => 1,
                () if has(&["include=", "imports"]) => 1,
                () if has(&["send_task"]) => 4,
                () if beside() => 2,
                () => 3,
            };
            (rank, application)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let kept = ranked.into_iter().filter(|(rank, _)| *rank < 4);
    applications.extend(kept.map(|(_, application)| application));
}

/// Modules that may be given to `dramatiq`: those that bring the broker and the actors.
pub(super) fn modules(mentions: &[Mentions], actors: &[Actor], packages: &Packages) -> Vec<(String, String)> {
    let mut found: Vec<(u8, String, String)> = Vec::new();
    for Mentions {
        file,
        imports,
        sets_broker,
        ..
    } in mentions
    {
        let place = &file.place;
        let name = place.rsplit('/').next().unwrap_or_default();
        let defines = actors.iter().any(|actor| actor.module == module_of(place));
        let imports = actors.iter().any(|actor| {
            let last = actor.module.rsplit('.').next().unwrap_or_default();
            imports.iter().any(|word| word == last)
        });
        let (rank, why) = match (name.starts_with("worker"), defines, sets_broker) {
            (true, ..) if imports || defines => (0, "imports the actors"),
            (_, true, true) => (1, "has the broker and actors"),
            (_, true, false) => (2, "has actors"),
            _ => continue,
        };
        found.push((rank, packages.name(place).0, format!("{place} {why}")));
    }
    found.sort();
    found.into_iter().map(|(_, module, why)| (module, why)).collect()
}
