//! A status, for people: what is wrong comes first, and the screen is not filled with what is well.

use super::view::{Node, Pool, Service, State, Status, Usage};
use crate::output::{Style, Tone, table};

/// So many Services are shown that are well, unless all are wanted.
const SHOWN: usize = 30;

/// The cells of a bar.
const BAR: u128 = 20;

/// From here on a pool is as good as full, in hundredths.
const NEARLY: u128 = 90;

/// All of it.
pub(crate) fn whole(status: &Status, wide: bool, style: Style) -> String {
    let shown = if wide { usize::MAX } else { SHOWN };
    let mut lines = head(status, style);
    lines.extend(pools(status, wide, style));
    lines.extend(services(status, shown, wide, style));
    lines.extend(nodes(status, wide, style));
    lines.join("\n") + "\n"
}

/// What there is in one line, and what is wrong with all of it.
pub(super) fn head(status: &Status, style: Style) -> Vec<String> {
    let controller = &status.controller;
    let speakers = status.nodes.iter().filter(|node| node.speaker).count();
    let meant = status.nodes.iter().filter(|node| node.speaker || !node.excluded).count();
    let counts = &status.counts;
    let mut lines = vec![format!(
        "{} in {}   controller {}   speakers {}   Services {} announced",
        style.paint(Tone::Bold, "FerroLB"),
        status.namespace,
        share(controller.ready, controller.wanted, style),
        share(speakers, meant, style),
        share(counts.announced, counts.services, style),
    )];
    for problem in &status.problems {
        lines.push(format!("{} {problem}", style.paint(Tone::Bad, "✗")));
    }
    for unread in &status.unread {
        lines.push(format!("{} not known: {unread}", style.paint(Tone::Warning, "?")));
    }
    lines
}

fn share(part: usize, all: usize, style: Style) -> String {
    style.paint(if part >= all { Tone::Good } else { Tone::Bad }, format!("{part}/{all}"))
}

pub(super) fn pools(status: &Status, wide: bool, style: Style) -> Vec<String> {
    let mut lines = vec![String::new(), style.paint(Tone::Bold, "POOLS")];
    if status.pools.is_empty() {
        lines.push("  none: create an IPAddressPool".to_owned());
        return lines;
    }
    let mut rows = Vec::new();
    let mut tones = Vec::new();
    for pool in &status.pools {
        if !pool.problem.is_empty() {
            rows.push(vec![format!("  {}", pool.name), "not used".to_owned(), pool.problem.clone()]);
            tones.push(Tone::Bad);
            continue;
        }
        for usage in &pool.usage {
            rows.push(pool_row(pool, usage, wide));
            tones.push(tone(usage));
        }
    }
    lines.extend(table(&rows, |row, column, cell| match column {
        1 | 2 => style.paint(tones[row], cell),
        _ => cell,
    }));
    lines
}

fn pool_row(pool: &Pool, usage: &Usage, wide: bool) -> Vec<String> {
    let how = if pool.auto_assign { "" } else { "on request" };
    let mut row = vec![
        format!("  {}", pool.name),
        usage.family.clone(),
        bar(usage),
        format!("{:>4}", percent(usage)),
        format!("{} of {}", grouped(usage.used), grouped(usage.size)),
    ];
    if wide {
        row.push(pool.addresses.join(", "));
    }
    row.push(how.to_owned());
    row
}

/// `████░░░░`: the first cell is full from the first address on, the last from the last.
fn bar(usage: &Usage) -> String {
    let full = match usage.used {
        0 => 0,
        used if used >= usage.size => BAR,
        // Both may be as large as IPv6, where a product would not fit, and a quotient is near enough.
        used => match used.checked_mul(BAR) {
            Some(cells) => cells / usage.size,
            None => used / (usage.size / BAR),
        }
        .clamp(1, BAR - 1),
    };
    (0..BAR).map(|cell| if cell < full { '█' } else { '░' }).collect()
}

fn percent(usage: &Usage) -> String {
    if usage.used == 0 || usage.size == 0 {
        return "0 %".to_owned();
    }
    let hundredths = hundredths(usage);
    if hundredths == 0 { "<1 %".to_owned() } else { format!("{hundredths} %") }
}

fn hundredths(usage: &Usage) -> u128 {
    usage.used.saturating_mul(100) / usage.size.max(1)
}

fn tone(usage: &Usage) -> Tone {
    match hundredths(usage) {
        full if full >= 100 => Tone::Bad,
        full if full >= NEARLY => Tone::Warning,
        _ => Tone::Good,
    }
}

