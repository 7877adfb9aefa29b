//! An explanation, for people.

use super::path::{Explanation, Verdict};
use crate::output::{Style, Tone};

pub(super) fn whole(explanation: &Explanation, style: Style) -> String {
    let mut lines = vec![format!("Service {}", style.paint(Tone::Bold, &explanation.service)), String::new()];
    for (number, step) in explanation.steps.iter().enumerate() {
        let (mark, tone) = match step.verdict {
            Verdict::Passes => ("✓", Tone::Good),
            Verdict::Doubtful => ("!", Tone::Warning),
            Verdict::Ends => ("✗", Tone::Bad),
        };
        let mark = style.paint(tone, mark);
        lines.push(format!("{mark} {} {:<10} {}", number + 1, step.name, step.says));
        lines.extend(step.details.iter().map(|detail| format!("               {detail}")));
        if !step.change.is_empty() {
            lines.push(format!("               {} {}", style.paint(Tone::Bold, "→"), step.change));
        }
        if !step.docs.is_empty() && step.verdict != Verdict::Passes {
            lines.push(format!("               {}", style.paint(Tone::Faint, step.docs)));
        }
    }
    lines.push(String::new());
    lines.push(match explanation.steps.last() {
        Some(last) if last.verdict == Verdict::Ends => {
            style.paint(Tone::Bad, format!("It ends at step {}, {}.", explanation.steps.len(), last.name))
        }
        _ => {
            style.paint(Tone::Good, "Packets get to the endpoints, as far as the API and the speakers show.")
        }
    });
    for unread in &explanation.unread {
        lines.push(style.paint(Tone::Warning, format!("not known: {unread}")));
    }
    lines.join("\n") + "\n"
}
