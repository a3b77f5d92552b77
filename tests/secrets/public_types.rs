//! Every public type shows itself, and none shows a canary.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};
use crate::{is_clean, mechanisms, nouns, parts};

/// What a type that is not shown may be made of, beside others of its kind: numbers and moments.
const PLAIN: &[&str] =
    &["Option", "Duration", "Instant", "Self", "Vec", "Box", "AtomicU64", "BUCKETS", "PhantomData"];

/// Private types of numbers, or of words that are known when the crate is compiled.
const PLAIN_PRIVATE: &[&str] = &["Judged", "State", "Window"];

/// What cannot be made here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("event::Event", "observers::no_event_shows_a_secret: only the crate makes one"),
    ("providers::Model2Vec", "takes a model's files; it shows the path it was loaded from"),
];

#[test]
fn no_public_type_shows_a_secret() {
    let (declared, shown) = (declared(), shown());
    for (name, said) in shown.iter().flat_map(|(name, all)| all.iter().map(move |it| (name, it))) {
        assert!(declared.contains_key(*name), "{name} is no public type");
        assert!(said.len() > 2, "{name} shows nothing at all: {said:?}");
    }
    let loud = shown.iter().filter(|(_, all)| all.iter().any(|said| !is_clean(said)));
    let loud: Vec<_> = loud.map(|(name, all)| format!("{name}: {all:?}")).collect();
    assert!(loud.is_empty(), "\n{}\n", loud.join("\n"));
}

/// A type that is not shown above must be plain, so that nobody has to believe it.
#[test]
fn a_public_type_is_shown_or_holds_nothing_but_numbers() {
    let (declared, shown) = (declared(), shown());
    let is_shown = |name: &str| {
        shown.contains_key(name) || ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == name)
    };
    let rest: BTreeMap<_, _> = declared.iter().filter(|(name, _)| !is_shown(name)).collect();
    let plain: BTreeSet<&str> = rest.keys().map(|name| last(name)).collect();
    let mut wrong = Vec::new();
    for (name, words) in &rest {
        let foreign = words.iter().find(|word| !plain.contains(&***word) && !is_plain(word));
        wrong.extend(
            foreign.map(|word| format!("{name} has a `{word}`: show one, full of canaries")),
        );
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(shown.len() > 120 && rest.len() > 80, "{} and {}", shown.len(), rest.len());
}

fn is_plain(word: &str) -> bool {
    PLAIN.contains(&word) || PLAIN_PRIVATE.contains(&word)
}

fn last(name: &str) -> &str {
    name.rsplit("::").next().unwrap()
}

fn shown() -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, said) in [nouns::all(), mechanisms::all(), parts::all()].concat() {
        all.entry(name).or_default().push(said);
    }
    all
}

/// Every public type, as `module::Name`, with the types that its definition names.
fn declared() -> BTreeMap<String, Vec<String>> {
    let sources = Source::under("src");
    // What a door opens is for the fuzzer alone, and in no build of anybody's.
    let open = sources.iter().filter(|source| !source.path.ends_with("/door.rs"));
    open.flat_map(declared_in).collect()
}

fn declared_in(source: &Source) -> Vec<(String, Vec<String>)> {
    let tokens = source.tokens();
    let module = source.path["src/".len()..].split(['/', '.']).next().unwrap();
    let starts = tokens.windows(3).enumerate().filter(|(_, window)| {
        window[0].text == "pub" && ["struct", "enum", "union"].contains(&window[1].text)
    });
    starts
        .map(|(at, window)| {
            let body = body(&tokens[at + 3..]);
            let words = if window[1].text == "enum" { types_of_enum(body) } else { types(body) };
            (format!("{module}::{}", window[2].text), words)
        })
        .collect()
}

/// From the name to the end of the definition.
fn body<'a, 't>(rest: &'a [Token<'t>]) -> &'a [Token<'t>] {
    let mut depth = 0;
    for (at, token) in rest.iter().enumerate() {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" if depth == 1 && token.text != "]" => return &rest[..at],
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return &rest[..at],
            _ => {}
        }
    }
    rest
}

/// The names that begin with a capital, and `str` and `dyn` where they are not static.
fn types(body: &[Token<'_>]) -> Vec<String> {
    let named = body.iter().enumerate().filter(|(at, token)| {
        let before = at.checked_sub(1).map_or("", |at| body[at].text);
        let is_open = ["str", "dyn", "impl"].contains(&token.text) && before != "static";
        // What stands before a path separator is a module or a type that is not held.
        let is_type = token.text.starts_with(char::is_uppercase);
        is_type || is_open
    });
    named.map(|(_, token)| token.text.to_owned()).collect()
}

/// The same without the names of variants and without attributes.
fn types_of_enum(body: &[Token<'_>]) -> Vec<String> {
    let mut kept = Vec::new();
    let (mut depth, mut in_attribute, mut begins) = (0, 0, false);
    for token in body {
        match token.text {
            "#" => {}
            "[" if in_attribute > 0 || kept_ends_with_hash(body, token) => in_attribute += 1,
            "]" if in_attribute > 0 => in_attribute -= 1,
            _ if in_attribute > 0 => {}
            "{" | "(" => (depth, begins) = (depth + 1, depth == 0),
            "}" | ")" => depth -= 1,
            "," if depth == 1 => begins = true,
            _ if begins && depth == 1 => begins = false,
            _ => kept.push(*token),
        }
    }
    types(&kept)
}

fn kept_ends_with_hash(body: &[Token<'_>], open: &Token<'_>) -> bool {
    let at = body.iter().position(|token| std::ptr::eq(token, open)).unwrap();
    at > 0 && body[at - 1].text == "#"
}

mod the_scan {
    use super::*;

    fn of(text: &str) -> Vec<(String, Vec<String>)> {
        declared_in(&Source::parse("src/a/b.rs", text))
    }

    #[test]
    fn sees_what_a_type_is_made_of() {
        let text = "pub struct A<'a> { b: Option<u8>, c: &'a str, d: &'static str }\n\
                    pub(crate) struct Hidden(String);\npub struct B(Arc<dyn C>);\npub struct D;";
        let found = of(text);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a::A", "a::B", "a::D"]);
        assert_eq!(found[0].1, ["Option", "str"]);
        assert_eq!(found[1].1, ["Arc", "dyn", "C"]);
        assert!(found[2].1.is_empty());
    }

    #[test]
    fn tells_variants_from_types() {
        let text = "pub enum A { #[error(\"x\")] B, C(D), #[from] E { f: G, h: &'static str }, }";
        assert_eq!(of(text)[0].1, ["D", "G"]);
    }
}
