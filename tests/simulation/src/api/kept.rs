//! A version of an object as the server keeps it: never changed, written out once for all who read it.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

/// A version of an object, written out once for all who read it.
#[derive(Debug, Default)]
pub struct Kept {
    value: Value,
    text: OnceLock<Bytes>,
}

impl Kept {
    pub(super) fn new(value: Value) -> Arc<Self> {
        Arc::new(Self {
            value,
            text: OnceLock::new(),
        })
    }

    /// The object in JSON.
    pub fn text(&self) -> &Bytes {
        self.text
            .get_or_init(|| Bytes::from(self.value.to_string()))
    }
}

impl Deref for Kept {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}
