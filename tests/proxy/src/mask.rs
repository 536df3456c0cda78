//! Names that differ from run to run, replaced by words that do not.
//!
//! Decides how a step, an object or a log line of one run reads in all runs.

/// Names of one run and the words that stand for them.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// Name, word, and whether what has it belongs to the run.
    names: Vec<(String, String, bool)>,
    /// The word behind which a revision's hash stands.
    stem: Option<String>,
    revisions: Vec<String>,
    /// Beginning of names that end in an id, and the word for them.
    ids: Option<(String, String)>,
}

/// Digits of a revision's hash, at least.
const HASH: usize = 8;

impl Masks {
    /// Nothing is masked.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// `word` stands for `name`. Longer names first, where one is part of another.
    #[must_use]
    pub fn with(mut self, name: &str, word: &str) -> Self {
        self.names.push((name.to_owned(), word.to_owned(), true));
        self
    }

    /// `word` stands for `name`, which others have as well: alone it makes nothing part of the run.
    #[must_use]
    pub fn with_place(mut self, name: &str, word: &str) -> Self {
        self.names.push((name.to_owned(), word.to_owned(), false));
        self
    }

    /// A revision that is there from the beginning.
    #[must_use]
    pub fn with_revision(mut self, hash: &str) -> Self {
        self.revisions.push(hash.to_owned());
        self
    }

    /// Hashes behind `<word>-` become `A`, `B` and so on, in the order in which they are seen.
    #[must_use]
    pub fn with_revisions_of(mut self, word: &str) -> Self {
        self.stem = Some(format!("{word}-"));
        self
    }

    /// `word` stands for all names that are `beginning` and hexadecimal digits.
    #[must_use]
    pub fn with_ids(mut self, beginning: &str, word: &str) -> Self {
        self.ids = Some((beginning.to_owned(), word.to_owned()));
        self
    }

    /// The text with words for names, and whether it belongs to the run.
    pub fn mask(&mut self, text: &str) -> (String, bool) {
        let mut masked = text.to_owned();
        let mut own = false;
        for (name, word, owns) in &self.names {
            if masked.contains(name.as_str()) {
                masked = masked.replace(name.as_str(), word);
                own |= owns;
            }
        }
        if let Some((beginning, word)) = &self.ids {
            let all: Vec<_> = masked.match_indices(beginning.as_str()).collect();
            let names: Vec<String> = all
                .into_iter()
                .filter_map(|(at, _)| masked.get(at + beginning.len()..))
                .map(|rest| rest.chars().take_while(char::is_ascii_hexdigit).collect())
                .filter(|hash: &String| hash.len() >= HASH)
                .collect();
            for name in names {
                masked = masked.replace(&format!("{beginning}{name}"), word);
                own = true;
            }
        }
        if let Some(stem) = self.stem.clone() {
            self.learn(&masked, &stem);
        }
        for (index, revision) in self.revisions.iter().enumerate() {
            if masked.contains(revision.as_str()) {
                masked = masked.replace(revision.as_str(), &letter(index));
            }
        }
        (masked, own)
    }

    fn learn(&mut self, masked: &str, stem: &str) {
        for (at, _) in masked.match_indices(stem) {
            let rest = masked.get(at + stem.len()..).unwrap_or_default();
            let hash: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            if hash.len() >= HASH && !self.revisions.contains(&hash) {
                self.revisions.push(hash);
            }
        }
    }
}

fn letter(index: usize) -> String {
    let letter = u8::try_from(index).map_or('Z', |index| char::from(b'A' + index.min(25)));
    letter.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_revisions_become_words() {
        let mut masks = Masks::none()
            .with_place("team-1", "$ns")
            .with("orders-7", "$app")
            .with_revisions_of("$app");
        let text = "apply deployments team-1/orders-7-0123abcd99";
        assert_eq!(
            masks.mask(text),
            ("apply deployments $ns/$app-A".to_owned(), true)
        );
        assert_eq!(masks.mask("orders-7-ffffffff").0, "$app-B");
        assert_eq!(masks.mask("selects 0123abcd99").0, "selects A");
        let mut ids = Masks::none().with_ids("sb-", "$lease");
        assert_eq!(
            ids.mask("a/sb-0123456789ab-1"),
            ("a/$lease-1".to_owned(), true)
        );
        assert_eq!(ids.mask("sb-x"), ("sb-x".to_owned(), false));
        assert_eq!(masks.mask("team-1/other"), ("$ns/other".to_owned(), false));
    }
}
