//! Programs that send tasks past every API: management commands, and modules that are run.

use super::names::{Packages, module_of};
use super::{Actor, Mentions, SendingSite, sites};
use crate::bounded::TextFile;

#[derive(Debug, Clone, PartialEq)]
pub struct SendingProgram {
    /// Of Django's `manage.py`.
    pub manage_command: Option<String>,
    /// Dotted, for `python -m`.
    pub module: String,
    /// Where it is started.
    pub folder: String,
    pub place: String,
    /// The actor that it sends to.
    pub sends: String,
    /// It defines the actor, too: an example more often than a program, unless something starts it.
    pub defines: bool,
}

/// Programs that send and end; and the places of those that send for ever, by the clock.
pub(super) fn find(
    mentions: &[Mentions],
    actors: &[Actor],
    sites: &[SendingSite],
    python: &[TextFile],
    packages: &Packages,
) -> (Vec<SendingProgram>, Vec<String>) {
    let manage = python
        .iter()
        .filter_map(|file| file.place.strip_suffix("manage.py"))
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .min_by_key(|folder| folder.len());
    let programs = mentions
        .iter()
        .filter_map(|mention| Some((mention, program(mention, actors, packages, manage)?)));
    let (endless, mut found): (Vec<_>, Vec<_>) =
        programs.partition(|(mention, _)| is_endless(mention, sites));
    found.sort_by_key(|(_, program)| (program.defines, program.manage_command.is_none()));
    let places = endless.into_iter().map(|(_, program)| program.place).collect();
    (found.into_iter().map(|(_, program)| program).collect(), places)
}

/// It runs a scheduler, or sends in a loop of its own: started as a program that sends a task, it would send many and
/// never end.
fn is_endless(mention: &Mentions, sites: &[SendingSite]) -> bool {
    let schedulers = [
        "apscheduler",
        "schedule",
        "BlockingScheduler",
        "BackgroundScheduler",
        "aiocron",
    ];
    let has = |word: &str| mention.imports.iter().any(|import| import == word);
    let place = &mention.file.place;
    let sends = |called: &String| {
        let is_it = |site: &SendingSite| {
            site.function == *called && site.place.split(" line ").next() == Some(place.as_str())
        };
        sites::SENDS.contains(&called.as_str()) || called == "send_task" || sites.iter().any(is_it)
    };
    schedulers.iter().any(|word| has(word)) || mention.loops.iter().any(sends)
}

fn program(
    mention: &Mentions,
    actors: &[Actor],
    packages: &Packages,
    manage: Option<&str>,
) -> Option<SendingProgram> {
    let place = &mention.file.place;
    let is_actor = |name: &&String| actors.iter().any(|actor| sites::is_it(actor, name));
    let sends = mention.sends.iter().find(is_actor)?.clone();
    let stem = place.rsplit('/').next()?.trim_end_matches(".py");
    let is_command = place.contains("management/commands/") && !stem.starts_with('_');
    if let (true, Some(folder)) = (is_command, manage) {
        return Some(SendingProgram {
            manage_command: Some(stem.to_owned()),
            module: module_of(place),
            folder: folder.trim_end_matches('/').to_owned(),
            place: place.clone(),
            sends,
            defines: false,
        });
    }
    let text = &mention.file.text;
    let is_run = ["__name__ == \"__main__\"", "__name__ == '__main__'"]
        .iter()
        .any(|words| text.contains(words));
    let defines = actors.iter().any(|actor| actor.module == module_of(place));
    if !is_run {
        return None;
    }
    let module = packages.name(place).0;
    let path = format!("{}.py", module.replace('.', "/"));
    let folder = place.strip_suffix(&path).unwrap_or_default();
    Some(SendingProgram {
        manage_command: None,
        module,
        folder: folder.trim_end_matches('/').to_owned(),
        place: place.clone(),
        sends,
        defines,
    })
}
