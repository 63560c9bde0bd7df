//! `suture advisory import`

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use suture_advisory::{
    ArchiveKind, BulkError, BulkLimits, CveId, MAX_RECORD_BYTES, Outcome, ReadSeek, Spool,
    is_record_name, read_bulk,
};

use super::collection::Collection;
use super::{Format, print_json};
use crate::cli::output::print;

/// Folders in folders; the CVE program's list has three.
const MAX_DEPTH: usize = 16;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Record, folder (its files `CVE-….json`, at any depth), or archive (zip, tar, tar.gz,
    /// tar.xz; also the CVE program's own `…_all_CVEs_at_midnight.zip.zip`).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder of the collection; it is made where there is none.
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What became of everything that was offered.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// How many of each outcome.
    counts: BTreeMap<&'static str, usize>,
    /// Each that was added, updated or rejected, and in an archive or folder not the others:
    /// hundreds of thousands are of other products.
    records: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// The file, and the member of an archive.
    from: String,
    cve: Option<CveId>,
    #[serde(flatten)]
    outcome: Outcome,
}

/// One import under way.
struct Import<'a> {
    collection: &'a Collection,
    report: Report,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut import = Import {
        collection: &Collection::make(&args.into)?,
        report: Report::default(),
    };
    let result = args.paths.iter().try_for_each(|path| import.path(path));
    // What came in before a failure is in, and is told.
    match args.format {
        Format::Json => print_json(&import.report)?,
        Format::Text => print(&import.report.text())?,
    }
    result
}

impl Import<'_> {
    fn path(&mut self, path: &Path) -> anyhow::Result<()> {
        if path.is_dir() {
            self.folder(path, 0)
        } else {
            self.file(path, true)
        }
    }

    /// Links are not followed: a folder is what lies in it.
    fn folder(&mut self, folder: &Path, depth: usize) -> anyhow::Result<()> {
        let shown = folder.display();
        anyhow::ensure!(
            depth < MAX_DEPTH,
            "`{shown}` lies too deep: name it by itself"
        );
        let failed = || format!("cannot read the folder `{shown}`");
        let mut entries = fs::read_dir(folder)
            .with_context(failed)?
            .collect::<io::Result<Vec<_>>>()
            .with_context(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().with_context(failed)?;
            if kind.is_dir() {
                self.folder(&entry.path(), depth + 1)?;
            } else if kind.is_file() && is_record_name(&entry.file_name().to_string_lossy()) {
                self.file(&entry.path(), false)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, named: bool) -> anyhow::Result<()> {
        let failed = || format!("cannot read `{}`", path.display());
        let mut file = File::open(path).with_context(failed)?;
        let mut bytes = Vec::new();
        (&mut file)
            .take(ArchiveKind::HEAD_BYTES as u64)
            .read_to_end(&mut bytes)
            .with_context(failed)?;
        if named && ArchiveKind::of(&bytes).is_some() {
            file.rewind().with_context(failed)?;
            return self.archive(path, file);
        }
        let limit = MAX_RECORD_BYTES as u64 + 1;
        file.take(limit)
            .read_to_end(&mut bytes)
            .with_context(failed)?;
        let (cve, outcome) = self.collection.import(&bytes)?;
        self.report
            .note(path.display().to_string(), cve, outcome, named);
        Ok(())
    }

    fn archive(&mut self, path: &Path, file: File) -> anyhow::Result<()> {
        let (report, collection) = (&mut self.report, self.collection);
        // The reading knows nothing of folders, so a failure of ours waits until it has ended.
        let mut failure = None;
        let mut each = |member: suture_advisory::Member<'_>| {
            let taken = match member.bytes {
                Ok(bytes) => collection.import(bytes),
                Err(error) => Ok((None, Outcome::rejected(&error))),
            };
            let (cve, outcome) = taken.map_err(|error| {
                failure = Some(error);
                BulkError::Stopped
            })?;
            let from = format!("{}: {}", path.display(), member.name);
            report.note(from, cve, outcome, false);
            Ok(())
        };
        let file = Box::new(io::BufReader::new(file));
        let read = read_bulk(file, BulkLimits::default(), &mut Nameless, &mut each);
        match failure {
            Some(failure) => Err(failure),
            None => read.with_context(|| format!("`{}` was not read to its end", path.display())),
        }
    }
}

