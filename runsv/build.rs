//! Gives the program a mark that tells it from one that was built from other sources.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// All that decides what runsv does, from this crate's folder.
const SOURCES: [&str; 9] = [
    "src",
    "build.rs",
    "Cargo.toml",
    "../servicedir/src",
    "../servicedir/Cargo.toml",
    "../unix/src",
    "../unix/Cargo.toml",
    "../Cargo.toml",
    "../Cargo.lock",
];

fn main() -> io::Result<()> {
    let mut files = BTreeSet::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        collect(Path::new(source), &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.to_string_lossy().as_bytes());
        hasher.write(&fs::read(file)?);
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=RUNSV_MARK=runsv {version} of sources {:016x}", hasher.finish());
    Ok(())
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}
