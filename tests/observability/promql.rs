//! What a query asks for: as much of PromQL as the shipped ones use.

/// A metric of a query, with what is asked of its labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Labels and the values they are compared with; those of patterns that are more than a choice of
    /// words, and of Grafana's variables, are left out.
    pub(crate) matchers: Vec<(String, Vec<String>)>,
    /// The labels that the nearest `by` in front of it groups by.
    pub(crate) by: Vec<String>,
}

/// Every metric that `query` names.
pub(crate) fn selectors(query: &str) -> Vec<Selector> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = next_metric(query, from) {
        let rest = &query[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let inside = rest[end..].strip_prefix('{').and_then(|it| it.split_once('}'));
        found.push(Selector {
            metric: rest[..end].to_owned(),
            matchers: inside.map(|(inside, _)| matchers(inside)).unwrap_or_default(),
            by: grouping(&query[..at]),
        });
        from = at + end + inside.map_or(0, |(inside, _)| inside.len());
    }
    found
}

/// Where a name of ours or of the conventions begins, outside of labels.
fn next_metric(query: &str, from: usize) -> Option<usize> {
    let starts = ["llm_", "gen_ai_client_"];
    let found = starts.iter().filter_map(|start| query[from..].find(start));
    found.min().map(|at| from + at)
}

fn grouping(before: &str) -> Vec<String> {
    let Some((_, after)) = before.rsplit_once("by (") else { return Vec::new() };
    let Some((labels, rest)) = after.split_once(')') else { return Vec::new() };
    // It belongs to one expression in parentheses, which may have ended by now.
    let mut depth = 0;
    for c in rest.chars() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => continue,
        };
        if depth == 0 {
            return Vec::new();
        }
    }
    labels.split(',').map(|label| label.trim().to_owned()).collect()
}

fn matchers(inside: &str) -> Vec<(String, Vec<String>)> {
    inside
        .split("\",")
        .map(|matcher| {
            let end = matcher.find(['=', '!']).unwrap();
            let value =
                matcher[end..].trim_start_matches(['=', '!', '~', '"']).trim_end_matches('"');
            let variable = value.contains('$') || value.is_empty();
            let values = value.split('|').filter(|_| !variable).map(str::to_owned).collect();
            (matcher[..end].trim().to_owned(), values)
        })
        .collect()
}

#[test]
fn a_query_is_taken_apart() {
    let query =
        r#"sum by (le, a) (rate(llm_x_bucket{m=~"$model", o="b"}[5m])) / sum(llm_y{s=~"c|d"})"#;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        selectors(query),
        [
            Selector {
                metric: "llm_x_bucket".into(),
                matchers: vec![("m".into(), vec![]), ("o".into(), words(&["b"]))],
                by: words(&["le", "a"]),
            },
            Selector {
                metric: "llm_y".into(),
                matchers: vec![("s".into(), words(&["c", "d"]))],
                by: vec![],
            },
        ]
    );
}
