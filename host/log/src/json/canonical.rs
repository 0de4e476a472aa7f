//! RFC 8785, JSON Canonicalization Scheme (JCS): one text for one meaning, so that a
//! hash over it is a hash over what the event says.
//!
//! One pass reads the input, checks it and writes it in the order of the input;
//! objects whose members are not in JCS order are put in order afterwards ([`Plan`]).
//! What has two readings, or cannot be written without loss, has no canonical form:
//! see [`JsonError`].

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::JsonError;
use super::number::write_number;
use super::order::{Member, Names, Plan, sort};
use super::scan::{plain_run, skip_space};
use super::string::{EscapeError, unescape, write_char};

/// The deepest nesting of an event. Go's encoding/json, which writes the events,
/// refuses more than 10,000 levels in a value; a request body is checked on its own
/// before it is put into the event, which is one level more. So whatever an apiserver
/// can send fits.
pub const MAX_DEPTH: usize = 10_001;

/// Appends the canonical form of `input`, one JSON value with nothing but white space
/// around it, to `out`.
///
/// # Errors
/// The first reason found why there is none; `out` is then as it was.
pub fn canonicalize(input: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    // Checked at once: fast, and from here on bytes past 0x7f can simply be copied.
    if let Err(error) = core::str::from_utf8(input) {
        return Err(JsonError::InvalidUtf8 {
            offset: error.valid_up_to(),
        });
    }
    let mut writer = Writer::new(input);
    writer.write()?;
    writer.plan.apply(&writer.text, out);
    Ok(())
}

struct Writer<'a> {
    input: &'a [u8],
    /// The next byte to read.
    at: usize,
    /// Canonical but for the order of members.
    text: Vec<u8>,
    /// The brackets that are open.
    open: Vec<Open>,
    /// The members of all open objects, those of the innermost one last.
    members: Vec<Member>,
    unescaped_names: Vec<u8>,
    plan: Plan,
}

enum Open {
    Array,
    Object(OpenObject),
}

#[derive(Clone, Copy)]
struct OpenObject {
    /// Its bracket in the text.
    start: usize,
    /// Its first one of `Writer::members`.
    first_member: usize,
    /// Length of `Writer::unescaped_names` when it opened.
    first_name: usize,
    /// Length of the plan when it opened.
    first_object: usize,
    is_sorted: bool,
}

/// What stands where a value is due.
enum Step {
    /// A whole value has been written.
    Value,
    /// A bracket has been opened and a value is due in it.
    Opened,
}

