//! Which function of the patched unit stands for which of the original one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::matcher::Matcher;
use crate::names::{base_name, is_copyable, is_numbered, stem};
use crate::special::{Role, role};
use crate::unit::{Target, Unit};

/// Pairs functions by name. Clones of one function (`foo.part.0`, `foo.part.1`) are paired by what
/// they do first, since their numbers may have moved.
///
/// Any pairing of clones is sound: a caller only counts as unchanged if it calls the pair of what
/// it called before. A bad pairing merely makes more callers count as changed.
pub(crate) fn pair_functions(old: &Unit, new: &Unit) -> HashMap<usize, usize> {
    let (before, mut after) = (groups(old), groups(new));
    let mut pairs = HashMap::new();
    for (base, olds) in before {
        let news = after.remove(&base).unwrap_or_default();
        match (olds.as_slice(), news.as_slice()) {
            (&[a], &[b]) => {
                pairs.insert(a, b);
            }
            _ => pair_clones(old, new, olds, news, &mut pairs),
        }
    }
    pairs
}

fn groups(unit: &Unit) -> BTreeMap<String, Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for function in unit.functions() {
        groups
            .entry(base_name(unit.name(function)))
            .or_default()
            .push(function);
    }
    groups
}

fn pair_clones(
    old: &Unit,
    new: &Unit,
    mut olds: Vec<usize>,
    mut news: Vec<usize>,
    pairs: &mut HashMap<usize, usize>,
) {
    let bodies = |unit: &Unit, list: &[usize]| {
        list.iter()
            .map(|&function| (function, body(unit, function)))
            .collect::<HashMap<_, _>>()
    };
    let (before, after) = (bodies(old, &olds), bodies(new, &news));
    let same_name = |a: usize, b: usize| old.name(a) == new.name(b);
    let same_body = |a: usize, b: usize| before[&a] == after[&b];
    let mut pair_where = |condition: &dyn Fn(usize, usize) -> bool| {
        olds.retain(|&a| match news.iter().position(|&b| condition(a, b)) {
            Some(position) => {
                pairs.insert(a, news.remove(position));
                false
            }
            None => true,
        });
    };
    pair_where(&|a, b| same_name(a, b) && same_body(a, b));
    pair_where(&same_body);
    pair_where(&same_name);
    if let (&[a], &[b]) = (olds.as_slice(), news.as_slice())
        && is_numbered(old.name(a))
    {
        pairs.insert(a, b);
    }
}

/// A digest of a function's bytes and of what it refers to, numbers in names apart.
fn body(unit: &Unit, function: usize) -> u64 {
    let range = unit.range(function);
    let section = unit.section(range.section);
    let mut hasher = DefaultHasher::new();
    section.bytes(range.start, range.end).hash(&mut hasher);
    for relocation in section.relocations_in(range.start, range.end) {
        (relocation.offset - range.start, relocation.r_type).hash(&mut hasher);
        match unit.target(range.section, relocation) {
            Target::Outside { symbol, offset } | Target::Atom { symbol, offset } => {
                (base_name(unit.name(symbol)), offset).hash(&mut hasher);
            }
            Target::Literal { section, offset } => unit.literal(section, offset).hash(&mut hasher),
            Target::Constant { .. } | Target::Place { .. } => {}
        }
    }
    hasher.finish()
}

/// Pairs the objects whose names mean something.
pub(crate) fn pair_named_data(matcher: &mut Matcher<'_>) {
    let named = |unit: &Unit| -> BTreeMap<String, usize> {
        unit.atoms()
            .filter(|&atom| !unit.is_function(atom))
            .filter(|&atom| !is_numbered(unit.name(atom)))
            .filter(|&atom| !is_copyable(unit.name(atom), &unit.section_of(atom).name))
            .map(|atom| (unit.name(atom).to_owned(), atom))
            .collect()
    };
    let after = named(matcher.new);
    for (name, old) in named(matcher.old) {
        if let Some(&new) = after.get(&name) {
            matcher.pair_data(old, new);
        }
    }
}

