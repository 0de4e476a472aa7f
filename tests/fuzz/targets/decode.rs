//! A request's body: split into events, each canonicalised and read. What has a canonical
//! form has one only, and its fields are those of the bytes that arrived.
#![no_main]

use auditchain_log::EventRecord;
use auditchain_log::json::{EventView, canonical_event, canonicalize, split_event_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(list) = split_event_list(body) else {
        return;
    };
    for item in list.items {
        let arrived = EventView::read(item);
        let mut canonical = Vec::new();
        if canonical_event(item, &mut canonical).is_err() {
            // Kept as it is: a leaf must be possible all the same.
            let _ = EventRecord::from_view(&arrived);
            continue;
        }
        let mut again = Vec::new();
        canonicalize(&canonical, &mut again).expect("canonical form is JSON");
        assert_eq!(canonical, again, "canonical form has one spelling");
        let read = EventView::read(&canonical);
        assert_eq!(EventRecord::from_view(&arrived), EventRecord::from_view(&read));
    }
});
