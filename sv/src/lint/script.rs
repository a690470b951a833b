//! State: what the text of a script shows.

/// The interpreter of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The path after `#!`.
    pub path: String,
    /// The program that `env` looks for, if the path is that of `env`.
    pub through_env: Option<String>,
}

impl Interpreter {
    /// Reads the first line of a program; `None` if it does not begin with `#!`.
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

    /// Whether it is a Bourne shell, or compatible with one.
    pub fn is_shell(&self) -> bool {
        let name = base_name(self.through_env.as_deref().unwrap_or(&self.path));
        ["sh", "bash", "dash", "ash", "ksh", "mksh", "oksh", "yash", "posh", "zsh"].contains(&name)
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Programs that do one thing and end: signals to a service are not meant for them.
const ENDING: &[&str] = &[
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "date",
    "dmesg",
    "find",
    "grep",
    "hostname",
    "hwclock",
    "id",
    "ifconfig",
    "ip",
    "iptables",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "modprobe",
    "mount",
    "mountpoint",
    "mv",
    "nft",
    "pkill",
    "ps",
    "rm",
    "rmdir",
    "runsvchdir",
    "sed",
    "setfont",
    "sv",
    "swapoff",
    "swapon",
    "sync",
    "sysctl",
    "systemctl",
    "touch",
    "umount",
    "uname",
];

/// Builtins of a shell.
const BUILTIN: &[&str] = &[
    ":", "bg", "break", "cd", "command", "continue", "declare", "echo", "export", "false", "fg", "getopts",
    "hash", "jobs", "kill", "let", "local", "popd", "printf", "pushd", "pwd", "read", "readonly", "set",
    "shift", "shopt", "test", "times", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset",
];

/// Words that make the last line of a script depend on the lines before it.
const UNUSUAL: &[&str] = &[
    "!", ".", "alias", "builtin", "case", "do", "done", "elif", "else", "esac", "eval", "exec", "fi", "for",
    "function", "if", "select", "source", "then", "time", "trap", "until", "wait", "while",
];

/// The program that a shell script ends with and waits for, where a signal should reach that program.
///
/// Only scripts of plain commands, one a line, count; the last one must be a program and its arguments. Any
/// other script would need a parser of the shell's grammar.
pub fn waited_for(text: &str) -> Option<&str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut last = None;
    for line in lines {
        if !is_plain(line) {
            return None;
        }
        last = Some(line);
    }
    let last = last?;
    let program = last.split_whitespace().next()?;
    let is_name = program.chars().all(|it| it.is_ascii_alphanumeric() || "_./+-".contains(it));
    let is_alone = !without_quotes(last)?.contains(['&', '|', '>']);
    let stays = !ENDING.contains(&base_name(program)) && !BUILTIN.contains(&program);
    (is_name && is_alone && stays).then_some(program)
}

/// Whether a line of a shell script begins with `exec`, and has this program among its words: by its name, or by a
/// path that ends with `bin/` and the name. Other programs may execute it, such as chpst and env. Another path may
/// be that of a directory.
pub fn executes(text: &str, program: &str) -> bool {
    let is_program =
        |word: &str| word.strip_suffix(program).is_some_and(|rest| rest.is_empty() || rest.ends_with("bin/"));
    text.lines().any(|line| {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        words.next() == Some("exec") && words.any(is_program)
    })
}

/// Whether a line consists of complete, plain commands.
fn is_plain(line: &str) -> bool {
    let Some(rest) = without_quotes(line) else { return false };
    // No operator but those between commands, and no substitution.
    let rest = rest.replace("&&", " ").replace("||", " ");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let is_usual = match words.as_slice() {
        ["exec", target] => target.starts_with('>'),
        ["exit" | "return", ..] => false,
        words => !words.iter().any(|word| UNUSUAL.contains(word)),
    };
    is_usual && !rest.contains(['`', '\\', '(', ')', '{', '}', '<', ';', '&', '|'])
}

/// A line without its quoted parts, and without `2>&1`; `None` if a quote continues on the next line, both kinds
/// are used, or a quoted part has something that a shell replaces.
fn without_quotes(line: &str) -> Option<String> {
    let quote = match (line.contains('\''), line.contains('"')) {
        (true, true) => return None,
        (true, false) => '\'',
        (false, _) => '"',
    };
    let is_literal = quote == '\'' || !line.contains(['`', '\\']) && !line.contains("$(");
    let pieces: Vec<&str> = line.split(quote).collect();
    let is_closed = pieces.len() % 2 == 1;
    let outside = pieces.into_iter().step_by(2).collect::<Vec<_>>().join("_");
    (is_literal && is_closed).then(|| outside.replace("2>&1", ">").replace(">&2", ">"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_can_be_read(text in any::<String>(), shell in "(#!|[ \\n'\"`$(){}<>;&|a-z])*") {
            for text in [text, shell] {
                let _ = (Interpreter::of(text.as_bytes()), executes(&text, "setsid"));
                prop_assert!(waited_for(&text).is_none_or(|program| text.contains(program)));
            }
        }
    }

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
    fn a_plain_last_command_that_is_not_executed_is_found() {
        for (script, name) in [
            ("nginx -g 'daemon off;'", "nginx"),
            ("#!/bin/sh\nexec 2>&1\nchpst -u web httpd -f\n\n# the end\n", "chpst"),
            ("cd /srv\n./server", "./server"),
            ("exec 2>&1\nserver 2", "server"),
            ("test -f conf || exit 1\nA=1\nexport A=\"b (c)\"\necho 'a; b' >&2\nserver $A", "server"),
            ("sleep 1000", "sleep"),
        ] {
            assert_eq!(waited_for(script), Some(name), "{script}");
        }
    }

    #[test]
    fn a_program_is_executed_by_the_line_that_begins_with_exec_and_names_it() {
        for script in [
            "exec runsvdir /srv",
            "exec 2>&1\n\texec runsvdir -P .",
            "exec env - PATH=$PATH runsvdir -P /srv log: ...",
            "test -d x || exit 1\nexec chpst -u web /usr/local/sbin/runsvdir x # a tree",
            "if a; then\n  exec /bin/runsvdir x\nfi",
        ] {
            assert!(executes(script, "runsvdir"), "{script}");
        }
        for script in [
            "runsvdir /srv",
            "# exec runsvdir /srv",
            "exec web # not runsvdir",
            "exec svlogd -tt /var/log/runsvdir",
            "exec svlogd ./runsvdir",
            "exec runsvdirs",
            "exec \"$1\"",
            "executes runsvdir",
            "exec",
        ] {
            assert!(!executes(script, "runsvdir"), "{script}");
        }
    }

    #[test]
    fn a_program_that_ends_by_itself_needs_no_exec() {
        for script in [
            "echo x\nrm -f /var/service/shinit",
            "mountpoint -q / || exit 1\nrunsvchdir single",
            "/bin/rm x",
            "sv down .",
            "cd /",
            "A=1",
            "",
            "# nothing",
        ] {
            assert_eq!(waited_for(script), None, "{script}");
        }
    }

    #[test]
    fn a_script_that_is_not_plain_has_no_finding() {
        for script in [
            "exec nginx",
            "exec 2>&1\nexec nginx",
            "test -f conf && exec server\nserver",
            "exec >log server\nserver",
            "exit 0\nserver",
            "server &\nwait $!",
            "server &",
            "server | logger",
            "server >file",
            "trap 'kill $!' TERM\nserver",
            "while :\ndo\nserver\ndone",
            "if a\nthen\nb\nfi\nserver",
            "main() { server; }\nmain",
            ". ./functions\nmain",
            "$SERVER --now",
            "\"$SERVER\" --now",
            "A=1 server",
            "server \\\n--now",
            "server 'unfinished",
            "echo 'a\nb'\nserver",
            "echo \"$(date)\"\nserver",
            "cat <<EOF\nserver",
            "[ -f x ]",
            "(server)",
            "{ server\n}",
            "eval server",
            "exit 0",
            "echo \"it's\"\nserver",
        ] {
            assert_eq!(waited_for(script), None, "{script}");
        }
    }
}
