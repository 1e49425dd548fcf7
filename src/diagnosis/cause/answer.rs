//! What a cause's check may answer.

use crate::diagnosis::premises::{EventId, Premise};
use crate::diagnosis::{Certainty, OtherTask, Owner, Scenario};
use crate::timeline::Source;

/// What a cause's check says of a story.
#[derive(Debug, Clone)]
pub enum Answer {
    Matched(Match),
    /// It applied, and this evidence excludes it.
    RuledOut {
        because: String,
        evidence: Vec<u32>,
    },
    NotApplicable,
    /// These sources would decide.
    CannotTell {
        needs: Vec<Source>,
    },
}

/// Facts that together show the cause, and what they are facts under.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    pub evidence: Vec<EventId>,
    /// Beside those that lie in the events themselves: whose line it is, who is at a connection.
    pub premises: Vec<Premise>,
}

#[derive(Debug, Clone)]
pub struct Match {
    /// The most that it can be, whatever its premises.
    pub certainty: Certainty,
    /// One sentence with what was seen.
    pub summary: String,
    /// Of the proof that counts.
    pub evidence: Vec<EventId>,
    /// Each shows it alone; the best counts.
    pub proofs: Vec<Proof>,
    /// What it was at most, before its premises were weighed.
    pub most: Certainty,
    /// What could not be proved of the premises of the best proof.
    pub assumed: Vec<Premise>,
    /// This evidence ends the run at once.
    pub terminal: bool,
    /// Milliseconds that a better explanation may still need to come in.
    pub linger_ms: u64,
    /// Nothing that a source can still see changes it: a quiet second stands for the whole silence.
    pub lasting: bool,
    /// Where what happened decides the scenario, not the catalogue.
    pub scenario: Option<Scenario>,
    /// It is the same for a task that had begun and for one that had not: neither B nor C.
    pub may_have_begun: bool,
    /// The attempt is not over, whatever this cause does to one elsewhere.
    pub goes_on: bool,
    /// Sources that would make it more certain.
    pub would_decide: Vec<Source>,
    /// It is about another task, which holds the worker up.
    pub of: Option<OtherTask>,
    /// Where the evidence says whose turn it is, not the catalogue.
    pub owner: Option<&'static [Owner]>,
    /// What stands for placeholders of the page that only this cause knows: `{pid}`.
    pub values: Vec<(&'static str, String)>,
    /// Which of the cases that its remedies name is this one, as far as that is known.
    pub cases: Vec<(&'static str, bool)>,
    /// The message cannot run any more, if this is the cause.
    pub gone: bool,
    /// It is sent once something else has come to its end.
    pub comes_by_itself: bool,
}

impl Answer {
    /// These events show it: how certainly follows from the premises that lie in them, and from those
    /// that `given` adds.
    pub fn shown(summary: impl Into<String>, evidence: impl Into<Vec<EventId>>) -> Self {
        Self::matched(Certainty::Certain, summary, evidence)
    }

    /// Something is missing that no premise stands for.
    pub fn likely(summary: impl Into<String>, evidence: impl Into<Vec<EventId>>) -> Self {
        Self::matched(Certainty::Likely, summary, evidence)
    }

    pub fn possible(summary: impl Into<String>, evidence: impl Into<Vec<EventId>>) -> Self {
        Self::matched(Certainty::Possible, summary, evidence)
    }

    pub fn matched(most: Certainty, summary: impl Into<String>, evidence: impl Into<Vec<EventId>>) -> Self {
        let evidence = evidence.into();
        Self::Matched(Match {
            certainty: most,
            most,
            summary: summary.into(),
            proofs: vec![Proof {
                evidence: evidence.clone(),
                premises: Vec::new(),
            }],
            evidence,
            assumed: Vec::new(),
            terminal: false,
            linger_ms: 0,
            lasting: false,
            scenario: None,
            may_have_begun: false,
            goes_on: false,
            would_decide: Vec::new(),
            of: None,
            owner: None,
            values: Vec::new(),
            cases: Vec::new(),
            gone: false,
            comes_by_itself: false,
        })
    }

    /// The last proof holds only if these do.
    pub fn given(self, premises: impl IntoIterator<Item = Premise>) -> Self {
        self.with(|matched| {
            if let Some(proof) = matched.proofs.last_mut() {
                proof.premises.extend(premises);
            }
        })
    }

    pub fn ruled_out(because: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::RuledOut {
            because: because.into(),
            evidence: evidence.into(),
        }
    }

    pub fn cannot_tell(needs: &[Source]) -> Self {
        Self::CannotTell {
            needs: needs.to_vec(),
        }
    }

    /// However well its premises are proved.
    pub fn at_most(self, most: Certainty) -> Self {
        self.with(|matched| matched.certainty = matched.certainty.min(most))
    }

    pub fn terminal(self) -> Self {
        self.with(|matched| matched.terminal = true)
    }

    pub fn terminal_if(self, terminal: bool) -> Self {
        if terminal { self.terminal() } else { self }
    }

    /// Terminal, but a more specific explanation is often still on its way.
    pub fn terminal_after(self, linger_ms: u64) -> Self {
        self.with(|matched| {
            matched.terminal = true;
            matched.linger_ms = linger_ms;
        })
    }

    /// It stays so, whatever is waited for; one that is no more than likely may be of another time.
    pub fn lasting_if_certain(self, lasting: bool) -> Self {
        self.with(|matched| matched.lasting = lasting && matched.certainty == Certainty::Certain)
    }

    /// It stays so, whatever is waited for.
    pub fn lasting_if(self, lasting: bool) -> Self {
        self.with(|matched| matched.lasting = lasting)
    }

    pub fn scenario(self, scenario: Scenario) -> Self {
        self.with(|matched| matched.scenario = Some(scenario))
    }

    pub fn may_have_begun(self) -> Self {
        self.with(|matched| matched.may_have_begun = true)
    }

    pub fn goes_on(self) -> Self {
        self.with(|matched| matched.goes_on = true)
    }

    pub fn owned_by(self, owner: Option<&'static [Owner]>) -> Self {
        self.with(|matched| matched.owner = owner)
    }

    /// The summary goes on with these words.
    pub fn followed_by(self, words: &str) -> Self {
        self.with(|matched| matched.summary.push_str(words))
    }

    /// Each of its proofs rests on these, too.
    pub fn resting_on(self, further: impl AsRef<[EventId]>) -> Self {
        self.with(|matched| {
            for proof in &mut matched.proofs {
                proof.evidence.extend(further.as_ref());
            }
        })
    }

    pub fn would_decide(self, sources: &[Source]) -> Self {
        self.with(|matched| matched.would_decide = sources.to_vec())
    }

    /// The page's remedies name this value of the run.
    pub fn naming(self, placeholder: &'static str, value: impl ToString) -> Self {
        self.with(|matched| matched.values.push((placeholder, value.to_string())))
    }

    /// Remedies that begin with "If CASE, …" or "For CASE, …" are meant, or are not.
    pub fn case(self, case: &'static str, is_so: bool) -> Self {
        self.with(|matched| matched.cases.push((case, is_so)))
    }

    /// Of cases that exclude each other.
    pub fn only_case(self, so: &'static str, of: &[&'static str]) -> Self {
        let cases = of.iter();
        cases.fold(self, |answer, case| answer.case(case, *case == so))
    }

    /// No copy of the message is left that could run.
    pub fn gone(self) -> Self {
        self.with(|matched| matched.gone = true)
    }

    /// What it waits for will send it.
    pub fn comes_by_itself(self) -> Self {
        self.with(|matched| matched.comes_by_itself = true)
    }

    /// Another task's, not this one's.
    pub fn of(self, other: OtherTask) -> Self {
        self.with(|matched| matched.of = Some(other))
    }

    pub(in crate::diagnosis) fn with(mut self, change: impl FnOnce(&mut Match)) -> Self {
        if let Self::Matched(matched) = &mut self {
            change(matched);
        }
        self
    }
}
