//! What is said of the processes of a place.

use super::Verdict;
use crate::timeline::place;

/// Processes of a place are told by numbers of their own: people know them by their pids there.
pub(super) fn speak(verdict: &mut Verdict) {
    for named in verdict.cause.iter_mut().chain(&mut verdict.contributing) {
        let words = [&mut named.summary].into_iter();
        let words = words.chain(&mut named.premises).chain(&mut named.remedies);
        words.chain(&mut named.confirm).for_each(in_words);
        named
            .explains
            .iter_mut()
            .for_each(|link| in_words(&mut link.summary));
    }
    let stages = verdict.stages.iter_mut();
    let observed = stages.filter_map(|stage| stage.observed.as_mut());
    let excluded = verdict.ruled_out.iter_mut().map(|excluded| &mut excluded.because);
    let message = verdict.message.iter_mut().map(|message| &mut message.place);
    let texts = observed.chain(excluded).chain(message);
    texts.chain(&mut verdict.notes).for_each(in_words);
}

fn in_words(text: &mut String) {
    *text = place::in_words(text);
}
