//! What a reference in taken code becomes: a copy that goes along, or a symbol of the kernel.

use object::elf;

use crate::chunk::{ChunkId, Goal, Link};
use crate::compare::FunctionStatus;
use crate::extract::Extractor;
use crate::names::is_copyable;
use crate::object::{Relocation, SymbolSection};
use crate::refusal::Refusal;
use crate::resolve::{ReferencedSymbol, SymbolKind};
use crate::special::{Role, Table, is_init, role};
use crate::unit::{Range, Target};

/// What the module loader applies (kernel: arch/x86/kernel/module.c).
const LOADABLE: [u32; 6] = [
    elf::R_X86_64_64.0,
    elf::R_X86_64_32.0,
    elf::R_X86_64_32S.0,
    elf::R_X86_64_PC32.0,
    elf::R_X86_64_PLT32.0,
    elf::R_X86_64_PC64.0,
];

impl Extractor<'_> {
    /// Resolves all references of a chunk.
    pub fn follow(&mut self, chunk: ChunkId) {
        let source = self.layout.chunks[chunk].source;
        let section = self.units.new.section(source.section);
        let mut links = Vec::new();
        for relocation in section.relocations_in(source.start, source.end) {
            if relocation.r_type == elf::R_X86_64_NONE.0 {
                continue;
            }
            match self.goal(chunk, source.section, relocation) {
                Ok((to, addend)) => links.push(Link {
                    offset: relocation.offset - source.start,
                    r_type: relocation.r_type,
                    to,
                    addend,
                }),
                Err(refusal) => {
                    self.refusals.insert(refusal);
                }
            }
        }
        self.layout.chunks[chunk].links = links;
    }

    fn goal(
        &mut self,
        chunk: ChunkId,
        section: usize,
        relocation: &Relocation,
    ) -> Result<(Goal, i64), Refusal> {
        let new = &self.units.new;
        if let Some(&settled) = self.settled.get(&(section, relocation.offset)) {
            return Ok(self.chunk_goal(settled, relocation));
        }
        let owner = self.layout.chunks[chunk].owner.clone();
        let inside = relocation.offset + relocation.width() <= self.layout.chunks[chunk].source.end;
        if !inside {
            let what = "a relocated field reaches beyond what is taken".to_owned();
            return Err(self.reference(&owner, section, what));
        }
        if !LOADABLE.contains(&relocation.r_type) {
            let what = format!(
                "modules can't have relocations of type {}",
                relocation.r_type
            );
            return Err(self.reference(&owner, section, what));
        }
        match new.target(section, relocation) {
            Target::Outside { symbol, offset } => {
                let symbol = new.symbol(symbol);
                if symbol.home != SymbolSection::Undefined {
                    let what = format!("`{}` has a fixed address", symbol.name);
                    return Err(self.reference(&owner, section, what));
                }
                let (name, kind) = (symbol.name.as_str(), SymbolKind::Unknown);
                let wanted = ReferencedSymbol {
                    name,
                    local: false,
                    kind,
                };
                self.kernel_goal(chunk, (section, relocation), &wanted, offset)
            }
            Target::Literal {
                section: home,
                offset,
            } => {
                let end = offset + new.literal(home, offset).len() as u64 + 1;
                let end = end.min(new.section(home).size);
                let source = Range {
                    section: home,
                    start: offset,
                    end,
                };
                Ok(self.copy_goal(source, ".rodata.suture.str", 1, &owner, relocation))
            }
            Target::Constant {
                section: home,
                offset,
            } => {
                let size = new.section(home).entsize;
                let start = offset - offset % size;
                let end = (start + size).min(new.section(home).size);
                let source = Range {
                    section: home,
                    start,
                    end,
                };
                let name = format!(".rodata.suture.cst{size}");
                Ok(self.copy_goal(source, &name, size, &owner, relocation))
            }
            Target::Atom { symbol, offset } if new.is_function(symbol) => {
                self.function(chunk, (section, relocation), symbol, offset)
            }
            Target::Atom { symbol, offset } => {
                self.data(chunk, (section, relocation), symbol, offset)
            }
            Target::Place {
                section: home,
                offset,
            } => self.place(&owner, relocation, home, offset),
        }
    }

    /// A reference to a function of this unit.
    ///
    /// Calls of a changed function may go straight to its new code. Its address must stay the
    /// running kernel's: others compare it, and it outlives the patch.
    fn function(
        &mut self,
        chunk: ChunkId,
        (section, relocation): (usize, &Relocation),
        function: usize,
        offset: i64,
    ) -> Result<(Goal, i64), Refusal> {
        let (old, new) = (&self.units.old, &self.units.new);
        let owner = self.layout.chunks[chunk].owner.clone();
        let status = self.analysis.status[&function];
        let inner = new.offset_in_atom(section, relocation, offset) != 0;
        let code = new.section(section).is_code();
        let branch = new.is_branch(section, relocation);
        if self.layout.chunks[chunk].special && !code {
            let what = format!(
                "an entry about taken code leads to `{}`",
                new.name(function)
            );
            return match self.taken.get(&function) {
                Some(&target) => Ok(self.chunk_goal(target, relocation)),
                None => Err(self.reference(&owner, section, what)),
            };
        }
        let part = new.parent(function).is_some();
        let local = match status {
            FunctionStatus::New | FunctionStatus::Removed => true,
            FunctionStatus::Changed => part || branch || inner,
            FunctionStatus::Same => part || inner && self.taken.contains_key(&function),
        };
        let original = self.analysis.original_function.get(&function).copied();
        let inlined = |original| branch && self.symbols.is_inlined(old.name(original));
        match original {
            Some(original) if !local && !inlined(original) => {
                self.check_not_freed(&owner, old.name(original), &old.section_of(original).name)?;
                let symbol = old.symbol(original);
                let (name, kind) = (symbol.name.as_str(), SymbolKind::Function);
                let wanted = ReferencedSymbol {
                    name,
                    local: symbol.is_local(),
                    kind,
                };
                self.kernel_goal(chunk, (section, relocation), &wanted, offset)
            }
            _ => {
                let target = self.take_function(function)?;
                Ok(self.chunk_goal(target, relocation))
            }
        }
    }

    /// A reference to an object of this unit.
    fn data(
        &mut self,
        chunk: ChunkId,
        (section, relocation): (usize, &Relocation),
        atom: usize,
        offset: i64,
    ) -> Result<(Goal, i64), Refusal> {
        let old = &self.units.old;
        let owner = self.layout.chunks[chunk].owner.clone();
        if let Some(original) = self.analysis.matcher.original_data(atom) {
            self.check_certain(&owner, (section, relocation), original, atom, offset)?;
            self.check_not_freed(&owner, old.name(original), &old.section_of(original).name)?;
            let symbol = old.symbol(original);
            let (name, kind) = (symbol.name.as_str(), SymbolKind::Data);
            let wanted = ReferencedSymbol {
                name,
                local: symbol.is_local(),
                kind,
            };
            return self.kernel_goal(chunk, (section, relocation), &wanted, offset);
        }
        let target = self.take_data(atom, &owner)?;
        Ok(self.chunk_goal(target, relocation))
    }

    /// Takes a new object, or one of which a copy does no harm.
    pub fn take_data(&mut self, atom: usize, owner: &str) -> Result<ChunkId, Refusal> {
        if let Some(&chunk) = self.taken.get(&atom) {
            return Ok(chunk);
        }
        let new = &self.units.new;
        let range = new.range(atom);
        let section = new.section(range.section);
        let (symbol, place) = (new.name(atom).to_owned(), section.name.clone());
        if self.analysis.doubtful.contains(&atom) {
            return Err(Refusal::AmbiguousStatic { symbol });
        }
        if section.grouped || new.symbol(atom).is_weak() {
            return Err(Refusal::Grouped { symbol });
        }
        let ordinary = [".data", ".bss", ".rodata", "__dyndbg", "__verbose"]
            .iter()
            .any(|prefix| place.starts_with(prefix));
        if !ordinary || place.contains("..percpu") || section.is_code() {
            return Err(Refusal::NewDataPlace {
                symbol,
                section: place,
            });
        }
        let chunk = if new.is_alone(atom) && !is_copyable(&symbol, &place) {
            self.layout.add_alone(new, range, &place, owner)
        } else {
            let natural = 1_u64 << range.start.trailing_zeros().min(12);
            let alignment = natural.min(section.addralign.max(1));
            self.layout
                .append(new, range, &place, owner, alignment, false)
        };
        self.taken.insert(atom, chunk);
        Ok(chunk)
    }

    /// A reference to something without a name.
    fn place(
        &mut self,
        owner: &str,
        relocation: &Relocation,
        home: usize,
        offset: i64,
    ) -> Result<(Goal, i64), Refusal> {
        let new = &self.units.new;
        let section = new.section(home);
        let name = section.name.clone();
        let start = u64::try_from(offset)
            .ok()
            .filter(|&start| start < section.size);
        if section.is_code() {
            let known = start.and_then(|start| self.layout.covering(home, start));
            if let Some(chunk) = known {
                return Ok(self.chunk_goal(chunk, relocation));
            }
            let fragment = start
                .filter(|_| role(&name) == Role::Fragments)
                .and_then(|start| {
                    new.fragment_end(home, start).map(|end| Range {
                        section: home,
                        start,
                        end,
                    })
                });
            let Some(fragment) = fragment else {
                let what = format!("no function covers offset {offset:#x}");
                return Err(self.reference(owner, home, what));
            };
            let chunk = self.layout.append(new, fragment, &name, owner, 1, true);
            return Ok(self.chunk_goal(chunk, relocation));
        }
        if role(&name) == Role::Table(Table::Bug)
            && let Some(chunk) = start.and_then(|start| self.bug_entry(home, start))
        {
            return Ok(self.chunk_goal(chunk, relocation));
        }
        let copyable = !section.is_writable() || is_copyable("", &name);
        let plain = role(&name) == Role::Plain && !is_init(&name) && !name.contains("..percpu");
        if !new.atoms_of(home).is_empty() || !copyable || !plain || section.grouped {
            let what = format!("no symbol covers offset {offset:#x}");
            return Err(self.reference(owner, home, what));
        }
        let whole = Range {
            section: home,
            start: 0,
            end: section.size,
        };
        let alignment = section.addralign;
        Ok(self.copy_goal(whole, &name, alignment, owner, relocation))
    }

    /// The copy of an entry of `__bug_table` about taken code, which that code hands over.
    fn bug_entry(&mut self, table: usize, start: u64) -> Option<ChunkId> {
        let units = self.units;
        let mut entries = units.new_entries.iter();
        let entry =
            entries.find(|entry| (entry.range.section, entry.range.start) == (table, start))?;
        let (section, place) = entry.site;
        let site = self.layout.covering(section, place)?;
        if self.decided.insert(entry.range) {
            self.take_entry(entry, site);
        }
        self.layout.covering(table, start)
    }

    /// A copy of constant bytes, made once.
    fn copy_goal(
        &mut self,
        source: Range,
        name: &str,
        alignment: u64,
        owner: &str,
        relocation: &Relocation,
    ) -> (Goal, i64) {
        let chunk = match self.layout.find(source, name) {
            Some(chunk) => chunk,
            None => self
                .layout
                .append(&self.units.new, source, name, owner, alignment, false),
        };
        self.chunk_goal(chunk, relocation)
    }

    fn chunk_goal(&self, chunk: ChunkId, relocation: &Relocation) -> (Goal, i64) {
        let symbol = self.units.new.symbol(relocation.symbol as usize);
        let start = self.layout.chunks[chunk].source.start as i64;
        let addend = relocation
            .addend
            .wrapping_add(symbol.value as i64)
            .wrapping_sub(start);
        (Goal::Chunk(chunk), addend)
    }

    fn kernel_goal(
        &mut self,
        chunk: ChunkId,
        (section, relocation): (usize, &Relocation),
        wanted: &ReferencedSymbol<'_>,
        offset: i64,
    ) -> Result<(Goal, i64), Refusal> {
        let owner = self.layout.chunks[chunk].owner.clone();
        let outside = self.symbols.outside(wanted, &owner)?;
        if outside.late {
            if self.layout.chunks[chunk].special {
                return Err(Refusal::ModuleSymbolTooEarly {
                    function: owner,
                    symbol: wanted.name.to_owned(),
                    section: self.units.new.section(section).name.clone(),
                });
            }
            self.late
                .insert((section, relocation.offset), wanted.name.to_owned());
        }
        Ok((Goal::Symbol(outside.name), offset))
    }

    /// In a section that several objects share, an address may be the end of one or the start of
    /// the next. It is certain if it is used right there, or if nothing has moved.
    fn check_certain(
        &self,
        owner: &str,
        (section, relocation): (usize, &Relocation),
        original: usize,
        atom: usize,
        offset: i64,
    ) -> Result<(), Refusal> {
        let (old, new) = (&self.units.old, &self.units.new);
        let inner = new.offset_in_atom(section, relocation, offset);
        let inside = (0..new.symbol(atom).size as i64).contains(&inner);
        let named = relocation.symbol as usize == atom;
        let access = inside && new.is_access(section, relocation);
        if named || new.is_alone(atom) && old.is_alone(original) || access {
            return Ok(());
        }
        let before = old.layout(old.range(original).section);
        if before == new.layout(new.range(atom).section) {
            return Ok(());
        }
        let what = format!("it may mean `{}` or its neighbour", new.name(atom));
        Err(self.reference(owner, new.range(atom).section, what))
    }

    fn check_not_freed(&self, owner: &str, symbol: &str, section: &str) -> Result<(), Refusal> {
        if !is_init(section) {
            return Ok(());
        }
        Err(Refusal::FreedReference {
            function: owner.to_owned(),
            symbol: symbol.to_owned(),
            section: section.to_owned(),
        })
    }

    pub fn reference(&self, function: &str, section: usize, what: String) -> Refusal {
        let section = self.units.new.section(section).name.clone();
        Refusal::Reference {
            function: function.to_owned(),
            section,
            what,
        }
    }
}
