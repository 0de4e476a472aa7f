use auditchain_log::json::EventView;
use clap::Parser as _;

use super::*;
use crate::config::{Args, Config};
use crate::decode::Batch;
use crate::metrics::Metrics;
use crate::open::open;

const EVENTS: &str = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"a","stage":"ResponseComplete"},{"auditID":"b","stage":"ResponseComplete"}]}"#;

/// A running log without HTTP around it.
#[test]
fn bodies_expire_by_source_and_age() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let args = Args::try_parse_from(["auditchaind", "--data", data.to_str().unwrap()]).unwrap();
    let config = Config::load(&args).unwrap();
    let opened = open(&config, false, Arc::new(Metrics::new())).unwrap();
    let queue = Arc::new(Queue::default());
    let (sequencer, tags) = (opened.sequencer, opened.tags);
    let running = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || sequencer.run(&queue)
    });
    let memory = Memory::new(1 << 20, 1 << 20);
    for source in ["eu", "us"] {
        let batch = Batch::decode(source, EVENTS.as_bytes(), None, &tags).unwrap();
        let (reply, done) = oneshot::channel();
        let job = Job {
            work: Work::Batch(batch),
            arrived: Instant::now(),
            held: memory.set_aside(source, 1).unwrap(),
            reply,
        };
        queue.push(job).unwrap();
        done.blocking_recv().unwrap().unwrap();
    }

    let rules = [RetentionConfig {
        source: "eu".into(),
        body_days: 2,
    }];
    let latest = Arc::clone(&opened.latest);
    let store = Arc::clone(&opened.store);
    let new = || {
        Retention::new(
            &rules,
            Arc::clone(&store),
            Arc::clone(&latest),
            Arc::clone(&queue),
        )
    };
    let now_us = jiff::Timestamp::now().as_microsecond();
    let bodies = || {
        let mut bodies = Vec::new();
        for index in 0..latest.load().size() {
            let chunk = store.chunk_at(index).unwrap().unwrap();
            let body = chunk.body(index).map(|body| body.bytes.to_vec());
            bodies.extend(body.map(|bytes| (index, bytes)));
        }
        bodies
    };
    // Not due yet.
    let mut retention = new();
    assert_eq!(retention.step(now_us + DAY_US), Ok(false));
    let before = bodies();
    assert_eq!(before.len(), 4);
    // Due: that source's alone, once.
    assert_eq!(retention.step(now_us + 3 * DAY_US), Ok(true));
    assert_eq!(retention.step(now_us + 3 * DAY_US), Ok(false));
    assert_eq!(bodies(), before[2..]);
    let size = latest.load().size();
    let chunk = store.chunk_at(size - 1).unwrap().unwrap();
    let last = Entry::parse(chunk.entry(size - 1).unwrap()).unwrap();
    let Payload::Erasure(record) = last.payload else {
        panic!("{last:?}");
    };
    assert_eq!(record.entries, [[before[0].0, before[1].0]]);
    // After a start nothing is left to do.
    assert_eq!(new().step(now_us + 3 * DAY_US), Ok(false));
    assert_eq!(latest.load().size(), size);
    assert_eq!(EventView::read(&before[0].1).audit_id.as_deref(), Some("a"));
    queue.close();
    running.join().unwrap().unwrap();
}
