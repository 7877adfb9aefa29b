//! What may happen in a storm.

use super::*;

impl Weather {
    /// Something that can happen now.
    pub(super) fn gust(&mut self) -> Gust {
        let count = self.cluster.machines.len();
        for _ in 0..100 {
            let at = self.dice.below(count as u64) as usize;
            let (running, alive) = (self.running(at), self.cluster.machines[at].alive);
            let stopped = self.cluster.machines[at].frozen.is_some();
            if stopped {
                continue;
            }
            let again = [Fault::NoPause, Fault::Stopped].map(|fault| (at, fault));
            if again.iter().any(|fault| self.cluster.faults.contains(fault)) && running {
                return Gust::Stop(at, ms(500 + self.dice.below(1000)));
            }
            let gust = match self.dice.below(21) {
                0 | 1 if running => Gust::Crash(at),
                2 | 3 if !alive => Gust::Boot(at),
                4 if running => Gust::Kill(at),
                5..=7 if alive && !running => Gust::Start(at),
                8 if alive && !running => Gust::Crash(at),
                9 if running => Gust::End(at, self.dice.chance(60.0)),
                10 if running => Gust::Stop(at, ms(20 + self.dice.below(3000))),
                11 if running => Gust::Suspend(at, ms(20 + self.dice.below(5000))),
                12 => Gust::Cut((0..count).filter(|_| self.dice.chance(40.0)).collect()),
                13 => match self.dice.chance(50.0) {
                    true => Gust::Deaf(at),
                    false => Gust::Mute(at),
                },
                14 => match self.dice.chance(50.0) {
                    true => Gust::Loss(self.dice.one(&[1.0, 5.0, 20.0])),
                    false => Gust::Storm,
                },
                15 => Gust::Publish,
                16 => Gust::CutApi(at),
                17 if running => Gust::Serve(at, !self.cluster.machines[at].fit),
                18 if running => {
                    let port = self.dice.below(self.cluster.machines[at].ports.len() as u64) as usize;
                    Gust::Plug(at, port, !self.cluster.machines[at].ports[port].up)
                }
                19 => match self.dice.chance(50.0) {
                    true => Gust::Jump(at, ms(self.dice.below(2000))),
                    false => Gust::Replay(20),
                },
                20 => match self.dice.chance(50.0) {
                    true => Gust::Hush(pairs(count).collect()),
                    false => Gust::Hush(pairs(count).filter(|_| self.dice.chance(40.0)).collect()),
                },
                _ => continue,
            };
            return gust;
        }
        // All stand still.
        Gust::Replay(1)
    }

    pub(super) fn apply(&mut self, gust: &Gust) {
        self.gusts += 1;
        self.parted |= matches!(gust, Gust::Cut(_) | Gust::Deaf(_) | Gust::Mute(_));
        let now = self.cluster.now;
        self.waking.iter_mut().for_each(|waking| waking.until = waking.until.min(now));
        let count = self.cluster.machines.len();
        let cluster = &mut self.cluster;
        match gust {
            Gust::Crash(at) => cluster.crash(*at),
            Gust::Boot(at) => cluster.boot(*at),
            Gust::Kill(at) => cluster.kill(*at),
            Gust::Start(at) => cluster.start(*at),
            Gust::End(at, away) => cluster.end(*at, *away),
            Gust::Stop(at, length) => {
                cluster.freeze(*at, *length);
                // Shorter than k - 1 intervals is no pause: what waited is read in its order.
                if *length > NOTICED {
                    self.stopped.push((*at, cluster.now + *length));
                }
            }
            Gust::Suspend(at, length) => cluster.suspend(*at, *length),
            Gust::Cut(side) => {
                cluster.note(format!("cut off: {side:?}"));
                // The client is on the other side.
                for a in side {
                    for b in (0..count).chain([CLIENT_AT]).filter(|b| !side.contains(b)) {
                        cluster.cuts.extend([(*a, b), (b, *a)]);
                    }
                }
                self.touched.extend(side);
            }
            Gust::Deaf(at) => {
                cluster.note(format!("{at} is deaf"));
                cluster.cuts.extend((0..count).chain([CLIENT_AT]).map(|other| (other, *at)));
            }
            Gust::Mute(at) => {
                cluster.note(format!("{at} is mute"));
                cluster.cuts.extend((0..count).chain([CLIENT_AT]).map(|other| (*at, other)));
            }
            Gust::Loss(percent) => {
                cluster.note(format!("{percent} % are lost"));
                cluster.loss = *percent;
            }
            Gust::Storm => {
                cluster.note("frames are late and doubled".into());
                (cluster.late, cluster.twice) = (10.0, 10.0);
            }
            Gust::Publish => {
                let version = self.version();
                self.cluster.publish(version);
            }
            Gust::CutApi(at) => {
                cluster.cut_api(*at, true);
                self.views_differed = true;
            }
            Gust::Serve(at, fit) => cluster.serve(*at, *fit),
            Gust::Plug(at, port, up) => cluster.plug(*at, *port, *up),
            Gust::Jump(at, by) => cluster.jump(*at, *by),
            Gust::Replay(frames) => cluster.replay(*frames),
            Gust::Hush(pairs) => {
                cluster.note(format!("frames of hellos are dropped: {pairs:?}"));
                cluster.hushed.extend(pairs);
            }
        }
        match gust {
            Gust::Crash(at) | Gust::Boot(at) | Gust::Kill(at) | Gust::Start(at) | Gust::End(at, _) => {
                self.touched.insert(*at);
            }
            Gust::Stop(at, _) | Gust::Suspend(at, _) | Gust::Deaf(at) | Gust::Mute(at) | Gust::CutApi(at) => {
                self.touched.insert(*at);
            }
            Gust::Serve(at, _) | Gust::Plug(at, ..) | Gust::Jump(at, _) => drop(self.touched.insert(*at)),
            Gust::Cut(_) | Gust::Loss(_) | Gust::Storm | Gust::Publish | Gust::Replay(_) | Gust::Hush(_) => {}
        }
    }

    /// A new key, in three steps, each seen by each machine when it is.
    pub(super) fn rotate(&mut self, from: u8, to: u8) {
        for step in [vec![from, to], vec![to, from], vec![to]] {
            let all: Vec<usize> = (0..self.cluster.machines.len()).collect();
            for at in self.dice.shuffled(&all) {
                self.cluster.give(at, keys(&step));
                let wait = ms(self.dice.below(400));
                self.run(wait);
            }
            self.run(INTERVAL * 5);
        }
    }
}
