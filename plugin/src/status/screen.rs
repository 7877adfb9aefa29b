//! The live screen: what is wrong, pools, nodes, and as many Services as fit. It draws into the terminal's other screen, so that
//! what was there is there again at its end, and goes on when the API server is away, saying since when.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use kube::Client;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

use super::view::Status;
use super::{Args, read, text};
use crate::Error;
use crate::output::{Style, Tone};

/// To the other screen, without a cursor and without wrapping; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the first cell. Each line ends with "clear the rest of it", and the last with "clear what is below": no flicker.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Draws until the user ends it.
pub(super) async fn run(client: &Client, args: &Args) -> Result<ExitCode, Error> {
    if !std::io::stdout().is_terminal() {
        return Err(Error::Usage("--watch needs a terminal; scripts take -o json".to_owned()));
    }
    let terminal = Terminal::enter()?;
    let mut keys = keys();
    let mut screen = Screen::default();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut resized = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())?;
    loop {
        let began = Instant::now();
        let mut looking = std::pin::pin!(read(client, args));
        let outcome = loop {
            tokio::select! {
                outcome = &mut looking => break Some(outcome),
                Some(key) = keys.recv() => if screen.handle(key) { break None },
                _ = resized.recv() => {}
                _ = &mut interrupted => break None,
            }
            screen.draw(&terminal)?;
        };
        let Some(outcome) = outcome else { break };
        screen.take(outcome.map(|look| Status::of(&look)).map_err(|error| error.to_string()));
        let next = tokio::time::Instant::now() + args.pause(began.elapsed());
        screen.draw(&terminal)?;
        let ended = loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break false,
                Some(key) = keys.recv() => if screen.handle(key) { break true },
                _ = resized.recv() => {}
                _ = &mut interrupted => break true,
            }
            screen.draw(&terminal)?;
        };
        if ended {
            break;
        }
    }
    drop(terminal);
    let well = screen.status.as_ref().is_some_and(Status::is_well);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What the user presses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    All,
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Screen {
    status: Option<Status>,
    /// Why there is nothing newer, and since when.
    failed: Option<(String, Instant)>,
    /// The first line of Services that is shown.
    from: usize,
    /// Whether Services that are well are shown too.
    hide_well: bool,
    /// How many lines of Services fitted.
    page: usize,
    lines: usize,
}

impl Screen {
    fn take(&mut self, outcome: Result<Status, String>) {
        match outcome {
            Ok(status) => (self.status, self.failed) = (Some(status), None),
            Err(why) => {
                let since = self.failed.take().map_or_else(Instant::now, |(_, since)| since);
                self.failed = Some((why, since));
            }
        }
    }

    /// Whether that is the end.
    fn handle(&mut self, key: Key) -> bool {
        let last = self.lines.saturating_sub(self.page);
        match key {
            Key::Quit => return true,
            Key::Up => self.from = self.from.saturating_sub(1),
            Key::Down => self.from += 1,
            Key::PageUp => self.from = self.from.saturating_sub(self.page),
            Key::PageDown => self.from += self.page,
            Key::Top => self.from = 0,
            Key::All => (self.hide_well, self.from) = (!self.hide_well, 0),
        }
        self.from = self.from.min(last);
        false
    }

    fn draw(&mut self, terminal: &Terminal) -> std::io::Result<()> {
        let height = terminal.height();
        let lines = self.compose(height, Style::of(true));
        let mut out = std::io::stdout().lock();
        out.write_all(HOME.as_bytes())?;
        out.write_all(lines.join(&format!("{CLEAR_LINE}\r\n")).as_bytes())?;
        out.write_all(CLEAR_LINE.as_bytes())?;
        out.write_all(CLEAR_BELOW.as_bytes())?;
        out.flush()
    }

    /// At most `height` lines: what is wrong, pools and nodes whole, and the Services in what is left; the last line tells the keys.
    fn compose(&mut self, height: usize, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((why, since)) = &self.failed {
            let words = format!("not current for {} s: {why}", since.elapsed().as_secs());
            lines.push(style.paint(Tone::Bad, words));
        }
        let Some(status) = &self.status else {
            lines.push("looking …".to_owned());
            return lines;
        };
        lines.extend(text::head(status, style));
        lines.extend(text::pools(status, false, style));
        lines.extend(text::nodes(status, false, style));
        let shown = if self.hide_well { 0 } else { usize::MAX };
        let services = text::services(status, shown, false, style);
        // A blank line and the heading stay where they are.
        let (heading, body) = services.split_at(2);
        lines.truncate(height.saturating_sub(5));
        lines.extend_from_slice(heading);
        self.page = height.saturating_sub(lines.len() + 1);
        self.lines = body.len();
        self.from = self.from.min(self.lines.saturating_sub(self.page));
        lines.extend(body.iter().skip(self.from).take(self.page).cloned());
        let upto = (self.from + self.page).min(self.lines);
        let place = if self.lines > self.page {
            format!("{} to {upto} of {}   ", self.from + 1, self.lines)
        } else {
            String::new()
        };
        let which = if self.hide_well { "a shows all" } else { "a shows problems alone" };
        lines.push(style.paint(Tone::Faint, format!("{place}q ends   ↑ ↓ scroll   {which}")));
        lines.truncate(height);
        lines
    }
}

