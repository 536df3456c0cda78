//! A full object of the API server on its way in: without what nobody reads of its `managedFields`.
//!
//! Half of an object is often the record of who owns which field. Decides what of it is never built: what our own
//! applies own, and fields outside of those that [`super::trim`] looks at. All else is as the server sent it.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use signalbox_crds::names::MANAGER;

/// Roots of `fieldsV1` that are read.
const ROOTS: [&str; 4] = ["f:spec", "f:data", "f:binaryData", "f:metadata"];

/// The object.
#[derive(Clone, Debug, PartialEq)]
pub struct Full(pub Value);

impl<'de> Deserialize<'de> for Full {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Place::Object.deserialize(deserializer).map(Self)
    }
}

/// Where in the object: those parts of it that are not simply taken over.
#[derive(Clone, Copy)]
enum Place {
    Object,
    Metadata,
    ManagedFields,
    Entry,
    Fields,
}

/// What becomes of a field.
enum Fate {
    Taken,
    Below(Place),
    Dropped,
}

impl Place {
    /// What becomes of a field behind those in `before`.
    fn fate(self, field: &str, before: &Map<String, Value>) -> Fate {
        match (self, field) {
            (Self::Object, "metadata") => Fate::Below(Self::Metadata),
            (Self::Metadata, "managedFields") => Fate::Below(Self::ManagedFields),
            (Self::Entry, "fieldsV1") if is_applied_by_us(before) => Fate::Dropped,
            (Self::Entry, "fieldsV1") => Fate::Below(Self::Fields),
            (Self::Fields, field) if !ROOTS.contains(&field) => Fate::Dropped,
            (
                Self::Object | Self::Metadata | Self::ManagedFields | Self::Entry | Self::Fields,
                _,
            ) => Fate::Taken,
        }
    }
}

/// The server writes these two in front of the fields; an order that is another only costs time.
fn is_applied_by_us(entry: &Map<String, Value>) -> bool {
    let is = |field: &str, value: &str| entry.get(field).and_then(Value::as_str) == Some(value);
    is("manager", MANAGER) && is("operation", "Apply")
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Object => "an object of Kubernetes",
            Self::Metadata => "metadata",
            Self::ManagedFields => "managedFields",
            Self::Entry => "an entry of managedFields",
            Self::Fields => "a set of fields",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self::Entry)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            let value = match self.fate(&field, &map) {
                Fate::Taken => fields.next_value()?,
                Fate::Below(place) => fields.next_value_seed(place)?,
                Fate::Dropped => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            map.insert(field, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:spec": { "f:a": {} }, "f:status": { "f:b": {} }, "f:metadata": { "f:labels": {} } },
        })
    }

    fn object() -> Value {
        let managed = [
            entry(MANAGER, "Apply"),
            entry(MANAGER, "Update"),
            entry("kubectl", "Apply"),
        ];
        json!({
            "apiVersion": "v1", "kind": "Service", "spec": { "a": [1, null, "x"] }, "status": { "b": true },
            "metadata": { "name": "web", "labels": { "fieldsV1": "x" }, "managedFields": managed },
        })
    }

    /// As the server writes it: the manager in front of its fields.
    const APPLIED: &str = r#"{"kind":"Service","metadata":{"managedFields":[{"manager":"signalbox","operation":"Apply",
        "fieldsV1":{"f:spec":{}}},{"manager":"x","operation":"Apply","fieldsV1":{"f:spec":{},"f:status":{}}}]}}"#;

    #[test]
    fn what_our_applies_own_is_never_built() {
        let Full(read) = serde_json::from_str(APPLIED).unwrap();
        let managed = read.pointer("/metadata/managedFields").unwrap();
        let own = json!({"manager": "signalbox", "operation": "Apply"});
        let others = json!({"manager": "x", "operation": "Apply", "fieldsV1": {"f:spec": {}}});
        assert_eq!(managed, &json!([own, others]));
    }

    #[test]
    fn all_else_is_as_it_was_and_in_any_order() {
        // Written by `Value` in order of the names: the fields stand in front of their manager.
        let text = object().to_string();
        let Full(read) = serde_json::from_str(&text).unwrap();
        let mut expected = object();
        for entry in expected["metadata"]["managedFields"]
            .as_array_mut()
            .unwrap()
        {
            let fields = entry["fieldsV1"].as_object_mut().unwrap();
            fields.remove("f:status");
        }
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_object_is_refused_and_nothing_is_null() {
        for text in ["7", "\"x\"", r#"{"metadata": 7}"#] {
            assert!(serde_json::from_str::<Full>(text).is_err(), "{text}");
        }
        let Full(read) = serde_json::from_str(r#"{"metadata":{"managedFields":null}}"#).unwrap();
        assert_eq!(read, json!({"metadata": {"managedFields": null}}));
    }
}
