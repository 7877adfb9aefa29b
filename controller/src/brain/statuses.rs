//! What pools, advertisements and our `ConfigurationState` are to show, and when each is written.

use std::collections::BTreeMap;
use std::time::Duration;

use ferrolb_crds::{ConfigurationStateStatus, IPAddressPool, IPAddressPoolStatus, L2AdvertisementStatus};
use ferrolb_runtime::Note;
use kube::Resource;

use super::{Brain, Effect, FIRST_PAUSE, LONGEST_PAUSE, Now, Wake, advertised, pools};

/// The status of an object is written at most so often.
const PERIOD: Duration = Duration::from_secs(1);

/// What an advertisement shows is written once it has been so for so long: a manifest names the advertisement first and its
/// pool afterwards, or takes the pool away first, and that is no mistake to warn of.
const SETTLE: Duration = Duration::from_secs(2);

/// Under this name our `ConfigurationState` is among the pools: no object has an empty name.
const STATE: &str = "";

/// What is to be shown, beside Services.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    pub(super) pools: BTreeMap<String, IPAddressPoolStatus>,
    pub(super) state: Option<ConfigurationStateStatus>,
    /// With the time since which it is to be shown.
    advertisements: BTreeMap<String, (L2AdvertisementStatus, Duration)>,
    pool_turns: Turns,
    advertisement_turns: Turns,
}

impl Statuses {
    /// The reign is over: nothing is to be shown by this one.
    pub(super) fn clear(&mut self) {
        self.pools.clear();
        self.state = None;
        self.advertisements.clear();
    }

    /// A reign begins: what was written in an earlier one is no reason to wait.
    pub(super) fn forget_turns(&mut self) {
        self.pool_turns = Turns::default();
        self.advertisement_turns = Turns::default();
    }

    /// The write of a pool's status ended.
    pub(super) fn pool_written(&mut self, name: &str, done: bool, now: Now) {
        self.pool_turns.ended(name, done, now.boot);
    }

    /// The write of our `ConfigurationState` ended.
    pub(super) fn state_written(&mut self, done: bool, now: Now) {
        self.pool_turns.ended(STATE, done, now.boot);
    }

    /// The write of an advertisement's status ended.
    pub(super) fn advertisement_written(&mut self, name: &str, done: bool, now: Now) {
        self.advertisement_turns.ended(name, done, now.boot);
    }
}

/// When each object may be written next (far off while a write is under way), and the pause after the next failure.
#[derive(Clone, Debug, Default)]
struct Turns(BTreeMap<String, (Duration, Duration)>);

impl Turns {
    /// A write begins, if it may.
    ///
    /// # Errors
    /// When it may.
    fn begin(&mut self, name: &str, now: Duration) -> Result<(), Duration> {
        let (at, pause) = self.0.get(name).copied().unwrap_or((Duration::ZERO, FIRST_PAUSE));
        if at > now {
            return Err(at);
        }
        self.0.insert(name.to_owned(), (Duration::MAX, pause));
        Ok(())
    }

    fn ended(&mut self, name: &str, done: bool, now: Duration) {
        let pause = self.0.get(name).map_or(FIRST_PAUSE, |(_, pause)| *pause);
        let next =
            if done { (now + PERIOD, FIRST_PAUSE) } else { (now + pause, (pause * 2).min(LONGEST_PAUSE)) };
        self.0.insert(name.to_owned(), next);
    }
}

impl Brain {
    /// Writes what differs from what pools and our `ConfigurationState` show.
    pub(super) fn write_pools(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        let Statuses { pools, state, pool_turns, .. } = &mut self.statuses;
        pool_turns.0.retain(|name, _| name == STATE || self.world.pools.contains_key(name));
        for (name, wish) in pools {
            let Some(pool) = self.world.pools.get(name) else { continue };
            if pool.status.as_ref() == Some(wish) {
                continue;
            }
            match pool_turns.begin(name, now.boot) {
                Ok(()) => effects.push(Effect::WritePool(pool.clone(), Box::new(wish.clone()))),
                Err(at) => wake.by(Some(at)),
            }
        }
        if let Some(wish) = state.as_ref().filter(|_| self.state_listed) {
            let shown = self.state.as_ref().and_then(|state| state.status.as_ref());
            if shown == Some(wish) {
                return;
            }
            match pool_turns.begin(STATE, now.boot) {
                Ok(()) => effects.push(Effect::WriteState(Box::new(wish.clone()))),
                Err(at) => wake.by(Some(at)),
            }
        }
    }

