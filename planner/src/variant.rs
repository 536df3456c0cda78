//! Builds that differ from the released one in exactly one thing, for tests that compare two builds.
//!
//! With the feature `variants` a process chooses once, before its first plan; without it there is only
//! what the build was made for, and asking costs nothing. Never ship a build with the feature.

/// Which build this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The released one.
    Released,
    /// One rule differs (the lock patience of a migration's file), and the version that stands in plans.
    ChangedRule,
    /// New revisions are rendered by a renderer that the released build does not know.
    ChangedRenderer,
    /// Planning an app with an image named `defect` panics.
    Defect,
}

/// What this build is made for.
const BUILT: Variant = if cfg!(feature = "changed-rule") {
    Variant::ChangedRule
} else {
    Variant::Released
};

#[cfg(feature = "variants")]
static CHOSEN: std::sync::OnceLock<Variant> = std::sync::OnceLock::new();

/// Chooses the variant by name; false if there is none of this name or one was chosen before.
#[cfg(feature = "variants")]
pub fn choose(name: &str) -> bool {
    let variant = match name {
        "released" => Variant::Released,
        "changed-rule" => Variant::ChangedRule,
        "changed-renderer" => Variant::ChangedRenderer,
        "defect" => Variant::Defect,
        _ => return false,
    };
    CHOSEN.set(variant).is_ok()
}

/// The variant that plans.
#[cfg(feature = "variants")]
pub(crate) fn chosen() -> Variant {
    CHOSEN.get().copied().unwrap_or(BUILT)
}

/// The variant that plans.
#[cfg(not(feature = "variants"))]
pub(crate) const fn chosen() -> Variant {
    BUILT
}

/// Panics, if this is the variant that does so on this object.
#[cfg(feature = "variants")]
pub(crate) fn defect(object: &signalbox_common::wire::LiveObject) {
    let image = object
        .at("/spec/image")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    let defective = chosen() == Variant::Defect && image.contains("defect");
    assert!(!defective, "a defect of this planner on {image}");
}
