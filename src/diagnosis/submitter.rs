//! Where a command sent the task, what is said of "the API" is said of the command.

use super::Verdict;

/// The causes are written for the usual case; a sentence about an API that took no part would be false.
pub(super) fn speak_of_the_command(verdict: &mut Verdict) {
    let named = verdict.cause.iter_mut().chain(&mut verdict.contributing);
    for named in named {
        of_the_command(&mut named.summary);
        for link in &mut named.explains {
            of_the_command(&mut link.summary);
        }
    }
    let excluded = verdict.ruled_out.iter_mut().map(|excluded| &mut excluded.because);
    let observed = verdict
        .stages
        .iter_mut()
        .filter_map(|stage| stage.observed.as_mut());
    for text in excluded.chain(observed).chain(&mut verdict.notes) {
        of_the_command(text);
    }
}

fn of_the_command(text: &mut String) {
    for (api, command) in [("the API", "the command"), ("The API", "The command")] {
        if text.contains(api) {
            *text = text.replace(api, command);
        }
    }
}
