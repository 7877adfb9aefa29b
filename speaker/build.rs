//! Puts what a speaker runs side by side in the program.
//!
//! Most of what an idle speaker holds in memory is its own program, of which it runs less than half: the rest is for YAML, regular
//! expressions, backtraces and whatever else libraries can do. The kernel maps a file in large pieces around
//! each piece that is touched, so scattered functions bring in nearly all of it. `hot.ld` lists those that run, and
//! `hot.sh` says how it is made. Names that are not there (another compiler, another version of a library) are no error.
//!
//! Only in static programs, which are those of the image.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=hot.ld");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let fixed = of("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if fixed && of("CARGO_CFG_TARGET_OS") == "linux" && of("PROFILE") == "release" {
        let folder = of("CARGO_MANIFEST_DIR");
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/hot.ld");
    }
}
