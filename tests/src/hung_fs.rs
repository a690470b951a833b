//! A file system that stops answering on demand, as NFS does without its network.
//!
//! A FUSE server that passes everything through to a directory, and keeps requests back while it hangs. Nothing
//! is cached: each look at a file is a request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CString, OsStr};
// Not fs_err: its errors have no errno to pass on.
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::tree::TestTree;

/// What is not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hang {
    /// Everything is answered.
    #[default]
    Nothing,
    /// Whatever is asked.
    Everything,
    /// The opening and reading of this file, by its path in the directory: its execution hangs.
    File(PathBuf),
}

/// A directory of the tree that is a file system of its own.
///
/// While it hangs, a look at a file below [`place`](Self::place) hangs, the test's own too: what is there is
/// also below [`behind`](Self::behind). When this is dropped all requests fail, and it is unmounted.
#[derive(Debug)]
pub struct HungFs {
    place: PathBuf,
    server: Arc<Server>,
    thread: Option<JoinHandle<()>>,
    /// It is removed when nothing in it can hang any more.
    _tree: TestTree,
}

impl HungFs {
    /// Makes a directory of the tree, with what is in it, a file system of its own that answers.
    ///
    /// It takes root and `/dev/fuse`. Without them a scenario proves nothing, so that is a failure.
    #[track_caller]
    pub fn over(tree: &TestTree, place: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let behind = tree.root().join(format!("behind.{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::rename(place, &behind).expect("a directory that can be moved");
        fs::create_dir(place).expect("a place to mount at");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap_or_else(|error| panic!("this scenario needs FUSE and root: {error}"));
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
            device.as_raw_fd()
        );
        mount(Some("hung"), place, Some("fuse"), MsFlags::empty(), Some(&*options))
            .unwrap_or_else(|error| panic!("this scenario needs root, to mount a FUSE file system: {error}"));
        let root =
            openat(AT_FDCWD, &behind, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).expect("a directory");
        let state = State { nodes: vec![root], ..State::default() };
        let server = Arc::new(Server { device, behind, state: Mutex::new(state) });
        let serving = Arc::clone(&server);
        let thread = Some(thread::spawn(move || serving.serve()));
        Self { place: place.to_owned(), server, thread, _tree: tree.clone() }
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The directory that it shows, which never hangs.
    pub fn behind(&self) -> &Path {
        &self.server.behind
    }

    /// From now on this is not answered, and the rest, with what was kept back, is.
    pub fn hang(&self, hang: Hang) {
        self.server.hang(hang);
    }

    /// How many requests have been kept back so far; of those, some were answered later, or ended with a KILL.
    pub fn held(&self) -> usize {
        self.server.state().ever_held.len()
    }
}

impl Drop for HungFs {
    fn drop(&mut self) {
        // The first ends every request, in whichever mount namespace; a server without requests leaves.
        let is_unmounted = umount2(&self.place, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| is_unmounted) {
            let _ = thread.join();
        }
    }
}

/// The requests of the kernel's `fuse.h` that are known; each other one is answered with ENOSYS, after which
/// the kernel does without it.
mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
    pub const RENAME2: u32 = 45;
}

/// What a request may write or read at once.
const MOST: usize = 128 * 1024;

#[derive(Debug)]
struct Server {
    device: File,
    behind: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The files the kernel knows; its number of one is the index and one. None is given up before the end.
    nodes: Vec<OwnedFd>,
    numbers: HashMap<(u64, u64), u64>,
    open: BTreeMap<u64, Open>,
    opened: u64,
    hang: Hang,
    /// The requests that are kept back.
    held: Vec<Vec<u8>>,
    /// The numbers of all that ever were.
    ever_held: HashSet<u64>,
}

#[derive(Debug)]
enum Open {
    File(File),
    /// Each name with its number and kind.
    Directory(Vec<(Vec<u8>, u64, u32)>),
}

/// What is left of a request.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.bytes(8).try_into().expect("eight bytes"))
    }

    fn name(&mut self) -> &'a OsStr {
        let end = self.0.iter().position(|byte| *byte == 0).expect("a name that ends");
        let name = self.bytes(end);
        self.bytes(1);
        OsStr::from_bytes(name)
    }
}

/// An answer in the making.
#[derive(Default)]
struct Answer(Vec<u8>);

impl Answer {
    fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// An open file, without flags.
    fn opened(handle: u64) -> Self {
        Self::default().u64(handle).zeros(8)
    }
}

impl Server {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until it is unmounted.
    fn serve(&self) {
        let mut buffer = vec![0; MOST + 4096];
        loop {
            let mut sources = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
            let is_asked = poll(&mut sources, PollTimeout::from(10_u8)).is_ok_and(|count| count > 0);
            self.let_the_killed_go();
            if !is_asked {
                continue;
            }
            match (&self.device).read(&mut buffer) {
                Ok(length) => self.take(&buffer[..length]),
                Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return,
                // A request was interrupted before it was read.
                Err(_) => {}
            }
        }
    }

