//! The tokens of SQL as far as splitting needs them: where strings, comments and words begin and end.
//!
//! Follows the rules of PostgreSQL's own scanner with `standard_conforming_strings` on. Never judges
//! a statement.

/// What a stretch of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// White space or a comment.
    Trivia,
    /// An unquoted word.
    Word,
    /// A quoted identifier.
    Quoted,
    /// A string in single quotes.
    Text,
    /// A dollar-quoted string: a routine's body, as a rule.
    Body,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Any other byte.
    Other,
}

/// Something that begins and never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unterminated {
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// Where it begins, in bytes.
    pub(crate) at: usize,
}

/// Reads tokens off a text.
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

const fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl<'a> Lexer<'a> {
    /// At the beginning of `text`.
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next token with its range in bytes; none at the end.
    pub(crate) fn read(&mut self) -> Result<Option<(Token, usize, usize)>, Unterminated> {
        let start = self.at;
        let Some(byte) = self.peek(0) else {
            return Ok(None);
        };
        let token = match byte {
            b'-' if self.peek(1) == Some(b'-') => self.line_comment(),
            b'/' if self.peek(1) == Some(b'*') => self.block_comment()?,
            b'\'' => self.text(false)?,
            b'"' => self.quoted()?,
            b'$' => self.dollar()?,
            b'e' | b'E' if self.peek(1) == Some(b'\'') => {
                self.at += 1;
                self.text(true)?
            }
            _ if begins_word(byte) => {
                self.skip_while(continues_word);
                Token::Word
            }
            // A number takes the letters that follow it, so that `1e` begins no string.
            _ if byte.is_ascii_digit() => {
                self.skip_while(continues_word);
                Token::Other
            }
            _ if is_space(byte) => {
                self.skip_while(is_space);
                Token::Trivia
            }
            _ => {
                self.at += 1;
                match byte {
                    b';' => Token::Semicolon,
                    b'(' => Token::Open,
                    b')' => Token::Close,
                    _ => Token::Other,
                }
            }
        };
        Ok(Some((token, start, self.at)))
    }

    fn skip_while(&mut self, holds: fn(u8) -> bool) {
        while self.peek(0).is_some_and(holds) {
            self.at += 1;
        }
    }

    fn line_comment(&mut self) -> Token {
        self.skip_while(|byte| byte != b'\n' && byte != b'\r');
        Token::Trivia
    }

    fn block_comment(&mut self) -> Result<Token, Unterminated> {
        let begun = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(Token::Trivia);
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => {
                    return Err(Unterminated {
                        what: "comment",
                        at: begun,
                    });
                }
            }
        }
    }

    /// A string; `escapes`: an `E''` one, in which a backslash takes the next character.
    fn text(&mut self, escapes: bool) -> Result<Token, Unterminated> {
        let begun = self.at;
        loop {
            self.at += 1;
            loop {
                match self.peek(0) {
                    Some(b'\'') if self.peek(1) == Some(b'\'') => self.at += 2,
                    Some(b'\'') => break,
                    Some(b'\\') if escapes => self.at += 2,
                    Some(_) => self.at += 1,
                    None => {
                        return Err(Unterminated {
                            what: "string",
                            at: begun,
                        });
                    }
                }
            }
            self.at += 1;
            // `E'a'` and, on a later line, `'b'` are one string under the same rules.
            match self.continuation() {
                Some(quote) if escapes => self.at = quote,
                Some(_) | None => return Ok(Token::Text),
            }
        }
    }

    /// Where the string goes on: a quote after white space and comments with a line end in between.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = Lexer {
            bytes: self.bytes,
            at: self.at,
        };
        let mut line_end = false;
        loop {
            match (ahead.peek(0)?, ahead.peek(1)) {
                (b'\'', _) => return line_end.then_some(ahead.at),
                (b'-', Some(b'-')) => {
                    ahead.line_comment();
                }
                (byte, _) if is_space(byte) => {
                    line_end |= byte == b'\n' || byte == b'\r';
                    ahead.at += 1;
                }
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Result<Token, Unterminated> {
        let begun = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(b'"') if self.peek(1) == Some(b'"') => self.at += 2,
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token::Quoted);
                }
                Some(_) => self.at += 1,
                None => {
                    return Err(Unterminated {
                        what: "quoted identifier",
                        at: begun,
                    });
                }
            }
        }
    }

    /// `$tag$ ... $tag$`, or a lone `$` (of a parameter).
    fn dollar(&mut self) -> Result<Token, Unterminated> {
        let begun = self.at;
        let tag_end = self
            .rest()
            .iter()
            .skip(1)
            .position(|&byte| byte == b'$')
            .map(|end| end + 2);
        let tag = tag_end
            .and_then(|end| self.rest().get(..end))
            .filter(|tag| is_tag(tag));
        let Some(tag) = tag else {
            self.at += 1;
            return Ok(Token::Other);
        };
        self.at += tag.len();
        let end = self
            .rest()
            .windows(tag.len())
            .position(|window| window == tag);
        let Some(end) = end else {
            return Err(Unterminated {
                what: "dollar-quoted string",
                at: begun,
            });
        };
        self.at += end + tag.len();
        Ok(Token::Body)
    }
}

const fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Whether `text`, between and with two dollars, is a tag: empty, or an identifier without dollars.
fn is_tag(text: &[u8]) -> bool {
    let inner = text
        .get(1..text.len().saturating_sub(1))
        .unwrap_or_default();
    inner.first().is_none_or(|&byte| begins_word(byte)) && inner.iter().copied().all(continues_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token, &str)> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        while let Some((token, start, end)) = lexer.read().unwrap() {
            if token != Token::Trivia {
                found.push((token, &text[start..end]));
            }
        }
        found
    }

    #[test]
    fn strings_end_where_the_server_ends_them() {
        assert_eq!(tokens(r"'a;''b\'"), [(Token::Text, r"'a;''b\'")]);
        assert_eq!(tokens(r"E'a\';'"), [(Token::Text, r"E'a\';'")]);
        assert_eq!(tokens("E'a'\n'b\\';'"), [(Token::Text, "E'a'\n'b\\';'")]);
        assert_eq!(tokens("$$a;$b$;$$"), [(Token::Body, "$$a;$b$;$$")]);
        assert_eq!(tokens("$a$ $$ ; $a$"), [(Token::Body, "$a$ $$ ; $a$")]);
        assert_eq!(tokens("a$b$"), [(Token::Word, "a$b$")]);
        assert_eq!(tokens("$1"), [(Token::Other, "$"), (Token::Other, "1")]);
        assert_eq!(tokens("\"a\"\";\""), [(Token::Quoted, "\"a\"\";\"")]);
    }

    #[test]
    fn comments_are_skipped_and_nest() {
        assert_eq!(tokens("/* a /* b */ ; */ -- ' ;\nx"), [(Token::Word, "x")]);
    }

    #[test]
    fn what_never_ends_is_told() {
        for (text, what, at) in [
            ("'a", "string", 0),
            ("E'a\\'", "string", 1),
            ("\"a", "quoted identifier", 0),
            ("$x$ $$", "dollar-quoted string", 0),
            ("/* /* */", "comment", 0),
        ] {
            assert_eq!(
                Lexer::new(text).read().unwrap_err(),
                Unterminated { what, at }
            );
        }
    }
}
