//! Redefined types that change no code but that which names what is new in them.
//!
//! The text tells which members, or enumerators, an edit touches, and that all others are declared
//! as before and filled by initialisers as before ([`Redefinition::touched`]). Debug information
//! of one unit, compiled with and without the fix, proves the rest: that every member keeps its
//! place, its size and its type, that the new ones are second names of old ones, and that no other
//! type of the unit is laid out anew. A unit that names nothing of what is touched then compiles
//! to code that finds everything where it was. What the type is called in `sizeof`, `offsetof` or
//! a table does not matter, for size and places are the same. Nor does what the compiler concludes
//! from types of pointers: kernels are compiled with `-fno-strict-aliasing`, and a unit that is not
//! counts as changed. Checksums of exported symbols are made from such types, but a patch is linked
//! against those of the running kernel, which no fix edits.
//!
//! That is a proof on paper. So some of the units that it spares are compiled with and without the
//! fix, those first that name the types the most. If the code of one differs, or the layout of one
//! of its types, the proof is dropped and all units count.

use rayon::prelude::*;
use suture_preprocessor::{Edit, Redefinition, Touched, redefined};

use super::Spared;
use super::judge::Judge;
use crate::commands::CompileCommand;
use crate::comparison::code_differs;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::layout::Layouts;
use crate::progress::{Progress, step};
use crate::unit::Unit;

/// Units in which redefined types are looked for; what makes a fix wide is in most.
const LOOKED_AT: usize = 32;

/// Units that are compiled for a proof.
const WITNESSES: usize = 4;

/// Units that are compiled to see that a proof holds: so many with the most mentions, and so many
/// from all over the kernel.
const SAMPLED: [usize; 2] = [3, 3];

/// A redefined type, and units that see it, the smallest first.
struct Seen<'k> {
    redefinition: Redefinition,
    units: Vec<(usize, &'k CompileCommand)>,
}

/// What is known of an edit that these units see, with the types that it redefines and that are
/// proven harmless.
///
/// # Errors
///
/// A refusal if one is laid out anew: then how many units the fix changes does not matter.
pub(super) fn proven(
    changed: &[&CompileCommand],
    judge: &Judge<'_>,
    progress: &dyn Progress,
) -> Result<Edit, FactoryError> {
    let (mut open, mut edit) = step(progress, "looking for types that the fix redefines", || {
        Ok::<_, FactoryError>(seen(changed, judge))
    })?;
    for _ in 0..WITNESSES {
        let Some(witness) = next_witness(&mut open) else {
            break;
        };
        let what = format!("compiling {} to see what types change", witness.source);
        let layouts = step(progress, &what, || both_layouts(witness, judge));
        let (before, after) = match layouts {
            Ok(layouts) => layouts,
            // It may not compile with the fix, and another one will.
            Err(FactoryError::Refused(_)) => continue,
            Err(error) => return Err(error),
        };
        refuse_new_layouts(&witness.source, &before, &after)?;
        open.retain(|seen| {
            let redefinition = &seen.redefinition;
            let Some(other) = before.other_members(&after, &redefinition.tag) else {
                return true;
            };
            let told = redefinition.touched(judge.names());
            let told = told.map_err(|why| why.to_string());
            match told.and_then(|told| touched(&redefinition.tag, told, other)) {
                Ok(names) => edit.add(redefinition.harmless(&names, judge.names())),
                Err(why) => {
                    let tag = &redefinition.tag;
                    let note = format!("the edit of `{tag}` is not taken as harmless: {why}");
                    judge.edited.log.note(&note);
                }
            }
            false
        });
    }
    Ok(edit)
}

/// All names that an edit touches, if debug information tells the same as the text. `other` are
/// the members that are not in both, or the enumerators whose values are not the same.
fn touched(tag: &str, told: Touched, other: Vec<String>) -> Result<Vec<String>, String> {
    let Touched {
        mut new,
        other: declared,
    } = told;
    new.sort();
    if tag.starts_with("enum ") {
        // Those after a new one get other values though their own text is the same.
        return Ok([new, declared, other].concat());
    }
    if new != other {
        return Err(format!(
            "its text has {new:?} as new, its debug information {other:?}"
        ));
    }
    Ok([new, declared].concat())
}

/// Learns the edit from some of the units, and the types that it redefines.
fn seen<'k>(changed: &[&'k CompileCommand], judge: &Judge<'_>) -> (Vec<Seen<'k>>, Edit) {
    let each = changed.len().div_ceil(LOOKED_AT).max(1);
    let some: Vec<_> = changed.iter().copied().step_by(each).collect();
    let (mut seen, mut edit): (Vec<Seen<'k>>, _) = (Vec::new(), Edit::default());
    // The texts are large, so only as many are in memory as are made at once.
    for units in some.chunks(rayon::current_num_threads()) {
        let texts = units.par_iter().map(|unit| (*unit, judge.texts(unit)));
        let texts: Vec<_> = texts.collect();
        for (unit, texts) in texts {
            let Some((before, after)) = texts else {
                continue;
            };
            edit.learn(&before, &after, judge.names());
            for redefinition in redefined(&before, &after, judge.names()) {
                let unit = (before.len(), unit);
                let mut known = seen.iter_mut();
                match known.find(|known| known.redefinition == redefinition) {
                    Some(known) => known.units.push(unit),
                    None => seen.push(Seen {
                        redefinition,
                        units: vec![unit],
                    }),
                }
            }
        }
    }
    for one in &mut seen {
        one.units.sort_by_key(|(size, _)| *size);
    }
    (seen, edit)
}

/// The smallest unit that sees the type which the most see; it is not taken again.
fn next_witness<'k>(open: &mut [Seen<'k>]) -> Option<&'k CompileCommand> {
    let most = open.iter_mut().max_by_key(|seen| seen.units.len())?;
    let (_, unit) = *most.units.first()?;
    for seen in open {
        seen.units.retain(|(_, other)| other.object != unit.object);
    }
    Some(unit)
}