    /// A wait for NFS ends with a KILL, and only with that. The kernel waits for a FUSE server in spite of it,
    /// and tells the server of the first signal only; hence the looks.
    fn let_the_killed_go(&self) {
        let mut state = self.state();
        let (killed, held) = std::mem::take(&mut state.held).into_iter().partition(|it| is_killed(it));
        state.held = held;
        for request in killed {
            let mut fields = Fields(&request);
            fields.bytes(8);
            self.reply(fields.u64(), Err(Errno::EINTR));
        }
    }

    fn hang(&self, hang: Hang) {
        let mut state = self.state();
        state.hang = hang;
        let held = std::mem::take(&mut state.held);
        drop(state);
        for request in &held {
            self.take(request);
        }
    }

    fn take(&self, request: &[u8]) {
        let mut fields = Fields(request);
        let _length = fields.u32();
        let opcode = fields.u32();
        let unique = fields.u64();
        let node = fields.u64();
        // The user, the group, the process.
        fields.bytes(16);
        if matches!(opcode, opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT) {
            // They have no answer. An interrupted request stays as it is: so it is where the network is gone.
            return;
        }
        let mut state = self.state();
        if state.keeps_back(opcode, node, &self.behind) {
            state.held.push(request.to_owned());
            state.ever_held.insert(unique);
            return;
        }
        self.reply(unique, state.answer(opcode, node, fields));
    }

    fn reply(&self, unique: u64, answer: Result<Answer, Errno>) {
        let (error, body) = match answer {
            Ok(Answer(body)) => (0, body),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).expect("a short answer");
        let mut answer = Vec::new();
        answer.extend(length.to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        // It may have been ended meanwhile.
        let _ = (&self.device).write(&answer);
    }
}

/// Whether the process that waits for this request has a KILL to die of.
fn is_killed(request: &[u8]) -> bool {
    const KILL: u64 = 1 << (Signal::SIGKILL as u64 - 1);
    let mut fields = Fields(request);
    fields.bytes(32);
    let status = fs::read_to_string(format!("/proc/{}/status", fields.u32())).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    pending.is_some_and(|pending| pending & KILL != 0)
}

impl State {
    fn keeps_back(&self, opcode: u32, node: u64, behind: &Path) -> bool {
        match &self.hang {
            _ if opcode == opcode::INIT => false,
            Hang::Nothing => false,
            Hang::Everything => true,
            Hang::File(path) => {
                let is_it = || {
                    let file = nix::sys::stat::stat(&behind.join(path)).ok()?;
                    Some(self.numbers.get(&(file.st_dev, file.st_ino)) == Some(&node))
                };
                matches!(opcode, opcode::OPEN | opcode::READ) && is_it() == Some(true)
            }
        }
    }

