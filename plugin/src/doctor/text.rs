//! A report, for people: a line for each check, and under those that are not well what was found, what to do, and where to read.

use super::{Level, Report};
use crate::output::{Style, Tone};

/// So many sentences are shown of one check.
const SHOWN: usize = 10;

pub(super) fn whole(report: &Report, style: Style) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut about = "";
    for finding in &report.findings {
        if finding.about != about {
            about = finding.about;
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(style.paint(Tone::Bold, about));
        }
        let (mark, tone) = match finding.level {
            Level::Ok => ("✓", Tone::Good),
            Level::Unknown => ("?", Tone::Faint),
            Level::Warning => ("!", Tone::Warning),
            Level::Failed => ("✗", Tone::Bad),
        };
        lines.push(format!(
            "{} {}  {}",
            style.paint(tone, mark),
            finding.title,
            style.paint(Tone::Faint, finding.check)
        ));
        lines.extend(finding.says.iter().take(SHOWN).map(|said| format!("    {said}")));
        if finding.says.len() > SHOWN {
            lines.push(format!("    and {} more: -o json has all", finding.says.len() - SHOWN));
        }
        if finding.level >= Level::Warning {
            lines.push(format!("    → {}", finding.hint));
            lines.push(style.paint(Tone::Faint, format!("    {}", finding.docs)));
        }
    }
    lines.push(String::new());
    if !report.unread.is_empty() {
        lines.push(style.paint(Tone::Warning, "Not all could be read:"));
        lines.extend(report.unread.iter().map(|unread| format!("  {unread}")));
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    let words = format!(
        "{} checks: {} ok, {} failed, {} with a warning, {} not known",
        report.findings.len(),
        count(Level::Ok),
        count(Level::Failed),
        count(Level::Warning),
        count(Level::Unknown)
    );
    let tone = match report.worst() {
        Level::Failed => Tone::Bad,
        Level::Warning => Tone::Warning,
        Level::Ok | Level::Unknown => Tone::Good,
    };
    lines.push(style.paint(tone, words));
    lines.join("\n") + "\n"
}
