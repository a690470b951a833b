//! Machine: what can be said of a script by reading it.
//!
//! A shell's grammar is not to be had in a page. This reads enough of it to find the last command,
//! and says nothing where it is not sure.

/// Whoever executes a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The path after `#!`.
    pub path: String,
    /// The program that `env` is to find, if that is how it is called.
    pub through_env: Option<String>,
}

impl Interpreter {
    /// Reads the first line of a program; nothing if it does not begin with `#!`.
    pub fn of(text: &[u8]) -> Option<Self> {
        let line = text.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_whitespace();
        let path = words.next().unwrap_or_default().to_owned();
        let is_env = base_name(&path) == "env";
        let mut arguments = words.filter(|word| !word.starts_with('-') && !word.contains('='));
        let through_env = if is_env { arguments.next().map(str::to_owned) } else { None };
        Some(Self { path, through_env })
    }

    /// Whether it is a Bourne shell, or a descendant of one.
    pub fn is_shell(&self) -> bool {
        let name = base_name(self.through_env.as_deref().unwrap_or(&self.path));
        ["sh", "bash", "dash", "ash", "ksh", "mksh", "oksh", "yash", "posh", "zsh"].contains(&name)
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Why a signal may not reach the program that a shell script starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// The last command is this one, and the shell waits for it.
    NotExecuted(String),
    /// The last command is this one, in the background.
    Background(String),
    /// The last command is a pipe, with this one in it, and the shell waits for all of it.
    Piped(String),
}

/// Looks at the last command of a shell script.
pub fn suspicion(text: &str) -> Option<Suspicion> {
    let script = Script::read(text)?;
    let names = || script.items.iter().filter_map(Item::name);
    // Such a script looks after its children itself.
    if names().any(|name| name == "trap" || name == "wait") {
        return None;
    }
    // Nothing after it is ever reached.
    if script.items.iter().any(Item::replaces_the_shell) {
        return None;
    }
    let (Item::Simple { words, end, .. }, before) = script.items.split_last()? else { return None };
    let is_piped = |item: &&Item| matches!(item, Item::Simple { end: End::Pipe, .. });
    if let Some(first) = before.iter().rev().take_while(is_piped).last()
        && let Some(program) = first.words().iter().find(|word| *word != "exec")
        && !script.is_harmless(program)
    {
        return Some(Suspicion::Piped(program.clone()));
    }
    let name = words.first()?;
    match end {
        _ if script.is_harmless(name) => None,
        End::Background => Some(Suspicion::Background(name.clone())),
        _ => Some(Suspicion::NotExecuted(name.clone())),
    }
}

/// Builtins, and what has ended before anybody could want to stop it.
const HARMLESS: &[&str] = &[
    ".", ":", "[", "[[", "break", "builtin", "cd", "command", "continue", "declare", "echo", "eval", "exec",
    "exit", "export", "false", "kill", "let", "local", "printf", "read", "readonly", "return", "set",
    "shift", "source", "sv", "test", "touch", "true", "typeset", "ulimit", "umask", "unset",
];

/// What follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A line's end, `;`, `&&`, `||`, a closing parenthesis.
    Plain,
    /// `|`
    Pipe,
    /// `&`
    Background,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Simple {
        words: Vec<String>,
        depth: i32,
        end: End,
    },
    /// `fi`, `done`, `esac`, `}`, `)`
    Closing,
}

impl Item {
    fn words(&self) -> &[String] {
        match self {
            Self::Simple { words, .. } => words,
            Self::Closing => &[],
        }
    }

    fn name(&self) -> Option<&str> {
        self.words().first().map(String::as_str)
    }

    fn replaces_the_shell(&self) -> bool {
        match self {
            Self::Simple { words, depth: 0, end: End::Plain } => {
                words.len() > 1 && words.first().is_some_and(|word| word == "exec")
            }
            _ => false,
        }
    }
}

/// A shell script, taken apart.
#[derive(Default)]
struct Script {
    items: Vec<Item>,
    functions: Vec<String>,
    words: Vec<String>,
    word: Option<String>,
    /// Whether the next word belongs to a redirection.
    is_target: bool,
    /// Whether the next word ends a here-document, and whether that has its tabs removed.
    delimiter: Option<bool>,
    documents: Vec<(String, bool)>,
    parentheses: i32,
    depth: i32,
}

