//! What a request asks for: path, parameters, body, as the model understands them.

use http::{HeaderMap, Method, Uri, header};
use serde_json::Value;

use super::kinds::Resource;
use super::refusal::Refusal;
use super::store::Place;
use super::write::{Sub, Verb};

/// A request.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// One object.
    Get(Place, Sub),
    /// All objects of a resource.
    List(Selection),
    /// Changes of a resource.
    Watch(Selection, From),
    /// A write.
    Write(Verb, Place, Sub, Value),
}

/// Which objects.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// Their resource.
    pub(super) resource: &'static Resource,
    /// Their namespace; empty: all.
    pub(super) namespace: String,
    /// A label that they have.
    pub(super) label: Option<String>,
    /// At most so many.
    pub(super) limit: usize,
    /// After this one.
    pub(super) after: Option<String>,
    /// Only their metadata.
    pub(super) metadata_only: bool,
}

/// From where a watch begins, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// Version.
    pub(super) version: u64,
    /// Seconds.
    pub(super) seconds: u64,
    /// Whether versions are told without changes.
    pub(super) bookmarks: bool,
}

impl Selection {
    /// Whether an object is among them.
    #[must_use]
    pub(super) fn has(&self, place: &Place, object: &Value) -> bool {
        let labelled = |label: &String| {
            let labels = object.pointer("/metadata/labels");
            labels.is_some_and(|labels| labels.get(label).is_some())
        };
        place.resource == self.resource
            && (self.namespace.is_empty() || self.namespace == place.namespace)
            && self.label.as_ref().is_none_or(labelled)
    }
}

impl Asked {
    /// What a request asks for.
    pub(super) fn parse(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Refusal> {
        // No Status then, plain text.
        let unknown = || Refusal {
            reason: "",
            ..Refusal::new(404, "404 page not found")
        };
        let mut parts = uri.path().trim_matches('/').split('/');
        let (group, version) = match parts.next() {
            Some("api") => ("", parts.next().unwrap_or_default()),
            Some("apis") => (
                parts.next().unwrap_or_default(),
                parts.next().unwrap_or_default(),
            ),
            _ => return Err(unknown()),
        };
        let mut plural = parts.next().unwrap_or_default();
        let mut namespace = "";
        if plural == "namespaces" {
            namespace = parts.next().unwrap_or_default();
            plural = parts.next().unwrap_or_default();
        }
        let resource = Resource::find(group, version, plural).ok_or_else(unknown)?;
        let sub = |name: Option<&str>| match name {
            None => Ok(Sub::Whole),
            Some("status") => Ok(Sub::Status),
            Some("scale") => Ok(Sub::Scale),
            Some(_) => Err(unknown()),
        };
        let place = |name: &str| Place {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let json = || {
            serde_json::from_slice::<Value>(body)
                .map_err(|error| Refusal::new(400, format!("the body is no JSON: {error}")))
        };
        let name = parts.next();
        let method = method.as_str();
        match (method, name) {
            ("GET", Some(name)) => Ok(Self::Get(place(name), sub(parts.next())?)),
            ("GET", None) => Ok(collection(resource, namespace, uri, headers)),
            ("POST", None) => {
                let body = json()?;
                let name = super::json::text(&body, "/metadata/name").to_owned();
                if name.is_empty() {
                    return Err(Refusal::new(422, "metadata.name: Required value"));
                }
                Ok(Self::Write(Verb::Post, place(&name), Sub::Whole, body))
            }
            ("PUT" | "PATCH" | "DELETE", Some(name)) => {
                let mime = headers
                    .get(header::CONTENT_TYPE)
                    .and_then(|mime| mime.to_str().ok());
                let verb = match (method, mime) {
                    ("PUT", _) => Verb::Put,
                    ("DELETE", _) => Verb::Delete,
                    (_, Some("application/merge-patch+json")) => Verb::Merge,
                    (_, Some("application/apply-patch+yaml")) => Verb::Apply,
                    _ => {
                        return Err(Refusal::new(
                            415,
                            format!("the model has no patch of {mime:?}"),
                        ));
                    }
                };
                let body = if body.is_empty() {
                    Value::Null
                } else {
                    json()?
                };
                Ok(Self::Write(verb, place(name), sub(parts.next())?, body))
            }
            _ => Err(Refusal::new(405, format!("the model has no {method}"))),
        }
    }

    /// Whether it may change something.
    #[must_use]
    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Write(..))
    }
}

fn collection(
    resource: &'static Resource,
    namespace: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Asked {
    let query = uri.query().unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace("%2F", "/").replace("%3D", "="))
    };
    let number = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let selection = Selection {
        resource,
        namespace: namespace.to_owned(),
        label: parameter("labelSelector").filter(|label| !label.is_empty()),
        limit: number("limit")
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX),
        after: parameter("continue"),
        metadata_only: accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata")),
    };
    if parameter("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        let from = From {
            version: number("resourceVersion").unwrap_or(0),
            seconds: number("timeoutSeconds").unwrap_or(1800),
            bookmarks: parameter("allowWatchBookmarks").is_some_and(|allow| allow == "true"),
        };
        return Asked::Watch(selection, from);
    }
    Asked::List(selection)
}
