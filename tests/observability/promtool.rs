//! Prometheus' own opinion.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn promtool() -> Command {
    let named = std::env::var_os("EVENKEEL_PROMTOOL").map(PathBuf::from);
    let tools = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools"));
    let unpacked = tools.join("prometheus/usr/bin/promtool");
    let fallback = if unpacked.exists() { unpacked } else { "promtool".into() };
    Command::new(named.unwrap_or(fallback))
}

fn run(command: &mut Command, input: &str) -> Output {
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!(
            "promtool: {error}: run `bash tests/run.sh`, which gets it, or set EVENKEEL_PROMTOOL"
        )
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn assert_pleased(output: &Output) {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
}

/// Checks a text that Prometheus would scrape, its lints included.
pub(crate) fn check_metrics(text: &str) {
    let output = run(promtool().args(["check", "metrics"]), text);
    assert_pleased(&output);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Checks a file.
pub(crate) fn check(what: &[&str], file: &Path) {
    assert_pleased(&run(promtool().args(what).arg(file), ""));
}
