//! What this process holds, by the kernel's account.

use std::fs;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    resident: u64,
    pub(crate) threads: u64,
    pub(crate) files: usize,
}

impl Process {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let files = fs::read_dir("/proc/self/fd").unwrap().count();
        Self { resident: field("VmRSS:"), threads: field("Threads:"), files }
    }

    pub(crate) fn mebibytes(self) -> f64 {
        self.resident as f64 / 1024.0
    }
}
