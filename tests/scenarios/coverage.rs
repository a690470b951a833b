//! Checks on the texts: every clause has a scenario, every difference has a test, and every number, link and
//! path in sources and documents leads to something that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The chapters of the contract that are about programs of ours: their clauses need scenarios.
const CHAPTERS: [&str; 6] = ["GEN", "LAY", "REC", "RSV", "RSD", "SV"];

/// The clauses that no scenario can show, and why.
const REASONS: [(&str, &str); 1] = [(
    "RSD-11",
    "the pace of looks at the directory, which DEV-17 replaces; what it leads to is RSD-10 and RSD-12",
)];

/// Words that look like the number of a clause.
const NO_CLAUSES: [&str; 1] = ["UTF-8"];

#[test]
fn every_clause_has_a_scenario_or_a_reason() {
    let of_ours = |(chapter, _): &Clause| CHAPTERS.contains(&chapter.as_str());
    let clauses: BTreeSet<Clause> = clauses_of_contract().into_iter().filter(of_ours).collect();
    let shown: BTreeSet<Clause> = clauses_of_scenarios().into_iter().filter(of_ours).collect();
    for chapter in CHAPTERS {
        assert!(clauses.iter().any(|(of, _)| of == chapter), "the contract has no chapter {chapter}");
    }
    let reasons: BTreeSet<Clause> = REASONS
        .iter()
        .map(|(clause, reason)| {
            assert_ne!(*reason, "", "{clause} has no reason");
            identified(clause).unwrap_or_else(|| panic!("{clause:?} is no clause"))
        })
        .collect();
    let list = |found: BTreeSet<Clause>| {
        found.iter().map(|(chapter, number)| format!("{chapter}-{number}")).collect::<Vec<_>>().join(" ")
    };
    let left_out =
        list(clauses.iter().filter(|it| !shown.contains(it) && !reasons.contains(it)).cloned().collect());
    assert_eq!(left_out, "", "clauses without a scenario");
    assert_eq!(list(reasons.intersection(&shown).cloned().collect()), "", "a reason, but also a scenario");
    assert_eq!(list(shown.difference(&clauses).cloned().collect()), "", "scenarios of clauses there are not");
    assert_eq!(
        list(reasons.difference(&clauses).cloned().collect()),
        "",
        "reasons for clauses there are not"
    );
}

#[test]
fn every_number_that_is_cited_exists() {
    let known: BTreeSet<String> = clauses_of_contract()
        .iter()
        .map(|(chapter, number)| format!("{chapter}-{number}"))
        .chain(entries_of_divergences())
        .chain(NO_CLAUSES.map(str::to_owned))
        .collect();
    let mut troubles = Vec::new();
    for file in files(&workspace(), &["rs", "md", "8"]) {
        for (line_number, line) in (1..).zip(read(&file).lines()) {
            let clauses = clauses_in(line).into_iter().map(|(chapter, number)| format!("{chapter}-{number}"));
            let bugs = words(line).filter(|word| is_bug(word)).map(str::to_owned);
            for number in clauses.chain(bugs).filter(|number| !known.contains(number)) {
                troubles.push(format!("{}:{line_number}: there is no {number}", file.display()));
            }
        }
    }
    assert_eq!(troubles, [""; 0]);
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
    let answered = entries_of_divergences();
    let quirks = (1..=22).map(|number| format!("DEV-{number}"));
    let bugs = (1..=55).map(|number| format!("B{number}"));
    let unanswered: Vec<String> = quirks.chain(bugs).filter(|bug| !answered.contains(bug)).collect();
    assert_eq!(unanswered, [""; 0]);
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut troubles = Vec::new();
    for document in files(&workspace(), &["md"]) {
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(it, _)| it) {
            if target.contains("://") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let place = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            if !place.exists() || !(heading.is_empty() || headings(&read(&place)).contains(heading)) {
                troubles.push(format!("{}: there is no {target}", document.display()));
            }
        }
    }
    assert_eq!(troubles, [""; 0]);
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let mut troubles = Vec::new();
    for document in files(&workspace(), &["md"]) {
        for place in read(&document).split('`').skip(1).step_by(2).filter(|span| is_source(span)) {
            if !workspace().join(place).exists() && !document.with_file_name(place).exists() {
                troubles.push(format!("{}: there is no {place}", document.display()));
            }
        }
    }
    assert_eq!(troubles, [""; 0]);
}

#[test]
fn the_map_in_the_readme_is_complete_and_true() {
    let readme = read(&workspace().join("README.md"));
    let (_, chapter) = readme.split_once("\n## The map\n").expect("a map");
    let rows = chapter.lines().skip_while(|line| !line.starts_with("|---"));
    let mut places = BTreeSet::new();
    for row in rows.skip(1).take_while(|line| line.starts_with('|')) {
        let place = row.split('`').nth(1).unwrap_or_else(|| panic!("{row:?} names no place"));
        assert!(workspace().join(place).exists(), "there is no {place}");
        assert!(places.insert(place.trim_end_matches('/').to_owned()), "{place} is there twice");
    }
    for (dir, prefix) in [(workspace(), ""), (workspace().join("docs"), "docs/")] {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let is_crate = entry.path().join("Cargo.toml").exists();
            let is_document =
                entry.path().extension().is_some_and(|ending| ending == "md") && name != "README.md";
            assert!(!(is_crate || is_document) || places.contains(&name), "{name} is not on the map");
        }
    }
}

