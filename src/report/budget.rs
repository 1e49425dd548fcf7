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
    const SHORT: Budget = Budget {
        also: 1,
        lines: 3,
        frames: 1,
        air: false,
        ..ENDS
    };
    const SHORTER: Budget = Budget {
        also: 0,
        lines: 2,
        proof: 1,
        ..SHORT
    };
    const LEAST: Budget = Budget {
        remedies: 1,
        evidence: 1,
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
        SHORT,
        SHORTER,
        LEAST,
        NO_STAGE,
    ]
};
