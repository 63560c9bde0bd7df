//! A vendor's collection of records: a folder with one canonical JSON file for each identifier,
//! below a folder for its year, and a file with the vendor's refusals.
//!
//! ```text
//! FOLDER/2026/CVE-2026-89603.json
//! FOLDER/refused.json
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture_advisory::{CveId, MAX_RECORD_BYTES, Offered, Outcome, RefusedFixes};

use crate::cli::output::write_file;

/// Largest list of refusals read: 64 MiB.
const MAX_REFUSED_BYTES: u64 = 64 << 20;

/// The folder.
pub struct Collection {
    folder: PathBuf,
}

impl Collection {
    /// One that exists.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        anyhow::ensure!(
            folder.is_dir(),
            "`{shown}` is no folder; make a collection with `suture advisory import PATH --into {shown}`"
        );
        let folder = folder.to_owned();
        Ok(Self { folder })
    }

    /// One that exists, or a new one.
    pub fn make(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        Self::open(folder)
    }

    /// Takes a record in, or says why not. An error is one of the folder, not of the record.
    pub fn import(&self, bytes: &[u8]) -> anyhow::Result<(Option<CveId>, Outcome)> {
        let offered = match Offered::read(bytes) {
            Ok(offered) => offered,
            Err(error) => return Ok((None, Outcome::rejected(&error))),
        };
        let intake = offered.against(self.read(&offered.id)?.as_deref());
        if intake.keep {
            let path = self.path(&offered.id);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
            }
            write_file(&path, offered.canonical())?;
        }
        Ok((Some(offered.id), intake.outcome))
    }

    /// The kept bytes of a record.
    pub fn read(&self, id: &CveId) -> anyhow::Result<Option<Vec<u8>>> {
        read_bounded(&self.path(id), MAX_RECORD_BYTES as u64)
    }

    /// The identifiers of all kept records, in order.
    pub fn ids(&self) -> anyhow::Result<Vec<CveId>> {
        let mut ids = Vec::new();
        for year in entries(&self.folder)? {
            if !year.is_dir() {
                continue;
            }
            let names = entries(&year)?.into_iter();
            ids.extend(names.filter_map(|path| path.file_stem()?.to_str()?.parse::<CveId>().ok()));
        }
        ids.sort_by_cached_key(order);
        Ok(ids)
    }

    /// What the vendor refused.
    pub fn refused(&self) -> anyhow::Result<RefusedFixes> {
        let path = self.folder.join("refused.json");
        let Some(bytes) = read_bounded(&path, MAX_REFUSED_BYTES)? else {
            return Ok(RefusedFixes::default());
        };
        serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` is no list of refusals", path.display()))
    }

    pub fn write_refused(&self, refused: &RefusedFixes) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(refused)?;
        text.push('\n');
        write_file(&self.folder.join("refused.json"), text.as_bytes())
    }

    /// The identifier was parsed, so it leads nowhere else.
    fn path(&self, id: &CveId) -> PathBuf {
        let year = id.as_str().split('-').nth(1).unwrap_or_default();
        self.folder.join(year).join(format!("{id}.json"))
    }
}

/// By year, then by number.
fn order(id: &CveId) -> (String, usize, String) {
    let mut parts = id.as_str().splitn(3, '-').skip(1);
    let year = parts.next().unwrap_or_default().to_owned();
    let number = parts.next().unwrap_or_default().to_owned();
    (year, number.len(), number)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot read the folder `{}`", folder.display());
    let list = fs::read_dir(folder).with_context(failed)?;
    let paths = list.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().with_context(failed)
}

/// A file's bytes, or none if there is no file.
fn read_bounded(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let failed = || format!("cannot read `{}`", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    anyhow::ensure!(
        bytes.len() as u64 <= limit,
        "`{}` has more than the {limit} bytes that are read",
        path.display()
    );
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECCOMP: &str = include_str!("../../../../../advisories/CVE-2026-89603.json");

    #[test]
    fn a_record_has_one_file_that_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let collection = Collection::make(&folder.path().join("records")).unwrap();
        let id: CveId = "CVE-2026-89603".parse().unwrap();
        for expected in [Outcome::Added, Outcome::Unchanged] {
            let (read, outcome) = collection.import(SECCOMP.as_bytes()).unwrap();
            assert_eq!((read, outcome), (Some(id.clone()), expected));
        }
        let year = folder.path().join("records/2026");
        assert_eq!(entries(&year).unwrap(), [year.join("CVE-2026-89603.json")]);
        assert_eq!(collection.ids().unwrap(), [id]);
    }

    #[test]
    fn identifiers_are_in_the_order_of_their_numbers() {
        let mut ids = ["CVE-2026-10000", "CVE-2026-9999", "CVE-2025-70000"]
            .map(|id| id.parse::<CveId>().unwrap());
        ids.sort_by_cached_key(order);
        let ids = ids.map(|id| id.to_string());
        assert_eq!(ids, ["CVE-2025-70000", "CVE-2026-9999", "CVE-2026-10000"]);
    }

    #[test]
    fn a_folder_that_is_not_there_says_how_to_make_one() {
        let error = Collection::open(Path::new("/no/such"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("suture advisory import"), "{error}");
    }
}
