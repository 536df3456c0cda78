//! The writes that an app needs, learned from what an operator wrote for one: the API server's audit log.
//!
//! So `raw` sends the same verbs, paths, patch types and bodies, with another name and other versions. A
//! write that an operator makes a second time, because its cache was behind, is not needed.

use std::collections::HashMap;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use signalbox_tests::eventually;

use crate::contender::{Contender, Side};
use crate::field::{Field, name};
use crate::peers::Programs;
use crate::writes::{Write, writes};

/// The app from which the writes are learned.
const MODEL: usize = 99_999;
/// Replicas of an app after its change.
pub(crate) const REPLICAS: i64 = 2;

/// Uid and version of a stored object: what a write of it is fenced with.
#[derive(Clone, Debug, Default)]
struct Stored {
    uid: String,
    version: String,
}

/// An app as the load generator knows it: itself and its children, by path.
pub(crate) struct Known {
    name: String,
    uid: String,
    stored: HashMap<String, Stored>,
}

/// The writes of an app's creation and of its changes, each in the order of the answers.
pub(crate) struct Needed {
    /// All but the last do not depend on each other.
    pub(crate) create: Vec<Write>,
    /// For a change of replicas.
    pub(crate) scale: Vec<Write>,
    /// For a change of configuration.
    pub(crate) config: Vec<Write>,
    /// Uid of the model.
    model: String,
}

impl Stored {
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        Self {
            uid: text("/metadata/uid").unwrap_or_default().to_owned(),
            version: text("/metadata/resourceVersion")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

impl Known {
    /// An app that was just made, without children.
    pub(crate) fn new(app: &DynamicObject) -> Self {
        let mut known = Self {
            name: app.metadata.name.clone().unwrap_or_default(),
            uid: app.metadata.uid.clone().unwrap_or_default(),
            stored: HashMap::new(),
        };
        known.changed(app);
        known
    }

    /// The app itself has another version.
    pub(crate) fn changed(&mut self, app: &DynamicObject) {
        let namespace = app.metadata.namespace.clone().unwrap_or_default();
        let path = format!(
            "/apis/signalbox.dev/v1alpha1/namespaces/{namespace}/portfolioapps/{}",
            self.name
        );
        let app = serde_json::to_value(app).expect("an object is JSON");
        self.stored.insert(path, Stored::of(&app));
    }

    /// Objects with this in their path are gone.
    pub(crate) fn forget(&mut self, part: &str) {
        self.stored.retain(|path, _| !path.contains(part));
    }
}

impl Needed {
    /// Lets an operator serve one app and reads what it wrote.
    pub(crate) async fn learn(of: Contender, programs: &Programs) -> Result<Self, String> {
        let field = Field::start("model", Side::operator(of), programs).await?;
        let mark = field.audit.mark();
        let created = field.create(&name(MODEL)).await;
        observed(&field, 1).await;
        let create = writes(&field.audit.entries_since(mark));
        let changes = [
            json!({ "replicas": REPLICAS }),
            json!({ "config": { "ROUND": "1", "NUMBER": "1" } }),
        ];
        let mut learned = Vec::new();
        for (generation, change) in (2..).zip(changes) {
            let mark = field.audit.mark();
            field.change(&name(MODEL), change).await;
            observed(&field, generation).await;
            learned.push(writes(&field.audit.entries_since(mark)));
        }
        let config = learned.pop().expect("two changes");
        let scale = learned.pop().expect("two changes");
        let told = |writes: &[Write]| {
            let words: Vec<&str> = writes.iter().map(|write| write.what.as_str()).collect();
            words.join(", ")
        };
        for (what, writes) in [("new", &create), ("replicas", &scale), ("config", &config)] {
            eprintln!("  {what}: {}", told(writes));
            if writes.is_empty() {
                return Err(format!("{} wrote nothing for {what}", of.name()));
            }
        }
        Ok(Self {
            create,
            scale,
            config,
            model: created.metadata.uid.unwrap_or_default(),
        })
    }

    /// All writes of a new app.
    pub(crate) async fn serve_new(&self, client: &Client, app: &mut Known) {
        let (last, children) = self.create.split_last().expect("an app needs writes");
        let all = children.iter().map(|write| self.send(client, write, app));
        let stored = futures::future::join_all(all).await;
        app.stored.extend(stored.into_iter().flatten());
        self.serve(client, std::slice::from_ref(last), app).await;
    }

    /// Writes one after the other.
    pub(crate) async fn serve(&self, client: &Client, writes: &[Write], app: &mut Known) {
        for write in writes {
            let stored = self.send(client, write, app).await;
            app.stored.extend(stored);
        }
    }

    /// Makes one write for an app; path and version of what is stored then.
    async fn send(&self, client: &Client, write: &Write, app: &Known) -> Option<(String, Stored)> {
        let own = |text: &str| {
            text.replace(&name(MODEL), &app.name)
                .replace(&self.model, &app.uid)
        };
        let path = own(&write.path);
        let mut body = write.body.clone();
        if let Some(stored) = app.stored.get(&path) {
            fence(&mut body, stored);
        }
        let request = Request::builder()
            .method(write.method)
            .uri(own(&write.uri))
            .header("content-type", write.content_type)
            .header("accept", "application/json")
            .body(own(&body.to_string()).into_bytes())
            .expect("a request");
        let answer = client.request::<Value>(request).await;
        let answer = answer.unwrap_or_else(|err| panic!("{} of {}: {err}", write.what, app.name));
        (write.method != "DELETE").then(|| (path, Stored::of(&answer)))
    }
}

/// Puts the versions that are stored now where the learned write named those of the model.
fn fence(body: &mut Value, stored: &Stored) {
    for part in ["metadata", "preconditions"] {
        let Some(part) = body.get_mut(part).filter(|part| part.is_object()) else {
            continue;
        };
        for (field, value) in [("uid", &stored.uid), ("resourceVersion", &stored.version)] {
            if part.get(field).is_some_and(Value::is_string) {
                part[field] = json!(value);
            }
        }
    }
}

async fn observed(field: &Field, generation: i64) {
    eventually("the model is served", Duration::from_mins(1), || async {
        let app = field.objects.get("papp", &name(MODEL)).await;
        if app["status"]["observedGeneration"] == generation {
            return Ok(());
        }
        Err(app["status"].to_string())
    })
    .await;
    field.quiet().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_fenced_where_the_learned_one_was() {
        let stored = Stored {
            uid: "u".to_owned(),
            version: "7".to_owned(),
        };
        let mut status =
            json!({ "metadata": { "resourceVersion": "1", "uid": "x" }, "status": {} });
        fence(&mut status, &stored);
        assert_eq!(
            status["metadata"],
            json!({ "resourceVersion": "7", "uid": "u" })
        );
        let mut deletion = json!({ "preconditions": { "uid": "x" } });
        fence(&mut deletion, &stored);
        assert_eq!(deletion["preconditions"], json!({ "uid": "u" }));
        let mut free = json!({ "status": {} });
        fence(&mut free, &stored);
        assert_eq!(
            free,
            json!({ "status": {} }),
            "what was not fenced stays so"
        );
    }
}
