//! What is printed.

use std::io::{Error, ErrorKind, Write};

use serde::Serialize;

/// Prints to standard output. Whoever stops reading, as `head` does, is no error.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A value as JSON or YAML, with a line's end.
pub(crate) fn serialized<T: Serialize>(value: &T, yaml: bool) -> std::io::Result<String> {
    if yaml {
        return serde_saphyr::to_string(value).map_err(|error| Error::other(error.to_string()));
    }
    Ok(serde_json::to_string_pretty(value).map_err(Error::from)? + "\n")
}

/// Whether colours are used: on a terminal whose user has not said otherwise (<https://no-color.org>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading.
    Bold,
    /// Beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
}

impl Style {
    /// For a terminal, or for something else.
    pub(crate) fn of(terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { colours: terminal && !unwanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb") }
    }

    /// The text in this tone.
    pub(crate) fn paint(self, tone: Tone, text: impl std::fmt::Display) -> String {
        if !self.colours {
            return text.to_string();
        }
        let code = match tone {
            Tone::Bold => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Rows with columns of even width: each cell as wide as the widest of its column, two blanks between. Cells are plain text; `paint`
/// gives one its tone once its width is known.
pub(crate) fn table(rows: &[Vec<String>], paint: impl Fn(usize, usize, String) -> String) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |(number, row): (usize, &Vec<String>)| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let last = column + 1 == row.len();
            let padded = if last { cell.clone() } else { format!("{cell:<width$}", width = widths[column]) };
            paint(number, column, padded)
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "bé".to_owned(), "c".to_owned()], vec!["aaa".to_owned(), String::new()]];
        assert_eq!(table(&rows, |_, _, cell| cell), ["a    bé  c", "aaa"]);
        assert_eq!(Style::default().paint(Tone::Bad, "x"), "x");
    }
}
