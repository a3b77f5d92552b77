//! The picture: how long the slowest twentieth of the calls took, over time.

use std::fmt::Write as _;

use crate::Point;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
/// What surrounds the plot: left, top, right, bottom.
const MARGIN: [f64; 4] = [52.0, 44.0, 28.0, 40.0];

const BARE: &str = "#c2410c";
const EVENKEEL: &str = "#0f766e";

/// Where things are.
struct Scale {
    seconds: f64,
    most: f64,
}

impl Scale {
    fn x(&self, second: f64) -> f64 {
        MARGIN[0] + second / self.seconds * (WIDTH - MARGIN[0] - MARGIN[2])
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - MARGIN[3] - value / self.most * (HEIGHT - MARGIN[1] - MARGIN[3])
    }
}

pub(crate) fn draw(bare: &[Point], evenkeel: &[Point], sick: (f64, f64), seconds: f64) -> String {
    let most = bare.iter().chain(evenkeel).map(|point| point.p95).fold(0.0, f64::max);
    let scale = Scale { seconds, most: (most / 5.0).ceil() * 5.0 };
    let mut svg = head();
    frame(&mut svg, &scale, sick);
    line(&mut svg, &scale, bare, BARE);
    line(&mut svg, &scale, evenkeel, EVENKEEL);
    legend(&mut svg, &scale);
    svg.push_str("</svg>\n");
    svg
}

fn head() -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"95th percentile of answer times during a brown-out of one of three servers\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    )
}

fn frame(svg: &mut String, scale: &Scale, sick: (f64, f64)) {
    let (top, bottom) = (scale.y(scale.most), scale.y(0.0));
    let (from, to) = (scale.x(sick.0), scale.x(sick.1));
    rect(svg, (from, top, to - from, bottom - top), "#f1f5f9");
    text(
        svg,
        ((from + to) / 2.0, bottom - 34.0),
        "middle",
        "#64748b",
        "one of three servers is sick",
    );
    for step in 0..=4 {
        let value = scale.most * f64::from(step) / 4.0;
        let y = scale.y(value);
        let (x1, x2) = (scale.x(0.0), scale.x(scale.seconds));
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y:.1}\" x2=\"{x2:.1}\" y2=\"{y:.1}\" stroke=\"#e2e8f0\"/>"
        );
        text(svg, (x1 - 8.0, y + 4.0), "end", "#475569", &format!("{value:.1} s"));
    }
    for minute in 0..=(scale.seconds / 60.0) as u32 {
        let at = (scale.x(f64::from(minute) * 60.0), bottom + 18.0);
        text(svg, at, "middle", "#475569", &format!("{minute} min"));
    }
}

fn line(svg: &mut String, scale: &Scale, points: &[Point], color: &str) {
    let middle = |point: &Point| point.at + 5.0;
    let at = |point: &Point| format!("{:.1},{:.1}", scale.x(middle(point)), scale.y(point.p95));
    let path: Vec<_> = points.iter().map(at).collect();
    let path = path.join(" ");
    let _ = writeln!(
        svg,
        "<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\" \
         stroke-linejoin=\"round\"/>"
    );
}

fn legend(svg: &mut String, scale: &Scale) {
    let title = "time to the whole answer, 95th percentile of every ten seconds";
    text(svg, (scale.x(0.0), 22.0), "start", "#0f172a", title);
    let mut x = scale.x(scale.seconds) - 262.0;
    for (name, color) in [("an SDK with two retries", BARE), ("evenkeel", EVENKEEL)] {
        rect(svg, (x, 16.0, 14.0, 4.0), color);
        text(svg, (x + 20.0, 22.0), "start", "#0f172a", name);
        x += 178.0;
    }
}

fn rect(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), color: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, color: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{words}</text>"
    );
}
