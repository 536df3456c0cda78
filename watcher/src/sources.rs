//! How each watch stands: filled, absent or blind.
//!
//! Decides when all caches are filled, and from when on a watch that does not run makes its kind blind.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::queue::At;
use crate::watch::{Source, Trouble};

/// A watch that fails for this long makes its kind blind.
const BLIND_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Standing {
    /// Its list was complete once.
    filled: bool,
    trouble: Option<(Trouble, At)>,
    /// Names of the list under way.
    listing: Option<HashSet<(String, String)>>,
}

/// All watches.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    standings: HashMap<Source, Standing>,
}

impl Sources {
    /// None has told anything.
    #[must_use]
    pub(crate) fn new() -> Self {
        let all = Source::all()
            .into_iter()
            .map(|source| (source, Standing::default()));
        Self {
            standings: all.collect(),
        }
    }

    /// A list begins.
    pub(crate) fn begin(&mut self, source: Source) {
        self.standings.entry(source).or_default().listing = Some(HashSet::new());
    }

    /// The list under way names an object.
    pub(crate) fn name(&mut self, source: Source, namespace: &str, name: &str) {
        let standing = self.standings.entry(source).or_default();
        if let Some(listing) = &mut standing.listing {
            listing.insert((namespace.to_owned(), name.to_owned()));
        }
    }

    /// The list is complete; returns all names in it.
    pub(crate) fn complete(&mut self, source: Source) -> HashSet<(String, String)> {
        let standing = self.standings.entry(source).or_default();
        standing.filled = true;
        standing.trouble = None;
        standing.listing.take().unwrap_or_default()
    }

    /// The watch fails.
    pub(crate) fn fail(&mut self, source: Source, trouble: Trouble, now: At) {
        let standing = self.standings.entry(source).or_default();
        let since = match &standing.trouble {
            Some((before, since))
                if (*before == Trouble::Absent) == (trouble == Trouble::Absent) =>
            {
                *since
            }
            _ => now,
        };
        standing.trouble = Some((trouble, since));
    }

    /// The watch runs again.
    pub(crate) fn well(&mut self, source: Source) {
        self.standings.entry(source).or_default().trouble = None;
    }

    /// Whether the watch runs now.
    #[must_use]
    pub(crate) fn runs(&self, source: Source) -> bool {
        self.standings
            .get(&source)
            .is_some_and(|s| s.filled && s.trouble.is_none())
    }

    /// Whether every cache is filled, or can't be.
    #[must_use]
    pub(crate) fn all_filled(&self, now: At) -> bool {
        let known = |standing: &Standing| match &standing.trouble {
            _ if standing.filled => true,
            Some((Trouble::Absent, _)) => true,
            Some((Trouble::Blind(_), since)) => *since + BLIND_AFTER <= now,
            None => false,
        };
        self.standings.values().all(known)
    }

    /// Kinds that are not served, sorted.
    #[must_use]
    pub(crate) fn absent(&self) -> Vec<String> {
        let absent = |s: &Standing| matches!(s.trouble, Some((Trouble::Absent, _)));
        self.kinds(|standing| absent(standing).then(String::new))
    }

    /// Kinds that can't be watched now, each with the reason, sorted.
    #[must_use]
    pub(crate) fn blind(&self, now: At) -> Vec<String> {
        self.kinds(|standing| match &standing.trouble {
            Some((Trouble::Blind(why), since)) if *since + BLIND_AFTER <= now => {
                Some(format!(": {why}"))
            }
            Some((Trouble::Blind(_) | Trouble::Absent, _)) | None => None,
        })
    }

    fn kinds(&self, told: impl Fn(&Standing) -> Option<String>) -> Vec<String> {
        let mut kinds: Vec<String> = self
            .standings
            .iter()
            .filter_map(|(source, standing)| Some(format!("{}{}", source.kind(), told(standing)?)))
            .collect();
        kinds.sort();
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::kinds::ChildKind;

    #[test]
    fn filled_absent_and_blind() {
        let mut sources = Sources::new();
        let at = Duration::from_secs;
        let hpa = Source::Child(ChildKind::HorizontalPodAutoscaler);
        for source in Source::all() {
            assert!(!sources.all_filled(at(0)));
            sources.begin(source);
            sources.name(source, "n", "x");
            if source != hpa {
                assert_eq!(sources.complete(source).len(), 1);
            }
        }
        sources.fail(hpa, Trouble::Blind("forbidden".into()), at(1));
        sources.fail(hpa, Trouble::Blind("forbidden".into()), at(8));
        assert!(!sources.all_filled(at(10)));
        assert!(sources.all_filled(at(11)));
        assert_eq!(
            sources.blind(at(11)),
            ["HorizontalPodAutoscaler: forbidden"]
        );
        sources.fail(hpa, Trouble::Absent, at(12));
        assert_eq!(
            (sources.absent().len(), sources.blind(at(99)).len()),
            (1, 0)
        );
        assert!(sources.all_filled(at(12)));
        sources.well(hpa);
        assert!(sources.absent().is_empty());
    }
}
