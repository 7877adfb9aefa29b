//! How soon the address must work again, fault by fault. All bounds are here, so that they can be tightened in one place.
//!
//! They are wide, for busy machines; `lab bench failover` has the figures.

use std::time::Duration;

use super::Fault;

/// From the end of all faults on: the nodes are told by the API server, and a restarted one needs its pods again.
pub const AFTER: Duration = Duration::from_secs(60);

/// What speakers hear on the wire: 0.3 s of silence.
const WIRE: Duration = Duration::from_secs(5);

/// What nobody should notice at all.
const UNNOTICED: Duration = Duration::from_secs(5);

/// The least share of connections that come about while frames are lost: a handshake needs several to get through, to
/// the owner and from it to the pod and back.
pub const SHARE_WITH_LOSS: f64 = 0.5;

/// For how long nobody may answer while all speakers are replaced: others stand in for the owner's. Connections are not to
/// notice.
pub const ROLLING_UPDATE: Duration = Duration::from_millis(500);

/// While these faults last: within what time the address must work, from their beginning; `None` where nothing
/// can make it work, so that only what follows is judged. `owner` says whether the fault is the owner's.
pub fn while_it_lasts(faults: &[(Fault, bool)]) -> Option<Duration> {
    let several = faults.len() > 1;
    let mut bound = UNNOTICED;
    for (fault, owner) in faults {
        bound = bound.max(match fault {
            // What is another node's business does not touch the address, nor what only writes.
            Fault::ControllerGone | Fault::ProxyStopped | Fault::ApiCut | Fault::ApiAway | Fault::Loss => {
                UNNOTICED
            }
            // A peer in doubt is asked by datagram too.
            Fault::HellosDropped => UNNOTICED,
            Fault::ClientReboot | Fault::GatewayReboot => return None,
            _ if !owner && !several => UNNOTICED,
            _ => WIRE,
        });
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_to_the_client_is_judged_afterwards() {
        assert_eq!(while_it_lasts(&[(Fault::ClientReboot, false)]), None);
        assert_eq!(while_it_lasts(&[(Fault::CutIn, true)]), Some(WIRE));
        assert_eq!(while_it_lasts(&[(Fault::CutIn, false)]), Some(UNNOTICED));
        assert_eq!(while_it_lasts(&[(Fault::HellosDropped, false)]), Some(UNNOTICED));
        assert_eq!(while_it_lasts(&[(Fault::Kill, true), (Fault::ApiAway, true)]), Some(WIRE));
    }
}
