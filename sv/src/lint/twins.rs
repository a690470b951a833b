//! Effects: entries of the services directory that only one runsv can supervise.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use servicedir::ServiceDir;
use sys::FileId;

use super::{Finding, shown};
use crate::service;

/// The entries of a services directory by their directories, and by their `supervise` directories.
#[derive(Default)]
pub struct Twins {
    services: BTreeMap<FileId, Vec<OsString>>,
    supervise: BTreeMap<FileId, Vec<OsString>>,
}

impl Twins {
    /// Reads the services directory.
    pub fn of(base: &Path) -> Self {
        let mut twins = Self::default();
        for name in service::all(base).unwrap_or_default() {
            let dir = ServiceDir::at(base.join(&name));
            let Some(id) = service::identity(dir.path()) else { continue };
            // What is one directory has one `supervise`, too.
            let same = twins.services.entry(id).or_default();
            if same.is_empty()
                && let Some(id) = service::identity(&dir.supervise())
            {
                twins.supervise.entry(id).or_default().push(name.clone());
            }
            same.push(name);
        }
        twins
    }

    /// What another entry shares with the service at `dir`, the entry `name`.
    pub fn finding(&self, dir: &Path, name: &OsStr) -> Option<Finding> {
        let other = |all: &BTreeMap<FileId, Vec<OsString>>, path: &Path| {
            let same = all.get(&service::identity(path)?)?;
            let other = same.iter().find(|other| *other != name).filter(|_| same.iter().any(|it| it == name));
            other.map(|other| shown(other.as_ref()))
        };
        let remedy = "only one of them can be started";
        if let Some(other) = other(&self.services, dir) {
            return Some(Finding {
                file: ".".to_owned(),
                what: format!("the same directory as {other}, so {remedy}; remove the other"),
            });
        }
        let other = other(&self.supervise, &ServiceDir::at(dir).supervise())?;
        let what = format!("the same directory as that of {other}, so {remedy}; give each its own");
        Some(Finding { file: "supervise".to_owned(), what })
    }
}
