//! `auditchain erase URL --entries LIST --by WHO --reason WHY`

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{print, print_json};
use crate::args::{EraseArgs, OutputFormat};
use crate::error::{CliError, EXIT_HOLDS};
use crate::http::Client;
use crate::limits::{ERASURE_ENTRIES_MAX, JSON_ANSWER_BYTES_MAX};
use crate::ranges::joined;

#[derive(Debug, Deserialize)]
struct Answer {
    erased: u64,
    size: u64,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    /// Bodies that were there and are gone.
    erased: u64,
    /// Entries of the log after that.
    size: u64,
}

pub(super) fn run(args: &EraseArgs, output: OutputFormat) -> Result<u8, CliError> {
    let ranges = parse_ranges(&args.entries).map_err(CliError::Usage)?;
    let client = Client::connect(&args.url, &args.connect)?;
    let mut totals = Totals::default();
    for entries in requests(&ranges) {
        let request = json!({ "by": args.by, "entries": entries, "reason": args.reason });
        let body = request.to_string();
        let answer = client.post(
            "/api/v1/erasures",
            body.as_bytes(),
            None,
            JSON_ANSWER_BYTES_MAX,
        )?;
        if answer.status != 200 {
            return Err(CliError::Refused(format!(
                "{} (so far {} bodies were erased)",
                answer.problem(),
                totals.erased
            )));
        }
        let answer: Answer = serde_json::from_slice(&answer.body)
            .map_err(|_| CliError::Refused("200 without an answer; is this auditchaind?".into()))?;
        totals.erased += answer.erased;
        totals.size = answer.size;
    }
    match output {
        OutputFormat::Json => print_json(&totals)?,
        OutputFormat::Text => print(&format!(
            "{} bodies erased; the log has {} entries now\nTheir bytes leave the disk with the next compaction: auditchain compact DIR, the service stopped.\n",
            totals.erased, totals.size
        ))?,
    }
    Ok(EXIT_HOLDS)
}

/// Ascending and apart, whatever the order they were given in.
fn parse_ranges(list: &str) -> Result<Vec<[u64; 2]>, String> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let parse = |text: &str| text.trim().parse::<u64>().ok();
        let range = parse(first).zip(parse(last)).filter(|(a, b)| a <= b);
        range
            .map(|(first, last)| [first, last])
            .ok_or_else(|| format!("--entries: {item:?} is no index and no range such as 10-20"))
    };
    let ranges = list.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
    Ok(joined(ranges))
}

/// As many entries a request as the service takes.
fn requests(ranges: &[[u64; 2]]) -> Vec<Vec<[u64; 2]>> {
    let mut requests = vec![Vec::new()];
    let mut room = ERASURE_ENTRIES_MAX;
    for [first, last] in ranges {
        let mut at = *first;
        loop {
            let end = (*last).min(at.saturating_add(room - 1));
            if let Some(request) = requests.last_mut() {
                request.push([at, end]);
            }
            room -= end - at + 1;
            if room == 0 {
                requests.push(Vec::new());
                room = ERASURE_ENTRIES_MAX;
            }
            if end == *last {
                break;
            }
            at = end + 1;
        }
    }
    requests.retain(|request| !request.is_empty());
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_joined_and_dealt_out() {
        let ranges = parse_ranges("7, 10-20,8,15-30").unwrap();
        assert_eq!(ranges, [[7, 8], [10, 30]]);
        assert_eq!(requests(&ranges), [ranges]);
        let many = requests(&[[0, 2 * ERASURE_ENTRIES_MAX], [u64::MAX, u64::MAX]]);
        assert_eq!(many.len(), 3);
        assert_eq!(
            many[1],
            [[ERASURE_ENTRIES_MAX, 2 * ERASURE_ENTRIES_MAX - 1]]
        );
        assert_eq!(many[2].len(), 2);
        for wrong in ["", "x", "3-1", "1-2-3", "-1"] {
            parse_ranges(wrong).unwrap_err();
        }
    }
}
