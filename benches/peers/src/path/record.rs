//! The figures as they are printed and kept.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::drawing;
use crate::machine;

const COMMAND: &str = "cargo bench --bench ratios -- --path --record";

/// One number.
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) case: &'static str,
    pub(super) prompt: usize,
    pub(super) value: f64,
    unit: &'static str,
}

impl Figure {
    pub(super) fn new(
        what: &'static str,
        case: &'static str,
        prompt: usize,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self { what, case, prompt, value, unit }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, case, prompt, value, unit } = self;
        write!(f, "{what:<30} {case:<26} {prompt:>9} B {value:>12.1} {unit}")
    }
}

/// Writes the figures and their drawing.
pub(super) fn keep(figures: &[Figure]) {
    let mut text = format!(
        "# {}\n# date: {}\n# command: {COMMAND}\nwhat,case,prompt_bytes,value,unit\n",
        machine::line(),
        today()
    );
    for Figure { what, case, prompt, value, unit } in figures {
        text.push_str(&format!("{what},{case},{prompt},{value:.1},{unit}\n"));
    }
    write("benches/record/path.csv", &text);
    // Beside the page of the guide that shows it.
    write("src/guide/path.svg", &drawing::draw(figures));
}

fn write(name: &str, text: &str) {
    let file = package().join(name);
    fs::write(&file, text).unwrap_or_else(|e| panic!("{} was not written: {e}", file.display()));
    println!("wrote {}", file.display());
}

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn today() -> String {
    let date = Command::new("date").args(["-u", "+%F"]).output().map(|output| output.stdout);
    date.map_or_else(
        |_| "unknown".to_owned(),
        |text| String::from_utf8_lossy(&text).trim().to_owned(),
    )
}
