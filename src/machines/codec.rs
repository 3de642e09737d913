//! Bodies and their encodings: compressed once when a batch is sealed, decompressed only to be looked into.

use std::cell::RefCell;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

use crate::values::batch::Codec;
use crate::values::config::Compression;

/// Deflate expands no input more than this, so a longer claim is false and nothing is allocated for it.
const DEFLATE_RATIO_MAX: u64 = 1_032;

/// Room kept between two calls on one thread: eight bodies of the default size. What is larger is given back.
const SCRATCH_BYTES_MAX: usize = 8 << 20;

/// A body that is not what its batch says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyError {
    #[error("the body is no valid gzip member")]
    NotGzip,
    #[error("the body does not hold the {expected} bytes it is said to hold")]
    Length { expected: u64 },
}

thread_local! {
    // Building a compressor clears some hundred kilobytes of tables, so each thread keeps one.
    static ENCODER: RefCell<Encoder> = RefCell::new(Encoder::new());
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// From this size on compressing pays: below it what is saved is less than the headers of the request. The official
/// clients draw the line here, too.
const WORTH_COMPRESSING: usize = 1_000;

/// How a body of so many bytes is encoded.
pub(crate) const fn codec_for(compression: Compression, bytes: usize) -> Codec {
    match compression {
        Compression::Gzip => Codec::Gzip,
        Compression::Auto if bytes >= WORTH_COMPRESSING => Codec::Gzip,
        Compression::Auto | Compression::None => Codec::Identity,
    }
}

/// The body as it will be posted; for [`Codec::Gzip`] it is exactly one member.
pub(crate) fn encode_body(codec: Codec, lines: &[u8]) -> Bytes {
    match codec {
        Codec::Identity => Bytes::copy_from_slice(lines),
        Codec::Gzip => ENCODER.with_borrow_mut(|encoder| encoder.gzip(lines)),
    }
}

/// The plain lines of a body that was made of `raw_len` bytes; no copy for [`Codec::Identity`].
///
/// # Errors
/// The body is damaged, or longer or shorter than `raw_len`. It never allocates more than a body of this size can
/// expand to, whatever `raw_len` says.
pub(crate) fn decode_body(codec: Codec, raw_len: u64, body: &Bytes) -> Result<Bytes, BodyError> {
    let wrong_length = BodyError::Length { expected: raw_len };
    match codec {
        Codec::Identity if body.len() as u64 == raw_len => Ok(body.clone()),
        Codec::Identity => Err(wrong_length),
        Codec::Gzip if raw_len > (body.len() as u64).saturating_mul(DEFLATE_RATIO_MAX) => Err(wrong_length),
        Codec::Gzip => {
            let mut lines = vec![0; usize::try_from(raw_len).map_err(|_| wrong_length)?];
            let written = DECOMPRESSOR
                .with_borrow_mut(|gunzip| gunzip.gzip_decompress(body, &mut lines))
                .map_err(|_| BodyError::NotGzip)?;
            if written == lines.len() { Ok(lines.into()) } else { Err(wrong_length) }
        }
    }
}

struct Encoder {
    compressor: Compressor,
    scratch: Vec<u8>,
}

impl Encoder {
    fn new() -> Self {
        // Level 1: six times as fast as zlib's default at nine tenths of its ratio (the design's measurements).
        // `CompressionLvl::fastest()` is level 0, which compresses nothing.
        let level = CompressionLvl::new(1).unwrap_or_default();
        Self { compressor: Compressor::new(level), scratch: Vec::new() }
    }

    fn gzip(&mut self, lines: &[u8]) -> Bytes {
        let bound = self.compressor.gzip_compress_bound(lines.len());
        if self.scratch.len() < bound {
            self.scratch.resize(bound, 0);
        }
        let written = self
            .compressor
            .gzip_compress(lines, &mut self.scratch)
            .expect("the buffer is as long as gzip_compress_bound asks for");
        let body = Bytes::copy_from_slice(&self.scratch[..written]);
        if self.scratch.len() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_shrinks_to_a_fraction() {
        let lines: String =
            (0..5_000).map(|n| format!("cpu,host=a usage=0.5,n={n}i {}\n", 1_795_000_000 + n)).collect();
        let body = encode_body(Codec::Gzip, lines.as_bytes());
        assert!(body.len() * 4 < lines.len(), "{} of {}", body.len(), lines.len());
    }

    fn lines(bytes: usize) -> Vec<u8> {
        b"plant,line=3 speed=1.5 1700000000000000000\n".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn a_body_comes_back_as_it_was() {
        for codec in [Codec::Identity, Codec::Gzip] {
            for bytes in [0, 1, 43, 100_000, 12 << 20] {
                let plain = lines(bytes);
                let body = encode_body(codec, &plain);
                assert_eq!(decode_body(codec, bytes as u64, &body).unwrap(), plain, "{codec:?} {bytes}");
            }
        }
    }

    #[test]
    fn a_gzip_body_is_one_member() {
        let body = encode_body(Codec::Gzip, &lines(1 << 20));
        assert_eq!(body[..3], [0x1f, 0x8b, 8]);
        assert_eq!(body[body.len() - 4..], (1_u32 << 20).to_le_bytes());
    }

    #[test]
    fn a_wrong_length_or_a_damaged_body_is_an_error() {
        let body = encode_body(Codec::Gzip, &lines(1_000));
        for claimed in [0, 999, 1_001, u64::MAX] {
            assert!(decode_body(Codec::Gzip, claimed, &body).is_err(), "{claimed}");
            assert!(decode_body(Codec::Identity, claimed, &Bytes::from(lines(1_000))).is_err(), "{claimed}");
        }
        let mut torn = body.to_vec();
        torn.truncate(body.len() - 9);
        assert_eq!(decode_body(Codec::Gzip, 1_000, &torn.into()), Err(BodyError::NotGzip));
    }
}