/// Pairs what is left of the static variables: those of one name that one and the same function
/// uses before and after, be they of the file or of the function. Returns the patched unit's
/// variables that remain doubtful.
pub(crate) fn pair_statics(matcher: &mut Matcher<'_>) -> HashSet<usize> {
    let (old_users, new_users) = (users(matcher.old), users(matcher.new));
    let olds = unpaired(matcher.old, |atom| matcher.data.contains_key(&atom));
    let news = unpaired(matcher.new, |atom| matcher.original_data(atom).is_some());
    let mut doubtful = HashSet::new();
    for (base, news) in news {
        let Some(olds) = olds.get(&base) else {
            continue;
        };
        let found = certain_pairs(olds, &news, |old, new| {
            shared_user(matcher, &old_users, &new_users, old, new)
                && (matcher.old.section_of(old).is_writable() || matcher.same_content(old, new).0)
        });
        // Once every old variable has its place, what is left is new.
        if found.len() < olds.len() {
            doubtful.extend(
                news.iter()
                    .filter(|new| !found.iter().any(|(_, b)| b == *new)),
            );
        }
        for (old, new) in found {
            matcher.pair_data(old, new);
        }
    }
    doubtful
}

/// The pairs that leave no choice. If there are fewer variables than before, one is gone, and
/// there is no telling which.
fn certain_pairs(
    olds: &[usize],
    news: &[usize],
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    if olds.len() > news.len() {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    for &new in news {
        let mut candidates = olds.iter().copied().filter(|&old| fits(old, new));
        if let (Some(old), None) = (candidates.next(), candidates.next())
            && news.iter().filter(|&&rival| fits(old, rival)).count() == 1
        {
            pairs.push((old, new));
        }
    }
    pairs
}

/// Whether a function uses the one before and the other after, be it as another clone of its own.
fn shared_user(
    matcher: &Matcher<'_>,
    old_users: &HashMap<usize, HashSet<usize>>,
    new_users: &HashMap<usize, HashSet<usize>>,
    old: usize,
    new: usize,
) -> bool {
    let (Some(before), Some(after)) = (old_users.get(&old), new_users.get(&new)) else {
        return false;
    };
    let mut pairs = before
        .iter()
        .filter_map(|function| matcher.functions.get(function));
    let stems: HashSet<&str> = before
        .iter()
        .map(|&user| stem(matcher.old.name(user)))
        .collect();
    let same_source = |&user: &usize| stems.contains(stem(matcher.new.name(user)));
    pairs.any(|function| after.contains(function)) || after.iter().any(same_source)
}

/// Variables by their name without numbers that are not paired and must not be copied.
fn unpaired(unit: &Unit, paired: impl Fn(usize) -> bool) -> BTreeMap<String, Vec<usize>> {
    let mut unpaired: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for atom in unit
        .atoms()
        .filter(|&atom| !unit.is_function(atom) && !paired(atom))
    {
        let (name, section) = (unit.name(atom), &unit.section_of(atom).name);
        if role(section) == Role::Plain && !is_copyable(name, section) {
            unpaired.entry(base_name(name)).or_default().push(atom);
        }
    }
    unpaired
}

/// The functions that refer to each object; a `.cold` part counts as its parent.
fn users(unit: &Unit) -> HashMap<usize, HashSet<usize>> {
    let mut users: HashMap<usize, HashSet<usize>> = HashMap::new();
    for function in unit.functions() {
        let whole = unit.parent(function).unwrap_or(function);
        let range = unit.range(function);
        for relocation in unit
            .section(range.section)
            .relocations_in(range.start, range.end)
        {
            if let Target::Atom { symbol, .. } = unit.target(range.section, relocation)
                && !unit.is_function(symbol)
            {
                users.entry(symbol).or_default().insert(whole);
            }
        }
    }
    users
}
