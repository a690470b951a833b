//! The reader of /proc: what the kernel shows of processes there. Every answer is a hint: the process may be
//! gone by the time it is read, and without /proc there are no answers.
//!
//! If /proc belongs to another pid namespace its numbers are meaningless: listings return nothing. A caller
//! that reads about one process by its number checks [`is_ours`] first, if it matters.

use std::io::Read;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::unistd::Pid;

/// One line of /proc/PID/stat, as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The program's short name.
    pub name: String,
    /// `R`, `S`, `Z`, ...
    pub state: char,
    /// The parent.
    pub parent: Pid,
    /// The process group.
    pub group: Pid,
    /// The session.
    pub session: Pid,
    /// How many threads it has; of a zombie, those that are not collected.
    pub threads: u32,
    /// When it was forked, as [`ticks`](crate::clock::ticks) counts.
    pub started: u64,
}

impl Stat {
    /// Whether the process has not ended. If its first thread has ended, a process looks like a
    /// zombie while its other threads go on.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X') || self.threads > 1
    }
}

/// Reads about one process.
pub fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&read_text(pid, "stat")?)
}

/// The number of the scheduling group that a process belongs to with its session, and with no other;
/// `None` where the kernel has no such groups.
pub fn autogroup(pid: Pid) -> Option<u64> {
    let text = read_text(pid, "autogroup")?;
    let (number, _) = text.strip_prefix("/autogroup-")?.split_once(' ')?;
    number.parse().ok()
}

/// The arguments a process was started with; none for a zombie.
pub fn arguments(pid: Pid) -> Vec<Vec<u8>> {
    let text = read(pid, "cmdline").unwrap_or_default();
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    if text.is_empty() { Vec::new() } else { text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() }
}

/// Whether /proc shows the pid namespace that this process lives in.
pub fn is_ours() -> bool {
    fs_err::read_link("/proc/self").is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()))
}

/// The working directory of a process.
pub fn current_dir(pid: Pid) -> Option<PathBuf> {
    if is_ours() { fs_err::read_link(path(pid, "cwd")).ok() } else { None }
}

/// Whether a process reads from the pipe with this inode number.
pub fn reads_pipe(pid: Pid, inode: u64) -> bool {
    fs_err::read_link(path(pid, "fd/0")).is_ok_and(|link| link == pipe(inode))
}

