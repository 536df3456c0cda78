//! Writes of an operator, read from the API server's audit log so that they can be made again.

use serde_json::Value;

/// One write, as an operator made it.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// `patch configmaps`, `update deployments/scale`.
    pub(crate) what: String,
    pub(crate) method: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) uri: String,
    /// Of the object that it is about.
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// The successful writes of an operator, each once, in the order of their answers.
pub(crate) fn writes(entries: &[Value]) -> Vec<Write> {
    let mut found: Vec<Write> = Vec::new();
    for write in entries.iter().filter_map(write) {
        let known = |other: &Write| (&other.what, &other.path) == (&write.what, &write.path);
        if !found.iter().any(known) {
            found.push(write);
        }
    }
    found
}

fn write(entry: &Value) -> Option<Write> {
    let user = entry["user"]["username"].as_str()?;
    let target = &entry["objectRef"];
    let (verb, resource) = (entry["verb"].as_str()?, target["resource"].as_str()?);
    let code = entry["responseStatus"]["code"].as_u64()?;
    let of_operator = user.starts_with("system:serviceaccount:signalbox-system:");
    if !of_operator || resource == "leases" || code >= 300 {
        return None;
    }
    let uri = entry["requestURI"].as_str()?.to_owned();
    let body = entry["requestObject"].clone();
    let (method, content_type) = match verb {
        "create" => ("POST", "application/json"),
        "update" => ("PUT", "application/json"),
        "delete" => ("DELETE", "application/json"),
        "patch" if uri.contains("force=") => ("PATCH", "application/apply-patch+yaml"),
        "patch" if body.is_array() => ("PATCH", "application/json-patch+json"),
        "patch" => ("PATCH", "application/merge-patch+json"),
        _ => return None,
    };
    let sub = target["subresource"].as_str();
    let sub = sub.map_or_else(String::new, |sub| format!("/{sub}"));
    let mut path = uri.split('?').next()?.trim_end_matches(&sub).to_owned();
    if verb == "create" {
        path = format!("{path}/{}", body.pointer("/metadata/name")?.as_str()?);
    }
    Some(Write {
        what: format!("{verb} {resource}{sub}"),
        method,
        content_type,
        uri,
        path,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(verb: &str, uri: &str, sub: Option<&str>, body: &Value) -> Value {
        json!({
            "user": { "username": "system:serviceaccount:signalbox-system:guest" }, "verb": verb,
            "requestURI": uri, "objectRef": { "resource": "deployments", "subresource": sub },
            "responseStatus": { "code": 200 }, "requestObject": body,
        })
    }

    #[test]
    fn each_write_tells_its_object_and_is_learned_once() {
        let body = json!({ "metadata": { "name": "a" } });
        let entries = [
            entry(
                "create",
                "/apis/apps/v1/namespaces/n/deployments?fieldManager=m",
                None,
                &body,
            ),
            entry("patch", "/x/deployments/a/status", Some("status"), &body),
            entry(
                "patch",
                "/x/deployments/a/status",
                Some("status"),
                &json!({ "status": {} }),
            ),
            entry(
                "patch",
                "/x/deployments/a?force=True&fieldManager=m",
                None,
                &body,
            ),
            entry("get", "/x/deployments/a", None, &Value::Null),
        ];
        let found = writes(&entries);
        let told: Vec<_> = found
            .iter()
            .map(|w| (w.method, w.path.as_str(), w.content_type))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "POST",
                    "/apis/apps/v1/namespaces/n/deployments/a",
                    "application/json"
                ),
                ("PATCH", "/x/deployments/a", "application/merge-patch+json"),
                ("PATCH", "/x/deployments/a", "application/apply-patch+yaml"),
            ]
        );
    }
}
