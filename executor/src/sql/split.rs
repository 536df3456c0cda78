//! A file's statements, one by one, and the refusal of those that can't be part of one transaction.
//!
//! Never changes a statement and never runs one. A semicolon inside parentheses (`CREATE RULE`) or a
//! routine's `BEGIN ATOMIC` body ends nothing.

use super::lexer::{Lexer, Token, Unterminated};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its text, without the semicolon and without comments before or after it.
    pub text: &'a str,
}

/// Why a file can't be run in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A string, comment or quoted identifier never ends.
    #[error("statement {number}: the {what} that begins on line {line} never ends")]
    Unterminated {
        /// Number of the statement.
        number: usize,
        /// What it is.
        what: &'static str,
        /// Where it begins.
        line: usize,
    },
    /// There is a NUL, which PostgreSQL takes nowhere.
    #[error("line {line} has a NUL character")]
    Nul {
        /// Where it is.
        line: usize,
    },
    /// The statement ends the transaction or its protection.
    #[error("statement {number} (line {line}): {what} is refused: {why}")]
    Refused {
        /// Number of the statement.
        number: usize,
        /// The line on which it begins.
        line: usize,
        /// The statement's first words.
        what: String,
        /// Why.
        why: &'static str,
    },
}

/// The statements of `text`, in order.
pub fn split(text: &str) -> Result<Vec<Statement<'_>>, SplitError> {
    if let Some(at) = text.find('\0') {
        return Err(SplitError::Nul {
            line: line_at(text, at),
        });
    }
    let mut splitter = Splitter {
        text,
        found: Vec::new(),
        open: Open::default(),
    };
    let mut lexer = Lexer::new(text);
    loop {
        match lexer.read() {
            Ok(Some((token, start, end))) => splitter.take(token, start, end)?,
            Ok(None) => break,
            Err(Unterminated { what, at }) => {
                let number = splitter.found.len() + 1;
                return Err(SplitError::Unterminated {
                    number,
                    what,
                    line: line_at(text, at),
                });
            }
        }
    }
    splitter.finish()?;
    Ok(splitter.found)
}

/// The statement under way.
#[derive(Default)]
struct Open {
    /// Begin and end in bytes, once there is a token.
    range: Option<(usize, usize)>,
    /// Its unquoted words, in lower case.
    words: Vec<String>,
    parentheses: usize,
    /// Nesting of `BEGIN ATOMIC` and `CASE` in a routine's body.
    body: usize,
    unlocks: bool,
}

struct Splitter<'a> {
    text: &'a str,
    found: Vec<Statement<'a>>,
    open: Open,
}

impl Splitter<'_> {
    fn take(&mut self, token: Token, start: usize, end: usize) -> Result<(), SplitError> {
        match token {
            Token::Trivia => return Ok(()),
            Token::Semicolon if self.open.parentheses == 0 && self.open.body == 0 => {
                return self.finish();
            }
            Token::Open => self.open.parentheses += 1,
            Token::Close => self.open.parentheses = self.open.parentheses.saturating_sub(1),
            Token::Word => {
                let word = self
                    .text
                    .get(start..end)
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                self.word(word);
            }
            Token::Quoted | Token::Body => {
                let inside = self.text.get(start..end).unwrap_or_default();
                self.open.unlocks |= inside.to_ascii_lowercase().contains(UNLOCK);
            }
            Token::Text | Token::Semicolon | Token::Other => {}
        }
        let begin = self.open.range.map_or(start, |(begin, _)| begin);
        self.open.range = Some((begin, end));
        Ok(())
    }

    fn word(&mut self, word: String) {
        if self.open.parentheses == 0 && is_routine(&self.open.words) {
            match word.as_str() {
                "begin" => self.open.body += 1,
                "case" if self.open.body > 0 => self.open.body += 1,
                "end" => self.open.body = self.open.body.saturating_sub(1),
                _ => {}
            }
        }
        self.open.unlocks |= word.starts_with(UNLOCK);
        self.open.words.push(word);
    }

    fn finish(&mut self) -> Result<(), SplitError> {
        let open = std::mem::take(&mut self.open);
        let Some((begin, end)) = open.range else {
            return Ok(());
        };
        let number = self.found.len() + 1;
        let line = line_at(self.text, begin);
        let words: Vec<&str> = open.words.iter().map(String::as_str).collect();
        let why = if open.unlocks {
            Some(HOLDS_LOCK)
        } else {
            refusal(&words)
        };
        if let Some(why) = why {
            let what = if open.unlocks {
                UNLOCK.to_owned()
            } else {
                shown(&words)
            };
            return Err(SplitError::Refused {
                number,
                line,
                what,
                why,
            });
        }
        let text = self.text.get(begin..end).unwrap_or_default();
        self.found.push(Statement { number, line, text });
        Ok(())
    }
}

const UNLOCK: &str = "pg_advisory_unlock";
const HOLDS_LOCK: &str = "the lock of the migration must be held until its end";
const ENDS: &str = "the whole file runs in one transaction, which Signalbox begins and commits";
const ALONE: &str = "PostgreSQL can't run it inside a transaction";
const NEEDS_CLIENT: &str = "there is no client that sends or takes the data";
const QUOTING: &str = "it changes where a string ends";

/// Why a statement with these words is refused, if it is.
fn refusal(words: &[&str]) -> Option<&'static str> {
    let has = |word: &str| words.contains(&word);
    match words {
        [
            "begin" | "start" | "commit" | "rollback" | "end" | "abort" | "savepoint" | "release",
            ..,
        ]
        | ["prepare", "transaction", ..] => Some(ENDS),
        ["discard", ..] => Some(HOLDS_LOCK),
        ["vacuum", ..]
        | ["create" | "drop", "database" | "tablespace", ..]
        | ["create" | "drop", "index", "concurrently", ..]
        | ["create", "unique", "index", "concurrently", ..]
        | ["alter", "system", ..]
        | ["alter", "database", _, "set", "tablespace", ..]
        | ["reindex", "database" | "system" | "schema", ..] => Some(ALONE),
        ["reindex", ..] if has("concurrently") => Some(ALONE),
        ["alter", "table", ..] if has("detach") && has("concurrently") => Some(ALONE),
        ["copy", ..] if has("stdin") || has("stdout") => Some(NEEDS_CLIENT),
        ["set" | "reset", ..] if has("standard_conforming_strings") => Some(QUOTING),
        _ => None,
    }
}

/// The first words, as they are usually written.
fn shown(words: &[&str]) -> String {
    let count = match words {
        ["create", "unique", "index", ..] => 4,
        ["create" | "drop", "index", ..] => 3,
        [
            "create" | "drop" | "prepare" | "start" | "alter" | "set" | "reset",
            ..,
        ] => 2,
        _ => 1,
    };
    words
        .iter()
        .take(count)
        .map(|word| word.to_ascii_uppercase())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether these words begin a routine, whose body may hold semicolons.
fn is_routine(words: &[String]) -> bool {
    let mut words = words.iter().map(String::as_str);
    if words.next() != Some("create") {
        return false;
    }
    let second = words.next();
    let object = if second == Some("or") {
        words.nth(1)
    } else {
        second
    };
    matches!(object, Some("function" | "procedure"))
}

fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
