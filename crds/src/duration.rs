//! Durations as Kubernetes writes them (`metav1.Duration`).

use std::time::Duration;

/// Parses what Go's `time.ParseDuration` takes, without a sign: numbers with units, like `30s`, `1h30m` or `1.5s`.
/// `None` for anything else, and for what is longer than some centuries.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(u128::from(whole) * unit)?;
        let mut part = unit;
        for digit in fraction.bytes() {
            part /= 10;
            nanos = nanos.checked_add(u128::from(digit - b'0') * part)?;
        }
        rest = after;
    }
    let nanos = u64::try_from(nanos).ok().filter(|_| !text.is_empty())?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_go_takes() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1.s", 1_000),
            ("250ms", 250),
            ("1000000ns", 1),
            ("2500us", 2),
        ] {
            let parsed = parse(text).map(|time| time.as_millis());
            assert_eq!(parsed, Some(milliseconds), "{text}");
        }
        for text in
            ["", "s", "30", "30 s", "-1s", "1x", "1..5s", ".s", "1h-2m", "9999999999999999999h", "30S"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}", odd in "[0-9.hmsnu]{0,40}") {
            let _ = (parse(&text), parse(&odd));
        }
    }
}
