//! What an instance writes down as it happens: a line a call let in, a line a call that ended. A line is
//! one write, so that a process that is killed leaves whole lines behind, but for the last.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// A call that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// When it asked, and when it was let in, in microseconds.
    pub(crate) asked: u64,
    pub(crate) let_in: u64,
    /// What it used of what was reserved; all of it where nobody knows.
    pub(crate) used: u64,
    /// Without the store.
    pub(crate) alone: bool,
}

/// Where one instance writes.
pub(crate) struct Records {
    file: File,
    calls: u64,
}

impl Records {
    pub(crate) fn at(path: &Path) -> Self {
        Self { file: OpenOptions::new().create(true).append(true).open(path).unwrap(), calls: 0 }
    }

    /// A call was let in; its number.
    pub(crate) fn let_in(&mut self, call: Done) -> u64 {
        let Done { asked, let_in, used, alone } = call;
        self.line(&format!("in {asked} {let_in} {used} {}\n", u8::from(alone)));
        self.calls += 1;
        self.calls - 1
    }

    pub(crate) fn ended(&mut self, call: u64, used: u64) {
        self.line(&format!("end {call} {used}\n"));
    }

    pub(crate) fn line(&mut self, line: &str) {
        self.file.write_all(line.as_bytes()).unwrap();
    }
}

/// The calls of one instance.
pub(crate) fn read(path: &Path) -> Vec<Done> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut calls: Vec<Done> = Vec::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "in" => calls.push(Done {
                asked: number(1),
                let_in: number(2),
                used: number(3),
                alone: number(4) == 1,
            }),
            "end" => calls[number(1) as usize].used = number(2),
            other => panic!("no such record: {other}"),
        }
    }
    calls
}
