//! Instances as processes: this binary again, with a part to play.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use evenkeel::time::wall_clock;

const VARIABLE: &str = "EVENKEEL_FLEET_PART";

/// What one process is to do.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) role: &'static str,
    pub(crate) url: String,
    pub(crate) record: PathBuf,
    pub(crate) seed: u64,
    /// On the clock that all processes of a machine have in common, in microseconds.
    pub(crate) starts: u64,
    pub(crate) ends: u64,
    /// The role's own setting.
    pub(crate) setting: u64,
}

impl Part {
    /// Starts a process that plays it. What it says goes nowhere, unless it fails.
    pub(crate) fn start(&self) -> Instance {
        let Self { role, url, record, seed, starts, ends, setting } = self;
        let said = record.with_extension("out");
        let open = || OpenOptions::new().create(true).append(true).open(&said).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_instance", "--nocapture"])
            .env(
                VARIABLE,
                format!("{role}|{url}|{}|{seed}|{starts}|{ends}|{setting}", record.display()),
            )
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn();
        Instance { child: Some(child.unwrap()), said }
    }
}

/// The part of this process, if it was started to play one.
pub(crate) fn part() -> Option<Part> {
    let line = std::env::var(VARIABLE).ok()?;
    let words: Vec<&str> = line.split('|').collect();
    let [role, url, record, seed, starts, ends, setting] = words.try_into().unwrap();
    let role = [super::calls::ROLE, super::flight::ROLE].into_iter().find(|known| *known == role);
    let number = |text: &str| text.parse().unwrap();
    Some(Part {
        role: role.unwrap(),
        url: url.to_owned(),
        record: record.into(),
        seed: number(seed),
        starts: number(starts),
        ends: number(ends),
        setting: number(setting),
    })
}

/// A process that plays a part; killed when it is dropped.
pub(crate) struct Instance {
    child: Option<Child>,
    said: PathBuf,
}

impl Instance {
    /// Ends it as a machine does that fails.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end, which has to be a good one.
    pub(crate) fn end(mut self) {
        if let Some(mut child) = self.child.take() {
            let status = child.wait().unwrap();
            let said = std::fs::read_to_string(&self.said).unwrap_or_default();
            assert!(status.success(), "an instance ended with {status}: {said}");
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory for the records of one test, gone when it is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The present on the clock that all processes have in common, in microseconds.
pub(crate) fn micros() -> u64 {
    wall_clock().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

pub(crate) const fn in_micros(time: Duration) -> u64 {
    time.as_micros() as u64
}
