//! What a panic that was caught has said.
//!
//! Never catches one: who does decides what it means.

use std::any::Any;

/// Its words; none if it had no text.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn text_is_told_however_it_is_kept() {
        let of = |panic: fn()| catch_unwind(panic).unwrap_err();
        assert_eq!(said(of(|| panic!("a defect")).as_ref()), Some("a defect"));
        let number = std::hint::black_box(7);
        let formatted = catch_unwind(|| panic!("defect {number}")).unwrap_err();
        assert_eq!(said(formatted.as_ref()), Some("defect 7"));
        let silent = of(|| std::panic::panic_any(7));
        assert_eq!(said(silent.as_ref()), None);
    }
}
