//! The `metallb.io` API, and how Kubernetes' objects become core's words.
//!
//! ```text
//!  rules ──► IPAddressPool, L2Advertisement ──► generate ──► crds/*.yaml (what the API server refuses), docs/reference.md
//!                        │                bgp ──────┘
//!                        │ to_core()
//!                        ▼
//!                  ferrolb_core's Pool, Advertisement, Service, Node
//!                        ▲
//!                        │ to_core()
//!            view::{Service, Node, ...} (the foreign objects that we watch, cut down)
//! ```
//!
//! What one object alone can say wrongly is refused when it is applied; what slips past (objects stored
//! under other definitions) becomes a problem of that object, in words, and never spoils a list.
//!
//! What this crate must never know: which address goes where, and how objects are fetched or written.

pub mod admin;
pub mod bgp;
pub mod generate;
pub mod names;
pub mod reference;
pub mod view;

mod configuration_state;
mod duration;
mod l2_advertisement;
mod lenient;
mod pool;
mod rules;
mod selector;
mod service_l2_status;

pub use configuration_state::{
    ConfigurationResult, ConfigurationState, ConfigurationStateSpec, ConfigurationStateStatus,
};
pub use l2_advertisement::{
    AdvertisementProblem, L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus, PreferredNodeSelector,
};
pub use pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, PoolProblem, ServiceAllocation};
pub use selector::{LabelSelector, LabelSelectorRequirement, SelectorProblem};
pub use service_l2_status::{
    ADDRESS_CONFLICT, CONFLICT_LABEL, HELD_BACK, IN_USE, InterfaceInfo, NODE_LABEL, SERVICE_NAME_LABEL,
    SERVICE_NAMESPACE_LABEL, ServiceL2Status, ServiceL2StatusSpec, ServiceL2StatusStatus,
};
