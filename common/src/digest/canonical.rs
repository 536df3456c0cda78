//! The canonical form of JSON: compact, the fields of every object sorted by key, of two with one key the last.
//!
//! Written straight from the value, without a tree in between: most of the cost of a plan was that tree. The form
//! never changes: digests of it stand in clusters and in records.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// The canonical JSON of `value`.
pub(super) fn bytes<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let text = Text::default();
    let sorting = Sorting {
        text: &text,
        open: Vec::new(),
        keys: Vec::new(),
    };
    value.serialize(&mut Serializer::with_formatter(&text, sorting))?;
    Ok(text.0.into_inner())
}

/// What is written so far: the serializer appends to it, and the formatter sorts what it has appended.
#[derive(Default)]
struct Text(RefCell<Vec<u8>>);

impl Text {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl io::Write for &Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A compact formatter that sorts an object when it ends.
struct Sorting<'t> {
    text: &'t Text,
    /// For each object that has not ended, how many keys came before its own.
    open: Vec<usize>,
    /// Where the keys of all of them stand, with their quotes.
    keys: Vec<Range<usize>>,
}

impl Formatter for Sorting<'_> {
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(self.keys.len());
        CompactFormatter.begin_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        CompactFormatter.begin_object_key(writer, first)?;
        let start = self.text.len();
        self.keys.push(start..start);
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        if let Some(key) = self.keys.last_mut() {
            key.end = self.text.len();
        }
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.open.pop().unwrap_or_default();
        let own = self.keys.get(first..).unwrap_or_default();
        sort(&mut self.text.0.borrow_mut(), own);
        self.keys.truncate(first);
        CompactFormatter.end_object(writer)
    }

    /// As a tree holds it, which knows no short floats.
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }
}

/// Sorts the fields of the object with which `text` ends; `keys` are the places of their keys.
fn sort(text: &mut Vec<u8>, keys: &[Range<usize>]) {
    let Some(start) = keys.first().map(|key| key.start) else {
        return;
    };
    let at = |range: Range<usize>| text.get(range).unwrap_or_default();
    let inner = |key: &Range<usize>| at(key.start + 1..key.end - 1);
    // A text with escapes is not in the order of what it means.
    if keys.is_sorted_by(|a, b| inner(a) < inner(b))
        && !keys.iter().any(|key| inner(key).contains(&b'\\'))
    {
        return;
    }
    let ends = keys.iter().skip(1).map(|next| next.start - 1);
    let mut fields: Vec<(String, &[u8])> = keys
        .iter()
        .zip(ends.chain([text.len()]))
        .map(|(key, end)| {
            let name = serde_json::from_slice(at(key.clone())).unwrap_or_default();
            (name, at(key.start..end))
        })
        .collect();
    // The last of two stands first, and stays.
    fields.reverse();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.dedup_by(|(a, _), (b, _)| a == b);
    let fields: Vec<&[u8]> = fields.into_iter().map(|(_, field)| field).collect();
    let sorted = fields.join(&b',');
    text.truncate(start);
    text.extend(sorted);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[derive(Clone, Serialize)]
    struct Unsorted {
        z: Option<&'static str>,
        m: Kinds,
        #[serde(flatten)]
        more: BTreeMap<String, Value>,
        a: (f64, f32, i64, u64, char),
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        b: Vec<Kinds>,
        numbered: BTreeMap<i32, u8>,
    }

    #[derive(Clone, Serialize)]
    enum Kinds {
        Unit,
        New(u8),
        Both(u8, bool),
        Named { y: f32, x: () },
    }

    fn unsorted() -> Unsorted {
        let more = json!({
            "b": "the field of the struct comes later",
            "z": "the field of the struct came before",
            "k": {"\u{e9}": 1, "e": [], "": {}, "quote\"": 2, "quote!": 3, "\\": 4, "]": 5, "[": 6, "\n": 7, " ": 8},
        });
        Unsorted {
            z: Some("\u{7f}\u{1}\"\\/\u{1f600}"),
            m: Kinds::Named { y: 0.1, x: () },
            more: serde_json::from_value(more).unwrap(),
            a: (f64::NAN, 16_777_217.3, i64::MIN, u64::MAX, '\''),
            left_out: None,
            b: vec![Kinds::Unit, Kinds::New(1), Kinds::Both(2, true)],
            numbered: BTreeMap::from([(-1, 0), (2, 0), (10, 0)]),
        }
    }

    #[track_caller]
    fn check(value: &impl Serialize) {
        let tree = serde_json::to_value(value).unwrap().to_string();
        assert_eq!(String::from_utf8(bytes(value).unwrap()).unwrap(), tree);
    }

    #[test]
    fn the_form_is_that_of_a_sorted_tree() {
        check(&unsorted());
        check(&serde_json::to_value(unsorted()).unwrap());
        check(&[Some(unsorted()), None]);
        check(&json!([null, true, -1, 1.0e300, 1.5, "", [], {}, {"a": {}}]));
        check(&("text", 1));
    }

    #[test]
    fn what_has_no_json_has_no_form() {
        assert!(bytes(&BTreeMap::from([((1, 2), 3)])).is_err());
    }
}
