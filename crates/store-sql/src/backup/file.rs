//! The file: gzip of lines of JSON.
//!
//! ```text
//! {"suture_backup":1,"from":"sqlite","made_ms":1795996800000}
//! {"table":"account","columns":["id","email",…]}
//! ["0b0c1b62-…","ada@example.org",…]              a row; bytes are hexadecimal digits
//! …
//! {"rows":3,"sha256":"…"}                         of all bytes before this line, unpacked
//! ```

use std::io::{BufRead, BufReader, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BackupError, failed};

const FORMAT: u32 = 1;

/// Bytes of a line. The longest is the list of a draw: 32 for each machine of a fleet.
const MAX_LINE: u64 = 512 * 1024 * 1024;

/// Bytes of the first line: another file is told from a backup before more of it is unpacked.
const MAX_HEADER: u64 = 4096;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    suture_backup: u32,
    /// `sqlite` or `postgres`.
    pub from: String,
    pub made_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableLine {
    table: String,
    columns: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    rows: u64,
    sha256: String,
}

/// Writes a backup.
pub struct Writer<W: Write> {
    to: GzEncoder<W>,
    hash: Context,
    rows: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W, from: &str, made_ms: i64) -> Result<Self, BackupError> {
        let mut writer = Self {
            to: GzEncoder::new(to, Compression::fast()),
            hash: Context::new(&SHA256),
            rows: 0,
        };
        writer.json(&Header {
            suture_backup: FORMAT,
            from: from.to_owned(),
            made_ms,
        })?;
        Ok(writer)
    }

    pub fn table(&mut self, table: String, columns: Vec<String>) -> Result<(), BackupError> {
        self.json(&TableLine { table, columns })
    }

    /// A row, as the JSON list that the database made of it.
    pub fn row(&mut self, row: &str) -> Result<(), BackupError> {
        self.rows += 1;
        self.line(row.as_bytes())
    }

    /// Writes the checksum, and gives back what was written to with the number of rows.
    pub fn finish(mut self) -> Result<(W, u64), BackupError> {
        let end = EndLine {
            rows: self.rows,
            sha256: hex::encode(self.hash.clone().finish()),
        };
        self.json(&end)?;
        let to = self.to.finish().map_err(failed("write"))?;
        Ok((to, self.rows))
    }

    fn json(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let line = serde_json::to_vec(line).map_err(|error| failed("write")(error.into()))?;
        self.line(&line)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BackupError> {
        for part in [line, b"\n"] {
            self.hash.update(part);
            self.to.write_all(part).map_err(failed("write"))?;
        }
        Ok(())
    }
}

/// A line between the first and the last.
#[derive(Debug, PartialEq)]
pub enum Record {
    /// The rows that follow are of this table.
    Table {
        name: String,
        columns: Vec<String>,
    },
    Row(Vec<Value>),
}

/// Reads a backup. Nothing is true before the end was reached.
pub struct Reader<R: Read> {
    from: BufReader<MultiGzDecoder<R>>,
    header: Header,
    hash: Context,
    rows: u64,
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Result<Self, BackupError> {
        let mut from = BufReader::new(MultiGzDecoder::new(from));
        let reason = "it does not begin as one";
        let line = read_line(&mut from, MAX_HEADER);
        let line = line.map_err(|_| BackupError::NoBackup { reason })?;
        let header: Header =
            serde_json::from_slice(&line).map_err(|_| BackupError::NoBackup { reason })?;
        if header.suture_backup != FORMAT {
            return Err(BackupError::Format {
                found: header.suture_backup,
                known: FORMAT,
            });
        }
        let mut hash = Context::new(&SHA256);
        hash.update(&line);
        Ok(Self {
            from,
            header,
            hash,
            rows: 0,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; none at the end of a whole and undamaged file.
    pub fn next(&mut self) -> Result<Option<Record>, BackupError> {
        let line = read_line(&mut self.from, MAX_LINE)?;
        if line.starts_with(b"[") {
            self.hash.update(&line);
            self.rows += 1;
            return Ok(Some(Record::Row(parse(&line)?)));
        }
        if line.starts_with(b"{\"table\"") {
            self.hash.update(&line);
            let TableLine { table, columns } = parse(&line)?;
            return Ok(Some(Record::Table {
                name: table,
                columns,
            }));
        }
        self.end(&parse(&line)?)?;
        Ok(None)
    }

    fn end(&mut self, end: &EndLine) -> Result<(), BackupError> {
        let damaged = |reason| Err(BackupError::Damaged { reason });
        if end.sha256 != hex::encode(self.hash.clone().finish()) {
            return damaged("its content is not what its checksum says");
        }
        if end.rows != self.rows {
            return damaged("it has another number of rows than it says");
        }
        match self.from.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => damaged("something follows its end"),
            Err(source) => Err(failed("read")(source)),
        }
    }
}

fn parse<'line, T: Deserialize<'line>>(line: &'line [u8]) -> Result<T, BackupError> {
    serde_json::from_slice(line).map_err(|_| BackupError::Damaged {
        reason: "a line can't be read",
    })
}

/// A line with its end.
fn read_line(from: &mut impl BufRead, limit: u64) -> Result<Vec<u8>, BackupError> {
    let mut line = Vec::new();
    let read = from.take(limit).read_until(b'\n', &mut line);
    read.map_err(failed("read"))?;
    if line.ends_with(b"\n") {
        Ok(line)
    } else {
        Err(BackupError::Damaged {
            reason: "it ends before its end, or has a line without one",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), "sqlite", 5).unwrap();
        writer
            .table("account".to_owned(), vec!["id".to_owned()])
            .unwrap();
        writer.row(r#"["ada"]"#).unwrap();
        writer.row(r#"["grace"]"#).unwrap();
        let (bytes, rows) = writer.finish().unwrap();
        assert_eq!(rows, 2);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, BackupError> {
        let mut reader = Reader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok(records)
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::fast());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> String {
        let mut text = String::new();
        MultiGzDecoder::new(bytes)
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn what_was_written_is_read() {
        let records = read(&written()).unwrap();
        let table = Record::Table {
            name: "account".to_owned(),
            columns: vec!["id".to_owned()],
        };
        let row = |name| Record::Row(vec![json!(name)]);
        assert_eq!(records, [table, row("ada"), row("grace")]);
    }

    #[test]
    fn a_file_that_is_not_whole_or_was_changed_is_refused() {
        let whole = unpacked(&written());
        let lines: Vec<&str> = whole.lines().collect();
        let cut = |lines: &[&str]| packed(&(lines.join("\n") + "\n"));
        let changed = whole.replace("grace", "grade");
        for bad in [
            cut(&lines[..4]),
            cut(&[lines[0], lines[1], lines[2], lines[4]]),
            packed(&changed),
            packed(&format!("{whole}[\"more\"]\n")),
            packed(whole.trim_end()),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        }
        let bytes = written();
        assert!(read(&bytes[..bytes.len() - 9]).is_err());
        for bad in [b"".to_vec(), b"SQLite format 3".to_vec(), packed("{}\n")] {
            let error = read(&bad).unwrap_err();
            assert!(matches!(error, BackupError::NoBackup { .. }), "{error}");
        }
        let error = read(&packed(&whole.replacen(":1,", ":2,", 1))).unwrap_err();
        assert!(
            matches!(error, BackupError::Format { found: 2, .. }),
            "{error}"
        );
    }
}
