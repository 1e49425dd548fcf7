//! Two transformations, one upon the other: a sample, the same in every run.

use super::log::Dice;
use super::run::{Run, Wild};
use super::{ALL, Transformation};

/// So many pairs of each recording.
const EACH: usize = 4;

pub fn pairs(run: &Run) -> Vec<Wild> {
    let mut dice = Dice::new(&format!("{} in pairs", run.name));
    let singles: Vec<&Transformation> = ALL
        .iter()
        // The sample stays the same: the last ones are pairs themselves.
        .filter(|one| {
            ![
                "pairs",
                "others_wait",
                "sent_again",
                "a_neighbours_fault",
                "set_by_hand",
                "otherwise",
            ]
            .contains(&one.name)
        })
        .collect();
    let mut all = Vec::new();
    for _ in 0..EACH * 3 {
        if all.len() == EACH {
            break;
        }
        let first = singles[dice.below(singles.len())];
        let second = singles[dice.below(singles.len())];
        let (one, other) = (dice.below(1000), dice.below(1000));
        if first.name == second.name {
            continue;
        }
        let Some(step) = pick((first.apply)(run), one) else {
            continue;
        };
        let Some(last) = pick((second.apply)(&step.run), other) else {
            continue;
        };
        all.push(Wild {
            way: format!("{}+{}", name(first, &step.way), name(second, &last.way)),
            run: last.run,
        });
    }
    all
}

fn pick(mut of: Vec<Wild>, at: usize) -> Option<Wild> {
    if of.is_empty() {
        return None;
    }
    let at = at % of.len();
    Some(of.swap_remove(at))
}

fn name(of: &Transformation, way: &str) -> String {
    if way.is_empty() {
        of.name.to_owned()
    } else {
        format!("{}/{way}", of.name)
    }
}
