//! The Secrets that an app names: read one by one, kept as names and keyed digests.
//!
//! Decides when the epoch grows. Reads no Secret that is not named, and lists none.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::ResolveReferences;
use signalbox_crds::reference::{ReferenceDigest, ResolvedReferences};

use super::keys::{DigestKey, DigestKeys};
use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::uid_of;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// One Secret; dropped as soon as its digests are made.
struct Read {
    name: String,
    uid: String,
    data: BTreeMap<String, Vec<u8>>,
}

/// Reads the Secrets and writes their digests into the status.
pub(crate) async fn resolve(
    ctx: &PlanContext,
    keys: &DigestKeys,
    wanted: &ResolveReferences,
) -> Result<Applied, ActionError> {
    let key = keys.current().ok_or_else(|| {
        ActionError::new(
            ErrorClass::Missing,
            "executors have no digest key (--digest-key-file)",
        )
    })?;
    let read = try_join_all(wanted.secrets.iter().map(|name| read(ctx, name))).await?;
    let absent: Vec<&str> = wanted
        .secrets
        .iter()
        .zip(&read)
        .filter_map(|(name, secret)| secret.is_none().then_some(name.as_str()))
        .collect();
    if !absent.is_empty() {
        let message = format!("missing Secrets: {}", absent.join(", "));
        return Err(ActionError::new(ErrorClass::Missing, message));
    }
    let read: Vec<Read> = read.into_iter().flatten().collect();
    let namespace = &ctx.key.namespace;
    let before = wanted.before.as_ref();
    let same_key = before
        .and_then(|before| keys.find(&before.key_id))
        .map(|key| digests(key, namespace, &read));
    let fresh = ResolvedReferences {
        for_inputs: wanted.for_inputs.clone(),
        key_id: key.id().to_owned(),
        epoch: 0,
        secrets: digests(key, namespace, &read),
    };
    let resolved = next(before, same_key.as_deref(), fresh);
    let fence = (wanted.resource_version.as_str(), wanted.seen.as_str());
    super::write(ctx, fence, "references", json!(resolved)).await
}

async fn read(ctx: &PlanContext, name: &str) -> Result<Option<Read>, ActionError> {
    if !is_name(name) {
        let message = format!("{name:?} is no name of a Secret");
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::secret(&ctx.key.namespace, name);
    let live = ctx.api.get(&target).await?;
    Ok(live.map(|live| Read {
        name: name.to_owned(),
        uid: uid_of(&live).to_owned(),
        data: data(&live),
    }))
}

fn data(live: &Value) -> BTreeMap<String, Vec<u8>> {
    let fields = live.get("data").and_then(Value::as_object);
    fields
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let bytes = serde_json::from_value::<ByteString>(value.clone()).unwrap_or_default();
            (key.clone(), bytes.0)
        })
        .collect()
}

fn digests(key: &DigestKey, namespace: &str, read: &[Read]) -> Vec<ReferenceDigest> {
    let mut digests: Vec<ReferenceDigest> = read
        .iter()
        .map(|secret| ReferenceDigest {
            name: secret.name.clone(),
            uid: secret.uid.clone(),
            digest: key.digest(namespace, &secret.name, &secret.data),
        })
        .collect();
    digests.sort_by(|a, b| a.name.cmp(&b.name));
    digests
}

/// The references after `before`. The epoch grows when the names or, under the key of `before`
/// (`same_key`, if it is still valid), a digest differs; a new key alone changes nothing.
pub(crate) fn next(
    before: Option<&ResolvedReferences>,
    same_key: Option<&[ReferenceDigest]>,
    mut fresh: ResolvedReferences,
) -> ResolvedReferences {
    let Some(before) = before else {
        fresh.epoch = 1;
        return fresh;
    };
    let names = |list: &[ReferenceDigest]| list.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
    let contents = |list: &[ReferenceDigest]| {
        list.iter()
            .map(|d| (d.name.clone(), d.digest.clone()))
            .collect::<Vec<_>>()
    };
    let differs = names(&before.secrets) != names(&fresh.secrets)
        || same_key.is_some_and(|now| contents(now) != contents(&before.secrets));
    fresh.epoch = before.epoch.saturating_add(i64::from(differs));
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, uid: &str, value: &str) -> Read {
        let data = BTreeMap::from([("key".to_owned(), value.as_bytes().to_vec())]);
        Read {
            name: name.to_owned(),
            uid: uid.to_owned(),
            data,
        }
    }

    fn key(n: u8) -> DigestKey {
        DigestKey::new(&[n; 32]).unwrap()
    }

    fn resolved(key: &DigestKey, epoch: i64, read: &[Read]) -> ResolvedReferences {
        ResolvedReferences {
            for_inputs: "i".to_owned(),
            key_id: key.id().to_owned(),
            epoch,
            secrets: digests(key, "n", read),
        }
    }

    /// What follows `before` when the Secrets are `now` and `held` is the key still valid for comparing.
    fn after(
        before: Option<&ResolvedReferences>,
        held: Option<&DigestKey>,
        current: &DigestKey,
        now: &[Read],
    ) -> i64 {
        let same = held.map(|key| digests(key, "n", now));
        next(before, same.as_deref(), resolved(current, 0, now)).epoch
    }

    #[test]
    fn the_epoch_grows_only_with_names_and_content() {
        let (k, now) = (key(1), [read("a", "u", "1"), read("b", "v", "2")]);
        assert_eq!(after(None, None, &k, &now), 1);
        let before = resolved(&k, 4, &now);
        assert_eq!(after(Some(&before), Some(&k), &k, &now), 4);
        let recreated = [read("a", "w", "1"), read("b", "v", "2")];
        assert_eq!(
            after(Some(&before), Some(&k), &k, &recreated),
            4,
            "the same content"
        );
        let rotated = [read("a", "u", "9"), read("b", "v", "2")];
        assert_eq!(after(Some(&before), Some(&k), &k, &rotated), 5);
        assert_eq!(
            after(Some(&before), Some(&k), &k, &[read("a", "u", "1")]),
            5
        );
    }

    #[test]
    fn a_new_key_alone_changes_nothing() {
        let (old, new) = (key(1), key(2));
        let before = resolved(&old, 4, &[read("a", "u", "1")]);
        assert_eq!(
            after(Some(&before), Some(&old), &new, &[read("a", "u", "1")]),
            4
        );
        assert_eq!(
            after(Some(&before), Some(&old), &new, &[read("a", "u", "2")]),
            5
        );
        assert_eq!(
            after(Some(&before), None, &new, &[read("a", "u", "2")]),
            4,
            "can't be compared"
        );
    }

    #[test]
    fn no_content_is_in_what_is_kept() {
        let kept = json!(resolved(&key(1), 1, &[read("a", "u", "hunter2")])).to_string();
        assert!(
            !kept.contains("hunter2") && !kept.contains("aHVudGVyMg"),
            "{kept}"
        );
    }
}
