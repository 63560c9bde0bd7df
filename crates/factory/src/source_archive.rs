//! The archive that is published with a module: all that a stranger needs to make it again.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::{CveId, PatchVersion, SeverityClaim};
use suture_kernel::KernelRelease;

use crate::error::FactoryError;

/// Name of the recipe's file in the archive.
const RECIPE: &str = "recipe.json";
/// Largest archive that is read, and most bytes that are unpacked from it.
const MAX_ARCHIVE_BYTES: u64 = 64 << 20;

/// The settings of a build. Together with the fixes and the advisories they determine the
/// unsigned module to the last byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Format of this document; a later one is refused.
    pub schema: u32,
    pub release: KernelRelease,
    pub version: PatchVersion,
    /// Source package and version that the kernel was built from.
    pub source_package: String,
    pub source_version: String,
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// Units named by hand.
    pub units: Vec<String>,
    /// The vendor's own ratings of holes.
    pub ratings: Vec<(CveId, SeverityClaim)>,
    pub created: Timestamp,
}

impl Recipe {
    /// The one format so far.
    pub const SCHEMA: u32 = 1;
}

/// The archive's content.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceArchive {
    pub recipe: Recipe,
    /// The diffs in the order in which they apply.
    pub fixes: Vec<String>,
    /// The CVE records, as published.
    pub advisories: Vec<String>,
    /// What plain `make` needs, made from the rest: the extracted objects, `glue.c`, a Makefile.
    pub by_hand: Vec<(String, Vec<u8>)>,
}

impl SourceArchive {
    /// The bytes of a gzipped tar archive; the same content gives the same bytes.
    pub fn write(&self) -> Result<Vec<u8>, FactoryError> {
        let fail =
            |error: std::io::Error| FactoryError::UnsoundModule(format!("source archive: {error}"));
        let mut files = vec![("README.md".to_owned(), self.readme().into_bytes())];
        let recipe = serde_json::to_string_pretty(&self.recipe);
        let recipe = recipe.map_err(|error| fail(error.into()))?;
        files.push((RECIPE.to_owned(), (recipe + "\n").into_bytes()));
        let numbered =
            |folder: &str, extension: &str, texts: &[String]| -> Vec<(String, Vec<u8>)> {
                let named = texts.iter().enumerate();
                named
                    .map(|(i, text)| {
                        let name = format!("{folder}/{:04}.{extension}", i + 1);
                        (name, text.clone().into_bytes())
                    })
                    .collect()
            };
        files.extend(numbered("fixes", "diff", &self.fixes));
        files.extend(numbered("advisories", "json", &self.advisories));
        files.extend(
            self.by_hand
                .iter()
                .map(|(name, bytes)| (format!("by-hand/{name}"), bytes.clone())),
        );
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(self.recipe.created.as_second().max(0).cast_unsigned());
            let path = format!("suture-{}/{name}", self.recipe.version);
            tar.append_data(&mut header, path, bytes.as_slice())
                .map_err(fail)?;
        }
        let tar = tar.into_inner().map_err(fail)?;
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::best());
        gzip.write_all(&tar).map_err(fail)?;
        gzip.finish().map_err(fail)
    }

    /// Reads an archive that [`Self::write`] made.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        use std::io::Read as _;
        let limited = flate2::read::GzDecoder::new(bytes).take(MAX_ARCHIVE_BYTES);
        let (mut recipe, mut files) = (None, Vec::new());
        for entry in tar::Archive::new(limited)
            .entries()
            .map_err(|error| error.to_string())?
        {
            let mut entry = entry.map_err(|error| error.to_string())?;
            let path = entry
                .path()
                .map_err(|error| error.to_string())?
                .to_string_lossy()
                .into_owned();
            let mut bytes = Vec::new();
            entry
                .read_to_end(&mut bytes)
                .map_err(|error| format!("{path}: {error}"))?;
            match path.split_once('/').map_or("", |(_, name)| name) {
                RECIPE => {
                    let parsed: Recipe = serde_json::from_slice(&bytes)
                        .map_err(|error| format!("{path}: {error}"))?;
                    recipe = Some(parsed);
                }
                name => files.push((name.to_owned(), bytes)),
            }
        }
        let recipe = recipe.ok_or_else(|| format!("it holds no {RECIPE}"))?;
        if recipe.schema != Recipe::SCHEMA {
            return Err(format!(
                "its format {} is not known here; use a newer suture",
                recipe.schema
            ));
        }
        files.sort();
        let take = |folder: &str| -> Vec<(String, Vec<u8>)> {
            let named = files.iter().filter_map(|(name, bytes)| {
                Some((name.strip_prefix(folder)?.to_owned(), bytes.clone()))
            });
            named.collect()
        };
        let texts = |folder: &str| -> Result<Vec<String>, String> {
            let text = |(name, bytes): (String, Vec<u8>)| {
                String::from_utf8(bytes).map_err(|_| format!("{folder}{name} is not text"))
            };
            take(folder).into_iter().map(text).collect()
        };
        Ok(Self {
            recipe,
            fixes: texts("fixes/")?,
            advisories: texts("advisories/")?,
            by_hand: take("by-hand/"),
        })
    }

    fn readme(&self) -> String {
        let Recipe {
            release,
            version,
            source_package,
            source_version,
            compiler,
            ..
        } = &self.recipe;
        // The first word is the compiler's name, and Debian names the package like it.
        let compiler_package = compiler.split_whitespace().next().unwrap_or("gcc");
        format!(
            "# Live patch {version} for Linux {release}\n\n\
             The module was made from the fixes in `fixes/`, for the holes in `advisories/`, against\n\
             the kernel source `{source_package}` {source_version}, with `{compiler}`.\n\
             `by-hand/` holds the changed functions as objects, and the C source that registers them\n\
             with the kernel.\n\n\
             To make it again from the fixes, on a machine whose package archive has that kernel, and\n\
             to compare it with the published module:\n\n\
             \tsuture verify LIVEPATCH.ko --source THIS-ARCHIVE\n\n\
             To build it without Suture, from the objects:\n\n\
             \tapt-get install make binutils {compiler_package} linux-headers-{release}\n\
             \tmake -C by-hand\n\n\
             That makes `by-hand/livepatch.ko`, not signed; `insmod` loads it into that kernel. Other\n\
             places of headers and compiler are `make -C by-hand KDIR=FOLDER KERNEL_CC=PROGRAM`.\n\n\
             The module is under the GNU General Public License, version 2, as the kernel is.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> SourceArchive {
        SourceArchive {
            recipe: Recipe {
                schema: Recipe::SCHEMA,
                release: "6.1.0-53-amd64".parse().unwrap(),
                version: "104.1".parse().unwrap(),
                source_package: "linux-source-6.1".into(),
                source_version: "6.1.187-1".into(),
                compiler: "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0".into(),
                units: vec![],
                ratings: vec![],
                created: Timestamp::UNIX_EPOCH,
            },
            fixes: vec!["first".into(), "second".into()],
            advisories: vec!["{}".into()],
            by_hand: vec![("unit0.o_shipped".into(), vec![0x7f, 0xff])],
        }
    }

    #[test]
    fn an_archive_is_read_back_and_made_alike() {
        let bytes = archive().write().unwrap();
        assert_eq!(SourceArchive::read(&bytes).unwrap(), archive());
        assert_eq!(archive().write().unwrap(), bytes);
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let bytes = archive().write().unwrap();
        assert!(SourceArchive::read(&bytes[..bytes.len() / 2]).is_err());
        assert!(SourceArchive::read(b"no archive").is_err());
    }
}
