//! The libc functions that change files, defined here: the linker prefers a program's
//! own definition to one of a shared library, so the calls of std, and of sled through
//! it, arrive here. Each makes the system call that libc's would make.
//!
//! # Why `unsafe` is in order here
//! - `#[unsafe(no_mangle)]`: the signatures are libc's, type by type. `open64` alone is
//!   variadic there; std always passes its third argument, and on Linux's ABIs a
//!   variadic call passes three integers as any call does.
//! - The system calls take the caller's own pointers, which are valid by the contract
//!   of the function that was called.
//!
//! Not covered, since nothing under test uses it below a data directory: `openat`,
//! `writev`, `mmap`, `copy_file_range`, links. std's `File::write_all`, `write_at`,
//! `set_len`, `sync_*`, `rename`, `remove_file` and `create_dir` are.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use libc::{c_char, c_int, c_long, c_void, mode_t, off64_t, size_t, ssize_t};

use crate::record::Op;
use crate::watch::{Fate, State, active, skips_other_syncs};

type Locked = MutexGuard<'static, Option<State>>;

/// Naming the functions makes every program that links this crate link them.
pub(crate) fn link() {
    for function in [
        open64 as *const (),
        write as *const (),
        pwrite64 as *const (),
        ftruncate64 as *const (),
        fsync as *const (),
        fdatasync as *const (),
        rename as *const (),
        unlink as *const (),
        unlinkat as *const (),
        mkdir as *const (),
    ] {
        std::hint::black_box(function);
    }
}