/// `10,000`; what no one counts as a power of two.
fn grouped(number: u128) -> String {
    if number >= 1 << 40 {
        return format!("2^{}", number.ilog2());
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn services(status: &Status, shown: usize, wide: bool, style: Style) -> Vec<String> {
    let mut lines = vec![String::new(), style.paint(Tone::Bold, "SERVICES")];
    if status.services.is_empty() {
        lines.push("  none of type LoadBalancer that FerroLB serves".to_owned());
    }
    let (well, ill): (Vec<&Service>, Vec<&Service>) =
        status.services.iter().partition(|service| service.state == State::Announced);
    let left_out = well.len().saturating_sub(shown);
    let listed: Vec<&Service> = ill.into_iter().chain(well.into_iter().take(shown)).collect();
    let rows: Vec<Vec<String>> = listed.iter().map(|service| service_row(service, wide)).collect();
    lines.extend(table(&rows, |row, column, cell| match (column, listed[row].state) {
        (0, State::Announced) => style.paint(Tone::Good, cell),
        (0, State::Conflict) => style.paint(Tone::Warning, cell),
        (0, _) => style.paint(Tone::Bad, cell),
        _ => cell,
    }));
    if left_out > 0 {
        let words = format!("  and {} more that are announced: -o wide names all", grouped(left_out as u128));
        lines.push(style.paint(Tone::Faint, words));
    }
    if status.counts.other_class > 0 {
        let words = format!("  {} of another loadBalancerClass are not FerroLB's", status.counts.other_class);
        lines.push(style.paint(Tone::Faint, words));
    }
    lines
}

fn service_row(service: &Service, wide: bool) -> Vec<String> {
    let mark = match service.state {
        State::Announced => "  ✓",
        State::Conflict => "  !",
        State::Pending | State::NotAnnounced => "  ✗",
    };
    let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    let addresses = if addresses.is_empty() { "–".to_owned() } else { addresses.join(", ") };
    let pool = if service.pool.is_empty() { "–".to_owned() } else { service.pool.clone() };
    let owners: Vec<String> = service.owners.iter().map(owner).collect();
    let why = match (service.state, wide) {
        (State::Announced, _) => owners.join("; "),
        (_, true) => format!("{}: {}", service.reason, service.message),
        (_, false) => service.message.lines().next().unwrap_or_default().to_owned(),
    };
    vec![mark.to_owned(), format!("{}/{}", service.namespace, service.name), addresses, pool, why]
}

fn owner(owner: &super::view::Owner) -> String {
    match owner.interfaces.as_slice() {
        [] => format!("{} (all links)", owner.node),
        names => format!("{} ({})", owner.node, names.join(", ")),
    }
}

pub(super) fn nodes(status: &Status, wide: bool, style: Style) -> Vec<String> {
    let mut lines = vec![String::new(), style.paint(Tone::Bold, "NODES")];
    let rows: Vec<Vec<String>> = status.nodes.iter().flat_map(|node| node_rows(node, wide)).collect();
    lines.extend(table(&rows, |row, column, cell| {
        let tone = match rows[row].first().map(|mark| mark.trim()) {
            Some("✓") => Tone::Good,
            Some("✗") => Tone::Bad,
            _ => Tone::Faint,
        };
        if column == 0 { style.paint(tone, cell) } else { cell }
    }));
    lines
}

/// One line for the node, and one for each of its links.
fn node_rows(node: &Node, wide: bool) -> Vec<Vec<String>> {
    let mark = match (node.problem.is_empty(), node.excluded) {
        (false, _) => "  ✗",
        (true, true) => "  –",
        (true, false) => "  ✓",
    };
    let proxy = match node.proxy.as_str() {
        "Unknown" => "proxy tells no health".to_owned(),
        other => format!("proxy {}", other.to_lowercase()),
    };
    let mut said = Vec::new();
    if node.excluded {
        said.push("excluded from announcing".to_owned());
    }
    if !node.problem.is_empty() {
        said.push(node.problem.clone());
    }
    if !node.untold.is_empty() {
        said.push(format!("links not known: {}", node.untold));
    }
    let announces = format!("announces {}", grouped(node.announces as u128));
    let mut rows = vec![vec![mark.to_owned(), node.name.clone(), announces, proxy, said.join("; ")]];
    for link in &node.links {
        let name = if wide { format!("{} {}", link.name, link.mac) } else { link.name.clone() };
        let mut hears = if link.hears.is_empty() {
            "hears nobody".to_owned()
        } else if link.hears.len() > 8 && !wide {
            format!("hears {} nodes", link.hears.len())
        } else {
            format!("hears {}", link.hears.join(", "))
        };
        if !link.by_udp.is_empty() {
            hears += &format!("; by UDP only: {}", link.by_udp.join(", "));
        }
        if !link.unheard.is_empty() {
            hears += &format!("; not {}", link.unheard.join(", "));
        }
        rows.push(vec![String::new(), format!("  {name}"), format!("answers for {}", link.owned), hears]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used: u128, size: u128) -> Usage {
        Usage { family: "IPv4".to_owned(), used, size }
    }

    #[test]
    fn bars_are_never_empty_or_full_by_rounding() {
        let cells = |used, size| bar(&usage(used, size)).chars().filter(|cell| *cell == '█').count();
        assert_eq!((cells(0, 254), cells(1, 254), cells(253, 254), cells(254, 254)), (0, 1, 19, 20));
        assert_eq!((cells(3, 1 << 64), cells(u128::MAX - 1, u128::MAX)), (1, 19));
        assert_eq!(cells(1, 2), 10);
        assert_eq!(percent(&usage(1, 65_536)), "<1 %");
        assert_eq!((percent(&usage(0, 0)), percent(&usage(64, 128))), ("0 %".to_owned(), "50 %".to_owned()));
    }

    #[test]
    fn numbers_are_grouped_and_those_of_ipv6_are_powers() {
        assert_eq!([0, 999, 10_000, 1_234_567].map(grouped), ["0", "999", "10,000", "1,234,567"]);
        assert_eq!(grouped(1 << 64), "2^64");
    }
}
