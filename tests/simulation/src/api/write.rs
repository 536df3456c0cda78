//! Writes, as the API server judges them: what is refused, what is changed, what comes back.
//!
//! Decides by the table of compare-and-set with server-side apply, which was tried on the real server; the
//! contract suite holds both to it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{apply, merge, number, set_metadata, text, without};
use super::refusal::Refusal;
use super::store::{Kept, Place, Store};

/// How a body is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new object.
    Post,
    /// The whole object.
    Put,
    /// A merge patch.
    Merge,
    /// A forced apply.
    Apply,
    /// A deletion.
    Delete,
}

/// Which part of an object is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// The object.
    Whole,
    /// Its status.
    Status,
    /// Its number of replicas.
    Scale,
}

impl Store {
    /// Does a write.
    pub fn write(
        &mut self,
        verb: Verb,
        place: &Place,
        sub: Sub,
        body: &Value,
        now: Timestamp,
    ) -> Result<Arc<Kept>, Refusal> {
        match (verb, sub) {
            (Verb::Post, Sub::Whole) => self.post(place, body, now),
            (Verb::Put, Sub::Whole) => self.replace(place, body),
            (Verb::Merge, Sub::Whole | Sub::Status) => self.patch(place, sub, body),
            (Verb::Apply, Sub::Whole) => self.apply(place, body, now),
            (Verb::Put, Sub::Scale) => self.scale(place, body),
            (Verb::Delete, Sub::Whole) => self.deletion(place, body, now),
            (verb, sub) => {
                let message = format!("the model has no {verb:?} of {sub:?}");
                Err(Refusal::new(405, message))
            }
        }
    }

    fn post(&mut self, place: &Place, body: &Value, now: Timestamp) -> Result<Arc<Kept>, Refusal> {
        if self.get(place).is_some() {
            return Err(Refusal {
                reason: "AlreadyExists",
                ..Refusal::new(409, format!("{place} already exists"))
            });
        }
        Ok(self.create(place, named(place, body), None, now))
    }

    fn live(&self, place: &Place) -> Result<Arc<Kept>, Refusal> {
        self.get(place)
            .ok_or_else(|| Refusal::new(404, format!("{place} not found")))
    }

    fn replace(&mut self, place: &Place, body: &Value) -> Result<Arc<Kept>, Refusal> {
        let live = self.live(place)?;
        let uid = text(body, "/metadata/uid");
        if !uid.is_empty() && uid != text(&live, "/metadata/uid") {
            return Err(other_uid(409, place));
        }
        if place.resource.custom && text(body, "/metadata/resourceVersion").is_empty() {
            let message =
                format!("{place}: metadata.resourceVersion must be specified for an update");
            return Err(Refusal::new(422, message));
        }
        check_version(place, &live, body)?;
        let mut object = named(place, body);
        keep_status(place, &live, &mut object);
        let applied = self.applied(place);
        self.update(place, object, applied)
    }

    fn patch(&mut self, place: &Place, sub: Sub, body: &Value) -> Result<Arc<Kept>, Refusal> {
        let live = self.live(place)?;
        check_version(place, &live, body)?;
        let mut object = Value::clone(&live);
        if sub == Sub::Status {
            // A wrong uid alone is ignored there, as everything but the status is.
            let status = json!({ "status": body.get("status").cloned().unwrap_or(json!({})) });
            merge(&mut object, &status);
        } else {
            let uid = text(body, "/metadata/uid");
            if !uid.is_empty() && uid != text(&live, "/metadata/uid") {
                return Err(other_uid(422, place));
            }
            merge(&mut object, body);
            keep_status(place, &live, &mut object);
        }
        let applied = self.applied(place);
        self.update(place, object, applied)
    }