impl Script {
    /// Nothing if it cannot be understood: a quote that does not end, for one.
    fn read(text: &str) -> Option<Self> {
        let mut script = Self::default();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            match letter {
                '\\' => match rest.next()? {
                    '\n' => {}
                    letter => script.push(letter),
                },
                '\'' => {
                    script.push_all("");
                    loop {
                        match rest.next()? {
                            '\'' => break,
                            letter => script.push(letter),
                        }
                    }
                }
                '"' => {
                    let quoted = double_quoted(&mut rest)?;
                    script.push_all(&quoted);
                }
                '`' => {
                    script.push('`');
                    backquoted(&mut rest)?;
                }
                '$' => {
                    script.push('$');
                    substitution(&mut rest)?;
                }
                '#' if script.word.is_none() => while rest.next_if(|letter| *letter != '\n').is_some() {},
                '\n' => {
                    script.end_command(End::Plain);
                    for (delimiter, has_tabs) in std::mem::take(&mut script.documents) {
                        skip_document(&mut rest, &delimiter, has_tabs)?;
                    }
                }
                letter if letter.is_whitespace() => script.end_word(),
                ';' => script.end_command(End::Plain),
                '&' if rest.next_if_eq(&'&').is_some() => script.end_command(End::Plain),
                '&' if rest.peek() == Some(&'>') => script.end_word(),
                '&' => script.end_command(End::Background),
                '|' if rest.next_if_eq(&'|').is_some() => script.end_command(End::Plain),
                '|' => {
                    rest.next_if_eq(&'&');
                    script.end_command(End::Pipe);
                }
                '<' | '>' => script.redirect(letter, &mut rest)?,
                '(' => script.open(&mut rest),
                ')' => script.close(),
                letter => script.push(letter),
            }
        }
        script.end_command(End::Plain);
        (script.documents.is_empty() && script.depth == 0 && script.parentheses == 0).then_some(script)
    }

    /// Whether this command is none that anybody would want to stop, or nobody can tell.
    fn is_harmless(&self, command: &str) -> bool {
        HARMLESS.contains(&command)
            || command.contains(['$', '`', '='])
            || self.functions.iter().any(|function| function == command)
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn push_all(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if let Some(has_tabs) = self.delimiter.take() {
            self.documents.push((word, has_tabs));
        } else if !std::mem::take(&mut self.is_target) {
            self.words.push(word);
        }
    }

    fn end_command(&mut self, end: End) {
        self.end_word();
        let mut words = std::mem::take(&mut self.words);
        while let Some(word) = words.first() {
            match word.as_str() {
                "for" | "case" | "select" => {
                    self.depth += 1;
                    return;
                }
                "if" | "while" | "until" | "{" => self.depth += 1,
                "then" | "do" | "else" | "elif" | "!" | "time" => {}
                "fi" | "done" | "esac" | "}" => {
                    self.depth -= 1;
                    self.items.push(Item::Closing);
                    return;
                }
                "function" => {
                    self.functions.extend(words.get(1).cloned());
                    words.remove(0);
                }
                assignment if is_assignment(assignment) => {}
                _ => break,
            }
            words.remove(0);
        }
        if !words.is_empty() {
            self.items.push(Item::Simple { words, depth: self.depth + self.parentheses, end });
        } else if end == End::Background {
            // What was closed before is in the background: nothing to judge.
            self.items.push(Item::Closing);
        }
    }

    fn redirect(&mut self, first: char, rest: &mut Letters) -> Option<()> {
        // The number of a descriptor is no word.
        if self.word.as_ref().is_some_and(|word| word.chars().all(|letter| letter.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        if rest.next_if_eq(&'(').is_some() {
            parenthesised(rest)?;
            self.push('$');
            return Some(());
        }
        if first == '<' && rest.next_if_eq(&'<').is_some() {
            if rest.next_if_eq(&'<').is_some() {
                self.is_target = true;
            } else {
                self.delimiter = Some(rest.next_if_eq(&'-').is_some());
            }
            return Some(());
        }
        while rest.next_if(|letter| ['<', '>', '&', '|'].contains(letter)).is_some() {}
        self.is_target = true;
        Some(())
    }

    /// A parenthesis: of a function, or a subshell.
    fn open(&mut self, rest: &mut Letters) {
        self.end_word();
        while rest.next_if(|letter| *letter == ' ').is_some() {}
        if rest.next_if_eq(&')').is_some() {
            self.functions.extend(self.words.pop());
            self.words.clear();
        } else {
            self.end_command(End::Plain);
            self.parentheses += 1;
        }
    }

    fn close(&mut self) {
        if self.parentheses > 0 {
            self.end_command(End::Plain);
            self.parentheses -= 1;
            self.items.push(Item::Closing);
        } else {
            // A pattern of `case`.
            self.end_word();
            if self.words.first().is_some_and(|word| word == "case") {
                self.depth += 1;
            }
            self.words.clear();
        }
    }
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

fn double_quoted(rest: &mut Letters) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.extend(rest.next()),
            '`' => backquoted(rest)?,
            '$' => {
                text.push('$');
                if matches!(rest.peek(), Some('(' | '{')) {
                    substitution(rest)?;
                }
            }
            letter => text.push(letter),
        }
    }
}

