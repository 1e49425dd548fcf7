//! Fills `[submit]`: where no API takes tasks, the program that sends them.

use super::python::SendingProgram;
use super::{InitResult, Survey};

pub fn fill(survey: &Survey, result: &mut InitResult) {
    let draft = &mut result.draft;
    // Somebody who has an API is asked there.
    let has_api = ["api.url", "api.submit_path"].iter().any(|key| draft.has(key))
        || !survey.code.routes.is_empty()
        || survey.code.fastapi.is_some();
    let mut programs = survey.code.senders.iter();
    let (false, Some(first)) = (has_api, programs.next()) else {
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
    draft.set("submit.command", command, place.clone());
    if !first.folder.is_empty() {
        draft.set("submit.cwd", first.folder.clone(), place);
    }
    survey.environment(draft, "submit.python", &first.folder);
}

fn command(program: &SendingProgram) -> Vec<String> {
    let words: &[&str] = match &program.manage_command {
        Some(name) => &["python", "manage.py", name],
        None => &["python", "-m", &program.module],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}
