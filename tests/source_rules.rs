//! Rules of the house that clippy has no words for. Each says why it exists.

mod source;

use source::{Source, Token};

/// The longest a source file may be. A longer one has more than one subject.
const MOST_LINES: usize = 700;

/// Where intrinsics need it, behind the safe functions of `vector`.
const HOME_OF_UNSAFE: &str = "src/vector/arch/";

/// Every unsafe block and function there is, file by file: whoever adds one counts it here, so that
/// nobody adds one unnoticed.
const UNSAFE: &[(&str, Unsafe)] = &[
    ("src/vector/arch/avx2.rs", Unsafe { blocks: 12, functions: 0 }),
    ("src/vector/arch/avx512.rs", Unsafe { blocks: 11, functions: 0 }),
];

/// How far above an unsafe block its reason may stand.
const LINES_TO_SAFETY: usize = 6;

/// Names that say nothing of what is inside, so that everything ends up inside.
const NAMES_WITHOUT_A_SUBJECT: &[&str] = &["utils", "util", "common", "helpers", "types", "misc"];

/// What an atomic's ordering may be beyond `Relaxed`.
const STRONG: &[&str] = &["Acquire", "Release", "AcqRel", "SeqCst"];

/// How far above the ordering its reason may stand: a chained call is formatted over some lines.
const LINES_TO_THE_REASON: usize = 3;

/// A reader who trusts the crate's memory safety has one folder to audit.
#[test]
fn unsafe_stays_in_its_folder() {
    expect_none("src", unsafe_outside_its_folder);
}

/// The table above is the list of what an auditor reads.
#[test]
fn every_unsafe_block_and_function_is_counted() {
    let sources = Source::under("src");
    let counted = sources.iter().map(|source| (source.path.as_str(), Unsafe::of(source)));
    let found: Vec<_> = counted.filter(|(_, count)| *count != Unsafe::default()).collect();
    assert_eq!(found, UNSAFE, "update the table, after a second look");
}

/// What makes an unsafe block right is said where it stands, and not merely somewhere.
#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    expect_none("src", unsafe_without_safety);
}

/// Whoever opens a `mod.rs` looks for the folder's map; code there is code nobody finds.
#[test]
fn a_mod_file_is_a_map() {
    expect_none("src", items_in_a_mod_file);
}

/// A stronger ordering without its partner named is a guess, and the next reader cannot tell.
#[test]
fn a_strong_ordering_says_what_it_pairs_with() {
    expect_none("src", orderings_without_a_reason);
}

/// A file is read from top to bottom in one sitting.
#[test]
fn files_are_short_enough_to_read() {
    expect_none("src", too_many_lines);
}

/// A test that is switched off says until when, or it stays off.
#[test]
fn an_ignored_test_says_why() {
    for folder in ["src", "tests"] {
        expect_none(folder, ignored_without_a_reason);
    }
}

/// A module is named after its subject.
#[test]
fn modules_are_named_after_their_subject() {
    expect_none("src", names_without_a_subject);
}

/// One broken rule: the line, and a sentence.
type Finding = (usize, String);

fn expect_none(folder: &str, rule: fn(&Source) -> Vec<Finding>) {
    let sources = Source::under(folder);
    let found: Vec<_> = sources.iter().flat_map(|source| sentences(source, rule)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn sentences(source: &Source, rule: fn(&Source) -> Vec<Finding>) -> Vec<String> {
    let found = rule(source).into_iter();
    found.map(|(line, sentence)| format!("{}:{line}: {sentence}", source.path)).collect()
}

fn unsafe_outside_its_folder(source: &Source) -> Vec<Finding> {
    if source.path.starts_with(HOME_OF_UNSAFE) {
        return Vec::new();
    }
    let words = source.tokens().into_iter().filter(|token| token.text == "unsafe");
    words.map(|word| (word.line, format!("`unsafe` belongs under {HOME_OF_UNSAFE}"))).collect()
}

/// How often a file is unsafe.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unsafe {
    blocks: usize,
    /// Traits and implementations too.
    functions: usize,
}

impl Unsafe {
    fn of(source: &Source) -> Self {
        let tokens = source.tokens();
        let pairs = tokens.windows(2).filter(|pair| pair[0].text == "unsafe");
        let (blocks, functions): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair[1].text == "{");
        Self { blocks: blocks.len(), functions: functions.len() }
    }
}

fn unsafe_without_safety(source: &Source) -> Vec<Finding> {
    let (tokens, comments) = (source.tokens(), source.comments.lines().collect::<Vec<_>>());
    let blocks = tokens.windows(2).filter(|pair| pair[0].text == "unsafe" && pair[1].text == "{");
    let bare = blocks.filter(|pair| {
        let line = pair[0].line;
        let near = &comments[line.saturating_sub(1 + LINES_TO_SAFETY)..line];
        !near.iter().any(|comment| comment.contains("SAFETY:"))
    });
    bare.map(|pair| (pair[0].line, "`// SAFETY:` is missing".to_owned())).collect()
}

