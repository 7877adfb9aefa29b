//! Layer 2 in a real cluster, seen on the wire: the acceptance lines of MetalLB's own end-to-end suite, whose ids the
//! names carry, and what its clients' kernels make of it.
//!
//! - `L2-*`: one address and whoever has it. - `IF-*`: `interfaces`, in three segments. - `NS-*`, `PN-*`, `SS-*`:
//!   which nodes, which rather, which Services. - Beyond the list: `clients`, real kernels as clients; `standby`, a switch
//!   that sends groups only where they are asked for; `told`, what users are told.
//!
//! The lab must have three nodes and `--segments 3`. Each test has addresses of its own, 10.10.0.120 to 199 and
//! fd10::1000 and up, and leaves the nodes as they were, also when it fails.

mod clients;
mod interfaces;
mod nodes;
mod one_address;
mod preferences;
mod proxy;
mod service_selectors;
mod stage;
mod standby;
#[path = "../support/mod.rs"]
mod support;
mod told;

/// One test for each family, from one function of the stage and of the number of its first address. The modules'
/// names are those of the tests: `l2_01_…::ipv4`.
macro_rules! both_families {
    ($($(#[$note:meta])* $name:ident = $id:literal from $first:literal: $test:expr;)*) => { $(
        $(#[$note])*
        mod $name {
            use super::*;

            #[test]
            fn ipv4() {
                crate::stage::on_stage($id, crate::stage::Family::V4, $first, $test);
            }

            #[test]
            fn ipv6() {
                crate::stage::on_stage($id, crate::stage::Family::V6, $first, $test);
            }
        }
    )* };
}
pub(crate) use both_families;
