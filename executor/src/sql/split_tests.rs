//! Tests of the splitter: cases, and properties over generated files.

use proptest::prelude::*;

use super::*;

fn texts(text: &str) -> Vec<&str> {
    split(text)
        .unwrap()
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn statements_keep_their_text_number_and_line() {
    let found =
        split("-- first\ncreate table a (x int);\n\n;insert into a values (';'); ").unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].number, found[0].line), (1, 2));
    assert_eq!(
        found[1],
        Statement {
            number: 2,
            line: 4,
            text: "insert into a values (';')"
        }
    );
}

#[test]
fn semicolons_inside_rules_and_atomic_bodies_end_nothing() {
    let rule = "create rule r as on insert to a do also (delete from b; delete from c)";
    let body = "create or replace function f() returns int begin atomic \
                select case when true then 1 else 2 end; select 2; end";
    assert_eq!(
        texts(&format!("{rule};{body};select 1")),
        [rule, body, "select 1"]
    );
}

#[test]
fn a_nul_is_told_with_its_line() {
    assert_eq!(
        split("select 1;\nselect '\0'").unwrap_err(),
        SplitError::Nul { line: 2 }
    );
}

#[test]
fn comments_alone_are_no_statement() {
    assert!(texts("-- nothing; here\n/* ; */ ;;").is_empty());
}

#[test]
fn what_ends_or_escapes_the_transaction_is_refused() {
    for sql in [
        "BEGIN",
        "start transaction",
        "/* x */ Commit",
        "ROLLBACK to a",
        "end",
        "abort",
        "savepoint a",
        "prepare transaction 'x'",
        "discard all",
        "select pg_advisory_unlock_all()",
        "select \"pg_advisory_unlock\"(1)",
        "do $$ begin perform pg_advisory_unlock(1); end $$",
        "vacuum full a",
        "create index concurrently i on a (x)",
        "create unique index concurrently i on a (x)",
        "drop index concurrently i",
        "reindex (concurrently) table a",
        "alter table a detach partition b concurrently",
        "create database x",
        "alter system set a = 1",
        "copy a from stdin",
        "set local standard_conforming_strings = off",
    ] {
        let file = format!("select 1;\n{sql};");
        let refused = split(&file).unwrap_err();
        let SplitError::Refused { number, line, .. } = refused else {
            panic!("{sql}: {refused}")
        };
        assert_eq!((number, line), (2, 2), "{sql}");
    }
}

#[test]
fn a_refusal_names_statement_and_reason() {
    let refused = split("select 1; create index concurrently i on a (x)")
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "statement 2 (line 1): CREATE INDEX CONCURRENTLY is refused: PostgreSQL can't run it inside a transaction"
    );
}

#[test]
fn the_same_words_elsewhere_are_no_refusal() {
    for sql in [
        "select 'commit; begin'",
        "insert into a (\"commit\") values (1)",
        "do $$ begin raise notice 'x'; end $$",
        "create index i on a (x)",
        "refresh materialized view concurrently v",
        "alter type t add value 'concurrently'",
    ] {
        assert_eq!(texts(sql), [sql]);
    }
}

/// One piece of a statement that holds a semicolon or a quote which must not count.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        "[ -~&&[^'\\\\]]{0,8}".prop_map(|text| format!("'{text}''{text}'")),
        "[ -~&&[^'\\\\]]{0,8}".prop_map(|text| format!("E'{text}\\';'")),
        "[ -~&&[^\"]]{0,8}".prop_map(|text| format!("\"{text}\"")),
        "[ -~&&[^$]]{0,8}".prop_map(|text| format!("$t${text};$t$")),
        "[ -~&&[^*/]]{0,8}".prop_map(|text| format!("/*{text};/*{text}*/*/")),
        "[ -~]{0,8}".prop_map(|text| format!("--{text};\n")),
        Just("(select 1; select 2)".to_owned()),
    ]
}

fn statement() -> impl Strategy<Value = String> {
    // The first and the last word are no trivia, so the text is what comes back.
    prop::collection::vec(piece(), 0..6).prop_map(|pieces| format!("insert {} x", pieces.join(" ")))
}

proptest! {
    #[test]
    fn a_file_falls_into_the_statements_it_was_made_of(
        statements in prop::collection::vec(statement(), 0..6)
    ) {
        let usable = |text: &String| !text.to_ascii_lowercase().contains("pg_advisory");
        prop_assume!(statements.iter().all(usable));
        let file = statements.join(" ;\n");
        let found = split(&file).unwrap();
        let texts: Vec<&str> = found.iter().map(|statement| statement.text).collect();
        prop_assert_eq!(texts, statements);
        let numbers: Vec<usize> = found.iter().map(|statement| statement.number).collect();
        prop_assert_eq!(numbers, (1..=found.len()).collect::<Vec<_>>());
    }

    #[test]
    fn no_text_breaks_the_splitter_and_nothing_is_made_up(text in "\\PC{0,80}|[;'\"$E\\\\/*\\-() \na]{0,60}") {
        if let Ok(found) = split(&text) {
            let mut at = 0;
            for statement in found {
                let place = text.get(at..).and_then(|rest| rest.find(statement.text));
                prop_assert!(place.is_some());
                at += place.unwrap_or_default() + statement.text.len();
            }
        }
    }
}