fn items_in_a_mod_file(source: &Source) -> Vec<Finding> {
    if !source.path.ends_with("/mod.rs") {
        return Vec::new();
    }
    let tokens = without_attributes(&source.tokens());
    let items = tokens.split(|token| token.text == ";").filter(|item| !item.is_empty());
    let foreign = items.filter(|item| !is_map_entry(item));
    foreign.map(|item| (item[0].line, "only `mod` and `use` belong in a mod.rs".into())).collect()
}

/// `mod name` or `use path`, with or without a visibility.
fn is_map_entry(item: &[Token<'_>]) -> bool {
    match words_after_visibility(item) {
        [keyword, _] => matches!(keyword.text, "mod" | "use"),
        [keyword, ..] => keyword.text == "use",
        [] => false,
    }
}

fn words_after_visibility<'a, 't>(item: &'a [Token<'t>]) -> &'a [Token<'t>] {
    match item {
        [first, open, rest @ ..] if first.text == "pub" && open.text == "(" => {
            let close = rest.iter().position(|token| token.text == ")").unwrap_or(0);
            &rest[close + 1..]
        }
        [first, rest @ ..] if first.text == "pub" => rest,
        _ => item,
    }
}

fn without_attributes<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        match attribute(rest) {
            Some(attribute) => rest = &rest[attribute.len()..],
            None => {
                kept.push(*first);
                rest = after;
            }
        }
    }
    kept
}

/// The attribute that `tokens` start with, from its `#` to its `]`.
fn attribute<'a, 't>(tokens: &'a [Token<'t>]) -> Option<&'a [Token<'t>]> {
    let open = match tokens {
        [hash, open, ..] if hash.text == "#" && open.text == "[" => 1,
        [hash, bang, open, ..] if hash.text == "#" && bang.text == "!" && open.text == "[" => 2,
        _ => return None,
    };
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&tokens[..=at]);
        }
    }
    None
}

fn orderings_without_a_reason(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let comments: Vec<_> = source.comments.lines().collect();
    let strong = strong_orderings(&tokens).into_iter();
    let bare = strong.filter(|ordering| !has_reason(&comments, ordering.line));
    bare.map(|ordering| (ordering.line, format!("why `{}`? Say what it pairs with", ordering.text)))
        .collect()
}

/// Written in full, or taken out of `Ordering` in a group.
fn strong_orderings<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    let mut found = Vec::new();
    for (at, window) in tokens.windows(3).enumerate() {
        if window[0].text != "Ordering" || window[1].text != "::" {
            continue;
        }
        let group = tokens[at + 2..].iter().take_while(|token| token.text != "}");
        let named = if window[2].text == "{" { group.count() } else { 1 };
        let named = tokens[at + 2..].iter().take(named);
        found.extend(named.filter(|token| STRONG.contains(&token.text)));
    }
    found
}

/// Whether a plain comment stands on the line or closely above. Documentation does not count: it
/// is written for callers, who do not care.
fn has_reason(comments: &[&str], line: usize) -> bool {
    let first = line.saturating_sub(1 + LINES_TO_THE_REASON);
    comments[first..line].iter().any(|comment| {
        let comment = comment.trim_start();
        comment.starts_with("//") && !comment.starts_with("///") && !comment.starts_with("//!")
    })
}

fn too_many_lines(source: &Source) -> Vec<Finding> {
    let lines = source.code.lines().count();
    let sentence = || format!("{lines} lines; over {MOST_LINES} a file has more than one subject");
    (lines > MOST_LINES).then(|| (lines, sentence())).into_iter().collect()
}

fn ignored_without_a_reason(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let attributes = (0..tokens.len()).filter_map(|at| attribute(&tokens[at..]));
    let bare = attributes.filter_map(bare_ignore);
    bare.map(|word| (word.line, "write #[ignore = \"why, and until when\"]".into())).collect()
}

/// The `ignore` of `#[ignore]` or `#[cfg_attr(.., ignore)]`, where no `=` follows.
fn bare_ignore<'t>(attribute: &[Token<'t>]) -> Option<Token<'t>> {
    let about_tests = attribute.iter().any(|token| token.text == "cfg_attr")
        || attribute.get(2).is_some_and(|token| token.text == "ignore");
    let mut pairs = attribute.windows(2).filter(|_| about_tests);
    pairs.find(|pair| pair[0].text == "ignore" && pair[1].text != "=").map(|pair| pair[0])
}

