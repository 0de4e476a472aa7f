use super::*;
use std::io::Write as _;
use std::path::Path;

/// A log file and who follows it.
struct Log {
    dir: tempfile::TempDir,
    follower: Option<Follower>,
    rotations: u32,
}

impl Log {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            follower: None,
            rotations: 0,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("audit.log")
    }

    fn write(&self, text: &str) {
        append(&self.path(), text);
    }

    /// As lumberjack does it.
    fn rotate(&mut self) -> std::path::PathBuf {
        self.rotations += 1;
        let name = format!("audit-2026-11-21T06-31-01.{:03}.log", self.rotations);
        let rotated = self.dir.path().join(name);
        fs::rename(self.path(), &rotated).unwrap();
        rotated
    }

    fn family(&self) -> Family {
        Family::new(&self.path()).unwrap()
    }

    /// Goes on where `cursor` is, as after a restart.
    fn start(&mut self, cursor: Cursor) {
        let follower = Follower::new(self.family(), cursor, Duration::ZERO).unwrap();
        self.follower = Some(follower);
    }

    fn restart(&mut self) {
        let cursor = self.follower.take().unwrap().cursor();
        // As it goes to disk.
        let text = serde_json::to_string(&cursor).unwrap();
        self.start(serde_json::from_str(&text).unwrap());
    }

    /// All that comes until nothing more does: lines, and in brackets what else.
    fn read(&mut self) -> Vec<String> {
        self.read_at(Instant::now())
    }

    fn read_at(&mut self, now: Instant) -> Vec<String> {
        let follower = self.follower.as_mut().unwrap();
        let mut all = Vec::new();
        loop {
            match follower.next(now).unwrap() {
                Followed::Line { bytes, .. } => all.push(String::from_utf8(bytes).unwrap()),
                Followed::TooLong { .. } => all.push("[too long]".into()),
                Followed::Lost(lost) => all.push(format!("[lost {}]", lost.offset)),
                Followed::Switched { .. } => {}
                Followed::Idle => return all,
            }
        }
    }
}

