//! CVE records in the CVE program's JSON format, version 5.

use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;

use crate::affected::{Affected, AffectedObject};
use crate::claim::{ClaimSource, Disagreement, Metric, RecordClaim};
use crate::exploited::Exploited;
use crate::names::CveId;
use crate::time;

/// Largest record read, 4 MiB; the kernel's are below 100 KiB.
pub const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;

/// The state of a record that describes a hole.
const PUBLISHED: &str = "PUBLISHED";

/// Short name of the kernel's own CNA.
const KERNEL_CNA: &str = "Linux";

/// Characters of a description that stand in for a missing title.
const TITLE_CHARACTERS: usize = 120;

/// A published CVE record: what the hole is, and everything that was claimed about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: CveId,
    /// On one line. Where the record has none, the first line of its description, shortened.
    pub title: String,
    /// The first English description; empty if there is none.
    pub description: String,
    /// Short name of the CNA that wrote the record.
    pub assigner: String,
    /// When the record last changed, in any of its containers.
    pub updated: Option<Timestamp>,
    /// Known use of the hole by attackers, where the record itself says so.
    pub exploited: Option<Exploited>,
    /// Every CVSS claim, in the order of the record: the CNA's, then the ADPs'.
    pub claims: Vec<RecordClaim>,
    pub affected: Vec<Affected>,
    /// Whether the record is about the Linux kernel at all, by its assigner or by the products
    /// that its CNA or an ADP names.
    pub concerns_kernel: bool,
    /// Addresses of the CNA's references; for the kernel mostly the commits that fix the hole.
    pub references: Vec<String>,
}

/// Why bytes are not a record that can be used.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("a CVE record of {length} bytes is too large: at most {MAX_RECORD_BYTES} are read")]
    TooLarge { length: usize },
    #[error("this is not a CVE record in JSON format 5")]
    Json { source: serde_json::Error },
    #[error(
        "this is not a CVE record in JSON format 5: `{what}` is `{found}`, expected `{expected}`"
    )]
    Format {
        what: &'static str,
        found: String,
        expected: &'static str,
    },
    /// Rejected or merely reserved: it describes no hole.
    #[error("{id} is {state}, not PUBLISHED: there is nothing to patch under this identifier")]
    NotPublished { id: CveId, state: String },
    #[error("{id} has no CNA container")]
    NoCna { id: CveId },
}

impl Record {
    /// Reads a record as the CVE program publishes it. Unknown fields are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let document = Document::read(bytes)?;
        let Metadata {
            cve_id: id,
            state,
            date_updated,
            ..
        } = document.cve_metadata;
        if state != PUBLISHED {
            return Err(RecordError::NotPublished {
                id,
                state: line(&state, 40),
            });
        }
        let containers = document.containers;
        let cna = containers
            .cna
            .ok_or_else(|| RecordError::NoCna { id: id.clone() })?;
        let mut record = Self::assemble(id, cna, containers.adp);
        record.updated = date_updated.as_deref().and_then(time::parse);
        Ok(record)
    }

    fn assemble(id: CveId, mut cna: Container, adp: Vec<Container>) -> Self {
        let description = english(std::mem::take(&mut cna.descriptions));
        let title = match cna.title.as_deref().map(|title| line(title, usize::MAX)) {
            Some(title) if !title.is_empty() => title,
            _ => line(
                description.lines().next().unwrap_or_default(),
                TITLE_CHARACTERS,
            ),
        };
        let assigner = line(&cna.provider_metadata.short_name, TITLE_CHARACTERS);
        let containers = || std::iter::once(&cna).chain(&adp);
        let exploited = containers().find_map(Container::exploited);
        let named = containers().flat_map(|container| &container.affected);
        let concerns_kernel = assigner == KERNEL_CNA || named.cloned().any(is_kernel);
        let mut claims = claims(ClaimSource::Cna, &cna, &assigner);
        for container in &adp {
            let author = line(&container.provider_metadata.short_name, TITLE_CHARACTERS);
            claims.extend(self::claims(ClaimSource::Adp, container, &author));
        }
        Self {
            id,
            title,
            description,
            assigner,
            updated: None,
            exploited,
            claims,
            affected: cna.affected.into_iter().map(Affected::from).collect(),
            concerns_kernel,
            references: cna
                .references
                .into_iter()
                .map(|reference| reference.url)
                .collect(),
        }
    }

    /// Claims whose written score or severity is not what their vector says.
    pub fn disagreements(&self) -> Vec<Disagreement> {
        self.claims
            .iter()
            .filter_map(RecordClaim::disagreement)
            .collect()
    }

    /// All source files that the record names, in mainline's tree, each once.
    pub fn program_files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self
            .affected
            .iter()
            .flat_map(|entry| &entry.program_files)
            .map(String::as_str)
            .collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

