//! Fills `[submit]`: where no API takes tasks, the program that sends them.

use super::{InitResult, Survey};
use crate::python::{Route, SendingProgram, SendingSite};

pub fn fill(survey: &Survey, result: &mut InitResult) {
    let draft = &mut result.draft;
    // Somebody who has an API is asked there.
    let has_api = ["api.url", "api.submit_path"].iter().any(|key| draft.has(key))
        || survey.code.routes.iter().any(Route::is_post)
        || survey.code.sites.iter().any(SendingSite::is_posted)
        || survey.code.fastapi.is_some();
    let is_program = |program: &&SendingProgram| !program.defines || is_started(survey, program);
    let mut programs = survey.code.senders.iter().filter(is_program);
    if has_api {
        return;
    }
    let Some(first) = programs.next() else {
        by_clock(survey, result);
        return;
    };
    let command = command(first);
    let place = format!("{}, which sends `{}`", first.place, first.sends);
    for other in programs.take(5) {
        draft.note(
            "submit.command",
            format!("also seen: {}, which sends `{}`", other.place, other.sends),
        );
    }
    draft.note(
        "submit.command",
        "a guess: check that it sends one task, and what else it does",
    );
    result.guesses.push("submit.command");
    draft.guess("submit.command", command, place.clone());
    if !first.folder.is_empty() {
        draft.guess("submit.cwd", first.folder.clone(), place);
    }
    survey.environment(draft, "submit.python", &first.folder);
}

/// Nothing here sends over HTTP, and no program sends one task and ends.
fn by_clock(survey: &Survey, result: &mut InitResult) {
    let serves = survey.launches.iter().any(|launch| launch.is_server())
        || survey.running.iter().any(|running| running.is_server())
        || !survey.posts.is_empty()
        || !survey.project.openapi.is_empty()
        || survey.code.is_web
        || survey.folder_of_manage("").is_some();
    let sites = &survey.code.sites;
    if serves || survey.code.complaint.is_some() || (survey.code.schedulers.is_empty() && sites.is_empty()) {
        return;
    }
    let draft = &mut result.draft;
    let by = match (survey.code.schedulers.first(), sites.first()) {
        (Some(place), _) => format!("{place} sends tasks again and again"),
        (None, Some(site)) => format!("{} (`{}`) sends `{}`", site.place, site.function, site.sends),
        (None, None) => return,
    };
    for key in ["api.url", "api.submit_path", "api.body"] {
        draft.spare(key);
    }
    let text = format!(
        "nothing here takes tasks over HTTP: {by}. Name a command that sends one task in [submit], or follow one that was sent: `taskdiag diagnose --task ID`"
    );
    draft.note("submit.command", text.clone());
    result.complaints.push(text);
}

/// Something here starts that very file.
fn is_started(survey: &Survey, program: &SendingProgram) -> bool {
    let name = program.place.rsplit('/').next().unwrap_or_default();
    let runs = |words: &[String]| {
        words
            .windows(2)
            .any(|pair| pair[0].starts_with("python") && pair[1].rsplit('/').next() == Some(name))
    };
    let services = survey.services.iter();
    let mut documents = survey.project.others.iter().flat_map(|file| file.text.lines());
    services.into_iter().any(|service| runs(&service.command))
        || documents.any(|line| {
            let words: Vec<String> = line
                .split(['`', ' ', '"', ',', '[', ']'])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            runs(&words)
        })
}

fn command(program: &SendingProgram) -> Vec<String> {
    let words: &[&str] = match &program.manage_command {
        Some(name) => &["python", "manage.py", name],
        None => &["python", "-m", &program.module],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}
