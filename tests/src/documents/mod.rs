//! The Markdown of this repository: its links, its headings, and the commands in it.
//!
//! [`Document::links`] and [`Document::anchors`] are what a reader clicks on, and where he gets; [`Document::commands`] what he
//! types. The tests of this module, and those of `lab`, hold them to what there is.

#[cfg(test)]
mod flags;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use shell::Command;

use crate::plane::project;

/// Folders without text of ours.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// A file of Markdown.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its path in the repository.
    pub path: PathBuf,
    pieces: Vec<Piece>,
}

/// A piece of a file, with the number of its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    line: usize,
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The words of a heading.
    Heading,
    /// What a link points to.
    Link,
    /// Code among words.
    Span,
    /// A block of code.
    Block,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// The line of its paragraph's begin.
    pub line: usize,
    /// The path, or nothing for this very file.
    pub path: &'a str,
    /// The heading in that file.
    pub anchor: Option<&'a str>,
}

/// Every file of Markdown in the repository, in the order of their paths.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> std::io::Result<Vec<Document>> {
    let mut files = Vec::new();
    find(&project(""), &mut files)?;
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(project("").join(&path))?;
        Ok(Document { pieces: pieces(&text), path })
    };
    files.into_iter().map(read).collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !LEFT_OUT.contains(&name.as_str()) {
                find(&path, files)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "md") {
            files.push(path.strip_prefix(project("")).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

impl Document {
    /// The document of this path whose text is `text`.
    pub fn of(path: &str, text: &str) -> Self {
        Document { path: PathBuf::from(path), pieces: pieces(text) }
    }

    /// Its links to files and headings of this repository.
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        let ours = |piece: &&Piece| {
            piece.kind == Kind::Link && !piece.text.contains("://") && !piece.text.starts_with("mailto:")
        };
        self.pieces.iter().filter(ours).map(|piece| {
            let (path, anchor) = match piece.text.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (&*piece.text, None),
            };
            Link { line: piece.line, path, anchor }
        })
    }

    /// What can follow `#` in a link to this document: its headings, as GitHub names them.
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for heading in self.pieces.iter().filter(|piece| piece.kind == Kind::Heading) {
            let name = anchor(&heading.text);
            let free = |anchors: &BTreeSet<String>, name: &str| !anchors.contains(name);
            if free(&anchors, &name) {
                anchors.insert(name);
            } else if let Some(next) = (1..).map(|n| format!("{name}-{n}")).find(|next| free(&anchors, next))
            {
                anchors.insert(next);
            }
        }
        anchors
    }

    /// What a reader may type: the commands in its blocks of code, and those named among words, which may lack something.
    pub fn commands(&self) -> Vec<Command> {
        let mut found = Vec::new();
        for piece in &self.pieces {
            match piece.kind {
                Kind::Block => found.extend(shell::block(&piece.text, piece.line)),
                Kind::Span => found.extend(shell::span(&piece.text, piece.line)),
                Kind::Heading | Kind::Link => {}
            }
        }
        found
    }
}

/// A heading as GitHub names it in links: small letters, without punctuation, with hyphens for blanks.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

/// Cuts a text into its pieces.
fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    // The lines of the paragraph, or of the block of code, that is being read.
    let (mut begun, mut lines) = (1, String::new());
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mark = line.trim_start();
        if let Some(end) = fence {
            if mark.trim_end() == end {
                pieces.push(Piece { line: begun, kind: Kind::Block, text: std::mem::take(&mut lines) });
                fence = None;
                begun = number + 1;
            } else {
                lines += line;
                lines.push('\n');
            }
            continue;
        }
        let heading = mark.trim_start_matches('#');
        let is_heading = heading.len() < mark.len() && heading.starts_with(' ');
        let opens = ["```", "~~~"].into_iter().find(|fence| mark.starts_with(fence));
        if opens.is_some() || is_heading || mark.is_empty() {
            words(&std::mem::take(&mut lines), begun, &mut pieces);
            begun = number + 1;
        }
        if opens.is_some() {
            fence = opens;
        } else if is_heading {
            let plain = words(heading, number, &mut pieces);
            pieces.push(Piece { line: number, kind: Kind::Heading, text: plain });
        } else if !mark.is_empty() {
            lines += line;
            lines.push('\n');
        }
    }
    words(&lines, begun, &mut pieces);
    pieces
}

/// Finds code and links among words, and returns the words as they are read.
fn words(text: &str, line: usize, pieces: &mut Vec<Piece>) -> String {
    let mut plain = String::new();
    let mut rest = text;
    let piece =
        |kind, text: &str| Piece { line, kind, text: text.split_whitespace().collect::<Vec<_>>().join(" ") };
    while let Some(next) = rest.chars().next() {
        if next == '`' {
            let ticks = rest.len() - rest.trim_start_matches('`').len();
            let behind = &rest[ticks..];
            if let Some(end) = closing(behind, ticks) {
                pieces.push(piece(Kind::Span, &behind[..end].replace("\\|", "|")));
                plain += &behind[..end];
                rest = &behind[end + ticks..];
                continue;
            }
        }
        if let Some(target) = rest.strip_prefix("](")
            && let Some(end) = target.find(')')
        {
            let path = target[..end].split(' ').next().unwrap_or_default();
            pieces.push(piece(Kind::Link, path));
            rest = &target[end + 1..];
            continue;
        }
        if !matches!(next, '[' | '*') {
            plain.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    plain
}

/// Where code ends that began with so many ticks.
fn closing(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let begin = at + found;
        let run = text[begin..].len() - text[begin..].trim_start_matches('`').len();
        if run == ticks {
            return Some(begin);
        }
        at = begin + run;
    }
    None
}

/// What `program`, whose arguments are `P`, says against these, if anything: an unknown subcommand or flag, a wrong value. What
/// the reader is to put in counts as right, and among words (`whole` is false) something may be missing.
pub fn refused<P: clap::Parser>(program: &str, arguments: &[String], whole: bool) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let mut given: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "…").collect();
    loop {
        let all = std::iter::once(program).chain(given.iter().copied());
        let error = match P::try_parse_from(all) {
            Ok(_) => return None,
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return None,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                if !whole =>
            {
                return None;
            }
            // What the reader is to put in is no value: that argument is left out, and the rest looked at.
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                let value = match error.get(ContextKind::InvalidValue) {
                    Some(ContextValue::String(value)) => value.clone(),
                    _ => return Some(error.to_string()),
                };
                let at = given.iter().position(|word| *word == value || word.trim_end_matches(",…") == value);
                match at {
                    Some(at) if !whole && Command::is_placeholder(given[at]) => {
                        given.remove(at);
                        if at > 0 && given[at - 1].starts_with("--") {
                            given.remove(at - 1);
                        }
                    }
                    _ => return Some(error.to_string()),
                }
            }
            _ => return Some(error.to_string()),
        }
    }
}
