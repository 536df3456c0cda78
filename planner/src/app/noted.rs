//! What was noted on a revision's Deployment when it was made, proven by what it was made into.
//!
//! Decides what to believe: notes are annotations, which anybody can change or take away, and what they say decides
//! whether pods are restarted. The hash of the applied configuration tells which notes are true. A plan weighs those
//! of a revision once, and draws the Deployment that proved them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use signalbox_common::wire::LiveObject;
use signalbox_crds::names::{
    ANNOTATION_APPLIED, ANNOTATION_BASE, ANNOTATION_RENDERER, LABEL_SERVES_PREFIX,
};

use super::children::{self, Desired, Make};
use super::renderer;
use super::resolve::App;
use super::world::Revision;

/// The notes of a revision's Deployment.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// The revision beside which its pods may serve.
    pub(super) base: Option<String>,
    /// Version of the renderer of its pod template.
    pub(super) renderer: Option<String>,
    /// The Deployment as it was made, if that proves them; with the pods that are asked for now.
    pub(super) proof: Option<Desired>,
}

/// What was weighed in this plan, by revision: an app is of one Observation, in which nothing changes.
#[derive(Default)]
pub(super) struct Weighed(RefCell<BTreeMap<String, Rc<Noted>>>);

/// The notes of a revision; where nothing can be proven, as they stand there.
pub(super) fn noted(app: &App<'_>, revision: &Revision<'_>) -> Rc<Noted> {
    let known = app.weighed.0.borrow().get(&revision.hash).cloned();
    known.unwrap_or_else(|| {
        let noted = Rc::new(weigh(app, revision));
        let mut weighed = app.weighed.0.borrow_mut();
        weighed.insert(revision.hash.clone(), Rc::clone(&noted));
        noted
    })
}

fn weigh(app: &App<'_>, revision: &Revision<'_>) -> Noted {
    let Some(live) = revision.deployment else {
        return Noted::default();
    };
    let note = |key: &str| live.annotations.get(key).cloned();
    let as_told = Noted {
        base: note(ANNOTATION_BASE).or_else(|| served(live, &revision.hash).into_iter().next()),
        renderer: note(ANNOTATION_RENDERER),
        proof: None,
    };
    let Some((inputs, config)) = revision.inputs(app) else {
        return as_told;
    };
    let applied = note(ANNOTATION_APPLIED);
    let prove = |base: &str, renderer: &str| {
        let make = Make {
            revision: &revision.hash,
            base,
            inputs: &inputs,
            configured: !config.is_empty(),
            renderer,
            replicas: revision.asked(),
        };
        let desired = children::deployment(app, &make)?;
        let hash = desired.applied();
        (hash.is_some() && hash == applied.as_deref()).then_some(desired)
    };
    let bases = as_told.base.iter().cloned();
    let bases = bases.chain(served(live, &revision.hash));
    let bases: Vec<String> = bases.chain([revision.hash.clone()]).collect();
    let renderers = as_told.renderer.iter().cloned();
    let renderers = renderers.chain(renderer::known().map(str::to_owned));
    let renderers: Vec<String> = renderers.collect();
    let proven = bases.into_iter().find_map(|base| {
        renderers.iter().find_map(|renderer| {
            Some(Noted {
                proof: Some(prove(&base, renderer)?),
                base: Some(base.clone()),
                renderer: Some(renderer.clone()),
            })
        })
    });
    proven.unwrap_or(as_told)
}

/// Other revisions beside which the pods say that they may serve.
fn served(live: &LiveObject, own: &str) -> Vec<String> {
    let labels = live.at("/spec/template/metadata/labels");
    let keys = labels.and_then(serde_json::Value::as_object);
    let keys = keys.into_iter().flat_map(|labels| labels.keys());
    keys.filter_map(|key| key.strip_prefix(LABEL_SERVES_PREFIX))
        .filter(|hash| *hash != own)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use signalbox_common::wire::Observation;

    use super::*;
    use crate::app::world::World;

    /// The Deployment that a plan draws without making it anew.
    #[test]
    fn what_proves_the_notes_is_what_is_made_from_them() {
        for text in [
            include_str!("../../tests/inputs/app/nothing_to_do.json"),
            include_str!("../../tests/inputs/app/a_canary_is_ready_for_the_next_step.json"),
            include_str!("../../tests/inputs/app/a_pause_holds_the_canary.json"),
        ] {
            let seen: Observation = serde_json::from_str(text).unwrap();
            let object = seen.object.as_ref().unwrap();
            let app = App::read(&seen, object).unwrap();
            for revision in World::of(&seen, object).revisions() {
                let noted = noted(&app, &revision);
                let (inputs, config) = revision.inputs(&app).unwrap();
                let make = Make {
                    revision: &revision.hash,
                    base: noted.base.as_deref().unwrap(),
                    inputs: &inputs,
                    configured: !config.is_empty(),
                    renderer: noted.renderer.as_deref().unwrap(),
                    replicas: revision.asked(),
                };
                assert!(noted.proof.is_some(), "{}", revision.hash);
                assert_eq!(noted.proof, children::deployment(&app, &make));
            }
        }
    }

    /// What was weighed for one Observation says nothing of the next.
    #[test]
    fn notes_are_weighed_anew_for_each_observation() {
        let text = include_str!("../../tests/inputs/app/nothing_to_do.json");
        let mut seen: Observation = serde_json::from_str(text).unwrap();
        let base = |seen: &Observation| {
            let object = seen.object.as_ref().unwrap();
            let app = App::read(seen, object).unwrap();
            let revision = World::of(seen, object).revisions().pop().unwrap();
            let noted = noted(&app, &revision);
            (noted.base.clone(), noted.proof.is_some())
        };
        assert!(base(&seen).1, "{:?}", base(&seen));
        for live in &mut seen.children {
            live.annotations.clear();
        }
        assert_eq!(base(&seen), (None, false));
    }
}