impl<'a> Writer<'a> {
    fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            text: Vec::with_capacity(input.len()),
            open: Vec::with_capacity(16),
            members: Vec::with_capacity(64),
            unescaped_names: Vec::new(),
            plan: Plan::default(),
        }
    }

    fn write(&mut self) -> Result<(), JsonError> {
        loop {
            if let Step::Opened = self.value()? {
                continue;
            }
            // What can follow a value: brackets that close, then a comma or the end.
            while self.close_or_continue()? {
                if self.open.is_empty() {
                    return self.end();
                }
            }
            if self.open.is_empty() {
                return self.end();
            }
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.at = skip_space(self.input, self.at);
        if self.at == self.input.len() {
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn value(&mut self) -> Result<Step, JsonError> {
        self.at = skip_space(self.input, self.at);
        match self.input.get(self.at) {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'{') => return self.open_object(),
            Some(b'[') => return self.open_array(),
            Some(b'-' | b'0'..=b'9') => {
                self.at = write_number(self.input, self.at, &mut self.text)?;
            }
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => return Err(self.syntax()),
        }
        Ok(Step::Value)
    }

    /// After a value: true where a bracket closed, so that another value has ended;
    /// false where the next value is due, or no bracket is open.
    fn close_or_continue(&mut self) -> Result<bool, JsonError> {
        let Some(open) = self.open.last() else {
            return Ok(false);
        };
        let in_object = matches!(open, Open::Object(_));
        self.at = skip_space(self.input, self.at);
        match self.input.get(self.at) {
            Some(b',') => {
                self.at += 1;
                if in_object {
                    self.end_member();
                    self.text.push(b',');
                    self.name()?;
                } else {
                    self.text.push(b',');
                }
                Ok(false)
            }
            Some(b'}') if in_object => {
                self.end_member();
                self.close_object()?;
                Ok(true)
            }
            Some(b']') if !in_object => {
                self.close_array();
                Ok(true)
            }
            _ => Err(self.syntax()),
        }
    }

    fn open_array(&mut self) -> Result<Step, JsonError> {
        self.open_bracket(b'[', Open::Array)?;
        if self.input.get(self.at) == Some(&b']') {
            self.close_array();
            return Ok(Step::Value);
        }
        Ok(Step::Opened)
    }

    fn close_array(&mut self) {
        self.at += 1;
        self.text.push(b']');
        self.open.pop();
    }

    fn open_object(&mut self) -> Result<Step, JsonError> {
        let object = OpenObject {
            start: self.text.len(),
            first_member: self.members.len(),
            first_name: self.unescaped_names.len(),
            first_object: self.plan.len(),
            is_sorted: true,
        };
        self.open_bracket(b'{', Open::Object(object))?;
        if self.input.get(self.at) == Some(&b'}') {
            self.close_object()?;
            return Ok(Step::Value);
        }
        self.name()?;
        Ok(Step::Opened)
    }

    fn open_bracket(&mut self, bracket: u8, open: Open) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        self.open.push(open);
        self.text.push(bracket);
        self.at = skip_space(self.input, self.at + 1);
        Ok(())
    }

    fn close_object(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        self.text.push(b'}');
        if let Some(Open::Object(object)) = self.open.pop() {
            let members = &mut self.members[object.first_member..];
            if !object.is_sorted {
                sort(
                    members,
                    Names {
                        text: &self.text,
                        unescaped: &self.unescaped_names,
                    },
                )?;
                self.plan
                    .note(object.start, self.text.len(), object.first_object, members);
            }
            self.members.truncate(object.first_member);
            self.unescaped_names.truncate(object.first_name);
        }
        Ok(())
    }

    /// Reads a member's name and the colon.
    fn name(&mut self) -> Result<(), JsonError> {
        self.at = skip_space(self.input, self.at);
        if self.input.get(self.at) != Some(&b'"') {
            return Err(self.syntax());
        }
        let (start, offset) = (self.text.len(), self.at);
        let is_escaped = self.string()?;
        let mut member = Member {
            prefix: 0,
            name_start: start + 1,
            name_end: self.text.len() - 1,
            name_is_escaped: is_escaped,
            start,
            end: 0,
            first_object: self.plan.len(),
            last_object: 0,
            offset,
        };
        if is_escaped {
            self.unescape_name(&mut member);
        }
        let name = if is_escaped {
            &self.unescaped_names
        } else {
            &self.text
        };
        member.prefix = prefix(&name[member.name_start..member.name_end]);

        self.at = skip_space(self.input, self.at);
        if self.input.get(self.at) != Some(&b':') {
            return Err(self.syntax());
        }
        self.at += 1;
        self.text.push(b':');
        self.add(member)
    }

    /// Adds a member to the innermost object.
    fn add(&mut self, member: Member) -> Result<(), JsonError> {
        if let Some(Open::Object(object)) = self.open.last_mut()
            && object.is_sorted
            && let Some(before) = self.members[object.first_member..].last()
        {
            let names = Names {
                text: &self.text,
                unescaped: &self.unescaped_names,
            };
            match names.compare(before, &member) {
                Ordering::Less => {}
                Ordering::Equal => {
                    return Err(JsonError::DuplicateKey {
                        offset: member.offset,
                    });
                }
                Ordering::Greater => object.is_sorted = false,
            }
        }
        self.members.push(member);
        Ok(())
    }

    fn end_member(&mut self) {
        if let Some(member) = self.members.last_mut() {
            member.end = self.text.len();
            member.last_object = self.plan.len();
        }
    }

    /// Names are compared unescaped; those few that have escapes are kept aside.
    fn unescape_name(&mut self, member: &mut Member) {
        let start = self.unescaped_names.len();
        let name = &self.text[member.name_start..member.name_end];
        let mut at = 0;
        loop {
            let end = plain_run(name, at);
            self.unescaped_names.extend_from_slice(&name[at..end]);
            // The text holds good escapes only: this ends at the end of the name.
            let Ok((c, next)) = unescape(name, end) else {
                break;
            };
            self.unescaped_names
                .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            at = next;
        }
        (member.name_start, member.name_end) = (start, self.unescaped_names.len());
    }

    /// Copies the string whose quote is next; true where it has escapes in the text.
    fn string(&mut self) -> Result<bool, JsonError> {
        let mut copied = self.at;
        let mut is_escaped = false;
        let mut at = self.at + 1;
        loop {
            at = plain_run(self.input, at);
            match self.input.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    self.text.extend_from_slice(&self.input[copied..=at]);
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    self.text.extend_from_slice(&self.input[copied..at]);
                    let (c, next) = unescape(self.input, at).map_err(|error| match error {
                        EscapeError::Syntax(offset) => JsonError::Syntax { offset },
                        EscapeError::LoneSurrogate => JsonError::LoneSurrogate { offset: at },
                    })?;
                    is_escaped |= c < ' ' || c == '"' || c == '\\';
                    write_char(c, &mut self.text);
                    (at, copied) = (next, next);
                }
                _ => return Err(JsonError::Syntax { offset: at }),
            }
        }
    }

    fn literal(&mut self, expected: &[u8]) -> Result<(), JsonError> {
        for &byte in expected {
            if self.input.get(self.at) != Some(&byte) {
                return Err(self.syntax());
            }
            self.at += 1;
        }
        self.text.extend_from_slice(expected);
        Ok(())
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { offset: self.at }
    }
}

/// The first eight bytes, padded with zeros, as a number that sorts as they do.
fn prefix(name: &[u8]) -> u64 {
    if let Some(first) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    name.iter()
        .enumerate()
        .fold(0, |word, (i, byte)| word | u64::from(*byte) << (56 - 8 * i))
}
