//! The class of a PostgreSQL error, by its SQLSTATE alone.
//!
//! Decides what may pass by itself; never reads a message, whose text depends on the server's locale.

use signalbox_common::class::ErrorClass;

/// The class of an error with this SQLSTATE.
#[must_use]
pub(crate) fn class(code: &str) -> ErrorClass {
    match code {
        // Lock timeout, serialization failure, deadlock, statement timeout or cancel, too many
        // connections, a standby: all may pass.
        "55P03" | "40001" | "40P01" | "57014" | "53300" | "25006" => ErrorClass::Transient,
        // The password or the role is refused, or the role lacks a right: a change of the Secret or
        // of the server heals it.
        "28P01" | "28000" | "42501" => ErrorClass::Forbidden,
        // The database does not exist (yet).
        "3D000" => ErrorClass::Missing,
        // Connection lost; the server shuts down, has crashed or starts.
        _ if code.starts_with("08") || code.starts_with("57P0") => ErrorClass::Transient,
        _ => ErrorClass::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_transient() {
        for code in [
            "55P03", "40001", "40P01", "57014", "53300", "25006", "08006", "08003", "57P01",
            "57P03",
        ] {
            assert_eq!(class(code), ErrorClass::Transient, "{code}");
        }
    }

    #[test]
    fn refused_credentials_wait_for_a_change() {
        assert_eq!(class("28P01"), ErrorClass::Forbidden);
        assert_eq!(class("28000"), ErrorClass::Forbidden);
        assert_eq!(class("42501"), ErrorClass::Forbidden);
        assert_eq!(class("3D000"), ErrorClass::Missing);
    }

    #[test]
    fn everything_else_is_permanent() {
        for code in ["42601", "42P01", "23505", "22012", "25001", ""] {
            assert_eq!(class(code), ErrorClass::Invalid, "{code}");
        }
    }
}
