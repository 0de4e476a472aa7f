//! What selectors compare with: patterns of text and of resources, networks, codes.

use std::net::IpAddr;

use serde::Deserialize;

/// Whether a text is what a pattern says: exact, or a prefix where it ends in `*`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => text == pattern,
    }
}

/// Whether a text is what one of the patterns says.
#[must_use]
pub fn matches_any<P: AsRef<str>>(patterns: &[P], text: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| matches(pattern.as_ref(), text))
}

/// Whether a pattern `resource/subresource` covers a resource. `*` alone covers all.
pub(crate) fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && matches(pattern, resource),
        Some((of, sub)) => {
            !subresource.is_empty() && matches(of, resource) && matches(sub, subresource)
        }
    }
}

/// An address or a network. IPv4 is kept as IPv4-mapped IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    address: u128,
    /// Bits that count, 0 to 128.
    prefix: u8,
}

/// Bits of an IPv4-mapped address before the IPv4 address.
const MAPPED_BITS: u8 = 96;

impl Cidr {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (before, most) = match address {
            IpAddr::V4(_) => (MAPPED_BITS, 32),
            IpAddr::V6(_) => (0, 128),
        };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None => Some(most),
        };
        let prefix = prefix.filter(|prefix| *prefix <= most)?;
        Some(Self {
            address: bits(address),
            prefix: before + prefix,
        })
    }

    /// True if the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = self.address ^ bits(address);
        differ.leading_zeros() >= u32::from(self.prefix)
    }

    pub(crate) fn parts(self) -> (u128, u8) {
        (self.address, self.prefix)
    }

    pub(crate) fn from_parts((address, prefix): (u128, u8)) -> Self {
        Self { address, prefix }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!("{text:?} is no address and no network such as 192.0.2.0/24 or 2001:db8::/32")
        })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Response codes from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CodeText")]
pub struct Codes {
    from: u16,
    to: u16,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CodeText {
    Number(u16),
    Text(String),
}

impl Codes {
    /// True if the code is one of them.
    #[must_use]
    pub fn contains(self, code: u32) -> bool {
        (u32::from(self.from)..=u32::from(self.to)).contains(&code)
    }

    pub(crate) fn parts(self) -> (u16, u16) {
        (self.from, self.to)
    }

    pub(crate) fn from_parts((from, to): (u16, u16)) -> Self {
        Self { from, to }
    }
}

impl TryFrom<CodeText> for Codes {
    type Error = String;

    fn try_from(text: CodeText) -> Result<Self, String> {
        let (from, to) = match &text {
            CodeText::Number(code) => (*code, *code),
            CodeText::Text(text) => match (text.strip_suffix("xx"), text.parse::<u16>()) {
                (Some(class), _) => {
                    let class = class.parse::<u16>().ok().filter(|class| *class < 10);
                    let class = class.ok_or_else(|| no_code(text))?;
                    (class * 100, class * 100 + 99)
                }
                (None, Ok(code)) => (code, code),
                (None, Err(_)) => return Err(no_code(text)),
            },
        };
        if !(100..=599).contains(&from) {
            return Err(no_code(&match text {
                CodeText::Number(code) => code.to_string(),
                CodeText::Text(text) => text,
            }));
        }
        Ok(Self { from, to })
    }
}

fn no_code(text: &str) -> String {
    format!("{text:?} is no response code such as 403 or 4xx")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("a", "a") && matches("a*", "a") && matches("a*", "ab") && matches("*", ""));
        assert!(!matches("a", "ab") && !matches("a*", "b") && !matches("", "a"));
        assert!(matches("", ""));
    }

    #[test]
    fn patterns_of_resources() {
        for (pattern, resource, subresource, expected) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "exec", false),
            ("pods/exec", "pods", "exec", true),
            ("pods/exec", "pods", "", false),
            ("pods/*", "pods", "log", true),
            ("pods/*", "pods", "", false),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "", false),
            ("*", "pods", "exec", true),
            ("*", "pods", "", true),
            ("cluster*", "clusterroles", "", true),
        ] {
            assert_eq!(
                covers(pattern, resource, subresource),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn networks() {
        let inside = |network: &str, address: &str| {
            let cidr = Cidr::parse(network).unwrap();
            cidr.contains(address.parse().unwrap())
        };
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("10.1.2.3", "10.1.2.3") && !inside("10.1.2.3", "10.1.2.2"));
        assert!(inside("0.0.0.0/0", "192.0.2.1") && !inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1") && !inside("2001:db8::/32", "2001:db9::"));
        assert!(inside("::/0", "::1"));
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a",
            "10.0.0.0/",
            "10.0.0.0/+8",
        ] {
            assert!(Cidr::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn codes() {
        let read = |json: &str| serde_json::from_str::<Codes>(json);
        assert!(read("403").unwrap().contains(403));
        assert!(!read("\"403\"").unwrap().contains(404));
        let class = read("\"4xx\"").unwrap();
        assert!(class.contains(400) && class.contains(499) && !class.contains(500));
        for wrong in ["\"xx\"", "\"9xx\"", "\"x\"", "99", "600", "-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
