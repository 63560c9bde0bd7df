//! A translation unit: an object whose relocations are resolved to the things they mean.

use object::elf;

use crate::code::{Code, Insn, Kind};
use crate::error::DifferError;
use crate::names::{base_name, parent_of_cold};
use crate::object::{Object, Relocation, Section, Symbol};

/// An object with its functions and data objects, by place.
pub(crate) struct Unit {
    pub object: Object,
    /// Instructions by section; empty for sections without code.
    code: Vec<Code>,
    /// By section: the symbols of functions and objects, one for each address, by address.
    atoms: Vec<Vec<usize>>,
}

/// What a relocation refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A symbol that another unit defines (or an absolute one). `offset` is the addend.
    Outside { symbol: usize, offset: i64 },
    /// A function or object of this unit; `offset` counts from its start and holds the distance
    /// that a PC-relative addend includes.
    Atom { symbol: usize, offset: i64 },
    /// A string literal, from here to its NUL.
    Literal { section: usize, offset: u64 },
    /// A constant that the linker may merge.
    Constant { section: usize, offset: u64 },
    /// A place that no symbol names, possibly outside of the section.
    Place { section: usize, offset: i64 },
}

/// A half-open range of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Range {
    pub section: usize,
    pub start: u64,
    pub end: u64,
}

impl Unit {
    pub fn parse(bytes: &[u8]) -> Result<Self, DifferError> {
        let mut object = Object::parse(bytes)?;
        check_symbols(&object)?;
        let atoms = atoms(&object);
        let code = (0..object.sections.len())
            .map(|index| decode_section(&object, index, &atoms[index]))
            .collect::<Vec<_>>();
        for section in 0..object.sections.len() {
            expose_branches(&mut object, section, &code[section], &atoms[section]);
        }
        Ok(Self {
            object,
            code,
            atoms,
        })
    }

    pub fn section(&self, index: usize) -> &Section {
        &self.object.sections[index]
    }

    pub fn symbol(&self, index: usize) -> &Symbol {
        &self.object.symbols[index]
    }

    pub fn name(&self, symbol: usize) -> &str {
        &self.object.symbols[symbol].name
    }

    /// The section of a symbol that is an atom.
    pub fn section_of(&self, atom: usize) -> &Section {
        &self.object.sections[self.range(atom).section]
    }