    fn apply(&mut self, place: &Place, body: &Value, now: Timestamp) -> Result<Arc<Kept>, Refusal> {
        let uid = text(body, "/metadata/uid");
        let mut configuration = without(body, &["status"]);
        for fence in ["uid", "resourceVersion"] {
            set_metadata(&mut configuration, fence, Value::Null);
        }
        let Some(live) = self.get(place) else {
            if !uid.is_empty() {
                return Err(other_uid(409, place));
            }
            return Ok(self.create(
                place,
                named(place, &configuration),
                Some(configuration),
                now,
            ));
        };
        if text(body, "/metadata/resourceVersion") != "0" {
            check_version(place, &live, body)?;
        }
        if !uid.is_empty() && uid != text(&live, "/metadata/uid") {
            return Err(other_uid(422, place));
        }
        let mut object = Value::clone(&live);
        apply(&mut object, self.applied(place).as_deref(), &configuration);
        self.update(place, object, Some(Arc::new(configuration)))
    }

    fn scale(&mut self, place: &Place, body: &Value) -> Result<Arc<Kept>, Refusal> {
        let live = self.live(place)?;
        let uid = text(body, "/metadata/uid");
        if !uid.is_empty() && uid != text(&live, "/metadata/uid") {
            return Err(other_uid(409, place));
        }
        check_version(place, &live, body)?;
        let replicas = number(body, "/spec/replicas").unwrap_or(0);
        let mut object = Value::clone(&live);
        merge(&mut object, &json!({ "spec": { "replicas": replicas } }));
        let applied = self.applied(place);
        let object = self.update(place, object, applied)?;
        Ok(Kept::new(scale_of(place, &object)))
    }

    fn deletion(
        &mut self,
        place: &Place,
        options: &Value,
        now: Timestamp,
    ) -> Result<Arc<Kept>, Refusal> {
        let live = self.live(place)?;
        for (field, live) in [
            ("uid", text(&live, "/metadata/uid")),
            ("resourceVersion", text(&live, "/metadata/resourceVersion")),
        ] {
            // An empty one is one too: it fits nothing.
            let wanted = options.pointer(&format!("/preconditions/{field}"));
            let Some(wanted) = wanted.and_then(Value::as_str) else {
                continue;
            };
            if wanted != live {
                let message = format!(
                    "{place}: the {field} in the precondition ({wanted}) does not match ({live})"
                );
                return Err(Refusal::new(409, message));
            }
        }
        self.delete(place, now)
    }

    fn applied(&self, place: &Place) -> Option<Arc<Value>> {
        self.objects.get(place)?.applied.clone()
    }
}

/// An object as its scale subresource.
#[must_use]
pub fn scale_of(place: &Place, object: &Value) -> Value {
    let metadata = |field: &str| object.pointer(&format!("/metadata/{field}")).cloned();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": place.name, "namespace": place.namespace, "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "spec": { "replicas": number(object, "/spec/replicas").unwrap_or(1) },
        "status": { "replicas": number(object, "/status/replicas").unwrap_or(0) },
    })
}

fn named(place: &Place, body: &Value) -> Value {
    let mut object = body.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), json!(place.resource.api_version()));
        fields.insert("kind".to_owned(), json!(place.resource.kind));
    }
    set_metadata(&mut object, "name", json!(place.name));
    set_metadata(&mut object, "namespace", json!(place.namespace));
    object
}

/// The status is changed by its own subresource only.
fn keep_status(place: &Place, live: &Value, object: &mut Value) {
    if !place.resource.status {
        return;
    }
    if let Some(fields) = object.as_object_mut() {
        match live.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
}

fn check_version(place: &Place, live: &Value, body: &Value) -> Result<(), Refusal> {
    let wanted = text(body, "/metadata/resourceVersion");
    if wanted.is_empty() || wanted == text(live, "/metadata/resourceVersion") {
        return Ok(());
    }
    let message = format!(
        "{place}: the object has been modified; please apply your changes to the latest version"
    );
    Err(Refusal::new(409, message))
}

fn other_uid(code: u16, place: &Place) -> Refusal {
    Refusal::new(code, format!("{place}: metadata.uid does not match"))
}
