//! Builds the release as it is shipped, and has its own `benches` do the measuring.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::arguments::Wishes;
use crate::{MEASURE, Outcome, family, namespace};

/// Builds, then measures in a pid namespace: whatever becomes of this program, nothing it started stays.
pub fn measure(wishes: &Wishes, arguments: &[OsString]) -> Outcome<ExitCode> {
    // Before the build and not after it, and before minutes of measuring.
    family::require(wishes)?;
    let benches = build()?.join("benches");
    let mut measure = Command::new(benches);
    measure.arg0(namespace::OUTER).arg(MEASURE).args(arguments);
    namespace::exit_code(measure.status()?)
}

fn build() -> Outcome<PathBuf> {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The alias `static` is found from the directory, the target directory by an absolute path.
    let target = target_dir()?;
    cargo.current_dir(workspace).arg("static").arg("--quiet").arg("--target-dir").arg(&target);
    let built = cargo.stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        return Err("the static release does not build".into());
    }
    Ok(OsStr::from_bytes(built.stdout.trim_ascii()).into())
}

/// The target directory this program was built in.
fn target_dir() -> Outcome<PathBuf> {
    let me = env::current_exe()?;
    let top = me.ancestors().find(|dir| dir.join(".rustc_info.json").exists());
    Ok(top.ok_or("this program is not in a target directory of cargo's")?.to_owned())
}