    /// All functions and objects.
    pub fn atoms(&self) -> impl Iterator<Item = usize> + '_ {
        self.atoms.iter().flatten().copied()
    }

    /// The functions and objects of one section.
    pub fn atoms_of(&self, section: usize) -> &[usize] {
        &self.atoms[section]
    }

    /// Names without numbers, places and sizes of a section's functions and objects.
    pub fn layout(&self, section: usize) -> Vec<(String, u64, u64)> {
        let symbols = self.atoms[section].iter().map(|&atom| self.symbol(atom));
        symbols
            .map(|symbol| (base_name(&symbol.name), symbol.value, symbol.size))
            .collect()
    }

    pub fn functions(&self) -> impl Iterator<Item = usize> + '_ {
        self.atoms().filter(|&symbol| self.is_function(symbol))
    }

    pub fn is_function(&self, atom: usize) -> bool {
        self.symbol(atom).is_function()
    }

    /// Whether no other unit can name the place where the atom begins.
    pub fn is_private(&self, atom: usize) -> bool {
        let symbol = self.symbol(atom);
        let place = (symbol.home, symbol.value);
        let mut names = self.object.symbols.iter();
        names.all(|other| (other.home, other.value) != place || other.is_local())
    }

    /// Whether the atom has its section for itself.
    pub fn is_alone(&self, atom: usize) -> bool {
        self.symbol(atom)
            .section()
            .is_some_and(|section| self.atoms[section].len() == 1)
    }

    /// The bytes of an atom: its whole section if that is its own, else what the symbol says.
    pub fn range(&self, atom: usize) -> Range {
        let symbol = self.symbol(atom);
        let section = symbol.section().unwrap_or(0);
        let size = self.section(section).size;
        if self.is_alone(atom) {
            return Range {
                section,
                start: 0,
                end: size,
            };
        }
        let start = symbol.value.min(size);
        Range {
            section,
            start,
            end: start.saturating_add(symbol.size).min(size),
        }
    }

    /// The atom at a place; the end of an atom that is alone still belongs to it.
    pub fn atom_at(&self, section: usize, offset: i64) -> Option<usize> {
        let atoms = self.atoms.get(section)?;
        if let [only] = atoms.as_slice() {
            return Some(*only);
        }
        let offset = u64::try_from(offset).ok()?;
        let index = atoms.partition_point(|&atom| self.symbol(atom).value <= offset);
        let atom = *atoms.get(index.checked_sub(1)?)?;
        let symbol = self.symbol(atom);
        // Labels of the assembler have no size and reach to the next one.
        let label = symbol.kind == elf::STT_NOTYPE.0 && symbol.size == 0;
        (label || offset == symbol.value || offset - symbol.value < symbol.size).then_some(atom)
    }

    /// The instruction that a relocation belongs to.
    pub fn insn(&self, section: usize, relocation: &Relocation) -> Option<&Insn> {
        self.code.get(section)?.at(relocation.offset)
    }

    pub fn insns(&self, range: Range) -> &[Insn] {
        self.code[range.section].range(range.start, range.end)
    }

    /// A near call or jump to the relocation's target.
    pub fn is_branch(&self, section: usize, relocation: &Relocation) -> bool {
        is_pc_relative(relocation.r_type)
            && self.insn(section, relocation).is_some_and(Insn::is_branch)
    }

    /// A call of the relocation's target, which comes back.
    pub fn is_call(&self, section: usize, relocation: &Relocation) -> bool {
        is_pc_relative(relocation.r_type)
            && self
                .insn(section, relocation)
                .is_some_and(|insn| insn.kind == Kind::Call)
    }

    /// Reads or writes the very place, and does not only compute its address.
    pub fn is_access(&self, section: usize, relocation: &Relocation) -> bool {
        is_pc_relative(relocation.r_type)
            && self
                .insn(section, relocation)
                .is_some_and(|insn| insn.kind != Kind::Lea)
    }

    /// The place in this object that a relocation refers to.
    pub fn location(&self, section: usize, relocation: &Relocation) -> Option<(usize, i64)> {
        let symbol = self.symbol(relocation.symbol as usize);
        let home = symbol.section()?;
        let base = i64::try_from(symbol.value)
            .ok()?
            .checked_add(relocation.addend)?;
        Some((
            home,
            base.checked_add(self.pc_distance(section, relocation))?,
        ))
    }

    /// From the relocated field to the end of its instruction, where the processor counts from.
    fn pc_distance(&self, section: usize, relocation: &Relocation) -> i64 {
        if !self.section(section).is_code() || !is_pc_relative(relocation.r_type) {
            return 0;
        }
        let insn = self.insn(section, relocation);
        insn.map_or(4, |insn| (insn.end() - relocation.offset) as i64)
    }

    /// What a relocation refers to.
    pub fn target(&self, section: usize, relocation: &Relocation) -> Target {
        let symbol = self.symbol(relocation.symbol as usize);
        let addend = relocation.addend;
        let Some((home, place)) = self.location(section, relocation) else {
            return Target::Outside {
                symbol: relocation.symbol as usize,
                offset: addend,
            };
        };
        let target = self.section(home);
        if let Ok(offset) = u64::try_from(place)
            && offset < target.size
        {
            if is_literals(target) {
                return Target::Literal {
                    section: home,
                    offset,
                };
            }
            if target.is_mergeable() && !target.is_strings() {
                return Target::Constant {
                    section: home,
                    offset,
                };
            }
        }
        let named = is_atom(symbol)
            .then(|| self.atom_named(home, symbol))
            .flatten();
        match named.or_else(|| self.atom_at(home, place)) {
            Some(atom) => {
                let from_start = symbol.value as i64 - self.symbol(atom).value as i64;
                Target::Atom {
                    symbol: atom,
                    offset: addend.wrapping_add(from_start),
                }
            }
            None => Target::Place {
                section: home,
                offset: place,
            },
        }
    }

    /// The representative of all symbols at one address.
    fn atom_named(&self, section: usize, symbol: &Symbol) -> Option<usize> {
        let atoms = &self.atoms[section];
        let index = atoms.partition_point(|&atom| self.symbol(atom).value < symbol.value);
        atoms
            .get(index)
            .copied()
            .filter(|&atom| self.symbol(atom).value == symbol.value)
    }

    /// The offset into the atom that the running code reaches, without the PC's distance.
    pub fn offset_in_atom(&self, section: usize, relocation: &Relocation, offset: i64) -> i64 {
        offset.wrapping_add(self.pc_distance(section, relocation))
    }

    /// The text of a literal, without its NUL.
    pub fn literal(&self, section: usize, offset: u64) -> &[u8] {
        let data = &self.section(section).data;
        let rest = data.get(offset as usize..).unwrap_or_default();
        &rest[..rest
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(rest.len())]
    }

    /// The function that a `.cold` part was split from.
    pub fn parent(&self, function: usize) -> Option<usize> {
        let parent = parent_of_cold(self.name(function))?;
        self.functions().find(|&other| self.name(other) == parent)
    }

    /// The end of a code fragment outside of any function: behind its first instruction that
    /// control does not pass.
    pub fn fragment_end(&self, section: usize, start: u64) -> Option<u64> {
        let range = Range {
            section,
            start,
            end: self.section(section).size,
        };
        let insns = self.insns(range);
        if insns.first()?.start() != start {
            return None;
        }
        insns.iter().find(|insn| insn.ends_flow()).map(Insn::end)
    }
}

