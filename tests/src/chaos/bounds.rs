//! How soon the address must work again, fault by fault. All bounds are here, so that they can be tightened in one place.
//!
//! They are those of speakers that do not hear each other yet: what the API server does not say, nobody acts on. A Node
//! counts as gone 40 to 50 s after its last word, and another node is elected when the API says so.

use std::time::Duration;

use super::Fault;

/// From the end of all faults on: the nodes are told by the API server, and a restarted one needs its pods again.
pub const AFTER: Duration = Duration::from_secs(60);

/// What the API server has to notice itself: 40 s of silence, looked for each 5 s, and a busy machine.
const NODE_GONE: Duration = Duration::from_secs(60);

/// What nobody should notice at all.
const UNNOTICED: Duration = Duration::from_secs(5);

/// A stopped speaker is ended by its liveness probe: three times 10 s, 5 s to end, and a start.
const LIVENESS: Duration = Duration::from_secs(60);

/// The least share of connections that come about while frames are lost: a handshake needs several to get through, to
/// the owner and from it to the pod and back.
pub const SHARE_WITH_LOSS: f64 = 0.5;

/// For how long nobody may answer while all speakers are replaced: the kubelet ends the owner's speaker, and starts
/// another, while nobody stands in for it. Connections are not to notice.
pub const ROLLING_UPDATE: Duration = Duration::from_secs(15);

/// While these faults last: within what time the address must work, from their beginning; `None` where today nothing
/// makes it work, so that only what follows is judged. `owner` says whether the fault is the owner's.
pub fn while_it_lasts(faults: &[(Fault, bool)]) -> Option<Duration> {
    let several = faults.len() > 1;
    let api_away = faults.iter().any(|(fault, _)| *fault == Fault::ApiAway);
    let mut bound = UNNOTICED;
    for (fault, owner) in faults {
        bound = bound.max(match fault {
            // What is another node's business does not touch the address, nor what only writes.
            Fault::ControllerGone | Fault::ProxyStopped | Fault::ApiCut | Fault::ApiAway | Fault::Loss => {
                UNNOTICED
            }
            Fault::ClientReboot | Fault::GatewayReboot => return None,
            _ if !owner && !several => UNNOTICED,
            Fault::Kill | Fault::BothPorts if !api_away => NODE_GONE,
            Fault::Stop => LIVENESS,
            // Only the wire knows of these.
            _ => return None,
        });
    }
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_wire_knows_is_judged_afterwards() {
        assert_eq!(while_it_lasts(&[(Fault::CutIn, true)]), None);
        assert_eq!(while_it_lasts(&[(Fault::CutIn, false)]), Some(UNNOTICED));
        assert_eq!(while_it_lasts(&[(Fault::Kill, true)]), Some(NODE_GONE));
        assert_eq!(while_it_lasts(&[(Fault::Kill, true), (Fault::ApiAway, true)]), None);
        assert_eq!(while_it_lasts(&[(Fault::Kill, true), (Fault::Loss, false)]), Some(NODE_GONE));
    }
}