/// Archives in archives go into a file without a name, which goes when it is closed.
struct Nameless;

impl Spool for Nameless {
    fn spool(&mut self, bytes: &mut dyn Read) -> io::Result<Box<dyn ReadSeek>> {
        let mut file = tempfile::tempfile()?;
        io::copy(bytes, &mut file)?;
        file.rewind()?;
        Ok(Box::new(io::BufReader::new(file)))
    }
}

impl Report {
    fn note(&mut self, from: String, cve: Option<CveId>, outcome: Outcome, named: bool) {
        let (word, told) = match outcome {
            Outcome::Added => ("added", true),
            Outcome::Updated { .. } => ("updated", true),
            Outcome::Unchanged | Outcome::Older { .. } => ("unchanged", named),
            Outcome::NotTheKernel => ("passed over", named),
            Outcome::Rejected { .. } => ("rejected", true),
        };
        *self.counts.entry(word).or_default() += 1;
        if told {
            self.records.push(Line { from, cve, outcome });
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Line { from, cve, outcome } in &self.records {
            text += &match cve {
                Some(cve) => format!("{cve} {outcome} ({from})\n"),
                None => format!("{from} {outcome}\n"),
            };
        }
        let counts = self.counts.iter();
        let counts: Vec<String> = counts
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        if counts.is_empty() {
            text + "no records found\n"
        } else {
            text + &counts.join(", ") + "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../advisories");

    fn import(paths: &[&Path], into: &Path) -> (anyhow::Result<()>, Report) {
        let mut import = Import {
            collection: &Collection::make(into).unwrap(),
            report: Report::default(),
        };
        let result = paths.iter().try_for_each(|path| import.path(path));
        (result, import.report)
    }

    #[test]
    fn a_folder_of_records_comes_in_once() {
        let into = tempfile::tempdir().unwrap();
        let files = std::fs::read_dir(RECORDS).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        let records = names
            .filter(|name| name.to_string_lossy().ends_with(".json"))
            .count();
        assert!(records > 1);
        let (result, report) = import(&[Path::new(RECORDS)], into.path());
        result.unwrap();
        let added = format!("{records} added\n");
        assert!(report.text().ends_with(&added), "{}", report.text());
        let (result, report) = import(&[Path::new(RECORDS)], into.path());
        result.unwrap();
        assert_eq!(report.text(), format!("{records} unchanged\n"));
    }

    #[test]
    fn a_file_that_a_person_named_is_always_answered() {
        let into = tempfile::tempdir().unwrap();
        let readme = PathBuf::from(RECORDS).join("README.md");
        let (result, report) = import(&[&readme], into.path());
        result.unwrap();
        assert!(
            report.text().contains("rejected: this is not a CVE record"),
            "{}",
            report.text()
        );
        let record = PathBuf::from(RECORDS).join("CVE-2026-89603.json");
        let (_, report) = import(&[&record, &record], into.path());
        assert_eq!(report.records.len(), 2);
        assert_eq!(report.records[1].outcome, Outcome::Unchanged);
    }

    #[test]
    fn a_damaged_archive_is_said_to_be_one_and_what_came_in_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let record = Path::new(RECORDS).join("CVE-2026-89603.json");
        builder
            .append_path_with_name(&record, "CVE-2026-89603.json")
            .unwrap();
        let mut archive = builder.into_inner().unwrap();
        let end = archive.len() - 1024;
        archive.truncate(end);
        archive.extend([b'?'; 512]);
        let path = folder.path().join("bulk.tar");
        fs::write(&path, archive).unwrap();
        let (result, report) = import(&[&path], &folder.path().join("into"));
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("was not read to its end"), "{error}");
        assert_eq!(report.counts["added"], 1);
    }
}