    /// Writes what differs from what advertisements show.
    ///
    /// 1. They are judged anew if they, pools or nodes changed.
    /// 2. One that shows what it should gets no write.
    /// 3. What has just come to be so waits: it may be half of a change.
    pub(super) fn write_advertisements(&mut self, now: Now, effects: &mut Vec<Effect>, wake: &mut Wake) {
        let Statuses { advertisements: wishes, advertisement_turns: turns, .. } = &mut self.statuses;
        if let Some(statuses) = self.world.judge_advertisements(now.wall) {
            turns.0.retain(|name, _| statuses.contains_key(name));
            wishes.retain(|name, _| statuses.contains_key(name));
            for (name, status) in statuses {
                let since = wishes
                    .get(&name)
                    .filter(|(before, _)| advertised::says_the_same(before, &status))
                    .map_or(now.boot, |(_, since)| *since);
                wishes.insert(name, (status, since));
            }
        }
        for (name, (wish, since)) in wishes {
            let Some(object) = self.world.advertised.get(name) else { continue };
            if object.status.as_ref() == Some(wish) {
                continue;
            }
            let at = *since + SETTLE;
            if at > now.boot {
                wake.by(Some(at));
                continue;
            }
            match turns.begin(name, now.boot) {
                Ok(()) => {
                    effects.push(Effect::WriteAdvertisement(object.clone(), Box::new(wish.clone())));
                }
                Err(at) => wake.by(Some(at)),
            }
        }
    }

    /// What to tell about a pool whose status changes.
    pub fn pool_note(pool: &IPAddressPool, status: &IPAddressPoolStatus) -> Option<Note> {
        let before = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let (kind, bad) = [(pools::VALID, "False"), (pools::OVERLAPPING, "True")]
            .into_iter()
            .find(|(kind, bad)| status.conditions.iter().any(|c| c.type_ == *kind && c.status == *bad))?;
        let now = status.conditions.iter().find(|condition| condition.type_ == kind)?;
        let same = before.iter().any(|c| c.type_ == kind && c.status == bad && c.message == now.message);
        (!same).then(|| Note {
            about: pool.object_ref(&()),
            warning: true,
            for_operators: true,
            reason: "InvalidPool",
            action: "Reading",
            note: now.message.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ferrolb_crds::L2Advertisement;
    use ferrolb_runtime::Seen;
    use serde_json::json;

    fn at(seconds: u64) -> Now {
        Now { boot: Duration::from_secs(seconds), wall: 7 }
    }

    /// What is to be written at that time, and when to come again.
    fn writes(brain: &mut Brain, seconds: u64) -> (Vec<Effect>, Duration) {
        let (mut effects, now) = (Vec::new(), at(seconds));
        let mut wake = Wake { now: now.boot, at: Duration::from_secs(1000) };
        brain.write_advertisements(now, &mut effects, &mut wake);
        (effects, wake.at)
    }

    fn advertisement(pool: &str) -> L2Advertisement {
        let object = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"ipAddressPools": [pool]}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_an_advertisement_shows_is_written_once_it_has_lasted() {
        let mut brain = Brain::new("one", Duration::from_secs(15), None);
        brain.world.advertised.see(Seen::Listed(vec![advertisement("lan")]));
        assert_eq!(writes(&mut brain, 100), (vec![], Duration::from_secs(102)));
        // Another mistake: that begins anew.
        brain.world.advertised.see(Seen::Applied(advertisement("lam")));
        assert_eq!(writes(&mut brain, 101), (vec![], Duration::from_secs(103)));
        // The lead is lost and won back in between: what is to be shown is not forgotten.
        brain.abdicate();
        assert_eq!(writes(&mut brain, 102), (vec![], Duration::from_secs(104)));
        let (effects, wake) = writes(&mut brain, 104);
        let [Effect::WriteAdvertisement(_, status)] = effects.as_slice() else { panic!("{effects:?}") };
        assert!(status.conditions[1].message.contains("\"lam\""), "{status:?}");
        // While that is under way, and after it failed, it is not sent again at once.
        assert_eq!((writes(&mut brain, 105).0, wake), (vec![], Duration::from_secs(1000)));
        brain.statuses.advertisement_written("a", false, at(105));
        assert_eq!(writes(&mut brain, 105), (vec![], at(105).boot + FIRST_PAUSE));
        assert_eq!(writes(&mut brain, 106).0.len(), 1);
        brain.statuses.advertisement_written("a", true, at(106));
        let mut done = advertisement("lam");
        done.status = Some((**status).clone());
        brain.world.advertised.wrote(&advertisement("lam"), done);
        assert_eq!(writes(&mut brain, 110), (vec![], Duration::from_secs(1000)));
        // It is gone, and nothing is left of it.
        brain.world.advertised.see(Seen::Listed(vec![]));
        writes(&mut brain, 111);
        assert!(brain.statuses.advertisements.is_empty() && brain.statuses.advertisement_turns.0.is_empty());
    }
}
