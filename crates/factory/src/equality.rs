//! The proof that what this machine compiles is what the distribution shipped.
//!
//! For each function of a unit, compiled plainly from the unpatched source, the shipped bytes
//! must be the same outside of relocated fields, and every relocated field must refer to the
//! same thing. On the way the proof learns where the unit's sections lie in the shipped object,
//! and so where each of its static functions and data is, also among others of the same name.

use std::collections::HashMap;

use suture_differ::object::{Object, Relocation, Section, Symbol};

use crate::files::sha256_hex;
use crate::relocation::{Field, field};
use crate::shipped_object::{Location, Reference, ShippedObject, module_location, object_kind};

/// What the proof found for one unit.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Where each section of the plain object begins in the shipped object.
    bases: HashMap<usize, Location>,
    functions: HashMap<String, Result<Proven, String>>,
}

/// A function that was found in the shipped object, equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub location: Location,
    pub size: u64,
    /// Of the shipped bytes, as lowercase hex.
    pub sha256: String,
}

impl Proof {
    /// Compares all functions of `plain`. Those found at one place only come first; they tell
    /// where the unit lies, which decides for those that are found at several places.
    pub fn establish(plain: &Object, shipped: &ShippedObject<'_>) -> Self {
        let mut proof = Self::default();
        let mut later = Vec::new();
        for symbol in plain
            .symbols
            .iter()
            .filter(|s| s.is_function() && s.size > 0)
        {
            match shipped.functions(&symbol.name).as_slice() {
                [only] => {
                    proof.judge(plain, shipped, symbol, &[*only]);
                }
                several => later.push((symbol, several.to_vec())),
            }
        }
        // Each that is decided may tell the place of others.
        loop {
            let before = later.len();
            later.retain(|(symbol, candidates)| !proof.judge(plain, shipped, symbol, candidates));
            if later.len() == before {
                break;
            }
        }
        for (symbol, _) in later {
            let why = "several functions of that name equal it, and nothing tells which is meant";
            proof
                .functions
                .insert(symbol.name.clone(), Err(why.to_owned()));
        }
        proof
    }

    /// The function's place, or why it is not proven.
    pub fn function(&self, name: &str) -> Result<&Proven, String> {
        match self.functions.get(name) {
            Some(Ok(proven)) => Ok(proven),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the plain compile has no such function".to_owned()),
        }
    }

    /// How many functions were compared, and how many of them are equal.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.functions.len(),
            self.functions
                .values()
                .filter(|result| result.is_ok())
                .count(),
        )
    }

    /// The functions that are not proven, by name, with the reason.
    pub fn unequal(&self) -> Vec<(String, String)> {
        let failed = |(name, result): (&String, &Result<Proven, String>)| {
            result.as_ref().err().map(|why| (name.clone(), why.clone()))
        };
        let mut unequal: Vec<_> = self.functions.iter().filter_map(failed).collect();
        unequal.sort();
        unequal
    }

    /// Where a symbol that the unit defines (and not only weakly) lies in the shipped object.
    pub fn location(
        &self,
        plain: &Object,
        shipped: &ShippedObject<'_>,
        name: &str,
    ) -> Option<Location> {
        let defines = |s: &&Symbol| s.name == name && s.section().is_some() && !s.is_weak();
        let symbol = plain.symbols.iter().find(defines)?;
        let by_section = symbol
            .section()
            .and_then(|section| self.bases.get(&section))
            .map(|base| base.plus(symbol.value));
        if let Some(location) = by_section {
            return (shipped.is_named(location, name) == Some(true)).then_some(location);
        }
        // The unit's section was never referred to; a name that exists once is still certain.
        match shipped.locations(name).as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Compares a function with all places that it may have. Whether that decides: not if it
    /// equals several, because code that is the same need not be this unit's.
    fn judge(
        &mut self,
        plain: &Object,
        shipped: &ShippedObject<'_>,
        symbol: &Symbol,
        candidates: &[Location],
    ) -> bool {
        let Some(section) = symbol.section() else {
            return true;
        };
        let expected = self.bases.get(&section).map(|base| base.plus(symbol.value));
        let mut verdict = Err("the shipped object has no function of that name".to_owned());
        let mut found = None;
        for &location in candidates {
            if candidates.len() > 1 && expected.is_some_and(|expected| expected != location) {
                continue;
            }
            match self.compare(plain, shipped, symbol, section, location) {
                Ok(_) if found.is_some() => return false,
                Ok(equal) => found = Some(equal),
                Err(_) if symbol.is_weak() => {
                    verdict = Err("it is weak, and the shipped object took another".to_owned());
                }
                Err(why) => verdict = Err(why),
            }
        }
        if let Some((proven, bases)) = found {
            self.bases.extend(bases);
            verdict = Ok(proven);
        }
        self.functions.insert(symbol.name.clone(), verdict);
        true
    }

    fn compare(
        &self,
        plain: &Object,
        shipped: &ShippedObject<'_>,
        symbol: &Symbol,
        section: usize,
        location: Location,
    ) -> Result<(Proven, HashMap<usize, Location>), String> {
        let mut comparison = Comparison {
            plain,
            shipped,
            start: symbol.value,
            location,
            known: &self.bases,
            learned: HashMap::new(),
        };
        comparison.learn(section, location.minus(symbol.value))?;
        let sha256 = comparison.function(&plain.sections[section], symbol.size)?;
        Ok((
            Proven {
                location,
                size: symbol.size,
                sha256,
            },
            comparison.learned,
        ))
    }
}

