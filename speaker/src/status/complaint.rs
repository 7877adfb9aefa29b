//! A failure that lasts is said once, its end once, and in between again only after a minute.

use std::time::Duration;

/// The same is said again only after this time.
const REPEAT: Duration = Duration::from_secs(60);

/// What was last said of a failure.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Option<(String, Duration)>);

impl Complaint {
    /// It failed, for this reason.
    pub(crate) fn failed(&mut self, why: &str, now: Duration) {
        if self.is_news(why, now) {
            tracing::warn!("{why}; trying again");
        }
    }

    /// It works again.
    pub(crate) fn recovered(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!("{what} again");
        }
    }

    fn is_news(&mut self, why: &str, now: Duration) -> bool {
        let news = match &self.0 {
            Some((last, at)) => last != why || now.saturating_sub(*at) > REPEAT,
            None => true,
        };
        if news {
            self.0 = Some((why.to_owned(), now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        let mut complaint = Complaint::default();
        let at = Duration::from_secs;
        assert!(complaint.is_news("a", at(0)));
        assert!(!complaint.is_news("a", at(60)));
        assert!(complaint.is_news("a", at(61)));
        assert!(complaint.is_news("b", at(61)));
        complaint.recovered("writing");
        assert!(complaint.is_news("b", at(61)));
    }
}
