//! An object on its way from the server into the cache: whole for a moment, then trimmed.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use signalbox_common::wire::trim::trim_as;
use signalbox_common::wire::{Full, LiveObject};

use super::Source;
use crate::cache::leases::LeaseSeen;

/// An object as the server sent it; trimmed before it is kept.
#[derive(Clone, Debug)]
pub struct Raw {
    metadata: ObjectMeta,
    value: Value,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Full(value) = Full::deserialize(deserializer)?;
        let of = |field: &str| {
            Some(
                value
                    .get("metadata")?
                    .get(field)?
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        // Only what kube's watcher and this module look at.
        let metadata = ObjectMeta {
            name: of("name"),
            namespace: of("namespace"),
            uid: of("uid"),
            resource_version: of("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, value })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }
    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }
    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }
    fn api_version(dt: &ApiResource) -> Cow<'_, str> {
        dt.api_version.as_str().into()
    }
    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// One object of a watch, trimmed.
#[derive(Clone, Debug)]
pub struct Item {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it is.
    pub body: Body,
}

/// What an [`Item`] is.
#[derive(Clone, Debug)]
pub enum Body {
    /// A custom resource or a child.
    Object(Box<LiveObject>),
    /// A Lease.
    Lease(LeaseSeen),
}

pub(super) fn item(source: Source, raw: Raw) -> Option<Item> {
    let namespace = raw.metadata.namespace.clone()?;
    let name = raw.metadata.name.clone()?;
    let body = match source {
        Source::Custom(_) | Source::Child(_) => {
            Body::Object(Box::new(trim_as(source.kind(), raw.value)?))
        }
        Source::Leases => Body::Lease(lease(&raw)?),
    };
    Some(Item {
        namespace,
        name,
        body,
    })
}

fn lease(raw: &Raw) -> Option<LeaseSeen> {
    let text = |pointer: &str| {
        raw.value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let owners = raw
        .value
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let owners = owners.into_iter().flatten();
    Some(LeaseSeen {
        name: raw.metadata.name.clone()?,
        uid: raw.metadata.uid.clone()?,
        resource_version: raw.metadata.resource_version.clone()?,
        holder: text("/spec/holderIdentity"),
        owners: owners
            .filter_map(|owner| Some(owner.get("uid")?.as_str()?.to_owned()))
            .collect(),
    })
}
