//! A leaf: what can be read is written back as the same bytes.
#![no_main]

use auditchain_log::Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::parse(bytes) {
        assert_eq!(entry.encode().expect("it was an entry"), bytes);
    }
});
