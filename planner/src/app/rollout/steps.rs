//! Steps of a rollout: weights, pauses, and how many pods a weight is.
//!
//! Decides arithmetic only.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_crds::app::{Rollout, Strategy};

use crate::failure::later;

/// Weight of the only step if the spec names none.
const DEFAULT_WEIGHT: i32 = 20;
/// Weights of a rolling rollout, before all.
const QUARTERS: [i32; 3] = [25, 50, 75];

/// Weight of a step, in percent; none behind the last one: then everything goes to the new revision.
pub(super) fn weight_of(rollout: &Rollout, step: i32) -> Option<i32> {
    let index = usize::try_from(step).ok()?;
    match rollout.strategy {
        Strategy::Canary if rollout.steps.is_empty() => (index == 0).then_some(DEFAULT_WEIGHT),
        Strategy::Canary => rollout
            .steps
            .get(index)
            .map(|step| step.weight.clamp(1, 100)),
        Strategy::Rolling => QUARTERS.get(index).copied(),
    }
}

/// Seconds to stay at a step's weight.
pub(super) fn pause_of(rollout: &Rollout, step: i32) -> i64 {
    let index = usize::try_from(step).unwrap_or(usize::MAX);
    match rollout.strategy {
        Strategy::Canary => rollout
            .steps
            .get(index)
            .map_or(0, |step| step.pause_seconds),
        Strategy::Rolling => 0,
    }
}

/// Pods of the new revision at a weight: whole ones, at least one.
pub(super) fn canary_pods(all: i32, weight: i32) -> i32 {
    if all <= 0 {
        return 0;
    }
    let share = (i64::from(all) * i64::from(weight.clamp(0, 100)) + 99) / 100;
    i32::try_from(share).unwrap_or(all).clamp(1, all)
}

/// `seconds` after `start`.
pub(super) fn after_seconds(start: Timestamp, seconds: i64) -> Timestamp {
    later(
        start,
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_rounded_up_to_whole_pods() {
        for (all, weight, pods) in [
            (4, 25, 1),
            (4, 26, 2),
            (1, 1, 1),
            (0, 50, 0),
            (3, 100, 3),
            (10, 1, 1),
        ] {
            assert_eq!(canary_pods(all, weight), pods, "{weight} % of {all}");
        }
    }

    #[test]
    fn a_spec_without_steps_has_one() {
        let rollout = Rollout::default();
        assert_eq!(
            (weight_of(&rollout, 0), weight_of(&rollout, 1)),
            (Some(20), None)
        );
        let rolling = Rollout {
            strategy: Strategy::Rolling,
            ..Rollout::default()
        };
        assert_eq!(
            (weight_of(&rolling, 2), weight_of(&rolling, 3)),
            (Some(75), None)
        );
    }
}
