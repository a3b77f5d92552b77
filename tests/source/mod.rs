//! The crate's own source as the house rules read it: code apart from comments and literals.

use std::fs;
use std::path::Path;

/// One Rust file, split so that a rule never trips over a word in a comment or a string.
///
/// Both views keep every line break, so a line number found in one holds in the other.
pub(crate) struct Source {
    /// Relative to the repository, with `/` between its parts.
    pub(crate) path: String,
    /// The code alone: comments and literals are blank.
    pub(crate) code: String,
    /// The comments alone, documentation included.
    #[allow(dead_code, reason = "not every test that shares this module reads comments")]
    pub(crate) comments: String,
}

impl Source {
    /// Every Rust file under `folder` of the repository, in the order of their paths.
    pub(crate) fn under(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        collect(root, &root.join(folder), &mut found);
        assert!(
            !found.is_empty(),
            "no Rust file found under {folder}: the rules would check nothing"
        );
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// Splits `text`.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut split = Split::default();
        split.run(text);
        Self { path: path.to_owned(), code: split.code, comments: split.comments }
    }

    /// The code as words and punctuation.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        let lines = self.code.lines().enumerate();
        lines.flat_map(|(index, line)| line_tokens(line, index + 1)).collect()
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder that was just opened can be listed").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a listed source file can be read");
            let relative = path.strip_prefix(root).expect("the walk started at the root");
            found.push(Source::parse(&relative.to_string_lossy().replace('\\', "/"), &text));
        }
    }
}

/// A word (identifier, keyword or number) or a piece of punctuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// Its text. `::` is one token, since every rule about paths wants it whole.
    pub(crate) text: &'a str,
    /// Its line, from 1.
    pub(crate) line: usize,
}

fn line_tokens(line: &str, number: usize) -> Vec<Token<'_>> {
    let mut rest = line.trim_start();
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (text, after) = rest.split_at(token_length(first, rest));
        found.push(Token { text, line: number });
        rest = after.trim_start();
    }
    found
}

fn token_length(first: char, rest: &str) -> usize {
    if is_word(first) {
        rest.find(|c| !is_word(c)).unwrap_or(rest.len())
    } else if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Walks a file once and deals each character to one of the two views, a blank to the other.
#[derive(Default)]
struct Split {
    code: String,
    comments: String,
}

impl Split {
    fn run(&mut self, mut rest: &str) {
        while !rest.is_empty() {
            let after_word = self.code.ends_with(is_word);
            let comment = comment_length(rest);
            let literal = literal_length(rest, after_word);
            let next_char = rest.chars().next().map_or(1, char::len_utf8);
            let (taken, after) = rest.split_at(comment.or(literal).unwrap_or(next_char));
            self.deal(taken, comment.is_some(), literal.is_some());
            rest = after;
        }
    }

    fn deal(&mut self, taken: &str, comment: bool, literal: bool) {
        let blanks = taken.chars().map(|c| if c == '\n' { c } else { ' ' }).collect::<String>();
        self.comments.push_str(if comment { taken } else { &blanks });
        self.code.push_str(if comment || literal { &blanks } else { taken });
    }
}

fn comment_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.starts_with("/*").then(|| block_comment_length(rest))
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of the string or character literal that `rest` starts with.
///
/// A prefix (`r`, `b`, `br`, `c`, `cr`) belongs to it, but not when it is the end of a longer word.
fn literal_length(rest: &str, after_word: bool) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(rest.len());
    if prefix > 0 && (after_word || prefix > 2) {
        return None;
    }
    let body = &rest[prefix..];
    let length = if rest[..prefix].ends_with('r') {
        raw_string_length(body)
    } else if body.starts_with('"') {
        Some(escaped_length(body, '"'))
    } else {
        char_length(body)
    };
    length.map(|length| prefix + length)
}

fn raw_string_length(body: &str) -> Option<usize> {
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&close).map(|at| hashes + 1 + at + close.len());
    Some(end.unwrap_or(body.len()))
}

/// `body` starts with `quote`; a backslash takes the next character with it.
fn escaped_length(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    body.len()
}

/// `'a'` and `'\n'` are literals, `'a` is a lifetime.
fn char_length(body: &str) -> Option<usize> {
    let mut inside = body.strip_prefix('\'')?.chars();
    let first = inside.next()?;
    let is_literal = first == '\\' || inside.next() == Some('\'');
    is_literal.then(|| escaped_length(body, '\''))
}
