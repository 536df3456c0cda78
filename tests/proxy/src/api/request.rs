//! What a request to the API server is about.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Uri};
use serde_json::Value;

/// A request in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// get, list, watch, create, update, patch, apply, delete.
    pub(super) verb: &'static str,
    /// Plural, with the subresource: `deployments/scale`.
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl About {
    /// Reads a request; none if it is about no resource.
    pub(super) fn read(
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Self> {
        let Place {
            namespace,
            resource,
            name,
            subresource,
        } = Place::read(path)?;
        let watches = query.is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "watch=true" | "watch=1"))
        });
        let mime = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let verb = match *method {
            Method::GET if watches => "watch",
            Method::GET if name.is_none() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if mime.contains("apply-patch") => "apply",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => return None,
        };
        let name = match name {
            Some(name) => name.to_owned(),
            None if verb == "create" => named_in(resource, body),
            None => String::new(),
        };
        Some(Self {
            verb,
            resource: subresource.map_or_else(
                || resource.to_owned(),
                |subresource| format!("{resource}/{subresource}"),
            ),
            namespace: namespace.unwrap_or_default().to_owned(),
            name,
        })
    }

    /// As traces write it.
    pub(super) fn step(&self) -> String {
        let Self {
            verb,
            resource,
            namespace,
            name,
        } = self;
        format!("api {verb} {resource} {namespace}/{name}")
    }

    /// Whether it changes what the server holds.
    pub(super) fn writes(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

/// The name in the body of a create. That of an Event ends in an id; what it is about stands before.
fn named_in(resource: &str, body: &[u8]) -> String {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let end = match resource {
        "events" => name.find('.').unwrap_or(name.len()),
        _ => name.len(),
    };
    name.get(..end).unwrap_or_default().to_owned()
}

/// What a path says.
struct Place<'a> {
    namespace: Option<&'a str>,
    resource: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn read(path: &'a str) -> Option<Self> {
        let mut words = path.trim_matches('/').split('/');
        let behind = match words.next()? {
            "api" => 1,
            "apis" => 2,
            _ => return None,
        };
        let rest: Vec<&str> = words.skip(behind).collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (resource, rest) = rest.split_first()?;
        Some(Self {
            namespace,
            resource,
            name: rest.first().copied(),
            subresource: rest.get(1).copied(),
        })
    }
}

/// The path of a list or watch of all namespaces, as one of `namespace` alone.
pub(super) fn confined(path: &str, namespace: &str) -> Option<String> {
    let place = Place::read(path)?;
    if place.namespace.is_some() || place.name.is_some() || place.resource == "namespaces" {
        return None;
    }
    let (group, resource) = path.trim_end_matches('/').rsplit_once('/')?;
    Some(format!("{group}/namespaces/{namespace}/{resource}"))
}

/// The same list as it was at a version; none for a page behind the first, whose token says it.
pub(super) fn at_version(uri: &Uri, version: &str) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    if query.contains("continue=") {
        return None;
    }
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("resourceVersion"));
    let at = format!("resourceVersion={version}");
    let pairs: Vec<&str> = kept.chain([&*at, "resourceVersionMatch=Exact"]).collect();
    format!("{}?{}", uri.path(), pairs.join("&")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(method: &Method, path: &str, query: Option<&str>, mime: &str, body: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, mime.parse().unwrap());
        let about = About::read(method, path, query, &headers, body.as_bytes());
        about.map_or_else(String::new, |about| about.step())
    }

    #[test]
    fn requests_are_named_alike() {
        let (get, patch, post) = (&Method::GET, &Method::PATCH, &Method::POST);
        let ns = "/apis/apps/v1/namespaces/team/deployments";
        let cases = [
            (
                get,
                "/apis/apps/v1/deployments",
                Some("watch=true&a=b"),
                "",
                "",
                "api watch deployments /",
            ),
            (
                get,
                "/api/v1/services",
                Some("limit=2"),
                "",
                "",
                "api list services /",
            ),
            (
                patch,
                &format!("{ns}/a"),
                Some("force=true"),
                "application/apply-patch+yaml",
                "",
                "api apply deployments team/a",
            ),
            (
                &Method::PUT,
                &format!("{ns}/a/scale"),
                None,
                "",
                "",
                "api update deployments/scale team/a",
            ),
            (
                post,
                "/apis/events.k8s.io/v1/namespaces/team/events",
                None,
                "",
                r#"{"metadata": {"name": "a.123"}}"#,
                "api create events team/a",
            ),
            (get, "/version", None, "", "", ""),
        ];
        for (method, path, query, mime, body, expected) in cases {
            assert_eq!(step(method, path, query, mime, body), expected);
        }
    }

    #[test]
    fn a_list_can_be_of_the_past() {
        let at = |uri: &str| at_version(&uri.parse().unwrap(), "7").map(|uri| uri.to_string());
        let past = "resourceVersion=7&resourceVersionMatch=Exact";
        assert_eq!(
            at("/api/v1/pods?limit=2&resourceVersion=0"),
            Some(format!("/api/v1/pods?limit=2&{past}"))
        );
        assert_eq!(at("/api/v1/pods"), Some(format!("/api/v1/pods?{past}")));
        assert_eq!(at("/api/v1/pods?limit=2&continue=x"), None);
    }

    #[test]
    fn only_lists_of_all_namespaces_are_confined() {
        assert_eq!(
            confined("/apis/apps/v1/deployments", "team").unwrap(),
            "/apis/apps/v1/namespaces/team/deployments"
        );
        assert_eq!(
            confined("/api/v1/services", "team").unwrap(),
            "/api/v1/namespaces/team/services"
        );
        for path in [
            "/api/v1/namespaces/a/services",
            "/version",
            "/api/v1/namespaces",
        ] {
            assert_eq!(confined(path, "team"), None, "{path}");
        }
    }
}
