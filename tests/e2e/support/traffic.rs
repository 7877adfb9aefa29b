//! Connections through all addresses while what announces them is exchanged.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ferrolb_tests::host::Host;
use ferrolb_tests::judge::{Clock, Connector, Held};
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Lab, LabError};

use super::shop::State;

/// How long anything may take, in seconds.
const PATIENCE: u64 = 120;

/// How often a connection to each address is begun.
const EVERY: Duration = Duration::from_millis(100);

/// So many connections to each address are held.
const HELD: usize = 2;

/// Connections to all addresses, held and new.
pub(crate) struct Traffic {
    streams: Vec<(SocketAddr, Connector, Held)>,
}

impl Traffic {
    /// To all addresses of a shop.
    pub(crate) fn begin(lab: &Lab, state: &State) -> Result<Self, LabError> {
        Self::to(lab, state.sockets())
    }

    /// To these, each with the name of its Service.
    pub(crate) fn to<N: AsRef<str>>(
        lab: &Lab,
        sockets: impl IntoIterator<Item = (N, SocketAddr)>,
    ) -> Result<Self, LabError> {
        let (client, clock): (Host, Clock) = (lab.host("client1")?, Clock::since(SystemTime::now()));
        let mut streams = Vec::new();
        for (name, address) in sockets {
            client.ask_until(address, PATIENCE).map_err(LabError::at(name.as_ref()))?;
            let held = Held::open(&client, address, HELD).map_err(LabError::at(name.as_ref()))?;
            streams.push((address, Connector::start(&client, address, EVERY, clock), held));
        }
        Ok(Traffic { streams })
    }

    /// How many of the held connections were reset so far, and how many there are.
    pub(crate) fn reset(&self) -> [usize; 2] {
        let fates = self.streams.iter().map(|(_, _, held)| held.so_far());
        fates.fold([0, 0], |[reset, of], fates| [reset + fates.reset, of + fates.of])
    }

    /// Ends it, and says how many connections were begun.
    ///
    /// # Errors
    /// When one of those did not come about, or one that was held no longer gets answers.
    pub(crate) fn end(self, progress: &Progress) -> Result<usize, LabError> {
        let (mut begun, mut wrong) = (0, Vec::new());
        for (address, connector, held) in self.streams {
            let attempts = connector.stop().map_err(LabError::at("the connector"))?;
            let fates = held.stop().map_err(LabError::at("the held connections"))?;
            let gap = attempts.gap(Duration::ZERO);
            begun += gap.attempts;
            if gap.failed > 0 || fates.stalled > 0 {
                wrong.push(format!("{address}: {gap:?}, {fates:?}"));
            }
        }
        progress.say(&format!("{begun} connections were begun; some failed at {} addresses", wrong.len()));
        if wrong.is_empty() { Ok(begun) } else { Err(LabError::State(wrong.join("\n"))) }
    }
}
