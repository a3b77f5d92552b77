//! The picture: what each mechanism adds to a call, for a prompt of 1 kB.

use std::fmt::Write as _;

use super::record::Figure;

const WIDTH: f64 = 760.0;
const ROW: f64 = 30.0;
const TOP: f64 = 48.0;
/// What is left of the bars, and right of them.
const LEFT: f64 = 200.0;
const RIGHT: f64 = 90.0;

const PROVIDER: &str = "#94a3b8";
const OURS: &str = "#0f766e";

/// A bar: its name, where it begins and how long it is, in nanoseconds.
struct Bar {
    name: &'static str,
    from: f64,
    length: f64,
    color: &'static str,
}

pub(super) fn draw(figures: &[Figure]) -> String {
    let bars = bars(figures);
    let most = bars.iter().map(|bar| bar.from + bar.length).fold(1.0, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"what each mechanism adds to a call\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        (16.0, 26.0),
        "start",
        "one call that the cache has no answer for, prompt of 1 kB, CPU time",
    );
    for (row, bar) in bars.iter().enumerate() {
        draw_bar(&mut svg, bar, TOP + ROW * row as f64, most);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The provider, then what each mechanism adds to a call that has them all: the time of all less the time
/// without it. What is left is the client and its balancer.
fn bars(figures: &[Figure]) -> Vec<Bar> {
    let of = |case: &str| {
        let found = figures.iter().find(|figure| {
            figure.what == "complete" && figure.case == case && figure.prompt == 1_000
        });
        found.map_or(0.0, |figure| figure.value)
    };
    let (bare, all) = (of("bare provider"), of("all"));
    let parts = [
        ("quota", all - of("without quota")),
        ("queue", all - of("without queue")),
        ("exact cache and flight", all - of("without cache and flights")),
    ];
    let rest = all - bare - parts.iter().map(|(_, length)| length).sum::<f64>();
    let lengths = [("bare provider", bare), ("client and balancer", rest)].into_iter().chain(parts);
    let mut from = 0.0;
    let bars = lengths.map(|(name, length)| {
        let length = length.max(0.0);
        let color = if name == "bare provider" { PROVIDER } else { OURS };
        let bar = Bar { name, from, length, color };
        from += length;
        bar
    });
    bars.collect()
}

fn draw_bar(svg: &mut String, bar: &Bar, y: f64, most: f64) {
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let (x, width) = (LEFT + bar.from * scale, bar.length * scale);
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" fill=\"{}\"/>",
        bar.color
    );
    text(svg, (LEFT - 12.0, y + 13.0), "end", bar.name);
    let label = format!("{:.2} us", bar.length / 1e3);
    text(svg, (x + width + 8.0, y + 13.0), "start", &label);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#334155\">{words}</text>"
    );
}