/// Literals that are compared by their text.
pub(crate) fn is_literals(section: &Section) -> bool {
    section.is_strings() && section.entsize == 1 || section.name == "__ksymtab_strings"
}

pub(crate) fn is_pc_relative(r_type: u32) -> bool {
    [
        elf::R_X86_64_PC32.0,
        elf::R_X86_64_PLT32.0,
        elf::R_X86_64_PC64.0,
    ]
    .contains(&r_type)
}

/// Functions and objects; not the local labels of the assembler, sections or files.
fn is_atom(symbol: &Symbol) -> bool {
    let named = !symbol.name.is_empty()
        && !symbol.name.starts_with(".L")
        && !symbol.name.starts_with("__pfx_")
        && !symbol.name.starts_with("__cfi_");
    let kind = symbol.is_function()
        || symbol.kind == elf::STT_OBJECT.0
        || symbol.kind == elf::STT_NOTYPE.0 && !symbol.is_local();
    named && kind && symbol.section().is_some()
}

fn check_symbols(object: &Object) -> Result<(), DifferError> {
    for symbol in &object.symbols {
        if let Some(section) = symbol.section() {
            let section = &object.sections[section];
            let end = symbol.value.checked_add(symbol.size);
            if section.is_alloc() && is_atom(symbol) && end.is_none_or(|end| end > section.size) {
                let what = format!("`{}` reaches beyond its end", symbol.name);
                return Err(DifferError::damaged(&section.name, what));
            }
        }
    }
    Ok(())
}

fn atoms(object: &Object) -> Vec<Vec<usize>> {
    let mut atoms = vec![Vec::new(); object.sections.len()];
    for (index, symbol) in object.symbols.iter().enumerate() {
        if let Some(section) = symbol.section()
            && is_atom(symbol)
            && object.sections[section].is_alloc()
        {
            atoms[section].push(index);
        }
    }
    for list in &mut atoms {
        // Of several names for one address: the biggest, a strong global one, the first by name.
        list.sort_by_key(|&index| {
            let symbol = &object.symbols[index];
            let label = symbol.kind == elf::STT_NOTYPE.0;
            let weakness = (symbol.is_weak(), symbol.is_local());
            (
                symbol.value,
                label,
                std::cmp::Reverse(symbol.size),
                weakness,
                symbol.name.clone(),
            )
        });
        list.dedup_by_key(|&mut index| object.symbols[index].value);
    }
    atoms
}

fn decode_section(object: &Object, index: usize, atoms: &[usize]) -> Code {
    let section = &object.sections[index];
    if !section.is_code() || !section.is_alloc() {
        return Code::default();
    }
    // Every function starts on an instruction, whatever lies between it and the one before.
    let mut starts = vec![0];
    starts.extend(atoms.iter().map(|&atom| object.symbols[atom].value));
    starts.dedup();
    let mut code = Code::default();
    for (position, &start) in starts.iter().enumerate() {
        let end = starts
            .get(position + 1)
            .copied()
            .unwrap_or(section.data.len() as u64);
        let bytes = section
            .data
            .get(start as usize..end as usize)
            .unwrap_or_default();
        code.append(Code::decode(bytes, start));
    }
    code
}

/// The assembler resolves branches between functions that share a section. Turns them back into
/// relocations, so that neighbours don't matter.
fn expose_branches(object: &mut Object, section: usize, code: &Code, atoms: &[usize]) {
    if atoms.len() < 2 || !object.sections[section].is_code() {
        return;
    }
    let mut exposed = Vec::new();
    for &atom in atoms {
        let symbol = &object.symbols[atom];
        let (start, end) = (symbol.value, symbol.value + symbol.size);
        for insn in code
            .range(start, end)
            .iter()
            .filter(|insn| insn.is_branch())
        {
            let wide = insn.end() - insn.start() >= 5;
            let inside = (start..end).contains(&insn.target());
            let field = insn.end().wrapping_sub(4);
            let relocated = !object.sections[section]
                .relocations_in(insn.start(), insn.end())
                .is_empty();
            let Some(&goal) = atoms
                .iter()
                .rev()
                .find(|&&a| object.symbols[a].value <= insn.target())
            else {
                continue;
            };
            if wide && !inside && !relocated {
                let addend = insn.target().wrapping_sub(object.symbols[goal].value) as i64 - 4;
                let r_type = elf::R_X86_64_PLT32.0;
                exposed.push(Relocation {
                    offset: field,
                    r_type,
                    symbol: goal as u32,
                    addend,
                });
            }
        }
    }
    let section = &mut object.sections[section];
    for relocation in &exposed {
        let at = relocation.offset as usize;
        if let Some(field) = section.data.get_mut(at..at + 4) {
            field.fill(0);
        }
    }
    section.relocations.extend(exposed);
    section
        .relocations
        .sort_by_key(|relocation| relocation.offset);
}
