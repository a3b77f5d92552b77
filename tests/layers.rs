//! Imports go down only. The table below is the whole rule; every file in `src` is held to it,
//! its unit tests included: a test that needs a higher layer belongs in `tests`.

mod source;

use std::collections::HashMap;

use source::{Source, Token};

/// The top-level modules, lowest layer first. A module may import what is below it.
const LAYERS: &[&[&str]] = &[
    &["time", "rng", "sync", "address", "duration", "histogram"],
    &[
        "admission",
        "document",
        "error",
        "event",
        "outcome",
        "rate_limits",
        "report",
        "request",
        "response",
        "usage",
        "options",
        "chunk",
        "rate",
        "remote",
    ],
    &["provider", "embed"],
    &["balance", "cache", "vector", "quota", "queue"],
    &["client"],
    &["providers", "stores", "observe", "interop"],
    &["config"],
    &["testing"],
];

/// Up to this layer modules may import their neighbours: together they are one vocabulary. Above
/// it they may not, or a mechanism could no longer be used alone.
const LAST_SOCIABLE_LAYER: usize = 2;

/// The exceptions: search needs vectors.
const SIDEWAYS: &[(&str, &str)] = &[("cache", "vector")];

/// They show the crate as a whole, so they may name all of it.
const EXEMPT: &[&str] = &["lib", "guide"];

#[test]
fn imports_go_down_only() {
    let sources = Source::under("src");
    let root = Root::of(&sources);
    let broken: Vec<_> = sources.iter().flat_map(|source| broken_edges(source, &root)).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_module_stands_in_two_layers() {
    let mut names: Vec<_> = LAYERS.iter().flat_map(|layer| layer.iter()).collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "a module stands in two of LAYERS");
}

/// The sentences for what `source` must not import.
fn broken_edges(source: &Source, root: &Root) -> Vec<String> {
    let module = module_of(&source.path);
    if EXEMPT.contains(&module) {
        return Vec::new();
    }
    let Some(layer) = layer_of(module) else {
        return vec![unknown(&source.path, module)];
    };
    let from = From { path: &source.path, module, layer };
    let edges = root_paths(source).into_iter().filter_map(|edge| root.resolve(edge));
    edges.filter_map(|edge| from.objection(edge)).collect()
}

/// `src/balance/pick.rs` and `src/balance.rs` are both of `balance`.
fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let first = inside.split('/').next().unwrap_or(inside);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn unknown(path: &str, name: &str) -> String {
    format!("{path}: `{name}` has no layer: add it to LAYERS in tests/layers.rs")
}

/// The file an edge starts from.
struct From<'a> {
    path: &'a str,
    module: &'a str,
    layer: usize,
}

impl From<'_> {
    fn objection(&self, to: Token<'_>) -> Option<String> {
        let Self { path, module, layer } = self;
        let Some(below) = layer_of(to.text) else {
            return Some(unknown(&format!("{path}:{}", to.line), to.text));
        };
        let sociable = below == *layer && *layer <= LAST_SOCIABLE_LAYER;
        let allowed = to.text == *module || SIDEWAYS.contains(&(module, to.text));
        (below >= *layer && !sociable && !allowed).then(|| {
            let Token { text, line } = to;
            format!(
                "{path}:{line} ({module}, layer {layer}) must not import {text} (layer {below})"
            )
        })
    }
}

/// What the crate's root re-exports: `crate::Error` is an edge to `error`.
struct Root<'a> {
    home: HashMap<&'a str, &'a str>,
}

impl<'a> Root<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let lib = sources.iter().find(|source| source.path == "src/lib.rs");
        let tokens = lib.map(Source::tokens).unwrap_or_default();
        let mut home = HashMap::new();
        for statement in tokens.split(|token| token.text == ";") {
            let Some(at) = statement.iter().position(|token| token.text == "use") else { continue };
            let Some(first) = statement.get(at + 1) else { continue };
            // A foreign crate's item (`async_trait`) is nobody's layer: its home is itself.
            home.extend(statement[at + 2..].iter().map(|name| (name.text, first.text)));
        }
        Self { home }
    }

    /// The edge with the module that a re-exported name comes from; `None` for a foreign crate's.
    fn resolve<'t>(&self, edge: Token<'t>) -> Option<Token<'t>>
    where
        'a: 't,
    {
        if layer_of(edge.text).is_some() {
            return Some(edge);
        }
        match self.home.get(edge.text) {
            Some(&module) if layer_of(module).is_some() => Some(Token { text: module, ..edge }),
            Some(_) => None,
            None => Some(edge),
        }
    }
}

/// The first segment of every path in `source` that starts at the crate's root, whether it is
/// written `crate::x`, `crate::{x, y}` or with as many `super` as lead out of the file's module.
fn root_paths(source: &Source) -> Vec<Token<'_>> {
    let tokens = source.tokens();
    let mut nesting = Nesting::of_file(&source.path);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        nesting.step(&tokens[..=at]);
        if let Some(after) = after_root(&tokens[at..], nesting.depth()) {
            let in_visibility = at > 0 && tokens[at - 1].text == "in";
            if !in_visibility {
                found.extend(first_segments(&tokens[at + after..]));
            }
        }
    }
    found
}

/// How many tokens of `tokens` lead to the crate's root, `::` included.
fn after_root(tokens: &[Token<'_>], depth: usize) -> Option<usize> {
    let leads = |word: &str, times: usize| {
        let pairs = tokens.chunks(2).take(times);
        let fits = pairs.filter(|pair| matches!(pair, [a, b] if a.text == word && b.text == "::"));
        (fits.count() == times).then_some(2 * times)
    };
    leads("crate", 1).or_else(|| leads("super", depth))
}

/// The first segment of a path, or of each path of a group.
fn first_segments<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    match tokens.first() {
        Some(first) if first.text == "{" => group_heads(tokens),
        Some(first) => vec![*first],
        None => Vec::new(),
    }
}

