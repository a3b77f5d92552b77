//! The thread's own CPU time: what other programs take from the machine is not in it.

use std::mem::MaybeUninit;
use std::time::Duration;

/// CPU time this thread has used so far. A read is a system call of some hundred nanoseconds, so
/// only batches are timed.
pub(crate) fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time all threads of the process have used so far.
pub(crate) fn process_cpu() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to writable memory of the type the call fills in.
    let status = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    assert_eq!(status, 0, "this system has no CPU clock");
    // SAFETY: the call succeeded, so it has filled the value in.
    let time = unsafe { time.assume_init() };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_costs_no_cpu_time() {
        let start = thread_cpu();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_cpu() - start < Duration::from_millis(25));
    }
}
