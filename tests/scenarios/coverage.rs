//! That nothing is left out: every clause has a scenario, and every difference has a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The clauses of the contract, one a line; behind one that no scenario can show, the reason.
const CLAUSES: &str = include_str!("../clauses.txt");

/// The chapters of the contract that are about programs of ours.
const CHAPTERS: [&str; 6] = ["GEN", "LAY", "REC", "RSV", "RSD", "SV"];

#[test]
fn every_clause_has_a_scenario_or_a_reason() {
    let (mut reasons, mut clauses) = (BTreeSet::new(), BTreeSet::new());
    for line in CLAUSES.lines() {
        let (clause, reason) = line.split_once(' ').unwrap_or((line, ""));
        let clause = identified(clause).unwrap_or_else(|| panic!("{line:?} is no clause"));
        assert!(clauses.insert(clause), "{line:?} is there twice");
        if !reason.is_empty() {
            reasons.insert(clause);
        }
    }
    let shown = clauses_of_scenarios();
    let list = |found: BTreeSet<Clause>| {
        found.iter().map(|(chapter, number)| format!("{chapter}-{number}")).collect::<Vec<_>>().join(" ")
    };
    let left_out =
        list(clauses.iter().filter(|it| !shown.contains(it) && !reasons.contains(it)).copied().collect());
    assert_eq!(left_out, "", "clauses without a scenario");
    assert_eq!(list(reasons.intersection(&shown).copied().collect()), "", "a reason, but also a scenario");
    assert_eq!(list(shown.difference(&clauses).copied().collect()), "", "scenarios of clauses there are not");
}

#[test]
fn every_divergence_has_a_test_that_exists_or_a_reason() {
    let tests = names_of_tests();
    let mut troubles = Vec::new();
    for (entry, pins) in pins_of_divergences() {
        let names: Vec<&str> = pins.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !pins.starts_with("no test, ") {
            troubles.push(format!("{entry}: {pins:?} is neither a test nor a reason"));
        }
        for name in names {
            if !tests.contains(name.rsplit("::").next().unwrap_or(name)) {
                troubles.push(format!("{entry}: there is no {name}"));
            }
        }
    }
    assert_eq!(troubles, [""; 0]);
}

#[test]
fn every_known_bug_of_the_original_is_answered() {
    let text = divergences();
    let words: BTreeSet<&str> = text.split(|character: char| !character.is_ascii_alphanumeric()).collect();
    let unanswered: Vec<String> =
        (1..=50).map(|number| format!("B{number}")).filter(|bug| !words.contains(bug.as_str())).collect();
    assert_eq!(unanswered, [""; 0]);
}

/// A chapter and a number in it.
type Clause = (&'static str, u32);

fn identified(word: &str) -> Option<Clause> {
    let (chapter, number) = word.split_once('-')?;
    let chapter = CHAPTERS.into_iter().find(|it| *it == chapter)?;
    Some((chapter, number.parse().ok()?))
}

/// The clauses that the first words of scenarios and tests name.
fn clauses_of_scenarios() -> BTreeSet<Clause> {
    let mut shown = BTreeSet::new();
    for source in sources(&workspace().join("tests/scenarios")) {
        let mut comment = String::new();
        let mut is_test = false;
        for line in fs::read_to_string(source).expect("a source").lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("///") {
                comment.push_str(words);
            } else if line.starts_with("#[") {
                is_test |= line == "#[test]";
            } else {
                if is_test || line.contains("(suite: &Suite)") {
                    shown.extend(clauses_in(&comment));
                }
                comment.clear();
                is_test = false;
            }
        }
    }
    shown
}

/// `RSV-40, RSV-42 to RSV-44: ...` are four.
fn clauses_in(comment: &str) -> Vec<Clause> {
    let words: Vec<&str> =
        comment.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-')).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let mut found: Vec<Clause> = words.iter().filter_map(|word| identified(word)).collect();
    for range in words.windows(3) {
        if let [first, "to", last] = range
            && let (Some((chapter, first)), Some((_, last))) = (identified(first), identified(last))
        {
            found.extend((first..last).map(|number| (chapter, number)));
        }
    }
    found
}

/// The `Pinned by` of each entry.
fn pins_of_divergences() -> BTreeMap<String, String> {
    let mut entry = String::new();
    let mut pins = BTreeMap::new();
    for line in divergences().lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            heading.clone_into(&mut entry);
            assert!(pins.insert(entry.clone(), String::new()).is_none(), "{entry} is there twice");
        } else if let Some(names) = line.strip_prefix("- Pinned by: ") {
            pins.insert(entry.clone(), names.to_owned());
        }
    }
    pins
}

/// Every function that is a test, or a scenario that becomes one.
fn names_of_tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources(&workspace()) {
        let text = fs::read_to_string(source).expect("a source");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line == "#[test]";
            let function = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ");
            if let Some((name, _)) = function.and_then(|rest| rest.split_once('(')) {
                if is_test || line.contains("(suite: &Suite)") {
                    names.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    names
}

fn divergences() -> String {
    fs::read_to_string(workspace().join("DIVERGENCES.md")).expect("the differences")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files below a directory, but for what was built.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let is_ours = !entry.file_name().to_string_lossy().starts_with('.') && entry.file_name() != "target";
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_ours => found.extend(sources(&path)),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|ending| ending == "rs") => {
                found.push(path);
            }
            _ => {}
        }
    }
    found
}
