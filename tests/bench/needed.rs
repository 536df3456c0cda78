//! The writes that an app needs, learned from what the parts wrote for one: the API server's audit log.
//!
//! So `raw` sends the same verbs, paths, patch types and bodies, with another name and uid.

use std::time::Duration;

use http::Request;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use signalbox_tests::eventually;

use crate::field::{Field, Side, name};

/// The app from which the writes are learned.
const MODEL: usize = 99_999;
/// Replicas of an app after its change.
pub(crate) const REPLICAS: i64 = 2;

/// Uid and version of a stored object: what a write of it is fenced with.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    uid: String,
    version: String,
}

impl Stored {
    /// Of a CR.
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    fn of_answer(answer: &Value) -> Self {
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        Self {
            uid: text("/metadata/uid").unwrap_or_default().to_owned(),
            version: text("/metadata/resourceVersion")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// One write, for any app.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// `patch configmaps`, `update deployments/scale`.
    pub(crate) what: String,
    verb: String,
    uri: String,
    body: Value,
}

/// The writes of an app's creation and of a change of its replicas.
pub(crate) struct Needed {
    /// `ConfigMap`, Service, Deployment.
    pub(crate) children: Vec<Write>,
    /// Status of a new app.
    pub(crate) status: Write,
    /// The child of a change.
    pub(crate) scale: Write,
    /// Status of a change.
    pub(crate) scaled_status: Write,
    model: Stored,
}

impl Needed {
    /// Lets the parts serve one app and reads what they wrote.
    pub(crate) async fn learn() -> Self {
        let field = Field::start("model", Side::Signalbox).await;
        let mark = field.audit.mark();
        let created = field.create(&name(MODEL)).await;
        observed(&field, 1).await;
        let mut children = writes(&field, mark);
        let mark = field.audit.mark();
        field
            .change(&name(MODEL), json!({ "replicas": REPLICAS }))
            .await;
        observed(&field, 2).await;
        let mut change = writes(&field, mark);
        assert_eq!(
            children.len(),
            4,
            "a new app needs four writes: {children:#?}"
        );
        assert_eq!(change.len(), 2, "a change needs two writes: {change:#?}");
        let status = children.pop().expect("four");
        let scaled_status = change.pop().expect("two");
        let scale = change.pop().expect("two");
        for last in [&status, &scaled_status] {
            assert_eq!(last.what, "patch portfolioapps/status", "status is last");
        }
        Self {
            children,
            status,
            scale,
            scaled_status,
            model: Stored::of(&created),
        }
    }

    /// Makes a write for the app `name`; the answer's uid and version.
    pub(crate) async fn send(
        &self,
        client: &Client,
        write: &Write,
        (name, app): (&str, &Stored),
        target: Option<&Stored>,
    ) -> Stored {
        let own = |text: String| {
            text.replace(&crate::field::name(MODEL), name)
                .replace(&self.model.uid, &app.uid)
        };
        let mut body = write.body.clone();
        if let Some(target) = target {
            body["metadata"]["uid"] = json!(target.uid);
            body["metadata"]["resourceVersion"] = json!(target.version);
        }
        let (method, kind) = match write.verb.as_str() {
            "update" => ("PUT", "application/json"),
            "patch" if write.uri.contains("force=true") => {
                ("PATCH", "application/apply-patch+yaml")
            }
            _ => ("PATCH", "application/merge-patch+json"),
        };
        let request = Request::builder()
            .method(method)
            .uri(own(write.uri.clone()))
            .header("content-type", kind)
            .header("accept", "application/json")
            .body(own(body.to_string()).into_bytes())
            .expect("a request");
        let answer = client.request::<Value>(request).await;
        let answer = answer.unwrap_or_else(|err| panic!("{} of {name}: {err}", write.what));
        Stored::of_answer(&answer)
    }

    /// All four writes of a new app; the Deployment as stored.
    pub(crate) async fn serve_new(&self, client: &Client, name: &str, app: &Stored) -> Stored {
        let about = (name, app);
        let children = self.children.iter();
        let children = children.map(|write| async move {
            let stored = self.send(client, write, about, None).await;
            (write.what == "patch deployments").then_some(stored)
        });
        let stored = futures::future::join_all(children).await;
        self.send(client, &self.status, about, Some(app)).await;
        let deployment = stored.into_iter().flatten().next();
        deployment.expect("an app has a Deployment")
    }
}

async fn observed(field: &Field, generation: i64) {
    eventually("the model is served", Duration::from_secs(30), || async {
        let app = field.objects.get("papp", &name(MODEL)).await;
        if app["status"]["observedGeneration"] == generation {
            return Ok(());
        }
        Err(app["status"].to_string())
    })
    .await;
    field.quiet().await;
}

/// The successful writes of the parts since a mark, in the order of their answers.
fn writes(field: &Field, mark: usize) -> Vec<Write> {
    field.entries_since(mark).iter().filter_map(write).collect()
}

fn write(entry: &Value) -> Option<Write> {
    let user = entry["user"]["username"].as_str()?;
    let verb = entry["verb"].as_str()?;
    let resource = entry["objectRef"]["resource"].as_str()?;
    let code = entry["responseStatus"]["code"].as_u64()?;
    let of_parts = user.starts_with("system:serviceaccount:signalbox-system:");
    let writes = matches!(verb, "create" | "update" | "patch" | "delete");
    if !of_parts || !writes || resource == "leases" || code >= 300 {
        return None;
    }
    let sub = entry["objectRef"]["subresource"].as_str();
    let sub = sub.map_or_else(String::new, |sub| format!("/{sub}"));
    Some(Write {
        what: format!("{verb} {resource}{sub}"),
        verb: verb.to_owned(),
        uri: entry["requestURI"].as_str()?.to_owned(),
        body: entry["requestObject"].clone(),
    })
}