fn names_without_a_subject(source: &Source) -> Vec<Finding> {
    let tokens = source.tokens();
    let declared = tokens.windows(2).filter(|pair| pair[0].text == "mod");
    let empty = declared.filter(|pair| NAMES_WITHOUT_A_SUBJECT.contains(&pair[1].text));
    empty.map(|pair| (pair[0].line, format!("`{}` names no subject", pair[1].text))).collect()
}

mod the_checkers {
    use super::*;

    fn lines(path: &str, text: &str, rule: fn(&Source) -> Vec<Finding>) -> Vec<usize> {
        rule(&Source::parse(path, text)).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn a_finding_names_its_file_and_line() {
        let source = Source::parse("src/a.rs", "\nmod utils;");
        assert_eq!(
            sentences(&source, names_without_a_subject),
            ["src/a.rs:2: `utils` names no subject"]
        );
    }

    #[test]
    fn unsafe_is_a_word_not_a_part_of_one() {
        let text =
            "#![deny(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";\nunsafe fn f() {}";
        assert_eq!(lines("src/vector/mod.rs", text, unsafe_outside_its_folder), [4]);
        assert_eq!(lines("src/vector/arch/avx.rs", text, unsafe_outside_its_folder), [0; 0]);
    }

    #[test]
    fn unsafe_is_counted_by_kind_and_wants_a_reason() {
        let text = "unsafe fn f() {\n unsafe { g() }\n}\n// SAFETY: h\nlet a = unsafe { h() };";
        let count = Unsafe::of(&Source::parse("src/a.rs", text));
        assert_eq!(count, Unsafe { blocks: 2, functions: 1 });
        assert_eq!(lines("src/a.rs", text, unsafe_without_safety), [2]);
    }

    #[test]
    fn a_map_has_no_other_items() {
        let map = "//! Docs.\n#![allow(dead_code, reason = \"[\")]\nmod a;\n#[cfg(unix)]\npub mod b;\n\
                   pub(crate) use a::{B, c::D};\npub(in crate::x) use a::C as E;";
        assert_eq!(lines("src/a/mod.rs", map, items_in_a_mod_file), [0; 0]);
        let more = "mod a;\nmod b { use c::D; }\nfn f() {}\nuse d::E;\nconst F: u8 = 1;";
        assert_eq!(lines("src/a/mod.rs", more, items_in_a_mod_file), [2, 2, 5]);
        assert_eq!(lines("src/a/b.rs", more, items_in_a_mod_file), [0; 0]);
    }

    #[test]
    fn a_reason_stands_on_the_line_or_just_above() {
        let check = |text: &str| lines("src/a.rs", text, orderings_without_a_reason);
        assert_eq!(check("a.load(Ordering::Relaxed);"), [0; 0]);
        assert_eq!(check("a.load(Ordering::Acquire);"), [1]);
        assert_eq!(check("a.load(Ordering::Acquire); // pairs with b"), [0; 0]);
        assert_eq!(check("// pairs with b\na\n.b\n.load(atomic::Ordering::SeqCst);"), [0; 0]);
        assert_eq!(check("// too far up\na\n.b\n.c\n.load(Ordering::SeqCst);"), [5]);
        assert_eq!(check("/// for callers\na.load(Ordering::Acquire);"), [2]);
        assert_eq!(check("let a = \"// no comment\"; b.load(Ordering::Acquire);"), [1]);
        assert_eq!(check("use std::sync::atomic::Ordering::{\n  Relaxed,\n  Release,\n};"), [3]);
        assert_eq!(check("use std::cmp::Ordering::{Less, Greater};"), [0; 0]);
    }

    #[test]
    fn a_file_may_be_as_long_as_the_limit() {
        assert_eq!(lines("src/a.rs", &"\n".repeat(MOST_LINES), too_many_lines), [0; 0]);
        assert_eq!(lines("src/a.rs", &"\n".repeat(MOST_LINES + 1), too_many_lines), [701]);
    }

    #[test]
    fn ignoring_needs_a_reason() {
        let check = |text: &str| lines("src/a.rs", text, ignored_without_a_reason);
        assert_eq!(check("#[ignore = \"slow\"]\nfn ignore() {}"), [0; 0]);
        assert_eq!(check("#[test]\n#[ignore]\nfn a() {}"), [2]);
        assert_eq!(check("#[cfg_attr(miri, ignore)]"), [1]);
        assert_eq!(check("#[cfg_attr(miri, ignore = \"slow\")]"), [0; 0]);
    }

    #[test]
    fn a_name_may_contain_a_hollow_word() {
        let check = |text: &str| lines("src/a.rs", text, names_without_a_subject);
        assert_eq!(check("mod common_prefix;\nuse types::X;"), [0; 0]);
        assert_eq!(check("pub mod helpers {\n}"), [1]);
    }
}
