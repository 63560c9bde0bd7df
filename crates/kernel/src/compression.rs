//! The compressions of kernel images and modules, each read with a limit on the output.

use std::fmt;
use std::io::{self, Read};

use thiserror::Error;

/// Largest window that a zstd stream may ask for, in bytes: what `zstd --ultra -22` writes, which
/// kernels are compressed with.
const ZSTD_WINDOW: u64 = 128 << 20;

/// Memory that an LZMA or xz stream may ask for, in KiB. The kernel compresses itself with
/// dictionaries of 32 MiB, newer ones of 128 MiB.
const LZMA_MEMORY_KIB: u32 = 192 << 10;

/// How a stream is compressed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Bzip2,
    /// The header-only format of LZMA Utils.
    Lzma,
    Xz,
    /// LZ4's legacy frame, the one that the kernel's build writes.
    Lz4,
    Zstd,
    /// Known by name, and refused: no kernel of Debian or Ubuntu uses it by default.
    Lzo,
}

impl Compression {
    /// The magic numbers of the kernel's `lib/decompress.c`.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        const MAGICS: [(&[u8], Compression); 7] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (b"\x5d\x00\x00", Compression::Lzma),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x89LZO", Compression::Lzo),
            (b"\x02\x21\x4c\x18", Compression::Lz4),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        ];
        MAGICS
            .iter()
            .find(|(magic, _)| bytes.starts_with(magic))
            .map(|(_, kind)| *kind)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Lzo => "lzo",
        })
    }
}

/// Why a stream could not be decompressed.
#[derive(Debug, Error)]
pub enum DecompressError {
    #[error("{0} compression is not supported: rebuild the image with xz, zstd, lz4 or gzip")]
    Unsupported(Compression),
    #[error("the {compression} stream is damaged")]
    Damaged {
        compression: Compression,
        source: io::Error,
    },
    #[error("the {compression} stream holds more than {limit} bytes")]
    TooLarge {
        compression: Compression,
        limit: u64,
    },
}

/// Decompresses one stream; bytes after its end are left alone, except with LZ4, whose legacy
/// frame has no end of its own.
pub fn decompress(
    compression: Compression,
    bytes: &[u8],
    limit: u64,
) -> Result<Vec<u8>, DecompressError> {
    let damaged = |source| DecompressError::Damaged {
        compression,
        source,
    };
    let mut reader = open(compression, bytes)?;
    let mut output = Vec::new();
    let read = reader
        .by_ref()
        .take(limit)
        .read_to_end(&mut output)
        .map_err(damaged)?;
    if read as u64 == limit && reader.read(&mut [0]).map_err(damaged)? != 0 {
        return Err(DecompressError::TooLarge { compression, limit });
    }
    Ok(output)
}

fn open(compression: Compression, bytes: &[u8]) -> Result<Box<dyn Read + '_>, DecompressError> {
    let damaged = |source| DecompressError::Damaged {
        compression,
        source,
    };
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
        Compression::Bzip2 => Box::new(bzip2::read::BzDecoder::new(bytes)),
        Compression::Lzma => Box::new(
            lzma_rust2::LzmaReader::new_mem_limit(bytes, LZMA_MEMORY_KIB, None).map_err(damaged)?,
        ),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            bytes,
            false,
            LZMA_MEMORY_KIB,
        )),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        Compression::Zstd => Box::new(
            ruzstd::decoding::StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW)
                .map_err(|error| damaged(io::Error::other(error)))?,
        ),
        Compression::Lzo => return Err(DecompressError::Unsupported(compression)),
    })
}
