//! What is read in the first hour stays short: the program in the README, and the examples.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

/// As its heading says.
const MOST_LINES_OF_THE_README: usize = 40;

/// An example answers one question. A longer one has more than one, or belongs into the guide.
const MOST_LINES_OF_AN_EXAMPLE: usize = 99;

/// Those that are programs to use rather than to read.
const TO_USE: &[&str] = &["chat.rs", "fleet.rs", "semcache_eval.rs"];

/// The one that talks to real servers.
const WANTS_A_KEY: &str = "chat.rs";

#[test]
fn the_program_in_the_readme_has_fewer_lines_than_its_heading_says() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n## Forty lines\n").unwrap();
    let (_, program) = section.split_once("```rust").unwrap();
    let (program, _) = program.split_once("\n```").unwrap();
    let code = program.lines().skip(1).map(str::trim).filter(|line| is_code(line)).count();
    assert!(program.contains("async fn main"), "this is not the program");
    assert!(code < MOST_LINES_OF_THE_README, "{code} lines of code are no longer forty");
}

#[test]
fn an_example_is_short_enough_to_read() {
    for (name, text) in examples().filter(|(name, _)| !TO_USE.contains(&name.as_str())) {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES_OF_AN_EXAMPLE, "examples/{name} has {lines} lines");
    }
}

#[test]
fn an_example_needs_no_key() {
    for (name, text) in examples() {
        let asks = text.contains("API_KEY") || text.contains("from_env");
        assert_eq!(asks, name == WANTS_A_KEY, "examples/{name}");
    }
}

#[test]
fn an_example_says_how_it_is_run() {
    for (name, text) in examples() {
        let name = name.strip_suffix(".rs").unwrap();
        let header = text.split("\n\n").next().unwrap();
        assert!(header.contains(&format!("--example {name}")), "examples/{name}.rs");
    }
}

fn examples() -> impl Iterator<Item = (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|kind| kind == "rs")).collect();
    assert!(!sources.is_empty(), "there are no examples: the rules would check nothing");
    sources.into_iter().map(|file| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(file).unwrap())
    })
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}
