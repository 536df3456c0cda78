//! Plans: which fault is made when. They are files, so that a run can be repeated.
//!
//! Decides nothing else; whoever serves a protocol knows how a fault is made there.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What a proxy does beside passing everything on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The first rule that fits a step counts.
    pub rules: Vec<Rule>,
}

impl Plan {
    /// A plan of one rule.
    #[must_use]
    pub fn once(step: &str, occurrence: u32, fault: Fault) -> Self {
        Self {
            rules: vec![Rule {
                step: step.to_owned(),
                occurrence: Occurrence::Nth(occurrence),
                fault,
            }],
        }
    }

    /// The same for the first of all steps that fit.
    #[must_use]
    pub fn once_any(step: &str, fault: Fault) -> Self {
        Self {
            rules: vec![Rule {
                step: step.to_owned(),
                occurrence: Occurrence::First,
                fault,
            }],
        }
    }

    /// The fault that is due at a step.
    #[must_use]
    pub fn first_that_fits(&self, step: &str, occurrence: u32, number: u64) -> Option<&Fault> {
        let due = self.rules.iter().find(|rule| {
            let chosen = match rule.occurrence {
                Occurrence::Every | Occurrence::First => true,
                Occurrence::Nth(nth) => nth == occurrence,
                Occurrence::Percent { of, seed } => drawn(seed, number, of),
            };
            chosen && fits(&rule.step, step)
        });
        due.map(|rule| &rule.fault)
    }

    /// A rule for the first step that fits has done its work.
    pub(crate) fn spend(&mut self, step: &str) {
        self.rules
            .retain(|rule| rule.occurrence != Occurrence::First || !fits(&rule.step, step));
    }

    /// A plan of one rule for every step that fits.
    #[must_use]
    pub fn every(step: &str, fault: Fault) -> Self {
        Self {
            rules: vec![Rule {
                step: step.to_owned(),
                occurrence: Occurrence::Every,
                fault,
            }],
        }
    }
}

/// One fault and when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The step as traces write it, with `*` for any text: `api apply deployments $ns/$app-*`.
    pub step: String,
    /// Which of the steps that read the same.
    #[serde(default)]
    pub occurrence: Occurrence,
    /// What is done.
    pub fault: Fault,
}

/// Which of the steps that read the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Occurrence {
    /// Each of them.
    #[default]
    Every,
    /// The first step that fits, however it reads.
    First,
    /// This one, from 1.
    Nth(u32),
    /// These of a hundred, chosen by a seed: the same seed chooses the same ones.
    Percent {
        /// How many of a hundred.
        of: u64,
        /// The seed.
        seed: u64,
    },
}

/// Whether `text` is what `pattern` says, `*` standing for any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    // What follows the last `*` has to be the end; the text may hold it more than once.
    open || rest.is_empty()
        || (pattern.contains('*')
            && pattern
                .rsplit('*')
                .next()
                .is_some_and(|end| rest.ends_with(end)))
}

/// Whether the draw for the `number`th step falls below `percent`.
pub(crate) const fn drawn(seed: u64, number: u64, percent: u64) -> bool {
    // SplitMix64: every number gives a draw of its own.
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % 100 < percent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Place;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("a b", "a b", true),
            ("a b", "a bc", false),
            ("a *", "a bc", true),
            ("a * c", "a b c", true),
            ("a * c", "a b c c", true),
            ("a * c", "a b d", false),
            ("*", "", true),
            ("* c", "a b", false),
            ("a*c*e", "abcde", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_seed_draws_its_share() {
        let hits = |seed| (0..10_000).filter(|n| drawn(seed, *n, 20)).count();
        assert!((1_800..2_200).contains(&hits(1)), "{}", hits(1));
        assert!((0..100).any(|n| drawn(1, n, 20) != drawn(2, n, 20)));
    }

    #[test]
    fn a_plan_is_a_file() {
        let text = r#"{"rules": [
            {"step": "api apply deployments *", "occurrence": {"nth": 2}, "fault": {"kill": "answer"}},
            {"step": "api * *", "occurrence": {"percent": {"of": 20, "seed": 7}}, "fault": {"refuse": {"code": 429, "retryAfter": 1}}},
            {"step": "bus deliver *", "fault": "duplicate"}]}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.rules[0].fault, Fault::Kill(Place::Answer));
        assert_eq!(plan.rules[2].occurrence, Occurrence::Every);
        let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(again, plan);
    }
}