fn is_kernel(object: AffectedObject) -> bool {
    Affected::from(object).is_kernel()
}

fn claims(source: ClaimSource, container: &Container, author: &str) -> Vec<RecordClaim> {
    let at = container.provider_metadata.date_updated.as_deref();
    let at = at.and_then(time::parse);
    container
        .metrics
        .iter()
        .flat_map(|metric| metric.claims(source, author, at))
        .collect()
}

fn english(descriptions: Vec<Description>) -> String {
    let mut english = descriptions
        .into_iter()
        .filter(|text| text.lang.to_ascii_lowercase().starts_with("en"));
    english
        .next()
        .map(|text| lines(&text.value))
        .unwrap_or_default()
}

/// Text from outside on one line, without control characters that a terminal would obey.
pub(crate) fn line(text: &str, characters: usize) -> String {
    let plain: String = text
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    plain.trim().chars().take(characters).collect()
}

/// Text from outside on several lines; of control characters it keeps line ends and tabs.
fn lines(text: &str) -> String {
    let obeyed = |one: char| one.is_control() && one != '\n' && one != '\t';
    text.chars()
        .map(|one| if obeyed(one) { ' ' } else { one })
        .collect()
}

/// A record as it stands in its file, whatever its state.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    data_type: String,
    data_version: String,
    pub(crate) cve_metadata: Metadata,
    #[serde(default)]
    containers: Containers,
}

impl Document {
    /// Reads any record of the format, also one that describes no hole.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let length = bytes.len();
        if length > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge { length });
        }
        let document: Self =
            serde_json::from_slice(bytes).map_err(|source| RecordError::Json { source })?;
        document.check_format()?;
        Ok(document)
    }

    fn check_format(&self) -> Result<(), RecordError> {
        let wrong = |what, found: &str, expected| {
            Err(RecordError::Format {
                what,
                found: line(found, 40),
                expected,
            })
        };
        if self.data_type != "CVE_RECORD" {
            return wrong("dataType", &self.data_type, "CVE_RECORD");
        }
        if !self.data_version.starts_with("5.") {
            return wrong("dataVersion", &self.data_version, "5.x");
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) cve_id: CveId,
    state: String,
    #[serde(default)]
    assigner_short_name: String,
    #[serde(default)]
    pub(crate) date_updated: Option<String>,
}

impl Metadata {
    pub(crate) fn is_published(&self) -> bool {
        self.state == PUBLISHED
    }

    /// The state, fit to be printed.
    pub(crate) fn state(&self) -> String {
        line(&self.state, 40)
    }

    pub(crate) fn is_of_kernel_cna(&self) -> bool {
        self.assigner_short_name == KERNEL_CNA
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Containers {
    cna: Option<Container>,
    adp: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    provider_metadata: Provider,
    title: Option<String>,
    descriptions: Vec<Description>,
    metrics: Vec<Metric>,
    affected: Vec<AffectedObject>,
    references: Vec<Reference>,
}

impl Container {
    /// What a container says of known use; only CISA's word counts, as it keeps the catalogue.
    fn exploited(&self) -> Option<Exploited> {
        let of_cisa = self.provider_metadata.short_name == "CISA-ADP";
        let mut since = self.metrics.iter().filter_map(Metric::listed_in_kev);
        of_cisa.then(|| since.next()).flatten()
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Provider {
    short_name: String,
    date_updated: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Description {
    lang: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    url: String,
}
