//! Conditions and the other parts of status that every kind shares.
//!
//! Decides their shape and how a condition changes; never decides when one is true.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Serves desired state now.
pub const READY: &str = "Ready";
/// Work towards the newest generation goes on (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// No progress without help from outside (kstatus).
pub const STALLED: &str = "Stalled";

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Not known.
    Unknown,
}

/// One condition, as in `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type, in `CamelCase`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation that was judged.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub last_transition_time: Timestamp,
    /// Why, one word in `CamelCase`.
    pub reason: String,
    /// Why, for people.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub message: String,
}

/// What a condition should say, before its transition time is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Type.
    pub type_: &'a str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, one word.
    pub reason: &'a str,
    /// Why, for people; cut to 2048 bytes.
    pub message: String,
}

/// The conditions after `wanted`, in the order of `wanted`; `lastTransitionTime` moves only where `status` changes.
/// Conditions of other types are kept behind them.
#[must_use]
pub fn merge(
    old: &[Condition],
    wanted: &[Wanted<'_>],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = wanted
        .iter()
        .map(|want| {
            let before = old
                .iter()
                .find(|c| c.type_ == want.type_ && c.status == want.status);
            Condition {
                type_: want.type_.to_owned(),
                status: want.status,
                observed_generation: generation,
                last_transition_time: before.map_or(now, |c| c.last_transition_time),
                reason: want.reason.to_owned(),
                message: clip(&want.message, 2048),
            }
        })
        .collect();
    merged.extend(
        old.iter()
            .filter(|c| wanted.iter().all(|w| w.type_ != c.type_))
            .cloned(),
    );
    merged
}

/// `text` cut to at most `max` bytes at a character's edge.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while end > 0 && !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// The last failure of an object, from which alone attempts and deadlines are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// Key of the failed action within its plan, for example `apply/Service/web`.
    pub action: String,
    /// Error class: the only thing that decides what happens next.
    pub class: String,
    /// What went wrong, for people.
    pub message: String,
    /// Failures in a row of this action, or of others with the same class.
    pub attempts: u32,
    /// First failure of the row.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub since: Timestamp,
    /// Last failure of the row.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub last: Timestamp,
    /// Generation at which it failed.
    pub generation: i64,
    /// Not tried again before this time, unless something changes; none: only after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub until: Option<Timestamp>,
    /// The flight whose Outcome was counted last: none counts twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile_id: Option<String>,
}

/// The answer to "why": the last decision that changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastDecision {
    /// What was decided, for example `Promote`.
    pub action: String,
    /// Why, for people.
    pub reason: String,
    /// The value that was judged, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What the value was judged against, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
    /// Who or what caused it: `user`, `trigger <id>`, `timer`, `drift`, ...
    pub actor: String,
    /// The flight that decided.
    pub reconcile_id: String,
}

/// Gives `status` of every version the default `{observedGeneration: -1}`: an untouched object reads
/// as in progress (kstatus) without a write.
#[must_use]
pub fn default_observed_generation(
    mut crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        let status = root
            .and_then(|r| r.properties.as_mut())
            .and_then(|p| p.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(serde_json::json!({ "observedGeneration": -1 }).into_json());
        }
    }
    crd
}

/// The generated types wrap JSON values.
trait IntoJson {
    fn into_json(self) -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON;
}

impl IntoJson for serde_json::Value {
    fn into_json(self) -> k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON {
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON(self)
    }
}