fn backquoted(rest: &mut Letters) -> Option<()> {
    loop {
        match rest.next()? {
            '`' => return Some(()),
            '\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// What follows a `$`.
fn substitution(rest: &mut Letters) -> Option<()> {
    if rest.next_if_eq(&'(').is_some() {
        return parenthesised(rest);
    }
    // `$#` is no comment.
    rest.next_if_eq(&'#');
    if rest.next_if_eq(&'{').is_none() {
        return Some(());
    }
    loop {
        match rest.next()? {
            '}' => return Some(()),
            '\\' => drop(rest.next()),
            '"' => drop(double_quoted(rest)?),
            '$' => substitution(rest)?,
            _ => {}
        }
    }
}

/// Up to the parenthesis that closes the one before.
fn parenthesised(rest: &mut Letters) -> Option<()> {
    loop {
        match rest.next()? {
            ')' => return Some(()),
            '(' => parenthesised(rest)?,
            '\\' => drop(rest.next()),
            '"' => drop(double_quoted(rest)?),
            '\'' => while rest.next()? != '\'' {},
            '`' => backquoted(rest)?,
            _ => {}
        }
    }
}

fn skip_document(rest: &mut Letters, delimiter: &str, has_tabs: bool) -> Option<()> {
    loop {
        rest.peek()?;
        let line: String = rest.by_ref().take_while(|letter| *letter != '\n').collect();
        if delimiter == if has_tabs { line.trim_start_matches('\t') } else { &line } {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_found_also_through_env() {
        let of =
            |text: &str| Interpreter::of(text.as_bytes()).map(|it| (it.is_shell(), it.path, it.through_env));
        assert_eq!(of("#!/bin/sh -e\nx"), Some((true, "/bin/sh".into(), None)));
        assert_eq!(of("#! /bin/busybox sh\n"), Some((false, "/bin/busybox".into(), None)));
        assert_eq!(
            of("#!/usr/bin/env -S A=1 bash -e"),
            Some((true, "/usr/bin/env".into(), Some("bash".into())))
        );
        assert_eq!(of("#!/usr/bin/python3\n"), Some((false, "/usr/bin/python3".into(), None)));
        assert_eq!(of("echo"), None);
    }

    #[test]
    fn a_last_command_that_is_not_executed_is_found() {
        for (script, name) in [
            ("nginx -g 'daemon off;'", "nginx"),
            ("exec 2>&1\nchpst -u web httpd -f\n\n# the end\n", "chpst"),
            ("cd /srv && ./server", "./server"),
            ("A=1 B='2 3' server --now", "server"),
            ("if has perl; then exec perl x; fi\nserver", "server"),
            ("echo secret | server", "server"),
            ("cat >conf <<EOF\nexec x\nEOF\nserver \\\n  --conf conf", "server"),
            ("echo \"$(date; echo ')')\" ${#A} $# # no\nserver >/dev/null 2>&1", "server"),
            ("exec 3< <(x)\nserver", "server"),
            ("case $1 in\n  a|b) x ;;\n  *) y ;;\nesac\nserver", "server"),
            ("sleep 1000", "sleep"),
        ] {
            assert_eq!(suspicion(script), Some(Suspicion::NotExecuted(name.into())), "{script}");
        }
        for script in ["server 2>&1 | logger -t web", "exec server | a |\\\n b", "cd /srv\nserver | logger"] {
            assert_eq!(suspicion(script), Some(Suspicion::Piped("server".into())), "{script}");
        }
        assert_eq!(suspicion("server -D &"), Some(Suspicion::Background("server".into())));
    }

    #[test]
    fn nothing_is_said_of_a_script_that_knows_what_it_does() {
        for script in [
            "exec nginx",
            "exec 2>&1\nexec nginx",
            "exec 2>&1 nginx",
            "test -f conf && exec server\nexit 1",
            "exec server || exit 1",
            "server &\nwait $!",
            "trap 'kill $!' TERM\nserver",
            "while :; do server; done",
            "for x in 1 2; do server; done &\nsleep 1; exit",
            "if a; then exec b; else exec c; fi",
            "main() { server; }\nmain \"$@\"",
            "function main { server; }\nmain",
            "$SERVER --now",
            "\"$SERVER\" --now",
            "exec server\necho not reached\nserver",
            "echo done",
            "sv down .",
            "[ -f x ]",
            "(\n  server\n)",
            "{ server; } 2>&1",
            "server 'unfinished",
            "cat <<EOF\nserver",
            "A=1",
            "",
            "# nothing",
            "eval server",
            "exit 0 # server",
        ] {
            assert_eq!(suspicion(script), None, "{script}");
        }
    }
}