/// The layouts of all types that a unit sees. What makes a fix wide is most often in headers that
/// a unit reads and has no use for.
fn both_layouts(
    command: &CompileCommand,
    judge: &Judge<'_>,
) -> Result<(Layouts, Layouts), FactoryError> {
    let edited = judge.edited;
    let unit = Unit::new(edited.tree, command)?;
    let (original, patched) = unit.both_with_types(edited.tree, edited.copy, edited.log)?;
    Ok((
        Layouts::of_unit(&unit.source, &original.bytes)?,
        Layouts::of_unit(&unit.source, &patched.bytes)?,
    ))
}

fn compiled(
    command: &CompileCommand,
    judge: &Judge<'_>,
) -> Result<(Unit, Vec<u8>, Vec<u8>), FactoryError> {
    let edited = judge.edited;
    let unit = Unit::new(edited.tree, command)?;
    let (original, patched) = unit.both(edited.tree, edited.copy, edited.log)?;
    Ok((unit, original.bytes, patched.bytes))
}

fn refuse_new_layouts(unit: &str, before: &Layouts, after: &Layouts) -> Result<(), FactoryError> {
    let changed = before.changed(after).into_iter();
    let refusals: Vec<Refusal> = changed.map(|change| change.refusal(unit)).collect();
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(FactoryError::Refused(Refusals(refusals))),
    }
}

/// Whether the code of units that a proof spares is really the same.
pub(super) fn holds(
    spared: &[Spared<'_>],
    judge: &Judge<'_>,
    progress: &dyn Progress,
) -> Result<bool, FactoryError> {
    let sample = sample(spared);
    let what = format!(
        "compiling {} of {} units that are taken as unchanged",
        sample.len(),
        spared.len()
    );
    let same = step(progress, &what, || {
        let same = sample.par_iter().map(|unit| is_same(unit, judge));
        same.collect::<Result<Vec<bool>, FactoryError>>()
    })?;
    Ok(same.into_iter().all(|same| same))
}

/// Those with the most mentions, and some of the rest in even steps.
fn sample<'k>(spared: &[Spared<'k>]) -> Vec<&'k CompileCommand> {
    let [most, even] = SAMPLED;
    let mut spared: Vec<&Spared<'k>> = spared.iter().collect();
    spared.sort_by_key(|one| std::cmp::Reverse(one.mentions));
    let rest = spared.split_off(most.min(spared.len()));
    let each = rest.len().div_ceil(even).max(1);
    spared.extend(rest.into_iter().step_by(each));
    spared.iter().map(|one| one.unit).collect()
}

fn is_same(command: &CompileCommand, judge: &Judge<'_>) -> Result<bool, FactoryError> {
    let note = |why: &str| {
        let unit = &command.source;
        judge
            .edited
            .log
            .note(&format!("{unit} was to stay the same, and {why}"));
        Ok(false)
    };
    let (unit, original, patched) = match compiled(command, judge) {
        Ok(compiled) => compiled,
        Err(FactoryError::Refused(_)) => return note("does not compile"),
        Err(error) => return Err(error),
    };
    let source = &unit.source;
    if code_differs(source, &original, &patched)? {
        return note("its code differs");
    }
    let (before, after) = (
        Layouts::of_unit(source, &original)?,
        Layouts::of_unit(source, &patched)?,
    );
    match before.changed(&after).first() {
        Some(change) => note(&format!("`{}` is laid out anew", change.name)),
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn told(new: &[&str], other: &[&str]) -> Touched {
        Touched {
            new: names(new),
            other: names(other),
        }
    }

    #[test]
    fn text_and_debug_information_have_to_agree_on_new_members() {
        let touched = |told, other: &[&str]| touched("struct sock", told, names(other));
        assert_eq!(
            touched(told(&["b", "a"], &["c"]), &["a", "b"]),
            Ok(names(&["a", "b", "c"]))
        );
        touched(told(&["a"], &[]), &[]).unwrap_err();
        touched(told(&[], &["a"]), &["b"]).unwrap_err();
    }

    #[test]
    fn an_enumerator_with_another_value_is_touched() {
        let all = touched("enum e", told(&["NEW"], &[]), names(&["MAX", "NEW"]));
        assert_eq!(all, Ok(names(&["NEW", "MAX", "NEW"])));
    }

    #[test]
    fn a_sample_has_the_units_with_the_most_mentions_and_others() {
        let units: Vec<CompileCommand> = (0..100)
            .map(|number| CompileCommand {
                source: format!("{number}.c"),
                object: format!("{number}.o"),
                text: String::new(),
                listed_in: Vec::new(),
            })
            .collect();
        let spared = |count: usize| {
            let units = units.iter().take(count).enumerate();
            let spared: Vec<_> = units
                .map(|(mentions, unit)| Spared { unit, mentions })
                .collect();
            let sample = sample(&spared);
            sample
                .iter()
                .map(|unit| unit.source.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            spared(100),
            ["99.c", "98.c", "97.c", "96.c", "63.c", "30.c"]
        );
        assert_eq!(spared(4), ["3.c", "2.c", "1.c", "0.c"]);
        assert_eq!(spared(0), Vec::<&str>::new());
    }
}
