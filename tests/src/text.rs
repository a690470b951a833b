//! Makes texts comparable that name process ids and seconds.

/// Replaces each process id by `N` and each number of seconds by `Ns`.
///
/// ```
/// let line = "run: a: (pid 7) 12s; run: log: (pid 6) 2s\n";
/// assert_eq!(tests::normal(line), "run: a: (pid N) Ns; run: log: (pid N) Ns\n");
/// ```
pub fn normal(text: &str) -> String {
    let mut rest = text;
    let mut normal = String::new();
    while let Some(at) = rest.find(' ') {
        let (before, after) = rest.split_at(at + 1);
        normal.push_str(before);
        let number = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, follows) = after.split_at(number);
        let is_pid = before.ends_with("(pid ") && follows.starts_with(')');
        let is_age = follows.starts_with('s') && !follows[1..].starts_with(|c: char| c.is_alphanumeric());
        if number.is_empty() || !(is_pid || is_age) {
            normal.push_str(number);
        } else {
            normal.push('N');
        }
        rest = follows;
    }
    normal + rest
}
