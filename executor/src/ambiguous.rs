//! A write whose answer was not seen is read back: done, or to be planned anew.
//!
//! Never sends the write again.

use crate::conflict::{Fenced, found, gone, trimmed, uid_of};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// What came of a fenced write whose answer was not seen.
pub(crate) async fn read_back(
    ctx: &PlanContext,
    fenced: &dyn Fenced,
    err: ActionError,
) -> Result<Applied, ActionError> {
    let target = fenced.target().whole();
    // If it can't be read either, the first error tells more.
    let Ok(live) = ctx.api.get(&target).await else {
        return Err(err);
    };
    let Some(live) = live else {
        return Err(gone(&err));
    };
    if uid_of(&live) != fenced.uid() {
        let gone = ActionError::conflict(format!("{}: another uid", err.message));
        return Err(gone.with_live(trimmed(&live)));
    }
    if fenced.is_done(&live) {
        tracing::info!(error = %err, "a write whose answer was lost is done");
        return Ok(found(&target, &live));
    }
    Err(err)
}
