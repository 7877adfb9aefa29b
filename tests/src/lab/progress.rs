//! What is going on, for whoever waits.

use std::time::{Duration, Instant};

use super::LabError;

/// Prints lines with the seconds since the start.
#[derive(Clone, Debug)]
pub struct Progress {
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { started: Instant::now() }
    }
}

impl Progress {
    /// One line.
    pub fn say(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until `look` gives a value; it returns the state as text while there is none.
///
/// # Errors
/// [`LabError::Late`] with the last state, when `seconds` have passed.
pub async fn wait<T, F>(what: &str, seconds: u64, mut look: F) -> Result<T, LabError>
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() > deadline => {
                return Err(LabError::Late { what: what.to_owned(), seconds, state });
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
