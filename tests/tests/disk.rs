//! Disks that fail under the real service: nothing acknowledged is lost, the service
//! says what is wrong and ends, and a restart with everything sent again has each event
//! once.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;
use std::process::Command;
use std::{fs, io};

use auditchain_test_disk::{Fault, Record, Watch, When};
use auditchain_tests::{Programs, Service, bodies, events_of, programs};

const PROGRAMS: Programs = programs!();
const ON_TEST_DISK: &str = env!("CARGO_BIN_EXE_auditchaind-on-test-disk");
/// Calls to the file system that are made to fail, spread over a whole session.
const FAULTS: u64 = 12;

/// Sends until something goes wrong; how many requests were acknowledged.
fn send_until_it_fails(service: &Service, requests: &[Vec<u8>]) -> usize {
    let json = [("content-type", "application/json")];
    for (i, body) in requests.iter().enumerate() {
        match service.try_post("/audit/eu", &json, body) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => {
                answer.problem(503);
                return i;
            }
            Err(_) => return i, // it ended before it could say so
        }
    }
    requests.len()
}

/// A restart on a disk that works: what was acknowledged is there, the rest is sent
/// again, and each event is there once.
fn recovers(log: &Path, requests: &[Vec<u8>], acknowledged: usize) {
    let service = PROGRAMS.start(log, &[]);
    let mut events = 0;
    for (i, body) in requests.iter().enumerate() {
        let answer = service.send("eu", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        if i < acknowledged {
            assert_eq!(answer.json()["duplicates"], events_of(body), "request {i}");
        }
        events += events_of(body);
    }
    let keys = service.keys.clone();
    assert!(service.stop().success());
    let (code, report) = PROGRAMS.verify(log.to_str().unwrap(), &keys);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["kinds"]["event"], events);
}

#[test]
fn after_a_store_fault_a_restart_and_a_retry_have_each_event_once() {
    let requests = &bodies("bodies")[..4];
    let run = |fault: Option<Fault>| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("disk");
        fs::create_dir(&root).unwrap();
        let (log, record) = (root.join("log"), dir.path().join("record"));
        let mut command = Command::new(ON_TEST_DISK);
        command.envs(Watch::environment(&log, &record, fault));
        // The root that is watched must be there.
        fs::create_dir(&log).unwrap();
        let acknowledged = match PROGRAMS.try_start_by(command, &log, &[]) {
            Ok(service) => {
                let acknowledged = send_until_it_fails(&service, requests);
                if fault.is_none() || acknowledged == requests.len() {
                    let _ = service.stop();
                } else {
                    assert!(!service.wait().success(), "{fault:?}: it goes on");
                }
                acknowledged
            }
            Err((status, said)) => {
                assert!(!status.success() && fault.is_some(), "{fault:?}: {said}");
                0
            }
        };
        let calls = Record::read(&record).ops().count() as u64;
        recovers(&log, requests, acknowledged);
        (calls, acknowledged)
    };
    let (calls, acknowledged) = run(None);
    assert_eq!(acknowledged, requests.len());
    let mut met = 0;
    for i in 0..FAULTS {
        let (_, acknowledged) = run(Some(Fault {
            at: calls * i / FAULTS,
            when: [When::Failed, When::FailedButPersisted, When::Torn][(i % 3) as usize],
            errno: [libc_eio(), libc_enospc()][(i % 2) as usize],
            sticky: i % 2 == 1,
        }));
        met += u64::from(acknowledged < requests.len());
    }
    assert!(met > FAULTS / 3, "only {met} of {FAULTS} faults were met");
}

fn libc_eio() -> i32 {
    5
}

fn libc_enospc() -> i32 {
    28
}

/// A file may not grow any further: to the store it is a disk that is full half-way
/// through a write.
#[test]
fn a_file_that_may_not_grow_ends_the_service_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let recorded = bodies("bodies");
    let requests: Vec<_> = (0..12)
        .flat_map(|number| {
            recorded
                .iter()
                .map(move |body| auditchain_tests::renamed(body, number))
        })
        .collect();
    let mut command = Command::new("sh");
    // In units of 512 bytes: two segments of sled. The signal would kill it.
    let limited = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\"";
    command.args(["-c", limited, PROGRAMS.service]);
    let service = PROGRAMS.try_start_by(command, &log, &[]).unwrap();
    let acknowledged = send_until_it_fails(&service, &requests);
    assert!(
        (1..requests.len()).contains(&acknowledged),
        "{acknowledged} of {} requests fit",
        requests.len()
    );
    assert!(!service.wait().success());
    recovers(&log, &requests, acknowledged);
}

/// A small file system of its own.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where one may not be mounted.
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes},mode=700");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], dir.path());
        if !mounted {
            eprintln!("SKIPPED: no file system may be mounted here (needs root)");
        }
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_is_refused_before_anything_is_written_and_works_again_with_room() {
    let Some(disk) = Tmpfs::mount(192 << 20) else {
        return;
    };
    let (log, filler) = (disk.path().join("log"), disk.path().join("filler"));
    let requests = &bodies("bodies")[..4];
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(service.send("eu", &requests[0]).status, 200);
    fill(&filler).unwrap();
    let detail = service.send("eu", &requests[1]).problem(503);
    assert!(
        detail.contains("full") || detail.contains("room") || detail.contains("free"),
        "{detail}"
    );
    // Readers are served on.
    assert_eq!(service.get("/checkpoint").status, 200);
    fs::remove_file(&filler).unwrap();
    for body in requests {
        assert_eq!(service.send("eu", body).status, 200);
    }
    assert!(service.stop().success());
    recovers(&log, requests, requests.len());
}

/// Writes until nothing fits.
fn fill(path: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(path)?;
    loop {
        match file.write_all(&[0; 1 << 16]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn a_read_only_disk_is_refused_at_start_and_the_log_stays() {
    let Some(disk) = Tmpfs::mount(256 << 20) else {
        return;
    };
    let log = disk.path().join("log");
    let requests = &bodies("bodies")[..2];
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(service.send("eu", &requests[0]).status, 200);
    assert!(service.stop().success());
    // What the service says goes to another disk.
    let aside = tempfile::tempdir().unwrap();
    let link = aside.path().join("log");
    std::os::unix::fs::symlink(&log, &link).unwrap();
    assert!(mount(&["-o", "remount,ro"], disk.path()));
    let (status, said) = PROGRAMS.try_start(&link, &[]).unwrap_err();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(mount(&["-o", "remount,rw"], disk.path()));
    recovers(&log, requests, 1);
}

#[test]
fn a_second_service_on_a_directory_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let requests = &bodies("bodies")[..2];
    let service = PROGRAMS.start(&log, &[]);
    assert_eq!(service.send("eu", &requests[0]).status, 200);
    let (status, said) = PROGRAMS.try_start(&log, &[]).unwrap_err();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("another process") || said.contains("in use"),
        "{said}"
    );
    assert_eq!(service.send("eu", &requests[1]).status, 200);
    assert!(service.stop().success());
    recovers(&log, requests, 2);
}
