//! The requests that a file makes: lists as they are, events wrapped into lists.

use std::io;

use super::input::{Content, Input, LIST_HEAD, LIST_TAIL, Line, content};
use crate::limits::WRAPPED_BYTES_MAX;

/// What comes of a file, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// A body to send; `lines` are those it was made of, from 1.
    Body {
        /// The request body.
        bytes: Vec<u8>,
        /// First and last line.
        lines: (u64, u64),
    },
    /// A line that is not sent.
    Skipped {
        /// Its number, from 1.
        line: u64,
        /// Why.
        reason: &'static str,
    },
}

/// Makes requests of a file; at most one body is held at a time.
pub struct Requests {
    input: Input,
    batch: u32,
    line: u64,
    /// Events that wait to be sent together.
    wrapped: Vec<u8>,
    count: u32,
    first: u64,
    /// What was read behind a batch that had to be sent first.
    next: Option<Request>,
    ended: bool,
}

impl Requests {
    /// `batch` events of a log file are sent together.
    #[must_use]
    pub fn new(input: Input, batch: u32) -> Self {
        Self {
            input,
            batch,
            line: 0,
            wrapped: Vec::new(),
            count: 0,
            first: 0,
            next: None,
            ended: false,
        }
    }

    /// The next request; `None` at the end.
    ///
    /// # Errors
    /// The file can't be read on.
    pub fn read_next(&mut self) -> io::Result<Option<Request>> {
        if let Some(request) = self.next.take() {
            return Ok(Some(request));
        }
        while !self.ended {
            let Some(line) = self.input.line()? else {
                self.ended = true;
                break;
            };
            self.line += 1;
            let request = match line {
                Line::TooLong => Some(self.skipped("longer than a request may be")),
                Line::Whole(line) => self.whole(line)?,
            };
            if let Some(request) = request {
                // What waits was there before.
                return Ok(Some(match self.flush(self.line - 1) {
                    Some(before) => {
                        self.next = Some(request);
                        before
                    }
                    None => request,
                }));
            }
            if self.count >= self.batch || self.wrapped.len() >= WRAPPED_BYTES_MAX {
                return Ok(self.flush(self.line));
            }
        }
        Ok(self.flush(self.line))
    }

    /// Takes up a line: a request of its own, or none if it waits or is blank.
    fn whole(&mut self, mut line: Vec<u8>) -> io::Result<Option<Request>> {
        Ok(match content(&line) {
            Content::Blank => None,
            Content::List => Some(Request::Body {
                bytes: line,
                lines: (self.line, self.line),
            }),
            Content::Event => {
                self.wrap(line.trim_ascii());
                None
            }
            Content::Unknown if self.line == 1 && opens_object(&line) => {
                // A list written over several lines is one request.
                line.push(b'\n');
                let fits = self.input.rest(&mut line)?;
                self.ended = true;
                Some(
                    if fits && auditchain_log::json::split_event_list(&line).is_ok() {
                        Request::Body {
                            bytes: line,
                            lines: (1, 1),
                        }
                    } else {
                        self.skipped("the file is neither an EventList nor lines of audit events")
                    },
                )
            }
            Content::Unknown => {
                Some(self.skipped("neither an EventList nor an audit event, or cut off"))
            }
        })
    }

    fn wrap(&mut self, event: &[u8]) {
        if self.count == 0 {
            self.first = self.line;
            self.wrapped.extend_from_slice(LIST_HEAD);
        } else {
            self.wrapped.push(b',');
        }
        self.wrapped.extend_from_slice(event);
        self.count += 1;
    }

    fn flush(&mut self, last: u64) -> Option<Request> {
        if self.count == 0 {
            return None;
        }
        self.count = 0;
        self.wrapped.extend_from_slice(LIST_TAIL);
        Some(Request::Body {
            bytes: std::mem::take(&mut self.wrapped),
            lines: (self.first, last),
        })
    }

    fn skipped(&self, reason: &'static str) -> Request {
        Request::Skipped {
            line: self.line,
            reason,
        }
    }
}

fn opens_object(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.first() == Some(&b'{') && line.last() != Some(&b'}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use auditchain_log::json::split_event_list;

    fn event(n: u32) -> String {
        format!("{{\"kind\":\"Event\",\"auditID\":\"{n}\",\"stage\":\"Panic\"}}")
    }

    fn list() -> String {
        format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\"items\":[{}]}}",
            event(9)
        )
    }

    fn requests(text: &str, batch: u32) -> Vec<Request> {
        let input = Input::new(io::Cursor::new(text.to_string())).unwrap();
        let mut requests = Requests::new(input, batch);
        let all: Vec<_> = std::iter::from_fn(|| requests.read_next().unwrap()).collect();
        assert_eq!(requests.read_next().unwrap(), None);
        all
    }

    /// Lines and number of events of a body; line and 0 of what was skipped.
    fn shape(requests: &[Request]) -> Vec<((u64, u64), usize)> {
        requests
            .iter()
            .map(|request| match request {
                Request::Body { bytes, lines } => {
                    (*lines, split_event_list(bytes).unwrap().items.len())
                }
                Request::Skipped { line, .. } => ((*line, *line), 0),
            })
            .collect()
    }

    #[test]
    fn events_are_grouped_and_keep_their_exact_bytes() {
        let text = (0..5).map(|n| event(n) + "\n").collect::<String>();
        let made = requests(&text, 2);
        assert_eq!(shape(&made), [((1, 2), 2), ((3, 4), 2), ((5, 5), 1)]);
        let Request::Body { bytes, .. } = &made[0] else {
            panic!()
        };
        assert_eq!(
            split_event_list(bytes).unwrap().items,
            [event(0).as_bytes(), event(1).as_bytes()]
        );
    }

    #[test]
    fn lists_are_sent_as_they_are() {
        let made = requests(&format!("{}\n\n{}", list(), list()), 400);
        assert_eq!(
            made,
            [(1, 1), (3, 3)].map(|lines| Request::Body {
                bytes: list().into_bytes(),
                lines
            })
        );
        let pretty = list().replace('{', "{\n ");
        assert_eq!(shape(&requests(&pretty, 400)), [((1, 1), 1)]);
    }

    #[test]
    fn what_is_neither_is_skipped_and_costs_no_neighbour() {
        let cut = &event(3)[..20];
        let text = format!(
            "{}\n{cut}\n{}\n{}\nnoise\n{}",
            event(1),
            event(2),
            list(),
            event(4)
        );
        let made = requests(&text, 400);
        assert_eq!(
            shape(&made),
            [
                ((1, 1), 1),
                ((2, 2), 0),
                ((3, 3), 1),
                ((4, 4), 1),
                ((5, 5), 0),
                ((6, 6), 1)
            ]
        );
        assert!(matches!(
            requests("{\n\"kind\":\"Pod\"}", 400)[..],
            [Request::Skipped { line: 1, .. }]
        ));
        assert_eq!(requests("", 400), []);
    }
}
