//! A plan, for people. The steps are text that a shell takes.

use std::fmt::{Display, Formatter, Result};

use super::helm::Installed;
use super::plan::{Kept, Metallb, Plan};
use super::steps::Step;

/// So many names are shown where JSON has all.
const SHOWN: usize = 20;

/// How long a line of a comment gets.
const WIDTH: usize = 120;

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !self.unread.is_empty() {
            writeln!(f, "NOT ALL COULD BE READ, so what follows may lack something")?;
            bullets(f, self.unread.iter())?;
        }
        match &self.metallb {
            Some(metallb) => found(f, metallb)?,
            None => {
                let place = if self.unread.is_empty() { "in any namespace" } else { "in what could be read" };
                writeln!(f, "MetalLB\n  not found: no Deployment and no DaemonSet of it {place}\n")?;
            }
        }
        if !self.ferrolb.is_empty() {
            let names: Vec<String> = self.ferrolb.iter().map(ToString::to_string).collect();
            writeln!(f, "FerroLB\n  there already: {}\n", names.join(", "))?;
        }
        let none = if self.unread.is_empty() { "none" } else { "none of what could be read" };
        kept(f, &self.kept, none)?;
        if self.unsupported.is_empty() {
            let what = if self.unread.is_empty() { "there is" } else { "could be read" };
            writeln!(f, "Not supported\n  nothing of what {what}\n")?;
        } else {
            writeln!(f, "Not supported")?;
            bullets(f, self.unsupported.iter().map(|entry| format!("{}: {}.", entry.object, entry.means)))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "Mind")?;
            bullets(f, self.notes.iter())?;
        }
        if self.steps.is_empty() {
            return writeln!(f, "Steps\n  none: {}", nothing(self));
        }
        writeln!(
            f,
            "Steps, for a shell in FerroLB's folder. docs/migrate.md says more, and how to go back.\n"
        )?;
        self.steps.iter().try_for_each(|step| shell(f, step))
    }
}

/// Why there is nothing to do.
fn nothing(plan: &Plan) -> &'static str {
    match (plan.ferrolb.is_empty(), plan.unread.is_empty()) {
        (_, false) => "not enough could be read",
        (true, true) => "there is no MetalLB to come from; docs/install.md says how to install FerroLB",
        (false, true) => "FerroLB is there, and nothing of MetalLB is left behind",
    }
}

fn found(f: &mut Formatter<'_>, metallb: &Metallb) -> Result {
    let or = |text: &Option<String>, kind: &str| match text {
        Some(name) => format!("{kind}{name}"),
        None => "not found".to_owned(),
    };
    writeln!(f, "MetalLB")?;
    line(f, "namespace", &metallb.namespace)?;
    line(f, "version", metallb.version.as_deref().unwrap_or("its labels and images do not tell"))?;
    line(
        f,
        "installed",
        &match &metallb.installed {
            Installed::Manifest => "by its manifest".to_owned(),
            Installed::Helm { release, namespace, recorded: true } => {
                format!("by Helm, release {release} in {namespace}")
            }
            Installed::Helm { release, .. } => {
                format!("of its Helm chart as {release}, by a tool that leaves no release of Helm")
            }
            Installed::Operator { owner } => format!("by an operator, for {owner}"),
        },
    )?;
    line(f, "controller", &or(&metallb.controller, "Deployment "))?;
    line(f, "speaker", &or(&metallb.speaker, "DaemonSet "))?;
    let webhooks =
        metallb.webhooks.iter().map(|hook| format!("{} {} (calls {})", hook.kind, hook.name, hook.service));
    let converted = metallb.converted.iter().map(|name| format!("conversion of {name}"));
    let webhooks: Vec<String> = webhooks.chain(converted).collect();
    line(
        f,
        "webhooks",
        match (metallb.webhooks_read, webhooks.is_empty()) {
            (false, _) => "not all could be read; step 1 has the usual names of those",
            (true, true) => "none",
            (true, false) => "would be left behind; step 1 takes them away",
        },
    )?;
    webhooks.iter().try_for_each(|hook| writeln!(f, "    {hook}"))?;
    line(
        f,
        "interfaces",
        &match &metallb.excluded_interfaces {
            None if metallb.interfaces_read => "those that it leaves out are FerroLB's default".to_owned(),
            None => "no list of those that it leaves out was read; FerroLB has its default".to_owned(),
            Some(patterns) => {
                format!("the list of those that it leaves out was changed; step 4 sets it: {patterns}")
            }
        },
    )?;
    line(
        f,
        "settings",
        if metallb.settings.is_empty() { "none" } else { "flags and variables of its containers" },
    )?;
    for setting in &metallb.settings {
        writeln!(f, "    {} {}: {}", setting.part, setting.setting, setting.answer)?;
    }
    writeln!(f)
}

fn line(f: &mut Formatter<'_>, name: &str, text: &str) -> Result {
    writeln!(f, "  {name:<12}{text}")
}

fn kept(f: &mut Formatter<'_>, kept: &Kept, none: &str) -> Result {
    writeln!(f, "Kept")?;
    named(f, "IPAddressPools", &kept.pools, none)?;
    named(f, "L2Advertisements", &kept.l2_advertisements, none)?;
    let addresses: usize = kept.services.iter().map(|service| service.addresses.len()).sum();
    writeln!(f, "  Services with addresses: {} ({addresses} addresses)", kept.services.len())?;
    for service in kept.services.iter().take(SHOWN) {
        let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
        let pool = service.pool.as_ref().map_or("no pool has them".to_owned(), |pool| format!("pool {pool}"));
        writeln!(f, "    {} {} ({pool})", service.service, addresses.join(" "))?;
    }
    if let Some(more) = kept.services.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(f, "    and {more} more: -o json names all")?;
    }
    named(f, "Services that wait for an address", &kept.waiting, none)?;
    if kept.foreign > 0 {
        writeln!(f, "  Services of another loadBalancerClass, for others to serve: {}", kept.foreign)?;
    }
    writeln!(f)
}

fn named(f: &mut Formatter<'_>, what: &str, names: &[String], none: &str) -> Result {
    if names.is_empty() {
        return writeln!(f, "  {what}: {none}");
    }
    let more = match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!(" and {more} more: -o json names all"),
        _ => String::new(),
    };
    writeln!(f, "  {what}: {} ({}{more})", names.len(), names[..names.len().min(SHOWN)].join(", "))
}

fn bullets(f: &mut Formatter<'_>, texts: impl Iterator<Item = impl Display>) -> Result {
    for text in texts {
        for (n, part) in wrapped(&text.to_string(), WIDTH - 4).iter().enumerate() {
            writeln!(f, "  {} {part}", if n == 0 { "-" } else { " " })?;
        }
    }
    writeln!(f)
}

fn shell(f: &mut Formatter<'_>, step: &Step) -> Result {
    if step.done {
        return writeln!(f, "# {}: done already, as far as can be seen\n", step.title);
    }
    writeln!(f, "# {}", step.title)?;
    wrapped(&step.why, WIDTH - 2).iter().try_for_each(|part| writeln!(f, "# {part}"))?;
    step.commands.iter().try_for_each(|command| writeln!(f, "{command}"))?;
    writeln!(f)
}

/// Lines of at most `width` characters, where words allow it; a line that ends in the text ends here too.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}
