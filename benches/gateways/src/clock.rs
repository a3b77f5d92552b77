//! CPU time: of this process, and of others with all that they started.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// CPU time of this process so far.
pub fn own() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    assert_eq!(status, 0, "the process's CPU clock exists");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// CPU time so far of the process `root` and of everything it started, in user and in kernel mode.
///
/// What has ended is counted by the parent that waited for it.
pub fn of_tree(root: u32) -> Duration {
    let processes: Vec<Process> = all().collect();
    let mut family = HashSet::from([root]);
    // Parents are not always listed before their children.
    loop {
        let before = family.len();
        family.extend(
            processes
                .iter()
                .filter(|p| family.contains(&p.parent))
                .map(|p| p.id)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    let ticks: u64 = processes.iter().filter(|p| family.contains(&p.id)).map(|p| p.ticks).sum();
    Duration::from_secs(1) * ticks as u32 / ticks_per_second()
}

struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
}

fn all() -> impl Iterator<Item = Process> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| read(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
}

/// The name of a process stands in parentheses and may hold anything, parentheses included.
fn read(id: u32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Counted from the state, which is field 3 of proc(5): the parent, then user and kernel time of
    // the process and of the children it waited for.
    let ticks = (11..15).map(number).sum::<Option<u64>>()?;
    Some(Process { id, parent: number(1)? as u32, ticks })
}

fn ticks_per_second() -> u32 {
    // SAFETY: the call reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let process = read(7, "7 (a) b (c)) S 3 7 7 0 -1 4 9 9 0 0 10 20 3 4 20 0 1 0 99").unwrap();
        assert_eq!((process.id, process.parent, process.ticks), (7, 3, 37));
    }

    #[test]
    fn work_takes_cpu_time_of_the_process() {
        let before = own();
        while own() < before + Duration::from_millis(40) {
            std::hint::black_box(fs::read("/proc/self/stat")).unwrap();
        }
        assert!(of_tree(std::process::id()) >= Duration::from_millis(20));
    }
}
