//! Finds in the crate's source whatever its users can poll, and so can drop half-way.

use crate::source::{Source, Token};

/// A function or a type of the crate that can be dropped before it is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pollable {
    /// `Type::function`, `Type as Trait::function` or `module::function`.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) place: String,
}

/// All of them: public async functions, async functions of traits (with a body, and so an
/// implementation), public functions that return a future or a stream, and the public types that are
/// one. The crate's lints see to it that what is `pub` can be reached.
pub(crate) fn pollables() -> Vec<Pollable> {
    pollables_among(&Source::under("src"))
}

pub(crate) fn pollables_among(sources: &[Source]) -> Vec<Pollable> {
    let mut found: Vec<_> = sources.iter().flat_map(all_of).collect();
    let types: Vec<_> = sources.iter().flat_map(types).collect();
    let declared = |name: &str, public| types.iter().any(|it| it.0 == name && it.1 == public);
    let owner = |it: &Pollable| it.name.split([' ', ':']).next().map(str::to_owned);
    let is_private = |name: String| declared(&name, false) && !declared(&name, true);
    found.retain(|it| !owner(it).is_some_and(is_private));
    found.sort();
    found
}

/// The names of the types that are declared, and whether somebody outside can hold one.
fn types(source: &Source) -> Vec<(String, bool)> {
    let tokens = source.tokens();
    let declared = (1..tokens.len().saturating_sub(1))
        .filter(|at| matches!(tokens[*at].text, "struct" | "enum"));
    let named = declared.map(|at| (tokens[at + 1].text.to_owned(), tokens[at - 1].text == "pub"));
    named.collect()
}

fn all_of(source: &Source) -> Vec<Pollable> {
    let tokens = source.tokens();
    let mut found = Vec::new();
    Walk { source, found: &mut found }.items(&tokens, &Around::Module(module(&source.path)));
    found
}

/// What a file's functions are called after.
fn module(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// What an item stands in.
#[derive(Clone)]
enum Around {
    Module(String),
    /// An inherent block of this type.
    Type(String),
    /// What a type does as a trait.
    Implementation {
        implementor: String,
        of: String,
    },
    Trait(String),
}

struct Walk<'a> {
    source: &'a Source,
    found: &'a mut Vec<Pollable>,
}

impl Walk<'_> {
    /// The items of one block, one after the other; those of tests are nobody's.
    fn items(&mut self, mut rest: &[Token<'_>], around: &Around) {
        while !rest.is_empty() {
            let (item, after) = split_item(rest);
            if !is_test(item) {
                self.item(item, around);
            }
            rest = after;
        }
    }

    fn item(&mut self, item: &[Token<'_>], around: &Around) {
        let (head, body) = head_and_body(item);
        let words = without_attributes(head);
        let Some(keyword) = words.iter().find(|word| KEYWORDS.contains(&word.text)) else { return };
        match keyword.text {
            "fn" => self.function(&words, body.is_some(), around),
            "impl" => {
                let around = implementation(&words);
                self.note_type(&around, keyword.line);
                self.items(body.unwrap_or_default(), &around);
            }
            "trait" if words[0].text == "pub" => {
                let name = word_after(&words, "trait");
                self.items(body.unwrap_or_default(), &Around::Trait(name));
            }
            "mod" => self.items(body.unwrap_or_default(), around),
            _ => {}
        }
    }

    fn function(&mut self, words: &[Token<'_>], has_body: bool, around: &Around) {
        let is_async = words.iter().take_while(|word| word.text != "fn").any(|w| w.text == "async");
        let is_public = words[0].text == "pub" && words[1].text != "(";
        let name = word_after(words, "fn");
        let owner = match around {
            Around::Module(path) if is_public => path.clone(),
            Around::Type(path) if is_public => path.clone(),
            Around::Implementation { implementor, of } => format!("{implementor} as {of}"),
            Around::Trait(path) if has_body => path.clone(),
            _ => return,
        };
        if is_async || returns_pollable(words) {
            self.note(format!("{owner}::{name}"), words[0].line);
        }
    }

    /// Types that are a future or a stream themselves.
    fn note_type(&mut self, around: &Around, line: usize) {
        if let Around::Implementation { implementor, of } = around
            && matches!(&**of, "Future" | "Stream")
        {
            self.note(format!("{implementor} as {of}"), line);
        }
    }

    fn note(&mut self, name: String, line: usize) {
        self.found.push(Pollable { name, place: format!("{}:{line}", self.source.path) });
    }
}

const KEYWORDS: &[&str] =
    &["fn", "impl", "trait", "mod", "struct", "enum", "use", "type", "static", "macro_rules"];

/// What a function can return to be polled.
const POLLABLE: &[&str] =
    &["Future", "BoxFuture", "Stream", "BoxStream", "ChunkStream", "Upstream"];

fn returns_pollable(words: &[Token<'_>]) -> bool {
    let bounds = words.iter().position(|word| word.text == "where").unwrap_or(words.len());
    let words = &words[..bounds];
    let arrow = |at: &usize| words[*at].text == "-" && words[*at + 1].text == ">";
    // The last arrow outside of the parameters: those of closures come before.
    let Some(arrow) = (0..words.len() - 1).rev().find(arrow) else { return false };
    let mut depth = 0;
    for word in &words[..arrow] {
        depth += i32::from(word.text == "(") - i32::from(word.text == ")");
    }
    let by_value = words.get(arrow + 2).is_some_and(|word| word.text != "&");
    depth == 0 && by_value && words[arrow..].iter().any(|word| POLLABLE.contains(&word.text))
}

/// An item ends with its block or its semicolon, whichever comes first outside of brackets.
fn split_item<'a, 't>(tokens: &'a [Token<'t>]) -> (&'a [Token<'t>], &'a [Token<'t>]) {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" => round += 1,
            ")" | "]" => round -= 1,
            "{" => curly += 1,
            "}" => curly -= 1,
            _ => {}
        }
        let ends = matches!(token.text, "}" | ";") && round == 0 && curly == 0;
        if ends {
            return tokens.split_at(at + 1);
        }
    }
    (tokens, &[])
}

