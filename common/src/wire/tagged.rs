//! Reading what is told apart by its field `type`, in one pass where that field comes first, as we write it.
//!
//! serde's own way keeps all fields until the end, for `type` may come last: twice the work for the largest messages.
//! Decides no form: what is read is what serde's `tag = "type"` writes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// An enum with `#[serde(tag = "type")]`.
pub(super) trait Tagged: Sized {
    /// For errors.
    const WHAT: &'static str;

    /// The variant of this name, of its other fields.
    fn variant<'de, D: Deserializer<'de>>(name: &str, fields: D) -> Result<Self, D::Error>;
}

/// Reads one.
pub(super) fn read<'de, T: Tagged, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Reader(PhantomData))
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Tagged> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} with a type", T::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            if field != "type" {
                kept.insert(field, fields.next_value()?);
                continue;
            }
            let name: String = fields.next_value()?;
            if kept.is_empty() {
                return T::variant(&name, MapAccessDeserializer::new(fields));
            }
            while let Some((field, value)) = fields.next_entry::<String, Value>()? {
                kept.insert(field, value);
            }
            return T::variant(&name, Value::Object(kept)).map_err(A::Error::custom);
        }
        Err(A::Error::missing_field("type"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::wire::{Action, Verdict};

    #[test]
    fn the_type_may_stand_anywhere() {
        let id = "00000000-0000-0000-0000-000000000001";
        let scale = r#""name":"web","uid":"u","resourceVersion":"1","from":1,"to":3"#;
        let action = |text: String| serde_json::from_str::<Action>(&text).unwrap();
        let first = action(format!(r#"{{"type":"scale",{scale}}}"#));
        assert!(matches!(&first, Action::Scale(scale) if scale.to == 3));
        assert_eq!(action(format!(r#"{{{scale},"type":"scale"}}"#)), first);
        assert_eq!(
            action(format!(r#"{{"new":[],"type":"scale",{scale}}}"#)),
            first
        );
        let act = json!({"actions": [{"key": "s", "id": id, "action": first}], "type": "act"});
        let act: Verdict = serde_json::from_value(act).unwrap();
        assert!(matches!(act, Verdict::Act { actions } if actions[0].action == first));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |text: &str| {
            serde_json::from_str::<Verdict>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#"{"on":"x"}"#).contains("missing field `type`"));
        assert!(error(r#"{"type":"sleep"}"#).contains("unknown verdict `sleep`"));
        assert!(error(r#"{"type":"waiting"}"#).contains("missing field `on`"));
        assert!(error(r#"{"until":null,"type":"waiting"}"#).contains("missing field `on`"));
        assert!(error("7").contains("a verdict with a type"));
    }

    #[test]
    fn what_is_written_is_read() {
        for text in [
            r#"{"type":"settled"}"#,
            r#"{"type":"waiting","on":"x"}"#,
            r#"{"type":"act","actions":[]}"#,
        ] {
            let verdict: Verdict = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&verdict).unwrap(), text);
        }
    }
}
