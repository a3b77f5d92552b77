//! The hot paths take no more instructions than they did.
//!
//! Time says little on a shared machine; a count of instructions says the same every time. It depends on
//! the compiler, so what is compared is what the same version made: `benches/record/instructions.csv` holds
//! the counts, and the version and the features of the processor they were taken with.
//!
//! ```text
//! EVENKEEL_RECORD=1 cargo test --test instructions     # takes them anew
//! ```
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a path may take more than it did, in percent.
const MARGIN: u64 = 5;

/// The paths of `benches/instructions.rs`, the turns each is counted over, and what a turn is.
const PATHS: &[(&str, u64, &str)] = &[
    ("lease", 2_000, "choose an endpoint among three and settle its lease"),
    ("quota", 2_000, "reserve two limits of a known tenant and settle them"),
    ("queue", 2_000, "pass a queue where nobody waits and leave it"),
    ("hit", 1_000, "complete: answered by the exact cache; a prompt of 1 kB"),
    ("hit_100kB", 200, "the same; a prompt of 100 kB"),
    ("miss", 1_000, "complete: balancer quota queue flight and a cache that misses; 1 kB"),
    ("miss_100kB", 200, "the same; a prompt of 100 kB"),
    ("chunk", 5_000, "one chunk of a stream, its making included"),
    ("chunk_shared", 5_000, "one chunk of a stream that others may join, its making included"),
];

const UPDATE: &str = "EVENKEEL_RECORD=1 cargo test --test instructions";

#[test]
fn the_hot_paths_take_no_more_instructions_than_recorded() {
    if std::env::var_os("EVENKEEL_RECORD").is_some() {
        return record();
    }
    let recorded = Recorded::read();
    if let Some(why) = recorded.why_not_to_compare() {
        println!("not compared: {why}");
        return;
    }
    let counts = count_all(&build());
    let rows = counts.iter().map(|&(path, count)| (path, count, recorded.count(path)));
    let grown = rows.filter(|&(_, count, was)| count * 100 > was * (100 + MARGIN));
    let grown: Vec<String> =
        grown.map(|(path, count, was)| format!("{path}: {count}, recorded {was}")).collect();
    assert!(
        grown.is_empty(),
        "more than {MARGIN} % more instructions a turn:\n  {}\nWhere that is meant: {UPDATE}",
        grown.join("\n  ")
    );
}

#[test]
fn every_path_is_recorded_and_nothing_else() {
    if std::env::var_os("EVENKEEL_RECORD").is_some() {
        return;
    }
    let recorded = Recorded::read();
    let names: Vec<&str> = recorded.counts.iter().map(|(name, _)| name.as_str()).collect();
    let paths: Vec<&str> = PATHS.iter().map(|(path, ..)| *path).collect();
    assert_eq!(names, paths, "the paths have changed: {UPDATE}");
    assert!(recorded.counts.iter().all(|(_, count)| *count > 0));
}

/// What was recorded.
struct Recorded {
    rustc: String,
    machine: String,
    counts: Vec<(String, u64)>,
}

impl Recorded {
    fn read() -> Self {
        let text = std::fs::read_to_string(file()).unwrap();
        let comment = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in {}", file().display())).to_owned()
        };
        let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
        let counts = rows.map(|row| {
            let mut fields = row.split(',');
            let name = fields.next().unwrap().to_owned();
            (name, fields.next().unwrap().parse().unwrap())
        });
        let counts = counts.collect();
        Self { rustc: comment("rustc"), machine: comment("machine"), counts }
    }

    fn count(&self, path: &str) -> u64 {
        self.counts.iter().find(|(name, _)| name == path).unwrap().1
    }

    /// The one thing that stands against a comparison.
    fn why_not_to_compare(&self) -> Option<String> {
        if !there_is_valgrind() {
            return Some("valgrind is missing (apt-get install valgrind)".to_owned());
        }
        if self.rustc != rustc() {
            return Some(format!("recorded with {}, this is {}", self.rustc, rustc()));
        }
        // What the C library and the hash choose by.
        (self.machine != machine())
            .then(|| format!("recorded on {}, this is {}", self.machine, machine()))
    }
}

fn record() {
    assert!(there_is_valgrind(), "valgrind is missing (apt-get install valgrind)");
    let mut text = format!(
        "# Instructions a turn, by callgrind: what tests/instructions.rs compares with.\n\
         # command: {UPDATE}\n# rustc: {}\n# machine: {}\npath,instructions,what\n",
        rustc(),
        machine()
    );
    let counts = count_all(&build());
    for ((path, count), (_, _, what)) in counts.iter().zip(PATHS) {
        writeln!(text, "{path},{count},{what}").unwrap();
    }
    std::fs::write(file(), text).unwrap();
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/record/instructions.csv")
}

fn there_is_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The kind of machine, as far as code is chosen by it. Valgrind shows programs no more than AVX2.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let avx2 = info.split_whitespace().any(|flag| flag == "avx2");
    format!("{} {}", std::env::consts::ARCH, if avx2 { "with AVX2" } else { "without AVX2" })
}

/// The program, built as benchmarks are. What the tests were built of is of no use for that, what other
/// benchmarks were is.
fn build() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["bench", "--no-run", "--bench", "instructions", "--message-format", "json"])
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "the benchmark did not build");
    let messages = String::from_utf8(built.stdout).unwrap();
    let artifacts = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    artifacts.collect::<Vec<_>>().pop().expect("cargo names what it has built")
}

fn count_all(program: &Path) -> Vec<(&'static str, u64)> {
    let mut counts = Vec::new();
    for &(path, turns, _) in PATHS {
        let once = count(program, path, turns);
        let twice = count(program, path, 2 * turns);
        counts.push((path, (twice - once) / turns));
        println!("{path}: {}", (twice - once) / turns);
    }
    counts
}

/// All instructions of one run.
fn count(program: &Path, path: &str, turns: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([path, &turns.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path} failed: {said}");
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.unwrap_or_else(|| panic!("callgrind counted nothing: {said}")).trim().parse().unwrap()
}