/// One function at one place.
struct Comparison<'a> {
    plain: &'a Object,
    shipped: &'a ShippedObject<'a>,
    /// Where the function starts in its section.
    start: u64,
    location: Location,
    known: &'a HashMap<usize, Location>,
    learned: HashMap<usize, Location>,
}

impl Comparison<'_> {
    /// Compares everything and gives the hash of the shipped bytes.
    fn function(&mut self, section: &Section, size: u64) -> Result<String, String> {
        let end = self
            .start
            .checked_add(size)
            .ok_or("its size is impossible")?;
        let ours = section
            .bytes(self.start, end)
            .ok_or("it leaves its section")?;
        let theirs = self
            .shipped
            .bytes(self.location, ours.len())
            .ok_or("the shipped object ends before it does")?;
        let relocations = section.relocations_in(self.start, end);
        self.bytes(&ours, theirs, relocations)?;
        if let ShippedObject::Module { object, .. } = self.shipped {
            self.same_number_of_relocations(object, size, relocations.len())?;
        }
        for relocation in relocations {
            self.reference(relocation, theirs)?;
        }
        Ok(sha256_hex(theirs))
    }

    /// Equal outside of relocated fields.
    fn bytes(&self, ours: &[u8], theirs: &[u8], relocations: &[Relocation]) -> Result<(), String> {
        let mut relocated = vec![false; ours.len()];
        for relocation in relocations {
            let width = field(relocation.r_type)?.width();
            let at = (relocation.offset - self.start) as usize;
            let covered = relocated
                .get_mut(at..at + width)
                .ok_or("a field leaves the function")?;
            covered.fill(true);
        }
        let differs = (0..ours.len()).find(|&at| !relocated[at] && ours[at] != theirs[at]);
        differs.map_or(Ok(()), |at| {
            Err(format!("the code differs at its byte {at}"))
        })
    }

    fn same_number_of_relocations(
        &self,
        object: &Object,
        size: u64,
        ours: usize,
    ) -> Result<(), String> {
        let Location::InModule { section, offset } = self.location else {
            return Ok(());
        };
        let theirs = object.sections[section]
            .relocations_in(offset, offset + size)
            .len();
        if theirs == ours {
            Ok(())
        } else {
            Err(format!(
                "it has {ours} relocations, the shipped code has {theirs}"
            ))
        }
    }

    /// The field refers to the same thing on both sides.
    fn reference(&mut self, relocation: &Relocation, theirs: &[u8]) -> Result<(), String> {
        let field = field(relocation.r_type)?;
        if field == Field::None {
            return Ok(());
        }
        let at = relocation.offset - self.start;
        let symbol = &self.plain.symbols[relocation.symbol as usize];
        match self.shipped_reference(relocation, field, at, theirs)? {
            Reference::External { name, addend } => {
                if name == symbol.name && addend == relocation.addend {
                    Ok(())
                } else {
                    Err(format!(
                        "at its byte {at} it refers to `{}`, the shipped code to `{name}`",
                        symbol.name
                    ))
                }
            }
            Reference::At(location) => self.same_thing(symbol, relocation.addend, location, at),
        }
    }

    /// What the shipped field refers to, less our addend: where our symbol would lie.
    fn shipped_reference(
        &self,
        relocation: &Relocation,
        field: Field,
        at: u64,
        theirs: &[u8],
    ) -> Result<Reference, String> {
        match (self.shipped, self.location) {
            (ShippedObject::Module { object, .. }, Location::InModule { section, offset }) => {
                module_reference(object, section, offset + at, relocation)
            }
            (_, Location::Address(address)) => {
                let value = field
                    .read(&theirs[at as usize..])
                    .ok_or("a field is cut off")?;
                let place = if field.is_relative() {
                    address.wrapping_add(at)
                } else {
                    0
                };
                let symbol = value
                    .wrapping_add(place)
                    .wrapping_sub(relocation.addend.cast_unsigned());
                Ok(Reference::At(Location::Address(symbol)))
            }
            (ShippedObject::Vmlinux { .. }, Location::InModule { .. }) => {
                Err("it is looked for in the wrong object".to_owned())
            }
        }
    }

    /// Our symbol is what lies at `location` of the shipped object.
    fn same_thing(
        &mut self,
        symbol: &Symbol,
        addend: i64,
        location: Location,
        at: u64,
    ) -> Result<(), String> {
        let section_symbol = symbol.kind == object_kind::SECTION;
        let Some(section) = symbol.section() else {
            return match self.shipped.is_named(location, &symbol.name) {
                Some(false) => Err(format!(
                    "at its byte {at} it refers to `{}`, the shipped code to something else",
                    symbol.name
                )),
                Some(true) => Ok(()),
                None => Err(format!(
                    "at its byte {at} it refers to `{}`, which the shipped object has no name for",
                    symbol.name
                )),
            };
        };
        if self.plain.sections[section].is_mergeable() {
            // The linker moves equal literals together, so only their content can be compared.
            let addend = if section_symbol {
                addend.cast_unsigned()
            } else {
                0
            };
            let offset = symbol.value.wrapping_add(addend);
            return self.same_literal(section, offset, location.plus(addend), at);
        }
        if !section_symbol && self.shipped.is_named(location, &symbol.name) == Some(false) {
            return Err(format!("at its byte {at} `{}` lies elsewhere", symbol.name));
        }
        if symbol.is_weak() {
            // Ours may have given way to another unit's definition, which says nothing of where
            // this unit lies.
            return Ok(());
        }
        self.learn(section, location.minus(symbol.value))
    }

    fn same_literal(
        &self,
        section: usize,
        offset: u64,
        location: Location,
        at: u64,
    ) -> Result<(), String> {
        let section = &self.plain.sections[section];
        let rest = section
            .bytes(offset, section.size)
            .ok_or("a literal lies outside")?;
        let length = if section.is_strings() {
            rest.iter()
                .position(|&byte| byte == 0)
                .ok_or("a literal does not end")?
                + 1
        } else {
            usize::try_from(section.entsize).unwrap_or(usize::MAX)
        };
        let ours = rest.get(..length).ok_or("a literal is cut off")?;
        if self.shipped.bytes(location, length) == Some(ours) {
            Ok(())
        } else {
            Err(format!("at its byte {at} it uses another literal"))
        }
    }

    /// Notes where a section of ours begins; it can begin at one place only.
    fn learn(&mut self, section: usize, base: Location) -> Result<(), String> {
        let known = self
            .known
            .get(&section)
            .or_else(|| self.learned.get(&section));
        match known {
            Some(known) if *known != base => {
                let name = &self.plain.sections[section].name;
                Err(format!("the unit's `{name}` would lie at two places"))
            }
            Some(_) => Ok(()),
            None => {
                self.learned.insert(section, base);
                Ok(())
            }
        }
    }
}