/// What an item says, and what is inside of its braces.
fn head_and_body<'a, 't>(item: &'a [Token<'t>]) -> (&'a [Token<'t>], Option<&'a [Token<'t>]>) {
    match item.iter().position(|token| token.text == "{") {
        Some(open) => (&item[..open], Some(&item[open + 1..item.len() - 1])),
        None => (item, None),
    }
}

/// Whether it is only built for tests.
fn is_test(item: &[Token<'_>]) -> bool {
    let words: Vec<_> = item.iter().map(|token| token.text).take(12).collect();
    words.starts_with(&["#", "[", "cfg", "(", "test"])
        || words.starts_with(&["#", "[", "cfg", "(", "all", "(", "test"])
}

fn without_attributes<'t>(head: &[Token<'t>]) -> Vec<Token<'t>> {
    let (mut kept, mut depth, mut hash) = (Vec::new(), 0, false);
    for token in head {
        match token.text {
            "#" => hash = true,
            "[" if hash || depth > 0 => (hash, depth) = (false, depth + 1),
            "]" if depth > 0 => depth -= 1,
            // Of a file's own attributes.
            "!" if hash => {}
            _ if depth == 0 => kept.push(*token),
            _ => {}
        }
    }
    kept
}

/// The block of `impl<..> Type<..>` or `impl<..> Trait<..> for Type<..>`.
fn implementation(words: &[Token<'_>]) -> Around {
    let after = &words[words.iter().position(|word| word.text == "impl").map_or(0, |at| at + 1)..];
    let outer = outside_of_angles(after);
    let subject = |words: &[Token<'_>]| {
        let path = words.iter().take_while(|word| word.text != "where");
        path.filter(|word| word.text.starts_with(char::is_alphabetic))
            .filter(|word| word.text != "dyn")
            .last()
            .map_or_else(String::new, |word| word.text.to_owned())
    };
    match outer.iter().position(|word| word.text == "for") {
        Some(at) => Around::Implementation {
            implementor: subject(&outer[at + 1..]),
            of: subject(&outer[..at]),
        },
        None => Around::Type(subject(&outer)),
    }
}

fn outside_of_angles<'t>(words: &[Token<'t>]) -> Vec<Token<'t>> {
    let (mut kept, mut depth, mut before) = (Vec::new(), 0, "");
    for word in words {
        match word.text {
            "<" => depth += 1,
            // Of an arrow.
            ">" if before == "-" => {}
            ">" => depth -= 1,
            _ if depth == 0 => kept.push(*word),
            _ => {}
        }
        before = word.text;
    }
    kept
}

fn word_after(words: &[Token<'_>], keyword: &str) -> String {
    let at = words.iter().position(|word| word.text == keyword);
    at.and_then(|at| words.get(at + 1)).map_or_else(String::new, |word| word.text.to_owned())
}
