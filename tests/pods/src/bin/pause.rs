//! Holds a pod's namespaces open: it waits until it is killed.
//!
//! As process 1 of its pod it ignores SIGTERM, so the container runtime ends it by SIGKILL after the grace
//! period of the sandbox, which is none.

fn main() {
    loop {
        std::thread::park();
    }
}