/// The keys, as they are pressed. The thread that reads them ends with the program.
fn keys() -> mpsc::UnboundedReceiver<Key> {
    let (pressed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 16];
        while let Ok(length @ 1..) = std::io::stdin().lock().read(&mut bytes) {
            if let Some(key) = key(&bytes[..length])
                && pressed.send(key).is_err()
            {
                return;
            }
        }
    });
    keys
}

fn key(bytes: &[u8]) -> Option<Key> {
    Some(match bytes {
        b"q" | b"Q" | [3 | 4] => Key::Quit,
        b"k" | b"\x1b[A" | b"\x1bOA" => Key::Up,
        b"j" | b"\x1b[B" | b"\x1bOB" => Key::Down,
        b"b" | b"\x1b[5~" => Key::PageUp,
        b" " | b"f" | b"\x1b[6~" => Key::PageDown,
        b"g" | b"\x1b[H" | b"\x1b[1~" => Key::Top,
        b"a" => Key::All,
        _ => return None,
    })
}

/// The terminal as it was, to be put back however this ends.
struct Terminal {
    before: Option<Termios>,
}

impl Terminal {
    fn enter() -> std::io::Result<Self> {
        // Without a terminal to read from there are no keys, and Ctrl-C ends it all the same.
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(std::io::stdin(), OptionalActions::Now, &modes)?;
        }
        let terminal = Terminal { before };
        let mut out = std::io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(terminal)
    }

    fn height(&self) -> usize {
        tcgetwinsize(std::io::stdout()).map_or(24, |size| usize::from(size.ws_row)).max(8)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// A screen that is looked at without a terminal, for tests.
#[cfg(test)]
mod tests {
    use super::super::view::{Counts, Service, State};
    use super::*;

    fn status(services: usize) -> Status {
        let service = |n: usize| Service {
            namespace: "shop".to_owned(),
            name: format!("s{n:04}"),
            addresses: vec![],
            pool: String::new(),
            owners: vec![],
            state: if n.is_multiple_of(100) { State::Pending } else { State::Announced },
            reason: "NoPool".to_owned(),
            message: "there is none".to_owned(),
        };
        let services: Vec<Service> = (0..services).map(service).collect();
        Status {
            counts: Counts { services: services.len(), ..Counts::default() },
            services,
            ..Status::default()
        }
    }

    #[test]
    fn it_fits_the_terminal_and_scrolls_to_the_end_and_not_beyond() {
        let mut screen = Screen::default();
        assert_eq!(screen.compose(20, Style::default()), ["looking …"]);
        screen.take(Ok(status(1000)));
        let lines = screen.compose(20, Style::default());
        assert_eq!(lines.len(), 20);
        assert!(lines.iter().any(|line| line.contains("shop/s0000") && line.contains("there is none")));
        for _ in 0..500 {
            assert!(!screen.handle(Key::PageDown));
        }
        let lines = screen.compose(20, Style::default());
        assert!(lines[18].contains("shop/s0999"), "{lines:?}");
        assert!(lines[19].contains("of 1000"), "{lines:?}");
        screen.handle(Key::All);
        let lines = screen.compose(24, Style::default()).join("\n");
        assert!(lines.contains("shop/s0900") && !lines.contains("shop/s0999"), "problems alone\n{lines}");
        assert!(screen.handle(Key::Quit));
    }

    #[test]
    fn when_the_api_server_is_away_the_last_picture_stays_and_says_so() {
        let mut screen = Screen::default();
        screen.take(Ok(status(1)));
        screen.take(Err("cannot reach the API server".to_owned()));
        let lines = screen.compose(30, Style::default());
        assert!(lines[0].starts_with("not current for 0 s: cannot reach"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("shop/s0000")));
        screen.take(Ok(status(1)));
        assert!(!screen.compose(30, Style::default())[0].contains("not current"));
    }

    #[test]
    fn keys_are_letters_and_what_terminals_send_for_arrows() {
        assert_eq!(
            (key(b"q"), key(b"\x1b[A"), key(b"\x1b[6~")),
            (Some(Key::Quit), Some(Key::Up), Some(Key::PageDown))
        );
        assert_eq!((key(b"x"), key(b"")), (None, None));
    }
}
