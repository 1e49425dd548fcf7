//! Where a command sent the task, what is said of "the API" is said of the command.

use super::Verdict;

/// The causes are written for the usual case; a sentence about an API that took no part would be false.
pub(super) fn speak_of_the_command(verdict: &mut Verdict) {
    // Whoever says a task's status is an API.
    let is_of_the_api = |id: &str| id == "api-stale-read";
    let named = verdict.cause.iter_mut().chain(&mut verdict.contributing);
    for named in named.filter(|named| !is_of_the_api(&named.id)) {
        of_the_command(&mut named.summary);
        for link in &mut named.explains {
            of_the_command(&mut link.summary);
        }
    }
    let excluded = verdict.ruled_out.iter_mut();
    let excluded = excluded.filter(|excluded| !is_of_the_api(&excluded.id));
    let excluded = excluded.map(|excluded| &mut excluded.because);
    let observed = verdict
        .stages
        .iter_mut()
        .filter_map(|stage| stage.observed.as_mut());
    for text in excluded.chain(observed).chain(&mut verdict.notes) {
        of_the_command(text);
    }
}

/// What stands between quotation marks is what somebody else said.
fn of_the_command(text: &mut String) {
    if !text.contains("he API") {
        return;
    }
    let parts = text.split('"').enumerate().map(|(at, part)| match at % 2 {
        0 => part
            .replace("the API", "the command")
            .replace("The API", "The command"),
        _ => part.to_owned(),
    });
    *text = parts.collect::<Vec<_>>().join("\"");
}
