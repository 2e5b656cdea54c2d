//! `repofanout crd` and `announcement-schema`: what the program prints about its own types.

use std::path::Path;

use crate::api;
use crate::commands::say;
use crate::feature::announce::message::Announcement;

/// Prints the CustomResourceDefinitions, or writes each into a file of the folder.
///
/// # Errors
/// A file cannot be written.
pub fn crds(output: Option<&Path>) -> Result<(), String> {
    for (file, yaml) in api::crds() {
        match &output {
            None => say(format!("---\n{yaml}")),
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, yaml).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Prints the JSON schema of announcements, or writes it into the file.
///
/// # Errors
/// The file cannot be written.
pub fn announcement_schema(output: Option<&Path>) -> Result<(), String> {
    let text = format!("{:#}", Announcement::schema());
    match output {
        None => say(text),
        Some(path) => {
            std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?
        }
    }
    Ok(())
}