/// Whether a span of a document has the form of a source file's path: `sys/src/poller.rs`.
fn is_source(span: &str) -> bool {
    span.strip_suffix(".rs").is_some_and(|stem| stem.contains('/') && !stem.contains(char::is_whitespace))
}

/// A chapter and a number in it.
type Clause = (String, u32);

/// All clauses of the contract: `* **RSV-25** ...` begins one.
fn clauses_of_contract() -> BTreeSet<Clause> {
    let mut clauses = BTreeSet::new();
    for line in contract().lines() {
        let name = line.strip_prefix("* **").and_then(|rest| rest.split_once("**"));
        if let Some((name, _)) = name {
            let clause = identified(name).unwrap_or_else(|| panic!("{line:?} is no clause"));
            assert!(clauses.insert(clause), "{name} is there twice");
        }
    }
    clauses
}

/// The numbers that DIVERGENCES.md has an answer to, and those that the contract has in its table of
/// what is about other programs.
fn entries_of_divergences() -> BTreeSet<String> {
    let divergences = divergences();
    let answers =
        divergences.lines().filter_map(|line| line.strip_prefix("### ").or(line.strip_prefix("- ")));
    let contract = contract();
    let (_, table) = contract.split_once("\n### 12.2 ").expect("the table of DEV and B");
    let rows = table.lines().take_while(|line| !line.starts_with('#'));
    answers
        .filter_map(|line| line.split_once(": "))
        .chain(rows.filter_map(|line| line.strip_prefix("| ")?.split_once(" |")))
        .flat_map(|(numbers, _)| words(numbers).filter(|word| is_bug(word) || identified(word).is_some()))
        .map(str::to_owned)
        .collect()
}

/// Whether a word has the form of a known bug: `B12`.
fn is_bug(word: &str) -> bool {
    word.strip_prefix('B').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// A word that has the form of a clause: capital letters, a dash and digits.
fn identified(word: &str) -> Option<Clause> {
    let (chapter, number) = word.split_once('-')?;
    let is_chapter = chapter.len() > 1 && chapter.bytes().all(|byte| byte.is_ascii_uppercase());
    let number = number.parse().ok()?;
    is_chapter.then(|| (chapter.to_owned(), number))
}

/// `RSV-40, RSV-42 to RSV-44: ...` are four.
fn clauses_in(comment: &str) -> Vec<Clause> {
    let words: Vec<&str> = words(comment).collect();
    let mut found: Vec<Clause> = words.iter().filter_map(|word| identified(word)).collect();
    for range in words.windows(3) {
        if let [first, "to", last] = range
            && let (Some((chapter, first)), Some((_, last))) = (identified(first), identified(last))
        {
            found.extend((first..last).map(|number| (chapter.clone(), number)));
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
        .filter(|word| !word.is_empty())
}

/// The clauses that the first words of scenarios and tests name.
fn clauses_of_scenarios() -> BTreeSet<Clause> {
    let mut shown = BTreeSet::new();
    for source in files(&workspace().join("tests/scenarios"), &["rs"]) {
        let mut comment = String::new();
        let mut is_test = false;
        for line in read(&source).lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("///") {
                comment.push_str(words);
            } else if line.starts_with("#[") {
                is_test |= line == "#[test]";
            } else {
                if is_test || takes_a_suite(line) {
                    shown.extend(clauses_in(&comment));
                }
                comment.clear();
                is_test = false;
            }
        }
    }
    shown
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
    for source in files(&workspace(), &["rs"]) {
        let mut is_test = false;
        for line in read(&source).lines().map(str::trim) {
            is_test |= line == "#[test]";
            let function = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ");
            if let Some((name, _)) = function.and_then(|rest| rest.split_once('(')) {
                if is_test || takes_a_suite(line) {
                    names.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    names
}

/// Whether a line begins a scenario, or a function like one.
fn takes_a_suite(line: &str) -> bool {
    ["(suite: &Suite)", "(_: &Suite)"].into_iter().any(|parameter| line.contains(parameter))
}

/// The headings of a document, in the form that links have for them.
fn headings(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase()))
        .map(|heading| heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it)).collect())
        .map(|heading: String| heading.replace(' ', "-"))
        .collect()
}

/// What runit does.
fn contract() -> String {
    read(&workspace().join("docs/runit-contract.md"))
}

fn divergences() -> String {
    read(&workspace().join("DIVERGENCES.md"))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

/// All files below a directory with one of these endings, but for what was built.
fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let is_ours = !entry.file_name().to_string_lossy().starts_with('.') && entry.file_name() != "target";
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && is_ours => found.extend(files(&path, endings)),
            Ok(kind) if kind.is_file() && endings.iter().any(|it| path.extension() == Some(it.as_ref())) => {
                found.push(path);
            }
            _ => {}
        }
    }
    found
}
