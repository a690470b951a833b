//! What the figures were taken on, and of.

use std::process::Command;
use std::{env, thread};

use fs_err as fs;

use crate::Outcome;
use crate::family::Family;

/// Machine and versions, as a list in Markdown.
pub fn description() -> Outcome<String> {
    let cores = thread::available_parallelism()?;
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory: u64 = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg")?;
    let mut lines = vec![
        format!("- CPU: {cpu}, {cores} cores"),
        format!("- kernel: Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()),
        format!("- memory: {} MiB", memory / 1024),
        format!("- service directories in {}{}", env::temp_dir().display(), filesystem()),
        format!("- load before: {}", load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")),
        format!("- ours: {}, static release{}", env!("CARGO_PKG_VERSION"), commit()),
    ];
    for family in [Family::Runit, Family::S6, Family::Tini] {
        lines.extend(family.package().map(|package| format!("- {package}: {}", version(package))));
    }
    Ok(lines.join("\n"))
}

/// The kind of filesystem that has the service directories: every status is a few files made and removed.
fn filesystem() -> String {
    let dir = env::temp_dir();
    let kind = output("findmnt", &["-n", "-o", "FSTYPE", "-T", &dir.to_string_lossy()]);
    kind.map_or_else(String::new, |kind| format!(" ({kind})"))
}

/// The commit that is measured, if this is a clone.
fn commit() -> String {
    let dir = env!("CARGO_MANIFEST_DIR");
    let text = output("git", &["-C", dir, "describe", "--always", "--dirty"]);
    text.map_or_else(String::new, |text| format!(" of {text}"))
}

fn version(package: &str) -> String {
    output("dpkg-query", &["-W", "-f", "Debian's ${Version}", package])
        .unwrap_or_else(|| "not installed by Debian's package".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What follows a name and a colon.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
