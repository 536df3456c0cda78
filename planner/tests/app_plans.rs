//! Plans of apps: one observation a file in inputs/app, one snapshot each.
//!
//! The observations are those of the model cluster at the moment that the file's name tells of.

mod decided;

use decided::Decided;
use signalbox_common::wire::Observation;
use signalbox_planner::plan;

#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads its inputs")]
#[cfg_attr(
    feature = "changed-rule",
    ignore = "the snapshots are those of the released rules"
)]
fn every_observation_has_its_plan() {
    insta::glob!("inputs/app/*.json", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let seen: Observation = serde_json::from_str(&text).unwrap();
        let plan = plan(&seen);
        insta::assert_yaml_snapshot!(Decided::of(plan));
    });
}
