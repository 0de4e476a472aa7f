//! Numbers: RFC 8785 section 3.2.2.3, the shortest text that ECMAScript gives a
//! double, with one rule more: an integer that this text would change is refused. JCS
//! writes 9007199254740992 for 9007199254740993, and evidence must not change what was
//! said. (It also makes canonical text its own canonical form: 2^63 comes out as
//! 9223372036854776000, which is not what went in, so it is refused as well.)
//!
//! Numbers with a fraction or an exponent are taken as the nearest double, as every
//! reader of JSON does; one too small for a double becomes 0.

use alloc::vec::Vec;

use super::JsonError;

/// The longest number that is read. The exact value of a double needs at most 1,077
/// characters, so nothing honest is longer; and with so few digits no exponent can
/// overflow inside the parser.
pub const MAX_NUMBER_BYTES: usize = 4096;

/// Every integer of so many digits is a double, and ECMAScript writes its plain digits.
const SAFE_DIGITS: usize = 15;

/// Appends the number that starts at `start` in canonical form; returns the offset
/// past it.
pub(super) fn write_number(
    input: &[u8],
    start: usize,
    out: &mut Vec<u8>,
) -> Result<usize, JsonError> {
    let digits_at = start + usize::from(input.get(start) == Some(&b'-'));
    let mut end = digits(input, digits_at)?;
    if end - digits_at > 1 && input[digits_at] == b'0' {
        return Err(JsonError::Syntax {
            offset: digits_at + 1,
        });
    }
    let is_integer = !matches!(input.get(end), Some(b'.' | b'e' | b'E'));
    if is_integer && end - digits_at <= SAFE_DIGITS {
        let is_negative_zero = input[digits_at] == b'0';
        out.extend_from_slice(&input[if is_negative_zero { digits_at } else { start }..end]);
        return Ok(end);
    }
    let whole = &input[digits_at..end];
    if input.get(end) == Some(&b'.') {
        end = digits(input, end + 1)?;
    }
    if matches!(input.get(end), Some(b'e' | b'E')) {
        end += 1;
        end = digits(
            input,
            end + usize::from(matches!(input.get(end), Some(b'+' | b'-'))),
        )?;
    }
    let literal = &input[start..end];
    if literal.len() > MAX_NUMBER_BYTES {
        return Err(JsonError::NumberRange { offset: start });
    }
    // The bytes are digits, signs, a dot and an `e` in the order that Rust reads too.
    let value = core::str::from_utf8(literal)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .ok_or(JsonError::Syntax { offset: start })?;
    if !value.is_finite() {
        return Err(JsonError::NumberRange { offset: start });
    }
    let mut buffer = ryu_js::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    if is_integer && !is_integer_text(text, whole) {
        return Err(JsonError::NumberPrecision { offset: start });
    }
    out.extend_from_slice(text);
    Ok(end)
}

/// Whether ECMAScript's text, which may have an exponent, means the integer of these
/// digits; signs aside.
fn is_integer_text(text: &[u8], digits: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let Some(e) = memchr::memchr(b'e', text) else {
        return text == digits;
    };
    // d.ddde+nn: the digits shown, then zeros, nn + 1 in all.
    let shown = text[..e].iter().filter(|byte| **byte != b'.');
    let exponent = text[e + 1..].iter().filter(|byte| byte.is_ascii_digit());
    let exponent = exponent.fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
    digits.len() == exponent + 1
        && shown
            .chain(core::iter::repeat(&b'0'))
            .zip(digits)
            .all(|(a, b)| a == b)
}

