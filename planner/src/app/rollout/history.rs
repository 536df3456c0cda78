//! History: old revisions without pods, of which a few are kept.
//!
//! Decides which are deleted, oldest first. Never one that serves, is rolled out or is asked for.

use super::Chart;
use super::choose::is_active;

/// How many more than the limit may pile up while a rollout is under way: it comes first.
const SLACK: usize = 10;

impl Chart<'_, '_> {
    pub(super) fn forget_history(&mut self) {
        let active = self
            .course
            .rollout
            .as_ref()
            .filter(|rollout| is_active(rollout.state));
        let limit = usize::try_from(self.app.spec.rollout.history_limit).unwrap_or(0);
        let (limit, most) = match active {
            Some(_) => (limit, limit.saturating_add(SLACK)),
            None => (limit, limit),
        };
        let mut kept: Vec<String> = vec![self.app.revision.clone()];
        kept.extend(self.course.stable.clone());
        kept.extend(active.map(|rollout| rollout.revision.clone()));
        kept.extend(active.and_then(|rollout| rollout.base.clone()));
        let mut old = self.world.revisions();
        old.retain(|one| {
            let listed = self.course.delete.iter().any(|(hash, _)| *hash == one.hash);
            !kept.contains(&one.hash) && one.is_empty() && !listed
        });
        if old.len() <= most || self.app.spec.paused {
            return;
        }
        let excess = old.len().saturating_sub(limit);
        self.course
            .delete
            .extend(old.into_iter().take(excess).map(|one| (one.hash, true)));
    }
}
