//! A conversation with a server: what it was asked, and what it answered, as one line each.

use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "default";

/// A server and what it answered so far, as one line each.
pub(crate) struct Talk {
    client: Client,
    pub(crate) lines: Vec<String>,
}

/// How a body is sent.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Get,
    Post,
    Put,
    Merge,
    Apply,
    Delete,
}

impl Talk {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            lines: Vec::new(),
        }
    }

    /// Sends, notes the code, returns the answer.
    pub(crate) async fn say(&mut self, title: &str, how: How, path: &str, body: Value) -> Value {
        let (method, mime) = match how {
            How::Get => (Method::GET, "application/json"),
            How::Post => (Method::POST, "application/json"),
            How::Put => (Method::PUT, "application/json"),
            How::Merge => (Method::PATCH, "application/merge-patch+json"),
            How::Apply => (Method::PATCH, "application/apply-patch+yaml"),
            How::Delete => (Method::DELETE, "application/json"),
        };
        let query = match how {
            How::Apply => "?fieldManager=signalbox&force=true",
            How::Put | How::Post | How::Merge => "?fieldManager=signalbox",
            How::Get | How::Delete => "",
        };
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header("content-type", mime)
            .header("accept", "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let reason = if code == StatusCode::OK || code == StatusCode::CREATED {
            String::new()
        } else {
            format!(" {}", answer["reason"].as_str().unwrap_or_default())
        };
        self.lines
            .push(format!("{title}: {}{reason}", code.as_u16()));
        answer
    }

    pub(crate) async fn read(&mut self, path: &str, accept: &str) -> Value {
        let request = Request::builder()
            .uri(path)
            .header("accept", accept)
            .body(Body::empty())
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Type and name of each line, until the watch ends.
    pub(crate) async fn watch(&mut self, path: &str) -> Value {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = self.client.send(request).await.unwrap();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice::<Value>(line).unwrap())
            .map(|event| json!([event["type"], event["object"]["metadata"]["name"]]))
            .collect()
    }

    pub(crate) fn note(&mut self, title: &str, value: &Value) {
        self.lines.push(format!("{title}: {value}"));
    }
}

pub(crate) fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn uid(object: &Value) -> String {
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) const NOBODY: &str = "00000000-0000-0000-0000-000000000001";

pub(crate) fn map(name: &str, data: &Value, uid: Option<&str>, version: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "uid": uid, "resourceVersion": version, "labels": { "signalbox.dev/owner": "a" } },
        "data": data,
    })
}