/// The offset past one or more digits.
fn digits(input: &[u8], at: usize) -> Result<usize, JsonError> {
    let mut end = at;
    while input.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    if end == at {
        Err(JsonError::Syntax { offset: at })
    } else {
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Result<String, JsonError> {
        let mut out = Vec::new();
        let end = write_number(text.as_bytes(), 0, &mut out)?;
        assert_eq!(end, text.len(), "{text}");
        Ok(String::from_utf8(out).unwrap())
    }

    /// An integer without its exponent.
    fn plain(text: &str) -> String {
        let Some((mantissa, exponent)) = text.split_once("e+") else {
            return text.into();
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let zeros = exponent.parse::<usize>().unwrap() - fraction.len();
        format!("{whole}{fraction}{}", "0".repeat(zeros))
    }

    /// RFC 8785 appendix B: the double's bits and its text.
    const APPENDIX_B: [(u64, &str); 24] = [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ];

    #[test]
    fn appendix_b_of_rfc_8785() {
        for (bits, text) in APPENDIX_B {
            let value = f64::from_bits(bits);
            assert_eq!(canonical(&format!("{value:e}")).unwrap(), text);
            assert_eq!(
                canonical(text).unwrap(),
                text,
                "canonical text is canonical"
            );
        }
    }

    #[test]
    fn canonical_texts() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("-0e5", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("1.0", "1"),
            ("0.1e1", "1"),
            ("1E+2", "100"),
            ("1e-999", "0"),
            ("-1e-999", "0"),
            ("0e999999999999999999999", "0"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("1e-27", "1e-27"),
            ("0.000000000000000000000000001", "1e-27"),
            ("999999999999999", "999999999999999"),
            ("9007199254740991", "9007199254740991"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
            ("9007199254740994", "9007199254740994"),
            ("9223372036854776000", "9223372036854776000"),
            ("100000000000000000000", "100000000000000000000"),
            ("1000000000000000000000", "1e+21"),
            ("-1200000000000000000000", "-1.2e+21"),
            ("100000000000000000000000", "1e+23"),
            ("0.1234567890123456789", "0.12345678901234568"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
        let max = format!("17976931348623157{}", "0".repeat(292));
        assert_eq!(canonical(&max).unwrap(), "1.7976931348623157e+308");
    }

    #[test]
    fn integers_that_would_change() {
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "9223372036854775807",
            "18446744073709551615",
            "9223372036854775808",
            "100000000000000000000001",
            "1180591620717411303424",
            "123456789012345678901234567890",
        ] {
            assert_eq!(
                canonical(text),
                Err(JsonError::NumberPrecision { offset: 0 }),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_out_of_range() {
        let digits = "9".repeat(309);
        let long_fraction = format!("0.{}", "3".repeat(MAX_NUMBER_BYTES - 1));
        for text in [
            "1e999",
            "-1e999",
            "1e309",
            "1.8e308",
            "1e99999999999999999999",
            &*digits,
            &*long_fraction,
        ] {
            assert_eq!(
                canonical(text),
                Err(JsonError::NumberRange { offset: 0 }),
                "{text}"
            );
        }
        assert_eq!(
            canonical(&long_fraction[..MAX_NUMBER_BYTES]).unwrap(),
            "0.3333333333333333"
        );
    }

    #[test]
    fn no_numbers() {
        for (text, offset) in [
            ("-", 1),
            ("01", 1),
            ("-01", 2),
            ("1.", 2),
            ("1.e1", 2),
            ("1e", 2),
            ("1e+", 3),
            ("-a", 1),
            ("00", 1),
        ] {
            assert_eq!(canonical(text), Err(JsonError::Syntax { offset }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_exact_or_refused(n in any::<i128>(), shift in 0_u32..120, zeros in 0_usize..30) {
            let text = (n >> shift).to_string() + &"0".repeat(zeros);
            let text = if text.starts_with('0') { "0" } else { &text };
            match canonical(text) {
                Ok(written) => prop_assert_eq!(plain(&written), text),
                Err(error) => {
                    prop_assert_eq!(error.code(), "number-precision");
                    let shortest = format!("{}", text.parse::<f64>().unwrap());
                    prop_assert_ne!(shortest, text);
                }
            }
        }

        #[test]
        fn doubles_survive(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let text = canonical(&format!("{value:e}")).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            prop_assert_eq!(canonical(&text).unwrap(), text);
        }
    }
}