    #[allow(clippy::too_many_lines)] // One arm a request.
    fn answer(&mut self, opcode: u32, node: u64, mut fields: Fields) -> Result<Answer, Errno> {
        match opcode {
            opcode::INIT => {
                let most = u32::try_from(MOST).expect("a small number");
                let (readahead, no_flags, background) = (most, 0, 0);
                let answer = Answer::default().u32(7).u32(31).u32(readahead).u32(no_flags);
                // The grain of its times is a nanosecond.
                Ok(answer.u16(background).u16(background).u32(most).u32(1).zeros(36))
            }
            opcode::LOOKUP => self.entry(node, fields.name()),
            opcode::GETATTR => self.attributes(node),
            opcode::SETATTR => {
                self.set_attributes(node, fields)?;
                self.attributes(node)
            }
            opcode::READLINK => {
                Ok(Answer(readlinkat(self.node(node), "").map(std::ffi::OsString::into_vec)?))
            }
            opcode::SYMLINK => {
                let (name, target) = (fields.name(), fields.name());
                symlinkat(target, self.node(node), name)?;
                self.entry(node, name)
            }
            opcode::MKNOD => {
                let (mode, device) = (fields.u32(), fields.u32());
                fields.bytes(8);
                let name = fields.name();
                let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
                mknodat(self.node(node), name, kind, Mode::from_bits_truncate(mode), device.into())?;
                self.made(node, name, mode)
            }
            opcode::MKDIR => {
                let mode = fields.u32();
                fields.bytes(4);
                let name = fields.name();
                mkdirat(self.node(node), name, Mode::from_bits_truncate(mode))?;
                self.made(node, name, mode)
            }
            opcode::UNLINK | opcode::RMDIR => {
                let is_dir = opcode == opcode::RMDIR;
                let flags = if is_dir { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
                unlinkat(self.node(node), fields.name(), flags)?;
                Ok(Answer::default())
            }
            opcode::RENAME | opcode::RENAME2 => {
                let to = fields.u64();
                let flags = if opcode == opcode::RENAME2 { fields.u64() } else { 0 };
                let flags = RenameFlags::from_bits_truncate(u32::try_from(flags & 0xffff).expect("few bits"));
                let (old, new) = (fields.name(), fields.name());
                renameat2(self.node(node), old, self.node(to), new, flags)?;
                Ok(Answer::default())
            }
            opcode::LINK => {
                let file = fields.u64();
                let name = fields.name();
                let old = self.path(file);
                linkat(AT_FDCWD, &old, self.node(node), name, AtFlags::AT_SYMLINK_FOLLOW)?;
                self.entry(node, name)
            }
            opcode::OPEN => {
                let flags = fields.u32();
                let file = self.reopen(node, flags)?;
                Ok(Answer::opened(self.keep(Open::File(file))))
            }
            opcode::CREATE => {
                let (flags, mode) = (fields.u32(), fields.u32());
                fields.bytes(8);
                let name = fields.name();
                let create = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let exclusive = OFlag::from_bits_truncate(flags.cast_signed()) & OFlag::O_EXCL;
                openat(self.node(node), name, create | exclusive, Mode::from_bits_truncate(mode))?;
                let mut answer = self.made(node, name, mode)?;
                let number = self.number(node, name)?;
                let file = self.reopen(number, flags)?;
                answer.0.extend(Answer::opened(self.keep(Open::File(file))).0);
                Ok(answer)
            }
            opcode::READ => {
                let (handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
                let mut buffer = vec![0; usize::try_from(size).expect("a small number")];
                let length = self.file(handle)?.read_at(&mut buffer, offset).map_err(errno)?;
                buffer.truncate(length);
                Ok(Answer(buffer))
            }
            opcode::WRITE => {
                let (handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
                fields.bytes(20);
                let data = fields.bytes(usize::try_from(size).expect("a small number"));
                self.file(handle)?.write_all_at(data, offset).map_err(errno)?;
                Ok(Answer::default().u32(size).zeros(4))
            }
            // Much room, in blocks of 4096 bytes; names of 255.
            opcode::STATFS => {
                let counts = [1 << 20; 5].iter().fold(Answer::default(), |answer, count| answer.u64(*count));
                Ok(counts.u32(4096).u32(255).u32(4096).zeros(28))
            }
            opcode::FSYNC => Ok(Answer::default()),
            opcode::RELEASE | opcode::RELEASEDIR => {
                self.open.remove(&fields.u64());
                Ok(Answer::default())
            }
            opcode::OPENDIR => {
                let names = self.list(node)?;
                Ok(Answer::opened(self.keep(Open::Directory(names))))
            }
            opcode::READDIR => {
                let (handle, offset, size) = (fields.u64(), fields.u64(), fields.u32());
                self.read_directory(handle, offset, size)
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn node(&self, number: u64) -> &OwnedFd {
        let index = usize::try_from(number - 1).expect("a small number");
        self.nodes.get(index).expect("a node that the kernel was told of")
    }

    /// Leads to a file whatever its name is by now.
    fn path(&self, node: u64) -> PathBuf {
        format!("/proc/self/fd/{}", self.node(node).as_raw_fd()).into()
    }

    fn number(&mut self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.node(directory), name, flags, Mode::empty())?;
        let about = fstat(&file)?;
        let next = u64::try_from(self.nodes.len()).expect("a small number") + 1;
        // Its number is not given to another file while it is open.
        let number = *self.numbers.entry((about.st_dev, about.st_ino)).or_insert(next);
        if number == next {
            self.nodes.push(file);
        }
        Ok(number)
    }

    fn entry(&mut self, directory: u64, name: &OsStr) -> Result<Answer, Errno> {
        let number = self.number(directory, name)?;
        // Neither the name nor what is known about the file holds for any time.
        let mut answer = Answer::default().u64(number).zeros(32);
        answer.0.extend(self.about(number)?.0);
        Ok(answer)
    }

    /// The kernel has taken the umask of the caller off already.
    fn made(&mut self, directory: u64, name: &OsStr, mode: u32) -> Result<Answer, Errno> {
        let number = self.number(directory, name)?;
        self.set_mode(number, mode)?;
        self.entry(directory, name)
    }

    fn set_mode(&self, node: u64, mode: u32) -> Result<(), Errno> {
        fs::set_permissions(self.path(node), fs::Permissions::from_mode(mode & 0o7777)).map_err(errno)
    }

    fn attributes(&self, node: u64) -> Result<Answer, Errno> {
        let mut answer = Answer::default().zeros(16);
        answer.0.extend(self.about(node)?.0);
        Ok(answer)
    }

    fn about(&self, node: u64) -> Result<Answer, Errno> {
        let about = fstat(self.node(node))?;
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let answer = Answer::default().u64(about.st_ino).u64(about.st_size.cast_unsigned());
        let times = answer.u64(about.st_blocks.cast_unsigned()).u64(about.st_atime.cast_unsigned());
        let times = times.u64(about.st_mtime.cast_unsigned()).u64(about.st_ctime.cast_unsigned());
        let times = times.u32(short(about.st_atime_nsec.cast_unsigned()));
        let times = times.u32(short(about.st_mtime_nsec.cast_unsigned()));
        let times = times.u32(short(about.st_ctime_nsec.cast_unsigned()));
        let answer = times.u32(about.st_mode).u32(short(about.st_nlink)).u32(about.st_uid).u32(about.st_gid);
        Ok(answer.u32(short(about.st_rdev)).u32(4096).zeros(4))
    }

    /// Mode, owner, size and time of change; the other times are no scenario's business.
    fn set_attributes(&self, node: u64, mut fields: Fields) -> Result<(), Errno> {
        let valid = fields.u64();
        fields.bytes(8);
        let size = fields.u64();
        fields.bytes(16);
        let seconds = fields.u64();
        fields.bytes(12);
        let nanos = fields.u32();
        fields.bytes(4);
        let mode = fields.u32();
        fields.bytes(4);
        let (user, group) = (fields.u32(), fields.u32());
        let has = |bit: u32| valid & (1 << bit) != 0;
        if has(0) {
            self.set_mode(node, mode)?;
        }
        if has(1) || has(2) {
            let owner = has(1).then(|| user.into());
            nix::unistd::chown(&self.path(node), owner, has(2).then(|| group.into()))?;
        }
        if has(3) {
            self.reopen(node, OFlag::O_WRONLY.bits().cast_unsigned())?.set_len(size).map_err(errno)?;
        }
        if has(5) && !has(8) {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
            let file = File::open(self.path(node)).map_err(errno)?;
            file.set_modified(time).map_err(errno)?;
        }
        Ok(())
    }

    /// Opens for what the flags say of reading and writing; the rest of them is the kernel's affair.
    fn reopen(&self, node: u64, flags: u32) -> Result<File, Errno> {
        let mode = OFlag::from_bits_truncate(flags.cast_signed()) & OFlag::O_ACCMODE;
        let mut options = OpenOptions::new();
        options.read(mode != OFlag::O_WRONLY).write(mode != OFlag::O_RDONLY);
        options.custom_flags(OFlag::O_CLOEXEC.bits());
        options.open(self.path(node)).map_err(errno)
    }

    fn keep(&mut self, open: Open) -> u64 {
        self.opened += 1;
        self.open.insert(self.opened, open);
        self.opened
    }

    fn file(&self, handle: u64) -> Result<&File, Errno> {
        match self.open.get(&handle) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Directory(_)) | None => Err(Errno::EBADF),
        }
    }

    fn list(&self, node: u64) -> Result<Vec<(Vec<u8>, u64, u32)>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::open(&self.path(node), flags, Mode::empty())?;
        dir.iter()
            .map(|entry| {
                let entry = entry?;
                // The kinds of the kernel's directory entries are those of a mode, twelve bits lower.
                let kind = entry.file_type().map_or(0, |kind| match kind {
                    nix::dir::Type::Fifo => 1,
                    nix::dir::Type::CharacterDevice => 2,
                    nix::dir::Type::Directory => 4,
                    nix::dir::Type::BlockDevice => 6,
                    nix::dir::Type::File => 8,
                    nix::dir::Type::Symlink => 10,
                    nix::dir::Type::Socket => 12,
                });
                Ok((CString::from(entry.file_name()).into_bytes(), entry.ino(), kind))
            })
            .collect()
    }

    fn read_directory(&self, handle: u64, offset: u64, size: u32) -> Result<Answer, Errno> {
        let Some(Open::Directory(names)) = self.open.get(&handle) else {
            return Err(Errno::EBADF);
        };
        let mut answer = Answer::default();
        for ((name, number, kind), next) in names.iter().zip(1..).skip(usize::try_from(offset).unwrap_or(0)) {
            let length = u32::try_from(name.len()).expect("a short name");
            let mut entry = Answer::default().u64(*number).u64(next).u32(length).u32(*kind);
            entry.0.extend(name);
            let entry = entry.zeros(name.len().next_multiple_of(8) - name.len());
            if answer.0.len() + entry.0.len() > usize::try_from(size).expect("a small number") {
                break;
            }
            answer.0.extend(entry.0);
        }
        Ok(answer)
    }
}

#[allow(clippy::needless_pass_by_value)] // It stands where an error is mapped.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}