fn append(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Long enough that its file is told by its beginning.
fn line(n: u32) -> String {
    format!("line {n} {}", "x".repeat(300))
}

fn lines(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(line).collect()
}

fn text(range: std::ops::Range<u32>) -> String {
    range.map(|n| line(n) + "\n").collect()
}

#[test]
fn lines_come_as_they_are_written_and_a_partial_one_waits() {
    let mut log = Log::new();
    log.start(Cursor::default());
    assert_eq!(log.read(), [""; 0], "it is not there yet");
    log.write("");
    assert_eq!(log.read(), [""; 0]);
    log.write("one\n\n  two \r\nthr");
    assert_eq!(log.read(), ["one", "two"]);
    log.restart();
    assert_eq!(log.read(), [""; 0]);
    log.write("ee\nfour\n");
    assert_eq!(log.read(), ["three", "four"]);
    let long = "y".repeat(3 * CHUNK_BYTES);
    log.write(&format!("{long}\nfive\n"));
    assert_eq!(log.read(), [long.as_str(), "five"]);
}

#[test]
fn every_line_comes_once_whenever_it_is_rotated_or_restarted() {
    // Every combination of what happens between lines.
    for choices in 0..3_u32.pow(6) {
        let mut log = Log::new();
        log.start(Cursor::default());
        let (mut choice, mut seen) = (choices, Vec::new());
        for n in 0..6 {
            log.write(&(line(n) + "\n"));
            match choice % 3 {
                0 => seen.extend(log.read()),
                1 => drop(log.rotate()),
                _ => log.restart(),
            }
            choice /= 3;
        }
        log.write(&(line(6) + "\n"));
        seen.extend(log.read());
        assert_eq!(seen, lines(0..7), "{choices}");
    }
}

#[test]
fn several_rotations_while_nobody_reads_come_in_order() {
    let mut log = Log::new();
    log.write(&text(0..2));
    log.start(Cursor::default());
    assert_eq!(log.read(), lines(0..2));
    let cursor = log.follower.take().unwrap().cursor();
    for n in 1..5 {
        log.write(&text(2 * n..2 * n + 1));
        log.rotate();
        log.write(&text(2 * n + 1..2 * n + 2));
    }
    log.start(cursor);
    assert_eq!(log.read(), lines(2..10));
}

#[test]
fn what_was_there_before_the_first_start_is_taken_if_asked_for() {
    let mut log = Log::new();
    log.write(&text(0..2));
    let old = log.rotate();
    log.write(&text(2..4));
    let with = Follower::first_cursor(&log.family(), true).unwrap();
    let without = Follower::first_cursor(&log.family(), false).unwrap();
    log.start(with);
    assert_eq!(log.read(), lines(0..4));
    log.start(without);
    // It is no old file that is rotated behind the first start.
    log.rotate();
    log.write(&text(4..5));
    assert_eq!(log.read(), lines(2..5));
    // Nor is what its writer adds to it.
    append(&old, &text(5..6));
    log.rotate();
    log.write(&text(6..7));
    let mut read = log.read();
    read.sort();
    assert_eq!(read, lines(5..7));
}

#[test]
fn a_rotated_file_is_read_on_for_a_moment_and_its_partial_line_is_one() {
    let mut log = Log::new();
    log.write("one\n");
    let follower = Follower::new(log.family(), Cursor::default(), Duration::from_secs(1));
    log.follower = Some(follower.unwrap());
    let now = Instant::now();
    assert_eq!(log.read_at(now), ["one"]);
    let rotated = log.rotate();
    // Between rename and creation.
    assert_eq!(log.read_at(now), [""; 0]);
    log.write("three\n");
    assert_eq!(log.read_at(now + Duration::from_millis(900)), [""; 0]);
    append(&rotated, "two\ncut o");
    assert_eq!(log.read_at(now + Duration::from_millis(999)), ["two"]);
    assert_eq!(
        log.read_at(now + Duration::from_secs(2)),
        ["cut o", "three"]
    );
}

#[test]
fn truncation_in_place_is_told_and_the_copy_is_read() {
    for grows_past_the_old_end in [false, true] {
        for restarted in [false, true] {
            let mut log = Log::new();
            log.write(&text(0..3));
            log.start(Cursor::default());
            assert_eq!(log.read(), lines(0..3));
            log.write(&text(3..4));
            // As logrotate's copytruncate does it.
            fs::copy(log.path(), log.dir.path().join("audit.log.1")).unwrap();
            let cursor = log.follower.as_ref().unwrap().cursor();
            File::options()
                .write(true)
                .open(log.path())
                .unwrap()
                .set_len(0)
                .unwrap();
            let more = if grows_past_the_old_end { 4..20 } else { 4..5 };
            log.write(&text(more.clone()));
            if restarted {
                log.start(cursor);
            }
            let mut seen = log.read();
            seen.retain(|line| !line.starts_with('['));
            assert_eq!(
                seen,
                lines(3..more.end),
                "{grows_past_the_old_end} {restarted}"
            );
        }
    }
}

#[test]
fn truncation_without_a_copy_is_a_loss_that_is_told() {
    for restarted in [false, true] {
        let mut log = Log::new();
        log.write(&text(0..2));
        log.start(Cursor::default());
        assert_eq!(log.read(), lines(0..2));
        let offset = text(0..2).len();
        fs::write(log.path(), text(7..8)).unwrap();
        if restarted {
            log.restart();
        }
        assert_eq!(log.read(), [format!("[lost {offset}]"), line(7)]);
        log.write(&text(8..9));
        assert_eq!(log.read(), lines(8..9));
    }
}

#[test]
fn a_hole_that_a_writer_leaves_costs_no_line() {
    let mut log = Log::new();
    log.write(&text(0..2));
    log.start(Cursor::default());
    log.read();
    let end = text(0..2).len() as u64;
    let file = File::options().write(true).open(log.path()).unwrap();
    file.set_len(0).unwrap();
    // Not opened to append: it goes on where it was.
    file.write_all_at(text(2..3).as_bytes(), end).unwrap();
    assert_eq!(log.read()[1..], lines(2..3));
}

#[test]
fn a_file_that_is_gone_is_told() {
    let mut log = Log::new();
    log.write(&text(0..2));
    log.start(Cursor::default());
    assert_eq!(log.read(), lines(0..2));
    let cursor = log.follower.take().unwrap().cursor();
    log.write(&text(2..3));
    let rotated = log.rotate();
    log.write(&text(3..4));
    // Held open, it can still be read.
    log.start(cursor.clone());
    fs::remove_file(&rotated).unwrap();
    assert_eq!(log.read(), lines(2..4));
    // Else it is lost.
    log.start(cursor);
    let told = log.read();
    assert_eq!(told, [format!("[lost {}]", text(0..2).len()), line(3)]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut log = Log::new();
    log.write(&text(0..2));
    log.start(Cursor::default());
    assert_eq!(log.read(), lines(0..2));
    let mut cursor = log.follower.take().unwrap().cursor();
    log.rotate();
    log.write(&text(5..7));
    let inode = fs::metadata(log.path()).unwrap().ino();
    cursor.file.as_mut().unwrap().inode = inode;
    log.start(cursor);
    // The old one is found by its beginning, and has nothing more.
    assert_eq!(log.read(), lines(5..7));
}

#[test]
fn a_line_without_end_costs_bounded_memory_and_no_neighbour() {
    let mut log = Log::new();
    let file = File::create(log.path()).unwrap();
    file.write_all_at(b"one\n", 0).unwrap();
    // Sparse.
    file.write_all_at(b"x\ntwo\n", 2 * LINE_BYTES_MAX as u64)
        .unwrap();
    log.start(Cursor::default());
    assert_eq!(log.read(), ["one", "[too long]", "two"]);
    assert!(log.follower.unwrap().current.unwrap().ahead.len() < 2 * CHUNK_BYTES);
}

#[test]
fn a_file_that_was_rotated_long_ago_is_not_waited_for() {
    let mut log = Log::new();
    log.write("one\n");
    let rotated = log.rotate();
    log.write("two\n");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(5);
    let times = fs::FileTimes::new().set_modified(long_ago);
    File::open(&rotated).unwrap().set_times(times).unwrap();
    let follower = Follower::new(log.family(), Cursor::default(), Duration::from_secs(1));
    log.follower = Some(follower.unwrap());
    assert_eq!(log.read(), ["one", "two"]);
    // It goes on all the same.
    append(&rotated, "three\n");
    log.rotate();
    log.write("four\n");
    log.follower.as_mut().unwrap().grace = Duration::ZERO;
    let mut read = log.read();
    read.sort();
    assert_eq!(read, ["four", "three"]);
}
