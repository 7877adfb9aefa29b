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
    let mut state = None;
    loop {
        // A look may itself hang, at a server that takes a request and never answers.
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(LOOK), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(now)) => state = Some(now),
            Err(_) => state = state.or_else(|| Some("no answer at all".to_owned())),
        }
        if Instant::now() >= deadline {
            return Err(LabError::Late { what: what.to_owned(), seconds, state: state.unwrap_or_default() });
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_holds_even_if_a_look_hangs() {
        let mut looks = 0;
        let late = wait("the impossible", 1, async || {
            looks += 1;
            if looks == 1 {
                return Err("the first state".to_owned());
            }
            std::future::pending::<Result<(), String>>().await
        });
        let late = tokio::time::timeout(Duration::from_secs(5), late).await.expect("it ended by itself");
        let text = late.unwrap_err().to_string();
        assert!(text.contains("the impossible") && text.contains("the first state"), "{text}");
    }
}