/// What a module's relocation refers to, less our addend.
fn module_reference(
    object: &Object,
    section: usize,
    offset: u64,
    ours: &Relocation,
) -> Result<Reference, String> {
    let theirs = object.sections[section].relocations_in(offset, offset + 1);
    let [theirs] = theirs else {
        return Err("a field is relocated on one side only".to_owned());
    };
    if !crate::relocation::same_type(theirs.r_type, ours.r_type) {
        return Err("a field is relocated in another way".to_owned());
    }
    let symbol = &object.symbols[theirs.symbol as usize];
    let place = match symbol.section() {
        Some(section) if symbol.kind == object_kind::SECTION => {
            Some(Location::InModule { section, offset: 0 })
        }
        Some(_) => module_location(symbol),
        None => None,
    };
    match place {
        Some(place) => {
            let difference = theirs.addend.wrapping_sub(ours.addend).cast_unsigned();
            Ok(Reference::At(place.plus(difference)))
        }
        None => Ok(Reference::External {
            name: symbol.name.clone(),
            addend: theirs.addend,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = r#"
        extern int outside(const char *text, int number);
        static int counter;
        static __attribute__((noinline)) int helper(int number)
        { counter += number; return outside("helper", counter); }
        int first(int number) { return helper(number + 1) + outside("first", 1); }
        __attribute__((weak)) int replaced(void) { return 1; }
        int second(int number) { return first(number) * replaced(); }
    "#;

    /// Compiles C as the kernel does where it matters here.
    fn compile(source: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("unit.c"), folder.path().join("unit.o"));
        std::fs::write(&input, source).unwrap();
        let flags = [
            "-c",
            "-O2",
            "-fno-pie",
            "-mcmodel=kernel",
            "-fno-asynchronous-unwind-tables",
        ];
        let mut gcc = std::process::Command::new("gcc-12");
        let status = gcc
            .args(flags)
            .arg("-o")
            .arg(&output)
            .arg(&input)
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::read(&output).unwrap()
    }

    /// Takes `shipped` for a module's file and compares `source` with it.
    fn prove(source: &str, shipped: &[u8]) -> (Proof, Vec<(String, String)>) {
        let shipped = ShippedObject::module(shipped).unwrap();
        let plain = Object::parse(&compile(source)).unwrap();
        let proof = Proof::establish(&plain, &shipped);
        let unequal = proof.unequal();
        (proof, unequal)
    }

    #[test]
    fn the_same_source_is_equal_and_its_symbols_are_found() {
        let bytes = compile(UNIT);
        let (proof, unequal) = prove(UNIT, &bytes);
        assert_eq!(unequal, []);
        assert_eq!(proof.counts(), (4, 4));
        let shipped = ShippedObject::module(&bytes).unwrap();
        let plain = Object::parse(&bytes).unwrap();
        assert!(proof.location(&plain, &shipped, "counter").is_some());
        assert_eq!(proof.location(&plain, &shipped, "outside"), None);
    }

    /// Links units as Kbuild links a module.
    fn linked(sources: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("linked.o");
        let mut gcc = std::process::Command::new("gcc-12");
        gcc.args(["-r", "-nostdlib", "-o"]).arg(&output);
        for (index, source) in sources.iter().enumerate() {
            let part = folder.path().join(format!("{index}.o"));
            std::fs::write(&part, compile(source)).unwrap();
            gcc.arg(part);
        }
        assert!(gcc.status().unwrap().success());
        std::fs::read(output).unwrap()
    }

    #[test]
    fn the_same_code_twice_is_told_apart_or_not_taken() {
        const TWIN: &str =
            "static __attribute__((used)) int twin(int number) { return number * 3; }\n";
        let known = format!("{TWIN}int known(int number) {{ return number + 1; }}");
        let shipped = linked(&[TWIN, &known]);

        let (proof, _) = prove(&known, &shipped);
        let parsed = ShippedObject::module(&shipped).unwrap();
        let second = parsed.functions("twin")[1];
        assert_eq!(proof.function("twin").unwrap().location, second);

        let (proof, _) = prove(TWIN, &shipped);
        let why = proof.function("twin").unwrap_err();
        assert!(why.starts_with("several functions"), "{why}");
    }

    #[test]
    fn another_units_static_symbol_is_not_what_a_global_name_means() {
        let shipped = linked(&[
            "static __attribute__((used)) int hidden(void) { return 1; }",
            "int hidden(void); int shown(void) { return hidden(); }",
        ]);
        let shipped = ShippedObject::module(&shipped).unwrap();
        assert_eq!(shipped.module_global("hidden"), None);
        assert_eq!(
            shipped.module_global("shown"),
            shipped.functions("shown").first().copied()
        );
    }

    #[test]
    fn other_code_is_not_equal() {
        let (proof, _) = prove(UNIT, &compile(&UNIT.replace("number + 1", "number + 2")));
        assert!(
            proof
                .function("first")
                .unwrap_err()
                .starts_with("the code differs at its byte")
        );
        assert!(proof.function("helper").is_ok());
    }

    #[test]
    fn another_literal_or_callee_is_not_equal() {
        let (proof, _) = prove(UNIT, &compile(&UNIT.replace("\"first\"", "\"other\"")));
        assert!(
            proof
                .function("first")
                .unwrap_err()
                .ends_with("it uses another literal")
        );
        let (proof, _) = prove(UNIT, &compile(&UNIT.replace("outside", "elsewhere")));
        let why = proof.function("helper").unwrap_err();
        assert!(
            why.contains("refers to `outside`, the shipped code to `elsewhere`"),
            "{why}"
        );
    }

    #[test]
    fn a_function_that_was_not_shipped_is_not_proven() {
        let (proof, _) = prove(UNIT, &compile(&UNIT.replace("second", "third")));
        let why = proof.function("second").unwrap_err();
        assert_eq!(why, "the shipped object has no function of that name");
    }
}
