//! Makes sled's flush a flush.
//!
//! sled 0.34.7 ends a write with `sync_file_range(2)`, whose manual page warns that
//! it is no help after a crash: it writes neither the file's size nor its block map,
//! and does not flush the disk's cache. Measured with power cuts: 6 of 29 stores
//! survived; with `fdatasync(2)` in its place 64 of 64.
//!
//! So this module defines the libc symbol `sync_file_range` itself. The linker
//! prefers a definition in the program to one in a shared library, so sled's call
//! arrives here and becomes an `fdatasync` of the whole file, which is strictly more
//! than what was asked for. Nothing else in our dependency tree calls the symbol, and
//! to whoever did the replacement would be correct, only slower.
//!
//! That the linker really did so is not taken on trust: every call is counted, and
//! [`SledStore::open`](crate::SledStore::open) writes, flushes and refuses to go on
//! if the count stands still (another sled, a static libc that wins, a platform
//! without the symbol). The count is checked again with every block.
//!
//! # Why `unsafe` is in order here
//! Two things need it, and this is the only module of the crate that may use it.
//! - `#[unsafe(no_mangle)]`: two definitions of one symbol are undefined behaviour if
//!   their signatures differ. Ours is libc's, type by type
//!   (`int sync_file_range(int, off64_t, off64_t, unsigned int)`), and the test below
//!   calls it through the `libc` crate's declaration.
//! - calling `fdatasync`: it takes a number, touches no memory of ours, and answers a
//!   number that is no open file with `EBADF`.
#![allow(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "auditchain-store runs on Linux only: its durability rests on replacing sync_file_range(2), \
     and has been shown for no other system"
);

use std::sync::atomic::{AtomicU64, Ordering};

/// Flushes that reached the disk through this module, in this process.
static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// The definition that sled's flush ends up in. Nobody calls it by path.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: libc::off64_t,
    _bytes: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    loop {
        // SAFETY: fdatasync takes no pointer; any fd is allowed, a closed one gives EBADF.
        let result = unsafe { libc::fdatasync(fd) };
        if result == 0 {
            // Counted after success: the count promises data on disk.
            FLUSHES.fetch_add(1, Ordering::SeqCst);
            return 0;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return result; // errno is fdatasync's; sled reads it
        }
    }
}

/// How many flushes have reached the disk so far.
pub(crate) fn flushes() -> u64 {
    // Naming the function here makes every program that links the store also link its
    // definition of the symbol, whatever the order of archives on the linker's line.
    std::hint::black_box(sync_file_range as *const ());
    FLUSHES.load(Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    // Through libc's own declaration, as sled does it.
    fn as_sled_calls_it(fd: libc::c_int) -> libc::c_int {
        // SAFETY: no pointers; see the module's doc.
        unsafe { libc::sync_file_range(fd, 0, 1, 7) }
    }

    #[test]
    fn the_libc_symbol_is_ours_and_counts() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        let before = flushes();
        assert_eq!(as_sled_calls_it(file.as_raw_fd()), 0);
        assert!(flushes() > before);
    }

    #[test]
    fn a_failing_sync_is_passed_on() {
        assert_eq!(as_sled_calls_it(-1), -1);
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EBADF)
        );
    }
}
