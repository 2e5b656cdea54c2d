//! What `repofanout check` finds.

use crate::commands::say;

/// Prints findings line by line, and counts what is missing.
#[derive(Default)]
pub(super) struct Report {
    /// How much is missing.
    pub(super) missing: usize,
}

impl Report {
    /// Prints one finding; answers whether it is as it should be.
    pub(super) fn add(&mut self, subject: &str, result: Result<String, String>) -> bool {
        match &result {
            Ok(said) => say(format!("ok       {subject}: {said}")),
            Err(wrong) => {
                say(format!("MISSING  {subject}: {wrong}"));
                self.missing += 1;
            }
        }
        result.is_ok()
    }
}
