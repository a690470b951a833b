//! Where the programs under test are: ours, the original's, or some of each; and what supervises.

use std::env;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

use crate::service::Builder;
use crate::tree::TestTree;

/// A set of programs that a scenario runs on.
#[derive(Clone, Debug)]
pub struct Suite {
    runsvdir: PathBuf,
    runsv: PathBuf,
    sv: PathBuf,
    init: Option<PathBuf>,
    is_hosted: bool,
}

/// Where Debian's package installs the original.
const ORIGINAL: &str = "/usr/bin";

/// Names a directory with programs of ours that are built already (a static release, say).
const OURS: &str = "OURS_BIN_DIR";

impl Suite {
    /// The programs of this workspace, built now unless `OURS_BIN_DIR` names a directory that has them.
    pub fn ours() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| {
            let programs = env::var_os(OURS).map_or_else(build, PathBuf::from);
            Self { init: Some(programs.join("init")), ..Self::found_in(&programs) }
        })
    }

    /// Our sv and init, which supervises the services itself.
    pub fn hosted() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { is_hosted: true, ..Self::ours().clone() })
    }

    /// The original's sv on services that our init supervises.
    pub fn their_sv_on_hosted_services() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { sv: Self::theirs().sv.clone(), ..Self::hosted().clone() })
    }

    /// The original, which must be installed: without it nothing is proved.
    pub fn theirs() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| {
            let suite = Self::found_in(Path::new(ORIGINAL));
            for program in [&suite.runsvdir, &suite.runsv, &suite.sv] {
                assert!(program.exists(), "{} is missing: install Debian's runit", program.display());
            }
            suite
        })
    }

    /// Our sv, everything else the original's.
    pub fn our_sv_on_their_runsv() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { sv: Self::ours().sv.clone(), ..Self::theirs().clone() })
    }

    /// The original's sv, everything else ours.
    pub fn their_sv_on_our_runsv() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { sv: Self::theirs().sv.clone(), ..Self::ours().clone() })
    }

    /// Our runsvdir, everything else the original's.
    pub fn our_runsvdir_on_their_runsv() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { runsvdir: Self::ours().runsvdir.clone(), ..Self::theirs().clone() })
    }

    /// The original's runsvdir, everything else ours.
    pub fn their_runsvdir_on_our_runsv() -> &'static Self {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| Self { runsvdir: Self::theirs().runsvdir.clone(), ..Self::ours().clone() })
    }

    /// A new, empty tree of services.
    pub fn tree(&self) -> TestTree {
        TestTree::new(self)
    }

    /// Describes the only service of a new tree.
    pub fn service(&self, name: &str) -> Builder {
        self.tree().service(name)
    }

    /// Whether init supervises the services.
    pub(crate) fn is_hosted(&self) -> bool {
        self.is_hosted
    }

    /// Each program's name and place, as a tree offers them on its PATH. Where services are hosted there is
    /// neither runsvdir nor runsv.
    pub(crate) fn programs(&self) -> Vec<(&'static str, &Path)> {
        let mut programs: Vec<(&'static str, &Path)> = vec![("sv", &self.sv)];
        if !self.is_hosted {
            programs.extend([("runsvdir", self.runsvdir.as_path()), ("runsv", &self.runsv)]);
        }
        programs.extend(self.init.as_deref().map(|init| ("init", init)));
        programs
    }

    fn found_in(programs: &Path) -> Self {
        Self {
            runsvdir: programs.join("runsvdir"),
            runsv: programs.join("runsv"),
            sv: programs.join("sv"),
            init: None,
            is_hosted: false,
        }
    }
}

/// Builds all programs into the profile directory this test runs from, and returns that.
///
/// `cargo test` builds the programs of the tested packages only, hence a build of our own; when
/// everything is fresh it costs a few hundredths of a second.
fn build() -> PathBuf {
    let me = env::current_exe().expect("the test's own path");
    let profile_dir = me
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps") && dir.join("deps").is_dir())
        .expect("a profile directory above the test");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let above = profile_dir.parent().expect("a target directory above the profile's");
    // Only the top of a target directory has this file; below it, a directory is named after a target.
    let (target_dir, target) = match above.parent() {
        Some(top) if !above.join(".rustc_info.json").exists() && top.join(".rustc_info.json").exists() => {
            (top, above.file_name())
        }
        _ => (above, None),
    };

    let mut cargo = process::Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir);
    if let Some(target) = target {
        cargo.arg("--target").arg(target);
    }
    let done = crate::process::run(&mut cargo).expect("cargo starts");
    assert!(done.success(), "our programs do not build");
    profile_dir.to_owned()
}