/// Writes without being recorded.
pub(crate) fn write_unwatched(fd: c_int, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: pointer and length are of one slice.
        let written =
            unsafe { libc::syscall(libc::SYS_write, long(fd), bytes.as_ptr(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            _ => return false,
        }
    }
    true
}

/// libc's; records a file that is made or emptied.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let real = || {
        // SAFETY: the caller's path.
        let fd = unsafe {
            let (cwd, mode) = (long(libc::AT_FDCWD), long(mode));
            libc::syscall(libc::SYS_openat, cwd, path, long(flags), mode)
        };
        int(fd)
    };
    if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 {
        return real();
    }
    let Some((mut locked, name)) = watched_path(path) else {
        return real();
    };
    let Some(state) = locked.as_mut() else {
        return real();
    };
    let before = stat_path(path);
    if before.is_some() && flags & libc::O_TRUNC == 0 {
        return real();
    }
    let happen = |state: &mut State| {
        let fd = real();
        if fd < 0 {
            return fd; // and errno stays what it is
        }
        match (before, stat(fd)) {
            (Some((_, inode)), _) => state.note(&Op::SetLen { inode, len: 0 }),
            (None, Some((_, inode))) => state.note(&Op::Create { path: &name, inode }),
            (None, None) => {}
        }
        fd
    };
    match state.fate(false) {
        Fate::Happens | Fate::HalfHappens => happen(state),
        Fate::HappensButFails(errno) => {
            let fd = happen(state);
            // SAFETY: ours, and nobody else has learnt of it; -1 does no harm.
            unsafe { libc::syscall(libc::SYS_close, long(fd)) };
            int(fail(errno))
        }
        Fate::Fails(errno) => int(fail(errno)),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's buffer, of which `count` is at most the length.
    let real = |count: size_t| unsafe { libc::syscall(libc::SYS_write, long(fd), buffer, count) };
    match watched_fd(fd) {
        Some((mut locked, inode)) => {
            // SAFETY: no pointers.
            let at = unsafe { libc::syscall(libc::SYS_lseek, long(fd), 0_u64, libc::SEEK_CUR) };
            size(writes(&mut locked, (inode, at), buffer, count, real))
        }
        None => size(real(count)),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pwrite64(
    fd: c_int,
    buffer: *const c_void,
    count: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: the caller's buffer, of which `count` is at most the length.
    let real = |count: size_t| unsafe {
        libc::syscall(libc::SYS_pwrite64, long(fd), buffer, count, offset)
    };
    match watched_fd(fd) {
        Some((mut locked, inode)) => {
            size(writes(&mut locked, (inode, offset), buffer, count, real))
        }
        None => size(real(count)),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    // SAFETY: no pointers.
    let real = || unsafe { libc::syscall(libc::SYS_ftruncate, long(fd), length) };
    match watched_fd(fd) {
        Some((mut locked, inode)) => {
            let len = u64::try_from(length).unwrap_or(0);
            int(happens(&mut locked, &Op::SetLen { inode, len }, real))
        }
        None => int(real()),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

fn sync(fd: c_int, call: c_long) -> c_int {
    // SAFETY: no pointers.
    let real = || unsafe { libc::syscall(call, long(fd)) };
    match watched_fd(fd) {
        // A power cut is simulated from the record, which needs no real sync.
        Some((mut locked, inode)) => int(happens(&mut locked, &Op::Sync { inode }, || 0)),
        None if skips_other_syncs() && stat(fd).is_some() => 0,
        None => int(real()),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let cwd = long(libc::AT_FDCWD);
    // SAFETY: the caller's paths.
    let real = || unsafe { libc::syscall(libc::SYS_renameat2, cwd, from, cwd, to, 0_u64) };
    let name = watched_path(from).map(|(_, name)| name);
    match (name, watched_path(to)) {
        (Some(name), Some((mut locked, to))) => int(happens(
            &mut locked,
            &Op::Rename {
                from: &name,
                to: &to,
            },
            real,
        )),
        _ => int(real()),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn unlink(path: *const c_char) -> c_int {
    let cwd = long(libc::AT_FDCWD);
    // SAFETY: the caller's path.
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, cwd, path, 0_u64) };
    match watched_path(path) {
        Some((mut locked, name)) => int(happens(&mut locked, &Op::Unlink { path: &name }, real)),
        None => int(real()),
    }
}

/// libc's; std removes directories with what is in them by it.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's path.
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, long(dir), path, long(flags)) };
    match watched_path_at(dir, path) {
        Some((mut locked, name)) => int(happens(&mut locked, &Op::Unlink { path: &name }, real)),
        None => int(real()),
    }
}

/// libc's.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let cwd = long(libc::AT_FDCWD);
    // SAFETY: the caller's path.
    let real = || unsafe { libc::syscall(libc::SYS_mkdirat, cwd, path, c_long::from(mode)) };
    let Some((mut locked, name)) = watched_path(path) else {
        return int(real());
    };
    let Some(state) = locked.as_mut().filter(|_| stat_path(path).is_none()) else {
        return int(real());
    };
    let happen = |state: &mut State| {
        let result = real();
        if let (0, Some((_, inode))) = (result, stat_path(path)) {
            state.note(&Op::Mkdir { path: &name, inode });
        }
        result
    };
    int(match state.fate(false) {
        Fate::Happens | Fate::HalfHappens => happen(state),
        Fate::HappensButFails(errno) => {
            happen(state);
            fail(errno)
        }
        Fate::Fails(errno) => fail(errno),
    })
}

/// A write to a watched file.
fn writes(
    locked: &mut Locked,
    (inode, offset): (u64, c_long),
    buffer: *const c_void,
    count: size_t,
    real: impl Fn(size_t) -> c_long,
) -> c_long {
    let Some(state) = locked.as_mut() else {
        return real(count);
    };
    let happen = |state: &mut State, count| {
        let written = real(count);
        if let (Ok(length), Ok(offset)) = (usize::try_from(written), u64::try_from(offset)) {
            // SAFETY: the kernel has just read so many bytes from there.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
            state.note(&Op::Write {
                inode,
                offset,
                bytes,
            });
        }
        written
    };
    match state.fate(count > 1) {
        Fate::Happens => happen(state, count),
        Fate::Fails(errno) => fail(errno),
        Fate::HappensButFails(errno) => {
            happen(state, count);
            fail(errno)
        }
        Fate::HalfHappens => happen(state, count / 2),
    }
}

/// A call that is recorded if it succeeds.
fn happens(locked: &mut Locked, op: &Op<'_>, real: impl Fn() -> c_long) -> c_long {
    let Some(state) = locked.as_mut() else {
        return real();
    };
    let happen = |state: &mut State| {
        let result = real();
        if result == 0 {
            state.note(op);
        }
        result
    };
    match state.fate(false) {
        Fate::Happens | Fate::HalfHappens => happen(state),
        Fate::Fails(errno) => fail(errno),
        Fate::HappensButFails(errno) => {
            happen(state);
            fail(errno)
        }
    }
}

/// The lock and the inode, if this is a file below the root. Unwatched calls are made
/// without the lock: they may wait for another thread.
fn watched_fd(fd: c_int) -> Option<(Locked, u64)> {
    let locked = active()?;
    let (device, inode) = stat(fd)?;
    let watched = locked.as_ref()?.holds(device, inode);
    watched.then_some((locked, inode))
}

fn watched_path(path: *const c_char) -> Option<(Locked, String)> {
    watched_path_at(libc::AT_FDCWD, path)
}

/// As `openat` and its like take a path: from an open directory.
fn watched_path_at(dir: c_int, path: *const c_char) -> Option<(Locked, String)> {
    let locked = active()?;
    // SAFETY: the caller's path, a C string.
    let path = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(path) }.to_bytes(),
    ));
    let from = match dir {
        libc::AT_FDCWD => PathBuf::new(),
        dir => std::fs::read_link(format!("/proc/self/fd/{dir}")).ok()?,
    };
    let name = locked.as_ref()?.relative(&from.join(path))?.to_owned();
    Some((locked, name))
}

fn stat(fd: c_int) -> Option<(u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: fstat64 fills the struct in if it answers 0.
    unsafe { (libc::fstat64(fd, stat.as_mut_ptr()) == 0).then(|| ids(&stat.assume_init())) }
}

fn stat_path(path: *const c_char) -> Option<(u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: the caller's path; stat64 fills the struct in if it answers 0.
    unsafe { (libc::stat64(path, stat.as_mut_ptr()) == 0).then(|| ids(&stat.assume_init())) }
}

fn ids(stat: &libc::stat64) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn fail(errno: i32) -> c_long {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}

fn long(number: c_int) -> c_long {
    c_long::from(number)
}

/// Results of system calls that fit by their nature.
fn int(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

fn size(result: c_long) -> ssize_t {
    ssize_t::try_from(result).unwrap_or(-1)
}
