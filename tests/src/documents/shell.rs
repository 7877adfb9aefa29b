//! Commands in blocks of code and among words.

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its line, or the first of its paragraph.
    pub line: usize,
    /// Program and arguments.
    pub words: Vec<String>,
    /// Whether it can be typed as it is. Else it is named among words: with `[…]` around what may be left out, `a|b` for a choice,
    /// and words in capitals for what the reader puts in; and it may lack something.
    pub whole: bool,
}

impl Command {
    /// Whether this word stands for what the reader puts in: `NAME`, `N`, `FILE`.
    pub fn is_placeholder(word: &str) -> bool {
        let letters =
            |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '…' | ',');
        word.contains('…') || word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(letters)
    }

    /// Its arguments, if its program is one of this name, in whatever folder.
    pub fn arguments_of(&self, program: &str) -> Option<&[String]> {
        let (name, arguments) = self.words.split_first()?;
        (name.rsplit('/').next() == Some(program)).then_some(arguments)
    }
}

/// The commands in a block of code that begins below `line`. Lines of output are taken for commands too; they are of no
/// program that anybody asks for.
pub(super) fn block(text: &str, line: usize) -> Vec<Command> {
    let mut found = Vec::new();
    let (mut begun, mut whole) = (line, String::new());
    for (index, text) in text.lines().enumerate() {
        if whole.is_empty() {
            begun = line + index;
        }
        if let Some(goes_on) = text.strip_suffix('\\') {
            whole += goes_on;
            continue;
        }
        whole += text;
        found.extend(commands(&std::mem::take(&mut whole), begun, true));
    }
    found
}

/// The commands in code among words.
pub(super) fn span(text: &str, line: usize) -> Vec<Command> {
    let optional = |c: char| matches!(c, '[' | ']');
    // A choice, as in `lab node kill|start N`: the first.
    let words = text.split(' ').map(|word| match word.split_once('|') {
        Some((first, rest)) if !first.is_empty() && !rest.is_empty() => first,
        _ => word,
    });
    let text = words.collect::<Vec<_>>().join(" ").replace(optional, "");
    commands(&text, line, false)
}

/// Splits a line as a shell does, short of what no document here has.
fn commands(text: &str, line: usize, whole: bool) -> Vec<Command> {
    let (mut found, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let end_word = |word: &mut Option<String>, words: &mut Vec<String>| words.extend(word.take());
    let mut end = |words: &mut Vec<String>| {
        let taken = std::mem::take(words);
        // A prompt, and variables for this command alone.
        let skipped = |word: &String| {
            let variable = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            word == "$" || variable
        };
        let words: Vec<String> = taken.into_iter().skip_while(skipped).collect();
        if !words.is_empty() {
            found.push(Command { line, words, whole });
        }
    };
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, ' ' | '\t') => end_word(&mut word, &mut words),
            (None, '#') if word.is_none() => break,
            (None, ';' | '|' | '&') => {
                end_word(&mut word, &mut words);
                end(&mut words);
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    end_word(&mut word, &mut words);
    end(&mut words);
    found
}
