//! What the page of guarantees names is there: tests, rows of benchmarks, commands.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use source::Source;

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

fn page() -> String {
    read("src/guide/guarantees.md").expect("the page is there")
}

/// What stands between ticks.
fn quoted(page: &str) -> Vec<String> {
    let parts = page.split('`').skip(1).step_by(2);
    parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn every_test_that_the_page_names_is_a_test() {
    let quoted = quoted(&page());
    let named: BTreeSet<_> = quoted.iter().filter_map(|it| it.split_once(".rs::")).collect();
    assert!(named.len() > 90, "{} tests are named", named.len());
    let mut sources = Source::under("src");
    sources.extend(Source::under("tests"));
    let missing = |file: &str, name: &str| match sources.iter().find(|it| it.path == file) {
        Some(source) => (!is_test(source, name)).then(|| format!("{file} has no test {name}")),
        None => Some(format!("there is no {file}")),
    };
    let missing = named.iter().filter_map(|(file, name)| missing(&format!("{file}.rs"), name));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

/// A function of that name with `test` among its attributes, or inside `proptest!`, which repeats them.
fn is_test(source: &Source, name: &str) -> bool {
    let tokens = source.tokens();
    let named = tokens.windows(2).position(|pair| pair[0].text == "fn" && pair[1].text == name);
    let Some(at) = named else { return false };
    let before = tokens[..at].iter().rev();
    let own = before.take_while(|token| !["}", ";"].contains(&token.text) && token.text != "{");
    own.into_iter().any(|token| token.text == "test")
}

#[test]
fn every_ratio_that_the_page_names_is_a_row() {
    let page = page();
    let named: Vec<_> =
        page.split("ratio `").skip(1).filter_map(|it| it.split('`').next()).collect();
    assert!(!named.is_empty());
    let rows: String = ["ratios.rs", "cosine.rs", "queue.rs"]
        .iter()
        .filter_map(|it| read(format!("benches/{it}")))
        .collect();
    let rows = rows + &peers();
    for name in named {
        assert!(rows.contains(&format!("\"{name}\"")), "no benchmark has a row {name}");
    }
}

/// The rows are printed by the crate of the peers.
fn peers() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/src/rows");
    let files = fs::read_dir(folder).expect("the peers are there").filter_map(Result::ok);
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
}

#[test]
fn every_command_on_the_page_has_what_it_runs() {
    let quoted = quoted(&page());
    let commands: Vec<_> = quoted.iter().filter(|it| it.starts_with("cargo ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        let words: Vec<_> = command.split(' ').collect();
        for pair in words.windows(2) {
            let folder = match pair[0] {
                "--test" => "tests",
                "--bench" => "benches",
                "--example" => "examples",
                _ => continue,
            };
            let is_there =
                [format!("{folder}/{}.rs", pair[1]), format!("{folder}/{}/main.rs", pair[1])]
                    .iter()
                    .any(|path| read(path).is_some());
            assert!(is_there, "{command}: there is no {} in {folder}", pair[1]);
        }
    }
}

mod the_check {
    use super::*;

    #[test]
    fn knows_a_test_from_another_function() {
        let text =
            "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(start_paused = true)]\nasync fn c() {}";
        let source = Source::parse("tests/a.rs", text);
        assert!(is_test(&source, "a") && is_test(&source, "c"));
        assert!(!is_test(&source, "b") && !is_test(&source, "d"));
    }
}
