//! How soon a thread runs that was woken.
#![allow(
    unsafe_code,
    reason = "the C library has no function for these calls; the blocks say why each is kept"
)]

use std::io;

/// The shortest slice that Linux takes, in nanoseconds.
const SLICE: u64 = 100_000;

/// Asks the kernel to run this thread soon whenever it is woken, rather than long at a time: a slice of 0.1 ms (sched(7),
/// `sched_runtime`; Linux 6.12 and newer, older ones take no notice). Whoever asks for less at a time goes before what
/// has the usual slice of some milliseconds; it takes no share from others, so it needs no privilege.
///
/// # Errors
/// What the kernel reports: `EPERM` where a seccomp profile forbids it, for example. The thread runs on as before.
pub fn run_promptly() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sched_attr.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let length = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: the pointer is to a whole sched_attr on the stack, of the length given, which the kernel writes only during
    // the call; thread 0 is the calling one.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, length, 0) })?;
    attributes.sched_runtime = SLICE;
    // SAFETY: the pointer is to a whole sched_attr on the stack that names its own length (from the call before), which
    // the kernel only reads during the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_ask_for_it() {
        let slice = || {
            // SAFETY: as above.
            let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
            let length = size_of::<libc::sched_attr>() as libc::c_uint;
            // SAFETY: as above.
            check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, length, 0) })
                .unwrap();
            (attributes.sched_policy, attributes.sched_nice, attributes.sched_runtime)
        };
        std::thread::spawn(move || {
            let (policy, nice, before) = slice();
            run_promptly().unwrap();
            // An older kernel tells no slice, before or after.
            let asked = if before == 0 { 0 } else { SLICE };
            assert_eq!(slice(), (policy, nice, asked), "{before} ns before");
        })
        .join()
        .unwrap();
    }
}
