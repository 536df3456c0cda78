//! Actions: one match over the closed set, one file each.
//!
//! Decides nothing itself: what an action rests on stands with the action.

mod apply_child;
mod create_child;
mod delete_child;
mod event;
mod fence_child;
mod finalizer;
mod replace_child;
mod scale;
mod spec;
mod status;

use signalbox_common::wire::action::{Action, ApplyMode};
use signalbox_common::wire::plan::PlannedAction;

use crate::claims::LongWork;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::guards;

/// Does one action.
pub(crate) async fn act(
    ctx: &PlanContext,
    work: &LongWork,
    planned: &PlannedAction,
) -> Result<Applied, ActionError> {
    let guards = planned.guards.as_slice();
    match &planned.action {
        Action::ApplyChild(child) => match &child.mode {
            ApplyMode::Create => create_child::create(ctx, guards, child).await,
            ApplyMode::Apply {
                uid,
                resource_version,
                seen,
            } => {
                let fence = Fence {
                    uid,
                    resource_version,
                    seen: seen.as_deref(),
                };
                apply_child::apply(ctx, guards, child, fence).await
            }
            ApplyMode::Replace {
                uid,
                resource_version,
                seen,
            } => {
                let fence = Fence {
                    uid,
                    resource_version,
                    seen: seen.as_deref(),
                };
                replace_child::replace(ctx, guards, child, fence).await
            }
        },
        Action::DeleteChild(child) => delete_child::delete(ctx, guards, child).await,
        Action::FenceChild(child) => fence_child::fence(ctx, guards, child).await,
        Action::PatchStatus(patch) => status::patch(ctx, guards, patch).await,
        Action::PatchSpec(patch) => spec::patch(ctx, guards, patch).await,
        Action::AddFinalizer(list) => finalizer::add(ctx, guards, list).await,
        Action::RemoveFinalizer(list) => finalizer::remove(ctx, guards, list).await,
        Action::Scale(scale) => scale::scale(ctx, guards, scale).await,
        Action::ResolveReferences(wanted) => {
            guards::hold(ctx, guards).await?;
            work.resolve_references(ctx, wanted).await
        }
        Action::ResolveSource(wanted) => {
            guards::hold(ctx, guards).await?;
            work.resolve_source(ctx, wanted).await
        }
        Action::ClaimStep(step) => {
            guards::hold(ctx, guards).await?;
            work.claim(ctx, step, planned.id).await
        }
        Action::CancelStep(step) => {
            guards::hold(ctx, guards).await?;
            work.cancel(ctx, step).await
        }
        Action::EmitEvent(event) => {
            guards::hold(ctx, guards).await?;
            event::emit(ctx, event, planned.id).await
        }
    }
}

/// What the planner saw of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence<'a> {
    /// Uid.
    pub(crate) uid: &'a str,
    /// Resource version.
    pub(crate) resource_version: &'a str,
    /// `LiveObject::basis` of it.
    pub(crate) seen: Option<&'a str>,
}

impl Fence<'_> {
    /// Whether a live child is still what the write rests on.
    pub(crate) fn rests_on(&self, live: &serde_json::Value) -> bool {
        let now = crate::conflict::trimmed(live).map(|live| live.basis());
        self.seen.is_some() && self.seen == now.as_deref()
    }
}
