//! What Signalbox's figures are held against. Pure.

/// A bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// The figure is only told.
    None,
    /// No more than this.
    AtMost(f64),
    /// No more than so many times the needed writes alone.
    TimesRaw(f64),
    /// No more than the best peer's figure and this.
    PeerPlus(f64),
    /// No more than so many times this peer's figure.
    TimesPeer(&'static str, f64),
}

impl Bar {
    /// As it stands in the table.
    pub(crate) fn words(self) -> String {
        match self {
            Self::None => String::new(),
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::TimesRaw(times) => format!("≤ {times} × raw"),
            Self::PeerPlus(more) => format!("≤ best peer + {more}"),
            Self::TimesPeer(peer, times) => format!("≤ {times} × {peer}"),
        }
    }

    /// Whether a figure holds it, beside `raw` and the figures of peers; none if there is nothing to compare with.
    pub(crate) fn holds(
        self,
        figure: f64,
        raw: Option<f64>,
        peers: &[(&str, f64)],
    ) -> Option<bool> {
        let limit = match self {
            Self::None => None,
            Self::AtMost(limit) => Some(limit),
            Self::TimesRaw(times) => raw.map(|raw| raw * times),
            Self::PeerPlus(more) => peers
                .iter()
                .map(|peer| peer.1)
                .reduce(f64::min)
                .map(|best| best + more),
            Self::TimesPeer(name, times) => {
                let peer = peers.iter().find(|peer| peer.0 == name);
                peer.map(|peer| peer.1 * times)
            }
        };
        limit.map(|limit| figure <= limit + 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_compares_with_what_it_names() {
        let peers = [("controller-runtime", 4.0), ("kopf", 9.0)];
        let check = |bar: Bar, figure, raw, expected| {
            assert_eq!(bar.holds(figure, raw, &peers), expected, "{bar:?} {figure}");
        };
        check(Bar::None, 1.0, Some(1.0), None);
        check(Bar::AtMost(2.0), 2.0, None, Some(true));
        check(Bar::AtMost(2.0), 2.1, None, Some(false));
        check(Bar::TimesRaw(1.15), 11.5, Some(10.0), Some(true));
        check(Bar::TimesRaw(1.15), 11.6, Some(10.0), Some(false));
        check(Bar::TimesRaw(1.15), 1.0, None, None);
        check(Bar::PeerPlus(3.0), 7.0, None, Some(true));
        check(Bar::PeerPlus(3.0), 7.1, None, Some(false));
        check(Bar::TimesPeer("kopf", 1.5), 13.5, None, Some(true));
        check(Bar::TimesPeer("kube-rs", 1.5), 1.0, None, None);
        assert_eq!(Bar::PeerPlus(3.0).holds(1.0, None, &[]), None);
    }
}
