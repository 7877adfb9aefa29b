//! How long the rest will take.

use std::time::Duration;

/// Tasks, one after the other, of which several are alike.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    tasks: Vec<Task>,
}

#[derive(Clone, Debug)]
struct Task {
    kind: String,
    guess: Duration,
    took: Option<Duration>,
}

impl Schedule {
    /// Of tasks in their order: what each is, and how long it might take.
    pub(super) fn new(tasks: impl IntoIterator<Item = (String, Duration)>) -> Self {
        let task = |(kind, guess)| Task { kind, guess, took: None };
        Schedule { tasks: tasks.into_iter().map(task).collect() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The task with this number took so long.
    pub(super) fn took(&mut self, number: usize, time: Duration) {
        if let Some(task) = self.tasks.get_mut(number) {
            task.took = Some(time);
        }
    }

    /// How long those take that are not done yet: as long as the same took before, or as was guessed, if guesses were
    /// good so far.
    pub(super) fn left(&self) -> Duration {
        let done = || self.tasks.iter().filter_map(|task| Some((task, task.took?)));
        let guessed: Duration = done().map(|(task, _)| task.guess).sum();
        let took: Duration = done().map(|(_, took)| took).sum();
        let factor = if guessed.is_zero() { 1.0 } else { took.as_secs_f64() / guessed.as_secs_f64() };
        let rest = self.tasks.iter().filter(|task| task.took.is_none());
        rest.map(|task| {
            let alike: Vec<Duration> =
                done().filter(|(other, _)| other.kind == task.kind).map(|(_, took)| took).collect();
            match u32::try_from(alike.len()) {
                Ok(count @ 1..) => alike.iter().sum::<Duration>() / count,
                _ => task.guess.mul_f64(factor),
            }
        })
        .sum()
    }
}

/// A time in words, as exact as whoever waits cares for.
pub(super) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_was_done_before_takes_as_long_again_and_guesses_are_corrected() {
        let tasks = [("a", 10), ("b", 100), ("a", 10), ("b", 100)];
        let mut schedule = Schedule::new(tasks.map(|(kind, guess)| (kind.to_owned(), seconds(guess))));
        assert_eq!(schedule.left(), seconds(220));
        // Twice what was guessed: so is the rest.
        schedule.took(0, seconds(20));
        assert_eq!(schedule.left(), seconds(200 + 20 + 200));
        schedule.took(1, seconds(50));
        schedule.took(2, seconds(20));
        assert_eq!(schedule.left(), seconds(50));
        schedule.took(3, seconds(1));
        assert_eq!((schedule.left(), schedule.len()), (Duration::ZERO, 4));
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = [59, 60, 3_599, 3_600, 9_000].map(|time| words(seconds(time)));
        assert_eq!(said, ["59 s", "1 min", "59 min", "1 h 0 min", "2 h 30 min"]);
    }
}