/// The children of a process, zombies included; of all its threads.
pub fn children(pid: Pid) -> Vec<Pid> {
    if !is_ours() {
        return Vec::new();
    }
    let Ok(threads) = fs_err::read_dir(path(pid, "task")) else { return Vec::new() };
    threads
        .filter_map(Result::ok)
        .filter_map(|thread| fs_err::read_to_string(thread.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>())
        .map(Pid::from_raw)
        .collect()
}

/// Every process there is, with what is known of it, looked up one by one.
pub fn stats() -> impl Iterator<Item = (Pid, Stat)> {
    all().into_iter().filter_map(|pid| Some((pid, stat(pid)?)))
}

/// The children of this process.
pub fn own_children() -> Vec<Pid> {
    // Most often there are none, and a listing of /proc costs a hundred times as much.
    if crate::has_children() { children(nix::unistd::getpid()) } else { Vec::new() }
}

/// The open descriptors of this process; `None` without /proc.
pub(crate) fn own_descriptors() -> Option<impl Iterator<Item = RawFd>> {
    let entries = fs_err::read_dir("/proc/self/fd").ok()?;
    Some(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// A name for what a descriptor of this process leads to, under which it can be opened once more.
pub(crate) fn own_descriptor(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}

/// A word that is different after each start of the machine.
pub(crate) fn boot_id() -> Option<String> {
    Some(fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// The number of the pid namespace that this process lives in.
pub(crate) fn own_pid_namespace() -> Option<u64> {
    Some(fs_err::metadata("/proc/self/ns/pid").ok()?.ino())
}

/// Every process there is.
pub fn all() -> Vec<Pid> {
    if !is_ours() {
        return Vec::new();
    }
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

/// The processes, other than this one, that have the pipe with this inode number open.
pub fn holders_of_pipe(inode: u64) -> Vec<Pid> {
    let target = pipe(inode);
    let own = nix::unistd::getpid();
    all()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs_err::read_dir(path(*pid, "fd")).is_ok_and(|descriptors| {
                descriptors
                    .filter_map(Result::ok)
                    .any(|descriptor| fs_err::read_link(descriptor.path()).is_ok_and(|link| link == target))
            })
        })
        .collect()
}

/// Whether a process is gone, or as good as: it is a zombie, is being taken apart, or has a TERM or
/// KILL that it has not come to take, yet.
pub fn is_ending(pid: Pid) -> bool {
    const EXITING: u64 = 4;
    let Some(line) = read_text(pid, "stat") else { return true };
    let mut fields = line.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let is_zombie = fields.next().is_none_or(|state| state == "Z" || state == "X");
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    is_zombie || flags & EXITING != 0 || has_fatal_signal(pid)
}

fn has_fatal_signal(pid: Pid) -> bool {
    let text = read_text(pid, "status").unwrap_or_default();
    let set = |name| bits(&text, name);
    let pending = set("SigPnd") | set("ShdPnd");
    // What it blocks, ignores or catches will not end it.
    pending
        & !(set("SigBlk") | set("SigIgn") | set("SigCgt"))
        & (bit(crate::Signal::TERM) | bit(crate::Signal::KILL))
        != 0
}

/// Whether a process ignores a signal.
pub fn ignores(pid: Pid, signal: crate::Signal) -> bool {
    is_ours() && bits(&read_text(pid, "status").unwrap_or_default(), "SigIgn") & bit(signal) != 0
}

fn bit(signal: crate::Signal) -> u64 {
    1 << (signal.0 - 1)
}

/// The users of a process and another, if those are why the kernel does not let it signal the other
/// (kill(2)).
pub fn barred_from_signalling(process: Pid, other: Pid) -> Option<(u32, u32)> {
    if !is_ours() {
        return None;
    }
    let [sender, target] = [read_text(process, "status")?, read_text(other, "status")?];
    barred(&sender, &target)
}

fn barred(sender: &str, target: &str) -> Option<(u32, u32)> {
    const KILL: u64 = 1 << 5;
    let [real, effective, _] = users(sender)?;
    let [target, _, saved] = users(target)?;
    let is_same = [real, effective].into_iter().any(|user| user == target || user == saved);
    let may = is_same || bits(sender, "CapEff") & KILL != 0;
    (!may).then_some((effective, target))
}

/// The real, the effective and the saved user of a process.
pub fn users_of(pid: Pid) -> Option<[u32; 3]> {
    users(&read_text(pid, "status").filter(|_| is_ours())?)
}

/// The real, the effective and the saved user in a /proc/PID/status.
fn users(status: &str) -> Option<[u32; 3]> {
    let mut users = field(status, "Uid")?.split_whitespace().map_while(|user| user.parse().ok());
    Some([users.next()?, users.next()?, users.next()?])
}

/// A set of bits in a /proc/PID/status.
fn bits(status: &str, name: &str) -> u64 {
    field(status, name).and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":")).map(str::trim)
}

/// `sleep (pid 7)`, for a message.
pub fn describe(pid: Pid) -> String {
    match stat(pid) {
        Some(stat) => format!("{} (pid {pid})", stat.name),
        None => format!("pid {pid}"),
    }
}

/// Reads a file of a process. The kernel makes its text up while it is read: asking for the size
/// first, as reading a whole file does, would only cost time.
fn read(pid: Pid, file: &str) -> Option<Vec<u8>> {
    const USUAL: usize = 512;
    let mut text = Vec::with_capacity(USUAL);
    let file = fs_err::File::open(path(pid, file)).ok()?;
    file.take(u64::MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The same as a text. A process may call itself by any bytes.
fn read_text(pid: Pid, file: &str) -> Option<String> {
    read(pid, file).map(|text| String::from_utf8_lossy(&text).into_owned())
}

fn pipe(inode: u64) -> PathBuf {
    PathBuf::from(format!("pipe:[{inode}]"))
}

/// The path of a file of /proc about a process; some are links that lead where the process is.
pub fn path(pid: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn parse_stat(line: &str) -> Option<Stat> {
    // The name stands in parentheses and may contain some itself.
    let (before, after) = line.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut number = || fields.next()?.parse().ok().map(Pid::from_raw);
    let (parent, group, session) = (number()?, number()?, number()?);
    let threads = fields.nth(13).and_then(|count| count.parse().ok()).unwrap_or(0);
    let started = fields.nth(1).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
    Some(Stat { name: name.to_owned(), state, parent, group, session, threads, started })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let stat = parse_stat("12 (a) b) S 1 2 3 0 -1 4194560").expect("a line");
        assert_eq!((stat.name.as_str(), stat.state), ("a) b", 'S'));
        assert_eq!([stat.parent, stat.group, stat.session].map(Pid::as_raw), [1, 2, 3]);
        assert_eq!(stat.started, 0);
        assert_eq!(parse_stat(""), None);
        let line = "7 (a) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99";
        assert_eq!(parse_stat(line).map(|stat| (stat.threads, stat.started)), Some((1, 4711)));
    }

    #[test]
    fn a_zombie_is_not_alive_unless_another_of_its_threads_is() {
        let is_alive = |state: char, threads: u32| {
            let line = format!("7 (a) {state} 1 2 3 0 -1 4 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 99");
            parse_stat(&line).is_some_and(|stat| stat.is_alive())
        };
        assert!(is_alive('S', 1) && is_alive('D', 1) && is_alive('T', 1) && is_alive('Z', 2));
        assert!(!is_alive('Z', 1) && !is_alive('X', 0));
    }

    #[test]
    fn this_process_is_found() {
        let own = nix::unistd::getpid();
        assert!(is_ours());
        assert_eq!(stat(own).map(|stat| stat.parent), Some(nix::unistd::getppid()));
        assert!(all().contains(&own));
        assert!(stat(own).is_some_and(|stat| 0 < stat.started && stat.started <= crate::clock::ticks()));
        assert!(!arguments(own).is_empty());
        assert!(!is_ending(own));
        assert!(is_ending(Pid::from_raw(i32::MAX)));
    }

    #[test]
    fn a_name_that_is_no_text_hides_no_process() {
        // As the fifteen bytes that the kernel keeps of a longer name may end within a character.
        let place = tempfile::tempdir().expect("a directory");
        let program = place.path().join(std::ffi::OsStr::from_bytes(b"caf\xc3"));
        std::os::unix::fs::symlink("/bin/cat", &program).expect("another name");
        let mut child =
            std::process::Command::new(&program).stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(!is_ending(pid));
        assert_eq!(stat(pid).map(|stat| stat.name), Some("caf\u{fffd}".to_owned()));
        drop(child.stdin.take());
        child.wait().expect("an end");
    }

    #[test]
    fn a_process_may_signal_those_of_its_own_user_unless_it_has_the_right() {
        let status = |users: &str, rights: &str| format!("Name:\tx\nUid:\t{users}\nCapEff:\t{rights}\n");
        let none = "0000000000000000";
        let user = status("7\t7\t7\t7", none);
        assert_eq!(barred(&user, &status("7\t8\t8\t8", none)), None);
        assert_eq!(barred(&user, &status("8\t8\t7\t8", none)), None);
        assert_eq!(barred(&user, &status("0\t7\t0\t7", none)), Some((7, 0)));
        assert_eq!(barred(&status("9\t8\t9\t9", none), &status("8\t8\t8\t8", none)), None);
        assert_eq!(barred(&status("7\t7\t7\t7", "0000000000000020"), &status("0\t0\t0\t0", none)), None);
        assert_eq!(barred("", &user), None);
        let own = nix::unistd::getpid();
        assert_eq!(barred_from_signalling(own, own), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_stat_or_none(line in "\\PC*|[0-9]{1,5} \\(\\PC{0,15}\\) [A-Z]( -?[0-9]{1,20}){0,22}") {
            if let Some(stat) = parse_stat(&line) {
                let _ = stat.is_alive();
            }
        }

        #[test]
        fn a_process_may_have_any_name(name in "\\PC{0,15}", parent in 0..i32::MAX, started: u64) {
            let line = format!("7 ({name}) S {parent} 2 3 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 {started} 99\n");
            let stat = parse_stat(&line).expect("a line of the kernel's");
            prop_assert_eq!((stat.name, stat.parent.as_raw(), stat.started), (name, parent, started));
        }

        #[test]
        fn any_text_is_a_status_of_a_process_or_none(sender in "(Uid|CapEff|SigCgt)?:?\\PC*", target in "Uid:[\t0-9 -]*") {
            let _ = barred(&sender, &target);
            let _ = (users(&sender), bits(&sender, "CapEff"));
        }
    }
}
