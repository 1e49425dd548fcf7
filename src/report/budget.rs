//! What the first screen shows, and what yields first where not everything has room.

#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub ids: bool,
    pub unseen: bool,
    pub remedies: usize,
    pub evidence: usize,
    /// Links of the chain beyond its two ends.
    pub between: bool,
    pub also: usize,
    /// Lines of one text.
    pub lines: usize,
    /// Lines of one piece of evidence.
    pub proof: usize,
    /// Frames of the exception: the last one is its place, and stays.
    pub frames: usize,
    /// Why the first stage that was missed was.
    pub missed: bool,
    /// Empty lines between the parts.
    pub air: bool,
}

pub(super) const BUDGETS: &[Budget] = &{
    const ALL: Budget = Budget {
        ids: true,
        unseen: true,
        remedies: 3,
        evidence: 4,
        between: true,
        also: 3,
        lines: 6,
        proof: 3,
        frames: 4,
        missed: true,
        air: true,
    };
    const NO_IDS: Budget = Budget { ids: false, ..ALL };
    const SEEN: Budget = Budget {
        unseen: false,
        ..NO_IDS
    };
    const TWO_REMEDIES: Budget = Budget {
        remedies: 2,
        frames: 2,
        ..SEEN
    };
    const TWO_PROOFS: Budget = Budget {
        evidence: 2,
        ..TWO_REMEDIES
    };
    const ENDS: Budget = Budget {
        between: false,
        proof: 2,
        ..TWO_PROOFS
    };
    const NO_AIR: Budget = Budget {
        air: false,
        also: 1,
        ..ENDS
    };
    const NOTHING_ELSE: Budget = Budget {
        also: 0,
        frames: 1,
        ..NO_AIR
    };
    const SHORT: Budget = Budget {
        lines: 4,
        ..NOTHING_ELSE
    };
    // One that is whole says more than two that are cut.
    const ONE_REMEDY: Budget = Budget { remedies: 1, ..SHORT };
    const ONE_PROOF: Budget = Budget {
        evidence: 1,
        ..ONE_REMEDY
    };
    const SHORTER: Budget = Budget {
        lines: 3,
        ..ONE_PROOF
    };
    const LEAST: Budget = Budget {
        lines: 2,
        proof: 1,
        ..SHORTER
    };
    const NO_STAGE: Budget = Budget {
        missed: false,
        ..LEAST
    };
    [
        ALL,
        NO_IDS,
        SEEN,
        TWO_REMEDIES,
        TWO_PROOFS,
        ENDS,
        NO_AIR,
        NOTHING_ELSE,
        SHORT,
        ONE_REMEDY,
        ONE_PROOF,
        SHORTER,
        LEAST,
        NO_STAGE,
    ]
};
