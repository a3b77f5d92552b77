//! The public API of evenkeel, with all features, is the one on record. Whoever changes it sees so in
//! the diff of `evenkeel.txt`, and once a version is released, what it promised holds until a
//! breaking version.
//!
//! ```text
//! cargo test --manifest-path tests/public_api/Cargo.toml                   # compares
//! UPDATE_API=1 cargo test --manifest-path tests/public_api/Cargo.toml      # writes evenkeel.txt
//! ```
//!
//! Whoever releases a version copies `evenkeel.txt` to `evenkeel-VERSION.txt`.

mod releases;
mod rustdoc;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use releases::Release;

const UPDATE: &str = "UPDATE_API=1 cargo test --manifest-path tests/public_api/Cargo.toml";

#[test]
fn the_public_api_is_the_one_on_record() {
    let file = folder().join("evenkeel.txt");
    let found = rustdoc::api().lines;
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&file, text(&found)).expect("the record can be written");
    }
    let recorded = read(&file);
    assert!(
        recorded == text(&found),
        "the public API is not the one on record:\n\n{}\nIf that is meant, this puts it on record:\n\n    {UPDATE}\n",
        difference(&lines(&recorded), &found.into_iter().collect())
    );
}

#[test]
fn what_was_released_holds_until_a_breaking_version() {
    let Some(last) = Release::last(&folder()) else {
        println!("no version is released yet: there is no promise to hold");
        return;
    };
    let api = rustdoc::api();
    let broken = last.broken_by(&api.lines);
    assert!(
        broken.is_empty() || last.may_be_broken_by(&api.version),
        "{} promised what {} does not keep, so the next version has to be {}:\n\n{}\n",
        last.version,
        api.version,
        last.next_breaking(),
        broken.join("\n")
    );
}

#[test]
fn every_version_in_the_changelog_is_on_record() {
    let changelog = read(&folder().join("../../CHANGELOG.md"));
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## [")?.split_once(']'));
    for (version, _) in headings.filter(|(version, _)| *version != "Unreleased") {
        let file = folder().join(format!("evenkeel-{version}.txt"));
        assert!(file.exists(), "{version} is released: copy evenkeel.txt to {}", file.display());
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// What is gone, and what is new. Of lines, each of which stands alone, no more can be said.
fn difference(recorded: &BTreeSet<String>, found: &BTreeSet<String>) -> String {
    let gone = recorded.difference(found).map(|line| format!("- {line}\n"));
    let new = found.difference(recorded).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}
