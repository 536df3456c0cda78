//! What the kernel tells of a process in `/proc/<pid>/stat`.
//!
//! Decides where a field stands; never what it means.

/// A field by its number in `proc_pid_stat(5)`, from the third on: the name before them may hold blanks and brackets.
#[must_use]
pub fn field(stat: &str, number: usize) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number.checked_sub(3)?)
}
