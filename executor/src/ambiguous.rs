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
    let live = match ctx.api.get(&target).await {
        Ok(live) => live,
        // The first error tells more, but a wait that the server asked for holds.
        Err(unread) => {
            return Err(ActionError {
                retry_after: err.retry_after.max(unread.retry_after),
                ..err
            });
        }
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
