//! `cargo static [--target TARGET] [OPTION OF cargo build ...]`: builds the release as it is shipped,
//! every program one static file that needs no loader, and copies the programs to `target/static`
//! (`target/static-TARGET` where a target is named). Prints where cargo has built everything.
//!
//! The target is this machine's with musl: the programs are half as large as with glibc, and start
//! sooner. If the target is missing it is installed; where that fails the C library is glibc.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is shipped; `cargo build` makes other programs as well.
const PROGRAMS: [&str; 4] = ["init", "runsvdir", "runsv", "sv"];

fn main() -> ExitCode {
    match run(env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("static: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), String> {
    let BuildRequest { target: named, target_dir, others } = BuildRequest::read(arguments)?;
    let target = match &named {
        Some(target) => {
            install(target).map_err(|why| format!("{target} cannot be installed: {why}"))?;
            target.clone()
        }
        None => native_target(),
    };
    build(&target, &target_dir, &others)?;
    let place =
        target_dir.join(named.map_or_else(|| "static".to_owned(), |target| format!("static-{target}")));
    let built = target_dir.join(&target).join("release");
    copy(&built, &place).map_err(|why| format!("{}: {why}", place.display()))?;
    println!("{}", built.display());
    Ok(())
}

/// What the command line asks for.
struct BuildRequest {
    target: Option<String>,
    target_dir: PathBuf,
    /// Handed on to cargo.
    others: Vec<OsString>,
}

impl BuildRequest {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        // Of the tree that `cargo static` was called in: a target directory may be a copy of another tree's.
        let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("to be called as `cargo static`")?;
        let workspace = Path::new(&package).parent().ok_or("no workspace")?;
        let from_environment = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let mut request = Self {
            target: None,
            target_dir: from_environment.unwrap_or_else(|| workspace.join("target")),
            others: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            if argument == "--target" {
                let target = arguments.next().and_then(|target| target.into_string().ok());
                request.target = Some(target.ok_or("--target: no target named")?);
            } else if argument == "--target-dir" {
                request.target_dir = arguments.next().ok_or("--target-dir: no directory named")?.into();
            } else {
                request.others.push(argument);
            }
        }
        Ok(request)
    }
}

/// This machine's target with musl, or with glibc where the other cannot be had.
fn native_target() -> String {
    let target = |library: &str| format!("{}-unknown-linux-{library}", env::consts::ARCH);
    match install(&target("musl")) {
        Ok(()) => target("musl"),
        Err(why) => {
            eprintln!("static: {} cannot be installed ({why}): with glibc instead", target("musl"));
            target("gnu")
        }
    }
}

/// Sees to it that there is a standard library for the target.
fn install(target: &str) -> Result<(), String> {
    let found = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let place = found.map_err(|why| why.to_string())?;
    if Path::new(String::from_utf8_lossy(&place.stdout).trim()).is_dir() {
        return Ok(());
    }
    let added = Command::new("rustup").args(["--quiet", "target", "add", target]).output();
    let added = added.map_err(|why| format!("rustup: {why}"))?;
    if added.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&added.stderr);
    Err(said.lines().last().unwrap_or("rustup does not say why").trim().to_owned())
}

fn build(target: &str, target_dir: &Path, others: &[OsString]) -> Result<(), String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--workspace", "--bins", "--target", target]);
    cargo.arg("--target-dir").arg(target_dir);
    // No relocations: each of them would make a page of every process its own.
    cargo.arg("--config").arg(format!(
        "target.{target}.rustflags=['-Ctarget-feature=+crt-static', '-Crelocation-model=static']"
    ));
    if !target.starts_with(env::consts::ARCH) {
        // Rust brings a linker for every processor; musl's start files come with the target.
        cargo.arg("--config").arg(format!("target.{target}.linker='rust-lld'"));
    }
    let status = cargo.args(others).status().map_err(|why| format!("cargo: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("the programs do not build for {target}")) }
}

fn copy(from: &Path, place: &Path) -> std::io::Result<()> {
    fs::create_dir_all(place)?;
    for program in PROGRAMS {
        // A program that runs can be replaced, but not written to.
        let new = place.join(format!("{program}.new"));
        fs::copy(from.join(program), &new)?;
        fs::rename(&new, place.join(program))?;
    }
    Ok(())
}
