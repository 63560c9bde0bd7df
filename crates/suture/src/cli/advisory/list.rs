//! `suture advisory list`

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use suture_advisory::{
    ExploitedCatalogue, Hole, HoleList, KernelFacts, Reach, Record, RecordError, Severity, assess,
};
use suture_kernel::KernelRelease;

use super::collection::Collection;
use super::kernel::{Kernel, published};
use super::{Format, print_json};
use crate::cli::output::print;
use crate::cli::{CacheArgs, read_input};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the collection.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Kernel release, as `uname -r` prints it. Its packages are fetched and its source prepared
    /// if that was not done before.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Folder of the repository with the published live patches.
    #[arg(long, value_name = "FOLDER")]
    repository: Option<PathBuf>,
    /// CISA's catalogue of exploited vulnerabilities
    /// (`known_exploited_vulnerabilities.json`), for records that lack the listing.
    #[arg(long, value_name = "FILE")]
    exploited: Option<PathBuf>,
    /// Which to list.
    #[arg(long, value_delimiter = ',', default_values = ["high", "critical", "unrated"],
        value_parser = parse_grade)]
    severity: Vec<Grade>,
    /// Don't look at the kernel's source: every file counts as compiled.
    #[arg(long)]
    any_configuration: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    cache: CacheArgs,
}

/// A severity, or that there is none.
type Grade = Option<Severity>;

fn parse_grade(text: &str) -> Result<Grade, String> {
    if text.eq_ignore_ascii_case("unrated") {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "expected none, low, medium, high, critical or unrated".to_owned())
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let collection = Collection::open(&args.from)?;
    let kernel = Kernel::open(&args.kernel, &args.cache.folder(), !args.any_configuration)?;
    let patched = match &args.repository {
        Some(repository) => published(repository, &kernel).await?,
        None => None,
    };
    let compiled = |file: &str| kernel.compiled(file);
    let facts = KernelFacts {
        release: args.kernel.clone(),
        version: kernel.version.clone(),
        compiled: &compiled,
        changelog: kernel.changelog.clone(),
        patched,
        refused: collection.refused()?,
        exploited: exploited(args)?,
    };
    let list = HoleList::new(&facts, holes(&collection, &facts, &args.severity)?);
    match args.format {
        Format::Json => print_json(&list),
        Format::Text => print(&text(&list)),
    }
}

fn exploited(args: &Args) -> anyhow::Result<ExploitedCatalogue> {
    let Some(path) = &args.exploited else {
        return Ok(ExploitedCatalogue::default());
    };
    ExploitedCatalogue::parse(&read_input(path)?)
        .with_context(|| format!("cannot use `{}`", path.display()))
}

/// One record after the other, so that a large collection needs little memory.
fn holes(
    collection: &Collection,
    kernel: &KernelFacts<'_>,
    grades: &[Grade],
) -> anyhow::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    for id in collection.ids()? {
        let Some(bytes) = collection.read(&id)? else {
            continue;
        };
        match Record::parse(&bytes) {
            Ok(record) => {
                let hole = assess(&record, kernel);
                if grades.contains(&hole.rating.severity()) {
                    holes.push(hole);
                }
            }
            // It was withdrawn after it came in: no hole.
            Err(RecordError::NotPublished { .. }) => {}
            // A damaged record must not hide what it was about.
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the kept record of {id} is damaged; import it again")
                });
            }
        }
    }
    Ok(holes)
}

fn text(list: &HoleList) -> String {
    let counts = list.counts.iter();
    let counts: Vec<String> = counts
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let mut text = format!("{} (upstream {}): ", list.kernel, list.upstream);
    text += if counts.is_empty() { "no holes" } else { "" };
    text += &(counts.join(", ") + "\n");
    let mut state = "";
    for hole in &list.holes {
        if hole.state.word() != state {
            state = hole.state.word();
            let _ = writeln!(text, "\n{state}");
        }
        text += &line(hole);
    }
    text
}

fn line(hole: &Hole) -> String {
    let rating = match &hole.rating.decisive {
        Some(claim) => claim.to_string(),
        None => "unrated".to_owned(),
    };
    let mut text = format!("  {}  {rating}  {}\n", hole.cve, hole.title);
    let explained = hole.state.to_string();
    if explained != hole.state.word() {
        let _ = writeln!(text, "    {explained}");
    }
    if let Some(Reach::Present { built_in, modules }) = &hole.reach {
        let image = built_in.then(|| "the kernel image".to_owned());
        let places: Vec<String> = image.into_iter().chain(modules.iter().cloned()).collect();
        let _ = writeln!(text, "    in {}", places.join(", "));
    }
    for note in &hole.notes {
        let _ = writeln!(text, "    {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unrated_is_a_grade_to_ask_for() {
        assert_eq!(parse_grade("Unrated"), Ok(None));
        assert_eq!(parse_grade("HIGH"), Ok(Some(Severity::High)));
        assert!(parse_grade("grave").is_err());
    }
}
