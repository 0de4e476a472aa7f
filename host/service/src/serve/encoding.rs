//! `Content-Encoding` of a request's body: gzip and zstd, for forwarders; an apiserver
//! sends its bodies as they are.
//!
//! A few bytes can unfold into gigabytes. So the bound of a body holds for what comes
//! out too, memory is set aside for it as it grows, and a zstd frame that asks for more
//! than the 8 MiB of window that every decoder must have (RFC 9659) is refused.

use std::io::{self, Read};

use axum::http::{HeaderMap, header};
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

use crate::problem::Problem;

/// What is unpacked between two looks at the bounds.
const STEP_BYTES: usize = 64 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// It is not.
    Identity,
    /// RFC 1952; several members are one body.
    Gzip,
    /// RFC 8878; several frames are one body.
    Zstd,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// More than the limit comes out, or there is no memory for it.
    Refused(Problem),
    /// It is no such encoding, or cut off: what it says.
    Damaged(String),
}

impl Encoding {
    /// 8 MiB, by RFC 9659.
    const WINDOW_LOG_MAX: u32 = 23;

    /// By the request's headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, second) = (values.next(), values.next());
        let name = first.map_or(&b"identity"[..], |value| value.as_bytes());
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            _ if second.is_some() => Err(Problem::unsupported_encoding("more than one")),
            b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            name => Err(Problem::unsupported_encoding(&String::from_utf8_lossy(
                name,
            ))),
        }
    }

    /// Unpacks a body into at most `bytes_max`, or none if it isn't packed; `set_aside` is told the bytes that come
    /// out, before they do, and may refuse.
    pub(super) fn unpack(
        self,
        body: &[u8],
        bytes_max: usize,
        set_aside: impl FnMut(usize) -> Result<(), Problem>,
    ) -> Result<Option<Vec<u8>>, Unpacked> {
        let damaged = |error: io::Error| Unpacked::Damaged(error.to_string());
        match self {
            Self::Identity => return Ok(None),
            Self::Gzip => read(MultiGzDecoder::new(body), bytes_max, set_aside),
            Self::Zstd => {
                let mut decoder = Decoder::with_buffer(body).map_err(damaged)?;
                decoder
                    .window_log_max(Self::WINDOW_LOG_MAX)
                    .map_err(damaged)?;
                read(decoder, bytes_max, set_aside)
            }
        }
        .map(Some)
    }
}

fn read(
    reader: impl Read,
    bytes_max: usize,
    mut set_aside: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Unpacked> {
    // One byte more tells that there is more.
    let mut reader = reader.take(bytes_max as u64 + 1);
    let mut bytes = Vec::new();
    loop {
        set_aside(bytes_max.min(bytes.len() + STEP_BYTES)).map_err(Unpacked::Refused)?;
        let mut step = reader.by_ref().take(STEP_BYTES as u64);
        let read = step.read_to_end(&mut bytes);
        if read.map_err(|error| Unpacked::Damaged(error.to_string()))? == 0 {
            return Ok(bytes);
        }
        if bytes.len() > bytes_max {
            return Err(Unpacked::Refused(Problem::too_large(bytes_max)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const MAX: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    fn unpack(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>, Unpacked> {
        encoding
            .unpack(body, MAX, |_| Ok(()))
            .map(Option::unwrap_or_default)
    }

    #[test]
    fn bodies_come_out_as_they_were_up_to_the_limit() {
        let random: Vec<u8> = (0..MAX as u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
            .collect();
        for (encoding, pack) in [
            (Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>),
            (Encoding::Zstd, zstd),
        ] {
            for size in [0, 1, STEP_BYTES, STEP_BYTES + 1, MAX] {
                let plain = &random[..size];
                assert_eq!(unpack(encoding, &pack(plain)).unwrap(), plain, "{size}");
            }
            // Two members or frames are one body.
            let two = [pack(b"one "), pack(b"two")].concat();
            assert_eq!(unpack(encoding, &two).unwrap(), b"one two");
            let over = unpack(encoding, &pack(&vec![0; MAX + 1]));
            assert_eq!(over, Err(Unpacked::Refused(Problem::too_large(MAX))));
        }
        assert_eq!(Encoding::Identity.unpack(b"x", 0, |_| Ok(())), Ok(None));
    }

    #[test]
    fn a_bomb_is_put_out_early() {
        for (encoding, bomb) in [
            (Encoding::Gzip, gzip(&vec![b' '; 256 << 20])),
            (Encoding::Zstd, zstd(&vec![b' '; 256 << 20])),
        ] {
            assert!(bomb.len() < MAX);
            let mut set_aside = 0;
            let over = encoding.unpack(&bomb, MAX, |bytes| {
                set_aside = bytes;
                Ok(())
            });
            assert_eq!(over, Err(Unpacked::Refused(Problem::too_large(MAX))));
            assert_eq!(set_aside, MAX);
        }
        let full = Problem::unavailable("no room");
        let refused = Encoding::Zstd.unpack(&zstd(&vec![0; MAX]), MAX, |bytes| {
            if bytes > MAX / 2 {
                Err(full.clone())
            } else {
                Ok(())
            }
        });
        assert_eq!(refused, Err(Unpacked::Refused(full)));
    }

    #[test]
    fn a_window_that_no_decoder_must_have_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(Encoding::WINDOW_LOG_MAX + 1).unwrap();
        encoder.write_all(b"small").unwrap();
        let body = encoder.finish().unwrap();
        assert!(matches!(
            unpack(Encoding::Zstd, &body),
            Err(Unpacked::Damaged(_))
        ));
    }

    #[test]
    fn what_is_damaged_is_said_to_be() {
        let plain = b"{\"kind\":\"EventList\"}".repeat(100);
        for (encoding, packed) in [
            (Encoding::Gzip, gzip(&plain)),
            (Encoding::Zstd, zstd(&plain)),
        ] {
            for cut in 1..packed.len() {
                let cut = unpack(encoding, &packed[..cut]);
                assert!(matches!(cut, Err(Unpacked::Damaged(_))), "{encoding:?}");
            }
            let behind = [&packed[..], b"garbage"].concat();
            assert!(matches!(
                unpack(encoding, &behind),
                Err(Unpacked::Damaged(_))
            ));
            assert!(matches!(
                unpack(encoding, &plain),
                Err(Unpacked::Damaged(_))
            ));
        }
    }

    #[test]
    fn encodings_are_told_by_name() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
        for bad in [&["br"][..], &["gzip, zstd"], &["gzip", "zstd"], &[""]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
