//! JSON strings: escapes read, and written as RFC 8785 section 3.2.2.2 wants them.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::scan::plain_run;

/// Why an escape stands for no character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EscapeError {
    /// The byte at this offset belongs to no escape.
    Syntax(usize),
    /// Half a surrogate pair.
    LoneSurrogate,
}

/// Appends `s` as a JSON string in quotes, escaped as RFC 8785 wants it: `\b \t \n \f
/// \r \" \\`, other control characters as `\u00xx` in lower case, all else as it is.
pub fn write_string(s: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = s.as_bytes();
    let mut at = 0;
    loop {
        let end = plain_run(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(&special) = bytes.get(end) else {
            break;
        };
        write_escaped(special, out);
        at = end + 1;
    }
    out.push(b'"');
}

/// Appends one character the way it stands inside a string.
pub(super) fn write_char(c: char, out: &mut Vec<u8>) {
    match u8::try_from(c) {
        Ok(byte) if byte < b' ' || byte == b'"' || byte == b'\\' => write_escaped(byte, out),
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends a quote, a backslash or a control character.
fn write_escaped(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'\\' => byte,
        _ => {
            let digit = HEX[usize::from(byte & 0xf)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The character of the escape whose backslash is at `at`, and the offset past it.
pub(super) fn unescape(bytes: &[u8], at: usize) -> Result<(char, usize), EscapeError> {
    let c = match bytes.get(at + 1) {
        Some(&(b'"' | b'\\' | b'/')) => char::from(bytes[at + 1]),
        Some(b'b') => '\u{8}',
        Some(b't') => '\t',
        Some(b'n') => '\n',
        Some(b'f') => '\u{c}',
        Some(b'r') => '\r',
        Some(b'u') => return unescape_unicode(bytes, at),
        _ => return Err(EscapeError::Syntax(at + 1)),
    };
    Ok((c, at + 2))
}

fn unescape_unicode(bytes: &[u8], at: usize) -> Result<(char, usize), EscapeError> {
    let unit = code_unit(bytes, at + 2)?;
    if let Some(c) = char::from_u32(unit) {
        return Ok((c, at + 6));
    }
    if unit < 0xdc00
        && bytes.get(at + 6..at + 8) == Some(br"\u")
        && let Ok(low @ 0xdc00..=0xdfff) = code_unit(bytes, at + 8)
        && let Some(c) = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
    {
        return Ok((c, at + 12));
    }
    Err(EscapeError::LoneSurrogate)
}

/// Four hexadecimal digits.
fn code_unit(bytes: &[u8], at: usize) -> Result<u32, EscapeError> {
    let mut unit = 0;
    for offset in at..at + 4 {
        let digit = bytes.get(offset).and_then(|b| char::from(*b).to_digit(16));
        unit = unit * 16 + digit.ok_or(EscapeError::Syntax(offset))?;
    }
    Ok(unit)
}

/// The text of a string's content (without its quotes). None: it is not UTF-8, holds
/// half a surrogate pair, or is no JSON string.
pub(super) fn decode(content: &[u8]) -> Option<Cow<'_, str>> {
    let mut end = plain_run(content, 0);
    if end == content.len() {
        return core::str::from_utf8(content).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(content.len());
    let mut at = 0;
    loop {
        text.push_str(core::str::from_utf8(&content[at..end]).ok()?);
        match content.get(end) {
            None => return Some(Cow::Owned(text)),
            Some(b'\\') => {
                let (c, next) = unescape(content, end).ok()?;
                text.push(c);
                at = next;
            }
            Some(_) => return None,
        }
        end = plain_run(content, at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::format;

    use super::*;

    fn written(s: &str) -> String {
        let mut out = Vec::new();
        write_string(s, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_of_rfc_8785() {
        assert_eq!(
            written("\u{20ac}$\u{f}\nA'B\"\\\\\"/"),
            r#""€$\u000f\nA'B\"\\\\\"/""#,
            "RFC 8785 section 3.2.2.2"
        );
        assert_eq!(
            written("\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}\u{2028}<&>"),
            "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\u{2028}<&>\""
        );
        assert_eq!(written(""), r#""""#);
    }

    #[test]
    fn decodes_escapes_and_borrows_without() {
        assert!(matches!(
            decode("größe 😀".as_bytes()),
            Some(Cow::Borrowed("größe 😀"))
        ));
        assert_eq!(
            decode(br#"\ud83d\ude00\u00E9\/\"\\\b\f\n\r\t"#).as_deref(),
            Some("😀é/\"\\\u{8}\u{c}\n\r\t")
        );
    }

    #[test]
    fn refuses_what_is_no_text() {
        for bad in [
            &br"\ud800"[..],
            br"\udc00",
            br"\ud800\ud800",
            br"\ud800\u0041",
            br"\ud800x",
            br"\ud800\udc0",
            br"\u12",
            br"\u12g4",
            br"\x",
            b"\\",
            b"\xff",
            b"a\\n\xff",
            b"a\nb",
            b"\"",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_decodes_to_itself(s in any::<String>()) {
            let text = written(&s);
            prop_assert_eq!(decode(&text.as_bytes()[1..text.len() - 1]), Some(Cow::Borrowed(&*s)));
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), s.clone());
            let escaped: String = s.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            prop_assert_eq!(decode(escaped.as_bytes()), Some(Cow::Owned(s)));
        }
    }
}