/// The word after the `{` and after each `,` of the outermost level.
fn group_heads<'t>(tokens: &[Token<'t>]) -> Vec<Token<'t>> {
    let mut depth = 0;
    let mut heads = Vec::new();
    for pair in tokens.windows(2) {
        match pair[0].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        let opens = depth == 1 && matches!(pair[0].text, "{" | ",");
        if opens && pair[1].text != "}" {
            heads.push(pair[1]);
        }
    }
    heads
}

/// How many modules deep a token stands; a `super` for each leads to the crate's root.
struct Nesting {
    file: usize,
    braces: usize,
    /// The brace depth at which each inline module was opened.
    modules: Vec<usize>,
}

impl Nesting {
    fn of_file(path: &str) -> Self {
        let inside = path.strip_prefix("src/").unwrap_or(path);
        let parts = inside.split('/').filter(|part| *part != "mod.rs").count();
        Self { file: parts, braces: 0, modules: Vec::new() }
    }

    fn step(&mut self, seen: &[Token<'_>]) {
        match seen {
            [.., keyword, _, Token { text: "{", .. }] if keyword.text == "mod" => {
                self.modules.push(self.braces);
                self.braces += 1;
            }
            [.., Token { text: "{", .. }] => self.braces += 1,
            [.., Token { text: "}", .. }] => self.close(),
            _ => {}
        }
    }

    fn close(&mut self) {
        self.braces = self.braces.saturating_sub(1);
        self.modules.pop_if(|opened| *opened == self.braces);
    }

    fn depth(&self) -> usize {
        self.file + self.modules.len()
    }
}

mod the_checker {
    use super::*;

    fn sentences(path: &str, text: &str) -> Vec<String> {
        let lib =
            "pub mod time; pub use error::{Error, ErrorKind}; pub use async_trait::async_trait;";
        let sources = [Source::parse("src/lib.rs", lib), Source::parse(path, text)];
        broken_edges(&sources[1], &Root::of(&sources))
    }

    #[test]
    fn names_the_file_both_modules_and_both_layers() {
        assert_eq!(
            sentences("src/balance/pick.rs", "use std::mem;\nuse crate::client::LlmClient;"),
            ["src/balance/pick.rs:2 (balance, layer 3) must not import client (layer 4)"]
        );
    }

    #[test]
    fn finds_paths_that_are_not_imports() {
        let inline = "fn f() -> crate::client::X { $crate::testing::x() }";
        assert_eq!(sentences("src/error.rs", inline).len(), 2);
    }

    #[test]
    fn looks_into_nested_groups() {
        let found = sentences(
            "src/quota/cell.rs",
            "use crate::{error::{Error, ErrorKind},\n queue::{self, Gate}, time};",
        );
        assert_eq!(found, ["src/quota/cell.rs:2 (quota, layer 3) must not import queue (layer 3)"]);
    }

    #[test]
    fn skips_comments_strings_and_visibilities() {
        let text = "//! crate::client\n/* crate::client /* crate::client */ crate::client */\n\
                    /// crate::client\npub(in crate::client) fn f(_: &'static str) {}\n\
                    const S: &str = \"\\\"crate::client\"; const R: &str = r#\"\" crate::client\"#;";
        assert_eq!(sentences("src/time.rs", text), [""; 0]);
    }

    #[test]
    fn holds_unit_tests_to_the_same_rule() {
        let tests = "#[cfg(test)] mod tests { use crate::testing::ScriptedProvider; }";
        assert_eq!(sentences("src/client/retry.rs", tests).len(), 1);
    }

    #[test]
    fn follows_super_to_the_root() {
        assert_eq!(sentences("src/error.rs", "use super::client::X;").len(), 1);
        assert_eq!(sentences("src/balance/pick.rs", "use super::super::queue::X;").len(), 1);
        assert_eq!(sentences("src/balance/mod.rs", "use super::queue::X;").len(), 1);
        assert_eq!(sentences("src/balance/pick.rs", "use super::client::X;").len(), 0);
        let inner =
            "mod a { use super::client::X; use super::super::client::X; }\nuse super::client::X;";
        assert_eq!(sentences("src/error.rs", inner).len(), 2);
    }

    #[test]
    fn knows_where_the_roots_names_live() {
        assert_eq!(sentences("src/options.rs", "use crate::{Error, async_trait};"), [""; 0]);
        assert_eq!(
            sentences("src/time.rs", "use crate::Error;"),
            ["src/time.rs:1 (time, layer 0) must not import error (layer 1)"]
        );
    }

    #[test]
    fn lets_the_vocabulary_and_the_exception_look_sideways() {
        assert_eq!(sentences("src/error.rs", "use crate::report::Trail;"), [""; 0]);
        assert_eq!(sentences("src/cache/index.rs", "use crate::vector::dot;"), [""; 0]);
        assert_eq!(sentences("src/vector/mod.rs", "use crate::cache::Index;").len(), 1);
        assert_eq!(sentences("src/stores/redis.rs", "use crate::observe::X;").len(), 1);
    }

    #[test]
    fn says_where_a_new_module_is_to_be_added() {
        let new = "src/billing/mod.rs: `billing` has no layer: add it to LAYERS in tests/layers.rs";
        assert_eq!(sentences("src/billing/mod.rs", ""), [new]);
        assert!(sentences("src/time.rs", "use crate::billing::X;")[0].contains("`billing`"));
    }
}
